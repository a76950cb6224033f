"""Fixtures for every room: nothing here knows a room; what is random is named and seeded."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

# One thread a process, here and in what tests start: sums do not depend on how many there are.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
torch.set_num_threads(1)
matplotlib.use("Agg")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def root() -> Path:
    """The top of the repository."""
    return ROOT


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A numpy generator of the test's own, the same in every run and in every order of tests."""
    return np.random.default_rng(list(request.node.name.encode()))


@pytest.fixture
def still_global_generators() -> Iterator[None]:
    """Fails the test that moves numpy's or torch's global generator."""
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index]
    yield
    after = random.getstate(), np.random.get_state()[1], torch.get_rng_state()  # type: ignore[index]
    assert before[0] == after[0], "the test moved Python's global generator"
    assert np.array_equal(before[1], after[1]), "the test moved numpy's global generator"
    assert torch.equal(before[2], after[2]), "the test moved torch's global generator"
