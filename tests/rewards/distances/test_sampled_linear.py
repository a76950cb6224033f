"""Sampled distances on a linear task with Gaussian noise: rewards quadratic, V^π quadratic, and all means exact by quadrature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from preflab.rewards import distances
from preflab.rewards.distances import Reached, SampledDistance, SampledSettings, branched_sample, recorded_sample
from preflab.types import AnyArray, FloatArray, ScoredStore, ScoredTrajectory, Trajectory, Transitions

SETTINGS = SampledSettings(ridge=1e-8, n_resamples=150)


def holds(found: SampledDistance, exact: float) -> bool:
    """Returns whether the interval, twice as wide (four standard errors), holds the exact distance."""
    value, low, high = found.distance.value, found.distance.low, found.distance.high
    return value - 2 * (value - low) - 1e-4 <= exact <= value + 2 * (high - value) + 1e-4


@dataclass(frozen=True, eq=False)
class Linear:
    """x' = M x + B a + σ ε with x ~ N(0, I) and a ~ N(0, 1) at every point; π draws a likewise."""

    sigma: float
    gamma: float = 0.9
    drift = np.array([[0.8, 0.3], [-0.3, 0.7]])
    push = np.array([0.0, 0.5])

    def gold(self, steps: Transitions) -> FloatArray:
        return np.asarray(-(steps.obs**2).sum(-1) + steps.next_obs[:, 0] - 0.3 * steps.actions[:, 0] ** 2)

    def __call__(self, states: FloatArray, actions: AnyArray, rng: np.random.Generator) -> Reached:
        after = states @ self.drift.T + actions * self.push + self.sigma * rng.normal(size=states.shape)
        done = np.zeros(len(after), np.bool_)
        return Reached(after, done, self.gold(Transitions(states, actions, after, done)), after)

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> FloatArray:
        assert rng is not None
        return rng.normal(size=(len(obs), 1))

    def store(self, rng: np.random.Generator) -> ScoredStore:
        """Returns trajectories whose every state is drawn anew: what follows a step is for `__call__` to say."""
        found = []
        for _ in range(45):
            x, a = rng.normal(size=(41, 2)), rng.normal(size=(40, 1))
            found.append(ScoredTrajectory(Trajectory(x, a, False), np.zeros(40), np.zeros((40, 0)), x))
        return ScoredStore(found)

    def exact(self, kind: str, proxy: Callable[[Transitions], FloatArray]) -> float:
        """Returns √(2 − 2 cos) by Gauss-Hermite quadrature, exact for polynomials of degree 13; φ are all of degree 2 at most."""
        points, weight = _quadrature(5)  # x₁, x₂, a, ε₁, ε₂
        states, actions = points[:, :2], points[:, 2:3]
        after = states @ self.drift.T + actions * self.push + self.sigma * points[:, 3:]
        steps = Transitions(states, actions, after, np.zeros(len(points), np.bool_))
        outer = _quadrature(3)[1]  # over (x, a), the rest averaged by rows of equal (x, a)

        def mean(values: FloatArray) -> FloatArray:
            inner = weight.reshape(len(outer), -1) / outer[:, None]
            return np.asarray(np.einsum("ij,ij...->i...", inner, values.reshape(*inner.shape, *values.shape[1:])))

        here, apart = mean(quadratic(states)), mean(self.gamma * quadratic(after) - quadratic(states))
        forms = []
        for side in (self.gold, proxy):
            paid = mean(side(steps))
            if kind == "val":
                potential = np.linalg.solve(here.T @ (outer[:, None] * -apart), here.T @ (outer * paid))
            else:
                root = np.sqrt(outer)
                potential = -np.linalg.lstsq(root[:, None] * apart, root * paid, rcond=None)[0]
            forms.append(paid + apart @ potential)
        x, y = forms
        cosine = (outer * x * y).sum() / np.sqrt((outer * x * x).sum() * (outer * y * y).sum())
        return float(np.sqrt(2 - 2 * min(1.0, cosine)))


