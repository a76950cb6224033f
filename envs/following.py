"""A policy followed from saved states on a few copies of a task that are refilled as they become idle."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from preflab.errors import InvalidArgument
from preflab.interfaces import Policy
from preflab.networks import BLOCK
from preflab.types import AnyArray, FloatArray

KEEPS = ("observations", "states")


class Copy(Protocol):
    """An environment that pays gold and whose full state can be saved and restored: `make(…, reveal_gold=True)`."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes one step; the fourth entry, a time limit, is not heeded."""
        ...

    def save_state(self) -> FloatArray:
        """Returns the full state, (S,)."""
        ...

    def restore_state(self, state: FloatArray) -> Any:
        """Restores a state and returns the observation there."""
        ...


@dataclass(frozen=True, eq=False)
class Branch:
    """What a policy did from one state: T steps.

    Attributes:
        observations: (T + 1, *obs), as the policy saw them; the last one alone, (1, *obs), where they were not kept.
        rewards: (T,) gold.
        terminated: step T − 1 reached a true terminal state.
        states: (T + 1, S) simulator states, or None where they were not kept.
    """

    observations: AnyArray
    rewards: FloatArray
    terminated: bool
    states: FloatArray | None


def follow(
    copies: Sequence[Copy], policy: Policy, starts: Sequence[FloatArray] | FloatArray, n_steps: int | Sequence[int],
    rng: np.random.Generator | None = None, *, keep: Collection[str] = (), n_threads: int = 1,
) -> list[Branch]:
    """Follows `policy` from each of N states, to a true termination or for its number of steps; time limits are ignored.

    Copies are refilled as they become idle. A deterministic policy always acts on one row per copy, filled up to whole blocks
    (see `in_blocks`), so a branch does not depend, to the bit, on what else is followed or on how many copies there are.

    Args:
        copies: environments of one task and form; whatever state they are in is lost.
        policy: acts on observations in the type in which trajectories store them (float32 or int64), within its bounds.
        starts: (N, S) from `save_state`.
        n_steps: how many steps at most, at least 1; one number, or one a start.
        rng: for the policy; None lets it act deterministically.
        keep: any of `KEEPS`: the observations on the way, the simulator states on the way.
        n_threads: threads that step (MuJoCo lets go of the interpreter); they change nothing but the time.
    """
    limits = np.broadcast_to(np.asarray(n_steps, dtype=np.int64), (len(starts),))
    if not copies or (len(starts) and limits.min() < 1) or set(keep) - set(KEEPS):
        rule = "must be at least one copy, at least 1 step each, and of what can be kept"
        raise InvalidArgument("copies, n_steps, keep", rule, (len(copies), limits.min(initial=1), tuple(keep)), ", ".join(KEEPS))
    waiting, idle = deque(range(len(starts))), list(range(len(copies)))
    done: dict[int, Branch] = {}
    walks: list[_Walk] = []
    rows: AnyArray = np.zeros(0)
    with ThreadPoolExecutor(n_threads) as pool:
        while waiting or walks:
            while waiting and idle:
                i, row = waiting.popleft(), idle.pop()
                walks.append(_Walk(i, row, copies[row], starts[i], int(limits[i]), keep))
            rows = rows if len(rows) else np.zeros((-(-len(copies) // BLOCK) * BLOCK, *walks[0].obs.shape), walks[0].obs.dtype)
            for walk in walks:
                rows[walk.row] = walk.obs
            used = [walk.row for walk in walks]
            actions = policy.act(rows)[used] if rng is None else policy.act(rows[used], rng)
            steps = list(zip(walks, actions, strict=True))
            if n_threads > 1:
                shares = [steps[first::n_threads] for first in range(n_threads)]
                list(pool.map(_advance, shares))  # list: an exception of a thread is raised here
            else:
                _advance(steps)
            for walk in [walk for walk in walks if walk.is_over]:
                done[walk.number] = walk.branch()
                idle.append(walk.row)
            walks = [walk for walk in walks if not walk.is_over]
    return [done[i] for i in range(len(starts))]


class _Walk:
    """A branch under way."""

    def __init__(self, number: int, row: int, copy: Copy, start: FloatArray, n_steps: int, keep: Collection[str]) -> None:
        self.number, self.row, self._copy, self._n_steps = number, row, copy, n_steps
        self.obs = _stored(copy.restore_state(start))
        self._observations = [self.obs] if "observations" in keep else None
        self._states = [copy.save_state()] if "states" in keep else None
        self._rewards: list[float] = []
        self._terminated = False

    @property
    def is_over(self) -> bool:
        return self._terminated or len(self._rewards) == self._n_steps

    def advance(self, action: Any) -> None:
        obs, reward, self._terminated, _, _ = self._copy.step(action)
        self.obs = _stored(obs)
        self._rewards.append(float(reward))
        if self._observations is not None:
            self._observations.append(self.obs)
        if self._states is not None:
            self._states.append(self._copy.save_state())

    def branch(self) -> Branch:
        observations = np.array([self.obs] if self._observations is None else self._observations)
        states = None if self._states is None else np.array(self._states)
        return Branch(observations, np.array(self._rewards), bool(self._terminated), states)


def _advance(steps: Sequence[tuple[_Walk, Any]]) -> None:
    for walk, action in steps:
        walk.advance(action)


def _stored(obs: Any) -> AnyArray:
    """Returns an observation in the type in which trajectories store it, as `collect` does."""
    array = np.asarray(obs)
    return array.astype(np.int64 if np.issubdtype(array.dtype, np.integer) else np.float32)
