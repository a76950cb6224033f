"""A random finite task whose steps all may happen, and rewards on it."""

import numpy as np
import pytest

from preflab.tabular import Dynamics
from preflab.types import FloatArray

N_STATES, N_ACTIONS, GAMMA = 6, 3, 0.9


@pytest.fixture
def dynamics(rng: np.random.Generator) -> Dynamics:
    transitions = rng.dirichlet(np.ones(N_STATES), size=(N_STATES, N_ACTIONS))
    return Dynamics(transitions, GAMMA, np.zeros(N_STATES, np.bool_), np.full(N_STATES, 1 / N_STATES))


@pytest.fixture
def ending(dynamics: Dynamics) -> Dynamics:
    """The same task, whose last state is terminal."""
    transitions = dynamics.transitions.copy()
    transitions[-1] = np.eye(N_STATES)[-1]
    terminal = np.arange(N_STATES) == N_STATES - 1
    return Dynamics(transitions, GAMMA, terminal, ~terminal / (N_STATES - 1))


@pytest.fixture
def rewards(rng: np.random.Generator) -> FloatArray:
    """Two rewards, (2, S, A, S)."""
    return rng.normal(size=(2, N_STATES, N_ACTIONS, N_STATES))


@pytest.fixture
def potential(rng: np.random.Generator) -> FloatArray:
    return 3 * rng.normal(size=N_STATES)


@pytest.fixture
def redistribution(rng: np.random.Generator, dynamics: Dynamics) -> FloatArray:
    """What changes rewards of next states and not their mean, (S, A, S)."""
    noise = rng.normal(size=dynamics.transitions.shape)
    return np.asarray(noise - (dynamics.transitions * noise).sum(-1, keepdims=True))
