"""A policy followed from saved states on a few copies of a task that are refilled as they become idle."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from preflab.envs.copies import Copies, Copy, SeparateCopies
from preflab.errors import InvalidArgument
from preflab.interfaces import Policy
from preflab.networks import BLOCK
from preflab.types import AnyArray, FloatArray, IntArray

KEEPS = ("observations", "states")


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
    copies: Copies | Sequence[Copy], policy: Policy, starts: Sequence[FloatArray] | FloatArray, n_steps: int | Sequence[int],
    rng: np.random.Generator | None = None, *, keep: Collection[str] = (), n_threads: int = 1,
) -> list[Branch]:
    """Follows `policy` from each of N states, to a true termination or for its number of steps; time limits are ignored.

    Copies are refilled as they become idle. A deterministic policy always acts on one row per copy, filled up to whole blocks
    (see `in_blocks`), so a branch does not depend, to the bit, on what else is followed or on how many copies there are.

    Args:
        copies: of one task and form, together or as separate environments; whatever state they are in is lost.
        policy: acts on observations in the type in which trajectories store them (float32 or int64), within its bounds.
        starts: (N, S) from `save_state`.
        n_steps: how many steps at most, at least 1; one number, or one a start.
        rng: for the policy; None lets it act deterministically.
        keep: any of `KEEPS`: the observations on the way, the simulator states on the way.
        n_threads: threads that step separate environments (MuJoCo lets go of the interpreter); they change nothing but the
            time. `Copies` have threads of their own.
    """
    limits = np.broadcast_to(np.asarray(n_steps, dtype=np.int64), (len(starts),))
    if not copies or (len(starts) and limits.min() < 1) or set(keep) - set(KEEPS):
        rule = "must be at least one copy, at least 1 step each, and of what can be kept"
        raise InvalidArgument("copies, n_steps, keep", rule, (len(copies), limits.min(initial=1), tuple(keep)), ", ".join(KEEPS))
    if not isinstance(copies, Sequence):
        return _followed(copies, policy, starts, limits, rng, keep)
    separate = SeparateCopies(copies, n_threads)
    try:
        return _followed(separate, policy, starts, limits, rng, keep)
    finally:
        separate.close()


def _followed(
    copies: Copies, policy: Policy, starts: Sequence[FloatArray] | FloatArray, limits: IntArray,
    rng: np.random.Generator | None, keep: Collection[str],
) -> list[Branch]:
    waiting, idle = deque(range(len(starts))), list(range(len(copies)))
    done: dict[int, Branch] = {}
    walks: list[_Walk] = []
    rows: AnyArray = np.zeros(0)
    while waiting or walks:
        while waiting and idle:
            i, row = waiting.popleft(), idle.pop()
            obs = _stored(copies.restore(np.asarray(starts[i])[None], np.array([row])))[0]
            states = copies.save(np.array([row])) if "states" in keep else [None]
            walks.append(_Walk(i, row, int(limits[i]), obs, states[0], "observations" in keep))
        rows = rows if len(rows) else np.zeros((-(-len(copies) // BLOCK) * BLOCK, *walks[0].obs.shape), walks[0].obs.dtype)
        used = np.array([walk.row for walk in walks])
        rows[used] = np.stack([walk.obs for walk in walks])
        actions = policy.act(rows)[used] if rng is None else policy.act(rows[used], rng)
        seen, rewards, terminated, _ = copies.step(actions, used)
        states = copies.save(used) if "states" in keep else [None] * len(walks)
        for walk, *what in zip(walks, _stored(seen), rewards.tolist(), terminated.tolist(), states, strict=True):
            walk.advance(*what)
        for walk in [walk for walk in walks if walk.is_over]:
            done[walk.number] = walk.branch()
            idle.append(walk.row)
        walks = [walk for walk in walks if not walk.is_over]
    return [done[i] for i in range(len(starts))]


class _Walk:
    """A branch under way."""

    def __init__(
        self, number: int, row: int, n_steps: int, obs: AnyArray, state: FloatArray | None, keeps_observations: bool
    ) -> None:
        self.number, self.row, self._n_steps, self.obs = number, row, n_steps, obs
        self._observations = [obs] if keeps_observations else None
        self._states = None if state is None else [state]
        self._rewards: list[float] = []
        self._terminated = False

    @property
    def is_over(self) -> bool:
        return self._terminated or len(self._rewards) == self._n_steps

    def advance(self, obs: AnyArray, reward: float, terminated: bool, state: FloatArray | None) -> None:
        self.obs, self._terminated = obs, terminated
        self._rewards.append(reward)
        if self._observations is not None:
            self._observations.append(obs)
        if self._states is not None and state is not None:
            self._states.append(state)

    def branch(self) -> Branch:
        observations = np.array([self.obs] if self._observations is None else self._observations)
        states = None if self._states is None else np.array(self._states)
        return Branch(observations, np.array(self._rewards), self._terminated, states)


def _stored(obs: AnyArray) -> AnyArray:
    """Returns observations in the type in which trajectories store them, as `collect` does."""
    return obs.astype(np.int64 if np.issubdtype(obs.dtype, np.integer) else np.float32)
