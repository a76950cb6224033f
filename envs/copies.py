"""Several copies of a task, moved together: each has a state of its own and is reset, restored and stepped as it is told."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np

from preflab.types import AnyArray, BoolArray, FloatArray, IntArray


class Outcomes(NamedTuple):
    """What one step did to k copies; time limits are not heeded.

    Attributes:
        obs: (k, *obs) after the step, not yet of a next episode.
        gold: (k,).
        terminated: (k,) the step reached a true terminal state.
        factors: (k, F) parts of gold; (k, 0) where the copies do not tell.
    """

    obs: AnyArray
    gold: FloatArray
    terminated: BoolArray
    factors: FloatArray


class Copies(Protocol):
    """Copies of one task and form; `rows` (k,) say which of them are meant."""

    def __len__(self) -> int:
        """The number of copies."""
        ...

    def restore(self, states: FloatArray, rows: IntArray) -> AnyArray:
        """Restores states (k, S) from `save` and returns the observations there, (k, *obs)."""
        ...

    def save(self, rows: IntArray) -> FloatArray:
        """Returns full states (k, S)."""
        ...

    def step(self, actions: AnyArray, rows: IntArray) -> Outcomes:
        """Takes one step with `actions`, (k, *act)."""
        ...

    def close(self) -> None:
        """Frees what the copies have taken."""
        ...


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


class SeparateCopies:
    """Any environments as `Copies`, stepped one by one on threads; their owner closes them."""

    def __init__(self, envs: Sequence[Copy], n_threads: int = 1) -> None:
        """Takes the environments, in whatever state they are."""
        self._envs = envs
        self._n_threads = min(n_threads, len(envs))
        self._pool = ThreadPoolExecutor(self._n_threads) if self._n_threads > 1 else None

    def __len__(self) -> int:
        return len(self._envs)

    def restore(self, states: FloatArray, rows: IntArray) -> AnyArray:
        """Restores states (k, S) and returns the observations there."""
        return np.stack([np.asarray(self._envs[i].restore_state(state)) for i, state in zip(rows, states, strict=True)])

    def save(self, rows: IntArray) -> FloatArray:
        """Returns full states (k, S)."""
        return np.stack([self._envs[i].save_state() for i in rows])

    def step(self, actions: AnyArray, rows: IntArray) -> Outcomes:
        """Takes one step with `actions`, (k, *act)."""
        results: list[Any] = [None] * len(rows)

        def advance(share: range) -> None:
            for k in share:
                results[k] = self._envs[rows[k]].step(actions[k])

        if self._pool is None:
            advance(range(len(rows)))
        else:
            shares = [range(first, len(rows), self._n_threads) for first in range(self._n_threads)]
            list(self._pool.map(advance, shares))  # list: an exception of a thread is raised here
        obs, gold, terminated = (list(column) for column in list(zip(*results, strict=True))[:3])
        seen, n = np.stack([np.asarray(each) for each in obs]), len(rows)
        return Outcomes(seen, np.array(gold, dtype=np.float64), np.array(terminated, dtype=np.bool_), np.zeros((n, 0)))

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()
