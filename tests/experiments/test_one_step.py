"""Sampled distances on real tasks: a finite one against its arrays, pendulum against what shaping and scale must not change."""

from collections.abc import Callable

import numpy as np
import pytest

from preflab import envs
from preflab.experiments.one_step import OneStep
from preflab.rewards.distances import (
    Estimate,
    FourierFeatures,
    Sample,
    SampledSettings,
    branched_sample,
    canonical,
    minimal_sampled,
    one_hot,
    val_sampled,
)
from preflab.types import FloatArray, ScoredStore, Transitions

GAMMA = 0.95


def collected(name: str, n: int) -> tuple[ScoredStore, envs.RandomPolicy]:
    venv = envs.make_vec(name, "fixed", 5, seed=0)
    policy = envs.RandomPolicy(venv.action_space)
    store = ScoredStore(envs.collect(venv, policy, n, np.random.default_rng(0), keep_states=True))
    venv.close()
    return store, policy


def test_chance_is_drawn_anew_from_a_stored_state_and_not_repeated(rng: np.random.Generator) -> None:
    mdp = envs.task("random-mdp").mdp()
    assert mdp is not None
    store, _ = collected("random-mdp", 5)
    assert store.sim_states is not None
    state, action = store.sim_states[3], int(store.store.actions[3])
    with OneStep("random-mdp", "fixed") as step:
        reached = step(np.tile(state, (2000, 1)), np.full(2000, action), rng)
    before = int(store.store.observations[3])
    seen = np.bincount(reached.next_obs, minlength=mdp.n_states) / 2000
    # Each share has a standard error of 0.0112 at most.
    np.testing.assert_allclose(seen, mdp.transitions[before, action], atol=0.045)
    np.testing.assert_allclose(reached.gold, mdp.rewards[before, action, reached.next_obs])


def test_a_finite_task_sampled_has_the_distance_of_its_arrays(rng: np.random.Generator) -> None:
    mdp = envs.task("random-mdp").mdp()
    assert mdp is not None
    store, policy = collected("random-mdp", 30)
    other = mdp.rewards + rng.normal(size=mdp.rewards.shape)
    with OneStep("random-mdp", "fixed") as step:
        sample = branched_sample(store, step, 1500, rng, "random policy", policy=policy, n_next=4)

    def proxy(steps: Transitions) -> FloatArray:
        return np.asarray(other[steps.obs, steps.actions, steps.next_obs])

    settings = SampledSettings(ridge=1e-8, n_resamples=100)
    found = val_sampled(sample, "recorded", proxy, one_hot(mdp.n_states), mdp.gamma, rng, settings)
    forms = [canonical.val(each, mdp.dynamics()) for each in (mdp.rewards, other)]
    first, second = (form[sample.obs, sample.taken.actions[:, 0], 0] for form in forms)
    exact = np.sqrt(2 - 2 * first @ second / np.sqrt(first @ first * second @ second))
    wide = found.distance.high - found.distance.low
    assert found.distance.low - wide / 2 < exact < found.distance.high + wide / 2 and wide < 0.3


@pytest.fixture(scope="module")
def pendulum() -> Sample:
    rng = np.random.default_rng(1)
    store, policy = collected("pendulum", 15)
    with OneStep("pendulum", "fixed") as step:  # nothing is left to chance, so one next state is all there are
        return branched_sample(store, step, 1500, rng, "random policy", policy=policy, n_next=1)


def gold(steps: Transitions) -> FloatArray:
    """Returns Gymnasium's Pendulum-v1 reward, −(θ² + 0.1 θ'² + 0.001 a²), from what is observed."""
    angle = np.arctan2(steps.obs[:, 1], steps.obs[:, 0]).astype(np.float64)
    return np.asarray(-(angle**2) - 0.1 * steps.obs[:, 2] ** 2 - 0.001 * steps.actions[:, 0] ** 2)


def shaped(steps: Transitions) -> FloatArray:
    def height(obs: FloatArray) -> FloatArray:
        return np.asarray(5 * obs[:, 0] + 0.1 * obs[:, 2] ** 2)

    return np.asarray(3 * (gold(steps) + GAMMA * height(steps.next_obs) - height(steps.obs)) + 1)


def noise(steps: Transitions) -> FloatArray:
    return np.asarray(np.sin(1e4 * (steps.obs[:, 2] + steps.actions[:, 0])))


@pytest.mark.parametrize("kind", ["val", "minimal"])
def test_pendulum_knows_its_gold_shaped_its_opposite_and_noise(kind: str, pendulum: Sample) -> None:
    features = FourierFeatures(pendulum.obs, 60, np.random.default_rng(2))
    estimate = val_sampled if kind == "val" else minimal_sampled

    def distance(side: Callable[[Transitions], FloatArray]) -> Estimate:
        settings = SampledSettings(n_resamples=40)
        return estimate(pendulum, "recorded", side, features, GAMMA, np.random.default_rng(3), settings).distance

    assert distance(gold).high < 1e-3  # float32 observations
    assert distance(shaped).value < 0.35
    assert distance(lambda steps: -gold(steps)).low > 1.999
    found = distance(noise)
    assert found.low < np.sqrt(2) < found.high
