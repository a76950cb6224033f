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
