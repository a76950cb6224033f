"""V of an expert by branching: what it earns from a restored state, measured and not fitted. For oracles only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from preflab.envs.copies import Copies, Copy
from preflab.envs.following import follow
from preflab.envs.hidden import HiddenGold, make
from preflab.envs.native import NativeCopies, has_native
from preflab.envs.vectors import default_threads
from preflab.errors import InvalidArgument
from preflab.interfaces import Policy, ValueFunction
from preflab.networks import in_blocks
from preflab.types import AnyArray, FloatArray

N_COPIES = 32


@dataclass(frozen=True)
class BranchSettings:
    """How far a branch goes.

    Attributes:
        gamma: the expert's own discount.
        tail: a branch ends where what is left weighs no more than this, γ^h ≤ tail, and the rest counts 0.
        max_steps: or after this many steps, and the critic stands in for the rest; None: never.
    """

    gamma: float
    tail: float = 0.01
    max_steps: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.gamma < 1:
            raise InvalidArgument("gamma", "must be in (0, 1): without a discount a branch never ends", self.gamma)
        if not 0 < self.tail < 1:
            raise InvalidArgument("tail", "must be in (0, 1)", self.tail)
        if self.max_steps is not None and self.max_steps < 1:
            raise InvalidArgument("max_steps", "must be at least 1, or null", self.max_steps)

    @property
    def n_steps(self) -> int:
        """The first h with γ^h ≤ tail, or the cap where that is less."""
        return self.full_steps if self.max_steps is None else min(self.full_steps, self.max_steps)

    @property
    def full_steps(self) -> int:
        """The first h with γ^h ≤ tail."""
        return max(1, int(np.ceil(np.log(self.tail) / np.log(self.gamma) - 1e-9)))


class BranchedValue:
    """V of a deterministic policy by branching: restore a state, follow the policy, add up γ^k r. A `StateValue`.

    Values are without a time limit: the clock of a state is set to 0 and never stops a branch. What a state was found to be
    worth is remembered, which changes no value; `n_env_steps` counts the steps of every different state once, so that a
    resumed run (`state`, `load_state`) counts as the one that was never killed. Where transitions are random, a value is one
    sample of the return, drawn with the state's own generator: it meets the luck that the trajectory met, as long as it
    does the same.
    """

    def __init__(
        self, copies: Copies | Sequence[Copy], policy: Policy, settings: BranchSettings, critic: ValueFunction | None = None,
        n_threads: int = 1,
    ) -> None:
        """Branches on `copies`; raises `InvalidArgument` if a branch may be capped and there is no `critic`."""
        if critic is None and settings.n_steps < settings.full_steps:
            rule = f"needs a critic: γ = {settings.gamma} takes {settings.full_steps} steps"
            raise InvalidArgument("max_steps", rule, settings.max_steps, "null, or a critic for what is left")
        self.gamma, self.settings = settings.gamma, settings
        self._copies, self._policy, self._critic, self._n_threads = copies, policy, critic, n_threads
        self._memory: dict[bytes, tuple[float, int, bool]] = {}

    @property
    def n_env_steps(self) -> int:
        """Environment steps that the values so far have cost."""
        return sum(n_steps for _, n_steps, _ in self._memory.values())

    @property
    def share_bootstrapped(self) -> float:
        """Share of the different states so far whose branch was capped, so that the critic stood in for the rest."""
        return float(np.mean([capped for *_, capped in self._memory.values()])) if self._memory else 0.0

    def values_of_states(self, states: FloatArray) -> FloatArray:
        """Returns V, (N,), of simulator states (N, S), which must not be terminals."""
        timeless = np.array(states, dtype=np.float64)
        timeless[:, 0] = 0.0  # steps elapsed: a value knows no time limit
        keys = [hashlib.blake2b(state.tobytes(), digest_size=16).digest() for state in timeless]
        new = {key: i for i, key in enumerate(keys) if key not in self._memory}
        if new:
            self._memory |= dict(zip(new, self._branched(timeless[list(new.values())]), strict=True))
        return np.array([self._memory[key][0] for key in keys], dtype=np.float64)

    def card(self) -> dict[str, Any]:
        """Returns how far a branch goes and what comes after."""
        beyond = "the critic's value" if self.settings.n_steps < self.settings.full_steps else "0"
        return {**asdict(self.settings), "steps_of_a_branch": self.settings.n_steps, "beyond": beyond}

    def state(self) -> dict[str, AnyArray]:
        """Returns what is remembered, as arrays of one row a state."""
        kept = list(self._memory.values())
        return {
            "key": np.frombuffer(b"".join(self._memory), dtype=np.uint8).reshape(-1, 16),
            "value": np.array([value for value, _, _ in kept], dtype=np.float64),
            "n_steps": np.array([n_steps for _, n_steps, _ in kept], dtype=np.int64),
            "is_capped": np.array([capped for _, _, capped in kept], dtype=np.bool_),
        }

    def load_state(self, state: Mapping[str, AnyArray]) -> None:
        """Remembers exactly what `state` returned."""
        rows = zip(state["key"], state["value"], state["n_steps"], state["is_capped"], strict=True)
        self._memory = {key.tobytes(): (float(value), int(n), bool(capped)) for key, value, n, capped in rows}

    def close(self) -> None:
        """Closes the copies."""
        if not isinstance(self._copies, Sequence):
            self._copies.close()
            return
        for copy in self._copies:
            if isinstance(copy, HiddenGold):
                copy.close()

    def _branched(self, states: FloatArray) -> list[tuple[float, int, bool]]:
        """Returns value, steps taken and whether the critic stood in for the rest, of each of (N, S) different states."""
        settings = self.settings
        branches = follow(self._copies, self._policy, states, settings.n_steps, n_threads=self._n_threads)
        weights = self.gamma ** np.arange(settings.n_steps)
        earned = np.array([(branch.rewards * weights[: len(branch.rewards)]).sum() for branch in branches])
        is_capped = np.array([not branch.terminated for branch in branches]) & (settings.n_steps < settings.full_steps)
        if self._critic is not None and is_capped.any():
            ends = np.concatenate([branch.observations[-1:] for branch in branches])
            rest = in_blocks(self._critic.values, ends)
            earned = earned + np.where(is_capped, self.gamma**settings.n_steps * rest, 0.0)
        steps = [len(branch.rewards) for branch in branches]
        return list(zip(earned.tolist(), steps, is_capped.tolist(), strict=True))


def branched_value(
    name: str, form: str, policy: Policy, settings: BranchSettings, critic: ValueFunction | None = None,
    n_copies: int = N_COPIES,
) -> BranchedValue:
    """Returns V of the deterministic `policy` of the task called `name` in `form`, on `n_copies` copies of it."""
    n_threads = default_threads(name, n_copies)
    if has_native(name):
        return BranchedValue(NativeCopies(name, form, n_copies, n_threads), policy, settings, critic)
    copies = [make(name, form, reveal_gold=True) for _ in range(n_copies)]
    for copy in copies:
        copy.reset(seed=0)  # Gymnasium wants one before the first step
    return BranchedValue(copies, policy, settings, critic, n_threads)
