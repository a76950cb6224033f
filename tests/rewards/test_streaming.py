"""Data larger than memory: inputs that are made when they are read, from a store on disk, fit to the same bits."""

from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from preflab.interfaces import LearnerContext
from preflab.rewards import BradleyTerryLearner, RewardSettings
from preflab.rewards.pairs import distinct_steps
from preflab.storage import open_store, save_store
from preflab.types import Comparisons, Trajectory, TrajectoryStore

pytestmark = pytest.mark.filterwarnings("ignore::preflab.rewards.FewComparisonsWarning")
OBS, ACT = gym.spaces.Box(-5.0, 5.0, (3,), np.float32), gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
LENGTH = 6
SETTINGS = RewardSettings(n_members=3, hidden=(8,), n_epochs=3, batch_size=16)


def _pool() -> TrajectoryStore:
    rng = np.random.default_rng(0)
    return TrajectoryStore([
        Trajectory(rng.normal(size=(41, 3)).astype(np.float32), rng.normal(size=(40, 1)).astype(np.float32), i % 2 == 0)
        for i in range(40)
    ])


def _comparisons(pool: TrajectoryStore, n: int) -> Comparisons:
    rng, segments = np.random.default_rng(1), pool.admissible(LENGTH)
    first, second = (segments[rng.integers(len(segments), size=n)] for _ in range(2))
    zero = np.zeros(n, np.int64)
    return Comparisons(first, second, rng.integers(0, 3, n).astype(np.int8), zero, zero, np.ones(n), np.arange(n))


def _fitted(settings: RewardSettings, pool: TrajectoryStore, data: Comparisons) -> dict[str, torch.Tensor]:
    learner = BradleyTerryLearner(OBS, ACT, settings, is_fixed_horizon=False)
    report = learner.fit(data, LearnerContext(pool, pool.admissible(LENGTH)[:50], False), np.random.default_rng(2))
    return learner.model.state() | {"report": torch.tensor([report.train_log_loss, *report.scalars.values()])}


@pytest.mark.parametrize("data", ["shared", "folds", "bootstrap"])
def test_a_fit_that_streams_from_disk_has_the_bits_of_one_in_memory(tmp_path: Path, data: str) -> None:
    pool = _pool()
    comparisons = _comparisons(pool, 100)
    settings = replace(SETTINGS, data=data, early_stopping=data != "shared")
    save_store(tmp_path / "pool", pool)
    on_disk = open_store(tmp_path / "pool")
    assert isinstance(on_disk.observations.base, np.memmap)
    kept, streamed = _fitted(settings, pool, comparisons), _fitted(replace(settings, memory_mb=0), on_disk, comparisons)
    assert all(torch.equal(kept[name], streamed[name]) for name in kept)


def test_few_steps_stream_to_the_same_bits_too() -> None:
    pool = _pool()
    comparisons = _comparisons(pool, 30)[np.zeros(40, np.int64)]  # fewer distinct steps than a minibatch has
    settings = replace(SETTINGS, data="shared", early_stopping=False)
    kept, streamed = (_fitted(replace(settings, memory_mb=size), pool, comparisons) for size in (100, 0))
    assert all(torch.equal(kept[name], streamed[name]) for name in kept)


def test_a_store_on_disk_gathers_what_one_in_memory_does(tmp_path: Path) -> None:
    pool = _pool()
    save_store(tmp_path / "pool", pool)
    on_disk, index = open_store(tmp_path / "pool"), pool.admissible(LENGTH)[::7]
    kept, read = pool.gather(index), on_disk.gather(index)
    for name in ("observations", "actions", "valid", "absorbing", "terminated"):
        np.testing.assert_array_equal(getattr(read, name), getattr(kept, name))
    assert type(read.observations) is np.ndarray


def test_distinct_steps_are_those_of_sorting_all_of_them() -> None:
    pool = _pool()
    comparisons = _comparisons(pool, 25)
    steps, rows, real = distinct_steps(comparisons, pool)
    pairs = []
    for side in (comparisons.first, comparisons.second):
        offsets = side.start[:, None] + np.arange(LENGTH)
        ends = pool.lengths[side.trajectory][:, None]
        pairs.append(np.stack([np.broadcast_to(side.trajectory[:, None], offsets.shape), np.minimum(offsets, ends - 1)], -1))
    expected, inverse = np.unique(np.stack(pairs).reshape(-1, 2), axis=0, return_inverse=True)
    np.testing.assert_array_equal(np.stack([steps.trajectory, steps.start], 1), expected)
    np.testing.assert_array_equal(rows.reshape(-1), inverse.reshape(-1))
    assert 0 < real.mean() < 1


def test_bfloat16_products_leave_float32_weights_near_those_of_float32() -> None:
    pool = _pool()
    comparisons = _comparisons(pool, 100)
    full, rough = (_fitted(replace(SETTINGS, precision=name, n_epochs=1), pool, comparisons) for name in ("float32", "bfloat16"))
    assert rough["network.weights.0"].dtype == torch.float32
    assert not torch.equal(full["network.weights.0"], rough["network.weights.0"])
    torch.testing.assert_close(full["network.weights.0"], rough["network.weights.0"], atol=0.02, rtol=0)
