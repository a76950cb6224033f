"""Queries about what was made of like situations, anywhere in an episode."""

from __future__ import annotations

import math

import numpy as np

from preflab.errors import InvalidArgument
from preflab.interfaces import PreferenceModel, Strategy
from preflab.oracles.pairs import different_rows, distinct_pairs
from preflab.types import AnyArray, FloatArray, IntArray, SegmentIndex, TrajectoryStore

_MOST_NUMBERS = 2**24  # of differences held at once
_PASSES = 5  # draws of pairs before what is still missing, in a small pool, is drawn uniformly


class SimilarStartStrategy(Strategy):
    """Of `factor` random segments of other trajectories, asks about the one whose first observation is nearest.

    What a regret human holds against a segment begins with V(s_0), and a body that lies has nothing left to lose. Pairs
    that begin alike cancel V(s_0) wherever in an episode they are, so that what remains is what was made of it
    (telescoped form: −V(s_0) + Σ γ^t r + γ^L V(s_L)); `episode_start` is the special case of the reset. Nearness is
    Euclidean in observations standardized over what was drawn; Discrete ones are alike or not. Similarity is what was
    observed: V(s_0) may still differ, the less the more segments are looked at. Rewards fitted to about 570 answers by
    regret, on two pools of HalfCheetah, correlated with gold at .64 under a factor of 100 and at .80 under 3,000 (at .69
    for `episode_start`, .23 for uniform pairs); trained on, they were no better than `episode_start`'s (docs/results.md).
    The pairs are no sample of the candidates: never measure on them.
    """

    def __init__(self, factor: int = 3000) -> None:
        """Looks at `factor` segments for each query asked; raises `InvalidArgument` if it is below 1."""
        if factor < 1:
            raise InvalidArgument("factor", "must be at least 1", factor)
        self.factor = factor

    def choose(
        self, store: TrajectoryStore, candidates: SegmentIndex, n: int, model: PreferenceModel | None, rng: np.random.Generator
    ) -> tuple[SegmentIndex, SegmentIndex]:
        """Returns n pairs of `candidates`, in either order, no pair twice; raises `InvalidArgument` if there are too few."""
        rows = different_rows(candidates)
        if not 0 <= n <= math.comb(len(rows), 2):
            distinct_pairs(candidates, n, rng)  # raises
        pairs = np.zeros((0, 2), dtype=np.int64)
        for _ in range(_PASSES):
            if len(pairs) < n and len(rows) > 1:
                pairs = _unique(np.concatenate([pairs, self._nearest(store, candidates, rows, n, rng)]))
        if len(pairs) < n:
            anything = np.stack(distinct_pairs(candidates, min(2 * n, math.comb(len(rows), 2)), rng), axis=1)
            pairs = _unique(np.concatenate([pairs, anything]))
        pairs = rng.permuted(pairs[:n], axis=1)
        return candidates[pairs[:, 0]], candidates[pairs[:, 1]]

    def _nearest(
        self, store: TrajectoryStore, candidates: SegmentIndex, rows: IntArray, n: int, rng: np.random.Generator
    ) -> IntArray:
        """Returns at most n rows of pairs, (≤ n, 2), each of a random segment and the nearest of `factor` others."""
        first = rng.choice(rows, size=n)
        others = rng.choice(rows, size=(n, self.factor))
        drawn, where = np.unique(np.concatenate([first, others.ravel()]), return_inverse=True)
        starts = SegmentIndex(candidates.trajectory[drawn], candidates.start[drawn], 1)
        numbers = standardized(store.gather(starts).observations[:, 0])
        distances = _distances(numbers, where[:n], where[n:].reshape(others.shape))
        is_same = candidates.trajectory[others] == candidates.trajectory[first][:, None]
        distances[is_same] = np.inf
        nearest = others[np.arange(n), distances.argmin(1)]
        found = np.isfinite(distances.min(1, initial=np.inf))
        pairs: IntArray = np.stack([first, nearest], axis=1)[found]
        return pairs


def standardized(observations: AnyArray) -> FloatArray:
    """Returns (N, D) numbers of observations (N, *obs), each of spread 1 or constant; a Discrete one-hot, a Dict's parts joined."""
    if observations.dtype.names is not None:
        return np.concatenate([standardized(observations[name]) for name in observations.dtype.names], axis=1)
    if observations.dtype == np.int64 and observations.ndim == 1:
        return np.asarray(observations[:, None] == np.unique(observations), dtype=np.float64)
    flat = observations.reshape(len(observations), -1).astype(np.float64)
    spread = flat.std(axis=0)
    return np.asarray((flat - flat.mean(axis=0)) / np.where(spread > 1e-8, spread, 1.0))


def _distances(numbers: FloatArray, first: IntArray, others: IntArray) -> FloatArray:
    """Returns (n, k) squared distances between rows `first` (n,) and `others` (n, k) of `numbers`, a few queries at a time."""
    found = np.empty(others.shape)
    size = max(1, _MOST_NUMBERS // max(1, others.shape[1] * numbers.shape[1]))
    for at in range(0, len(first), size):
        part = slice(at, at + size)
        found[part] = ((numbers[others[part]] - numbers[first[part], None]) ** 2).sum(-1)
    return found


def _unique(pairs: IntArray) -> IntArray:
    """Returns each unordered pair once, in the order of its first appearance."""
    _, first = np.unique(np.sort(pairs, axis=1), axis=0, return_index=True)
    kept: IntArray = pairs[np.sort(first)]
    return kept
