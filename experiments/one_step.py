"""One step from stored simulator states, with chance drawn anew: what sampled distances between rewards are handed."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import numpy as np

from preflab import envs
from preflab.envs.copies import Copies, SeparateCopies
from preflab.envs.native import NativeCopies, has_native
from preflab.envs.physics import N_GENERATOR_WORDS, generator_words
from preflab.envs.vectors import default_threads
from preflab.rewards.distances import Reached
from preflab.types import AnyArray, FloatArray


class OneStep:
    """Steps the task called `name` in `form` once from each of many stored states: a `Step`; a context manager.

    A stored state holds the generator that it was left with, which would repeat the recorded step: each is given a new one.
    Time limits are not heeded.
    """

    def __init__(self, name: str, form: str, n_copies: int = 32) -> None:
        """Makes `n_copies` of the task."""
        self._envs: list[envs.HiddenGold] = []
        self._copies: Copies
        if has_native(name):
            self._copies = NativeCopies(name, form, n_copies, default_threads(name, n_copies))
        else:
            self._envs = [envs.make(name, form, reveal_gold=True) for _ in range(n_copies)]
            for each in self._envs:
                each.reset(seed=0)  # Gymnasium wants one before the first step
            self._copies = SeparateCopies(self._envs)

    def __call__(self, states: FloatArray, actions: AnyArray, rng: np.random.Generator) -> Reached:
        """Returns where (N, *act) `actions` lead from (N, S) `states`."""
        fresh = np.array(states, dtype=np.float64)
        fresh[:, 0] = 0.0  # steps elapsed
        for row in fresh:
            row[1 : 1 + N_GENERATOR_WORDS] = generator_words(np.random.Generator(np.random.PCG64(int(rng.integers(2**63)))))
        parts = []
        for first in range(0, len(fresh), len(self._copies)):
            block = fresh[first : first + len(self._copies)]
            rows = np.arange(len(block))
            self._copies.restore(block, rows)
            outcomes = self._copies.step(actions[first : first + len(block)], rows)
            obs = outcomes.obs.astype(np.int64 if np.issubdtype(outcomes.obs.dtype, np.integer) else np.float32)
            parts.append((obs, outcomes.terminated.copy(), outcomes.gold.copy(), self._copies.save(rows)))
        return Reached(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._copies.close()
        for each in self._envs:
            each.close()
