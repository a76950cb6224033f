"""Small segments with known values."""

from collections.abc import Callable

import numpy as np
import pytest

from preflab.types import ScoredSegments, Segments

MakeSegments = Callable[..., ScoredSegments]


@pytest.fixture
def make_segments() -> MakeSegments:
    """Returns a maker of scored segments from gold (N, L), states (N, L + 1), and how many steps are real (N,)."""

    def make(gold: object, states: object = None, real: object = None, terminated: object = None) -> ScoredSegments:
        rewards = np.asarray(gold, dtype=np.float64)
        n, length = rewards.shape
        obs = np.zeros((n, length + 1), np.int64) if states is None else np.asarray(states, dtype=np.int64)
        n_real = np.full(n, length) if real is None else np.asarray(real)
        ends = n_real < length if terminated is None else np.asarray(terminated, dtype=np.bool_)
        steps = np.arange(length)
        valid = steps < n_real[:, None]
        is_last = (steps == n_real[:, None] - 1) & ends[:, None]
        segments = Segments(obs, np.zeros((n, length), np.int64), valid, ~valid, is_last)
        return ScoredSegments(segments, rewards, np.zeros((n, length, 1)))

    return make


@pytest.fixture
def draw_segments() -> MakeSegments:
    """Returns a drawer of n random segments of named factors, some of which terminated inside; on their padding stands NaN."""

    def draw(n: int = 40, length: int = 6, n_factors: int = 3, n_obs: int = 3, seed: int = 0) -> ScoredSegments:
        rng = np.random.default_rng(seed)
        n_real = np.where(rng.random(n) < 0.5, length, rng.integers(1, length + 1, size=n))
        steps = np.arange(length)
        valid = steps < n_real[:, None]
        terminated = (steps == n_real[:, None] - 1) & ((n_real < length) | (rng.random(n) < 0.3))[:, None]
        obs, actions = rng.normal(size=(n, length + 1, n_obs)), rng.normal(size=(n, length, 2))
        obs[:, 1:][~valid], actions[~valid] = np.nan, np.nan
        gold, factors = (np.where(valid, rng.normal(size=(n_factors + 1, n, length)), np.nan)[part] for part in (0, slice(1, None)))
        return ScoredSegments(Segments(obs, actions, valid, ~valid, terminated), gold, np.moveaxis(factors, 0, -1))

    return draw