def _quadrature(n: int) -> tuple[FloatArray, FloatArray]:
    nodes, weight = np.polynomial.hermite_e.hermegauss(7)
    grid = np.stack(np.meshgrid(*[nodes] * n, indexing="ij"), -1).reshape(-1, n)
    chance = np.stack(np.meshgrid(*[weight / weight.sum()] * n, indexing="ij"), -1).reshape(-1, n).prod(-1)
    return grid, chance


def quadratic(obs: AnyArray) -> FloatArray:
    x, y = obs.T
    return np.stack([np.ones(len(obs)), x, y, x * x, x * y, y * y], -1)


def goal(steps: Transitions) -> FloatArray:
    return np.asarray(-((steps.next_obs - 1) ** 2).sum(-1) - 0.2 * steps.actions[:, 0] ** 2 + steps.actions[:, 0] * steps.obs[:, 1])


@pytest.mark.parametrize("sigma", [0.0, 0.4])
@pytest.mark.parametrize("kind", ["val", "minimal"])
def test_a_linear_task_has_the_distance_that_quadrature_finds(kind: str, sigma: float) -> None:
    task, rng = Linear(sigma), np.random.default_rng(6)
    n_next = 4 if sigma else 1
    sample = branched_sample(task.store(rng), task, 1800, rng, "standard normal", policy=task, n_next=n_next)
    estimate = distances.val_sampled if kind == "val" else distances.minimal_sampled
    found = estimate(sample, "recorded", goal, quadratic, task.gamma, np.random.default_rng(7), SETTINGS)
    assert holds(found, task.exact(kind, goal)) and found.distance.high - found.distance.low < 0.4


def test_fourier_features_remove_potentials_they_were_not_made_for() -> None:
    task, rng = Linear(0.0), np.random.default_rng(8)
    sample = branched_sample(task.store(rng), task, 1800, rng, "standard normal", policy=task, n_next=1)
    features = distances.FourierFeatures(sample.obs, 60, rng)

    def potential(obs: AnyArray) -> FloatArray:
        return np.asarray(3 * np.sin(obs[:, 0]) + obs[:, 1] ** 2)

    def shaped(steps: Transitions) -> FloatArray:
        return np.asarray(task.gold(steps) + task.gamma * potential(steps.next_obs) - potential(steps.obs) + 5)

    def naive(side: Callable[[Transitions], FloatArray]) -> FloatArray:
        return side(Transitions(sample.obs, sample.taken.actions[:, 0], sample.taken.next_obs[:, 0], sample.taken.terminated[:, 0]))

    settings = SampledSettings(n_resamples=50)
    for estimate in (distances.val_sampled, distances.minimal_sampled):
        found = estimate(sample, "recorded", shaped, features, task.gamma, np.random.default_rng(9), settings)
        assert found.distance.value < 0.15
    assert np.sqrt(2 - 2 * np.corrcoef(naive(task.gold), naive(shaped))[0, 1]) > 0.4


def test_recorded_steps_are_enough_where_the_policy_made_them_and_nothing_is_left_to_chance() -> None:
    task, rng = Linear(0.0), np.random.default_rng(10)
    trajectories = []
    for _ in range(30):
        x, a = [rng.normal(size=2)], rng.normal(size=(40, 1))
        for action in a:
            x.append(task(x[-1][None], action[None], rng).next_obs[0])
        obs = np.array(x)
        gold = task.gold(Transitions(obs[:-1], a, obs[1:], np.zeros(40, np.bool_)))
        trajectories.append(ScoredTrajectory(Trajectory(obs, a, False), gold, np.zeros((40, 0))))
    sample = recorded_sample(ScoredStore(trajectories), 1000, rng, "the policy's own", is_of_policy=True)
    assert sample.taken.terminated.shape == (1000, 1)
    same = distances.val_sampled(sample, "recorded", task.gold, quadratic, task.gamma, np.random.default_rng(11), SETTINGS)
    other = distances.val_sampled(sample, "recorded", goal, quadratic, task.gamma, np.random.default_rng(11), SETTINGS)
    assert same.distance.high < 1e-6 < 0.3 < other.distance.low
