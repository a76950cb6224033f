"""Sampled distances on a task with a known answer: a finite one, seen as if it were continuous.

Intervals are of 95 %. Where one is asked to hold an exact figure it is taken twice as wide (four standard errors, a false alarm in
10,000); the slow test asks whether they hold it as often as they say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from preflab.errors import InvalidArgument, Refused
from preflab.rewards import distances
from preflab.rewards.distances import (
    Reached,
    Sample,
    SampledDistance,
    SampledSettings,
    branched_sample,
    one_hot,
    recorded_sample,
    shaped_by,
)
from preflab.rewards.distances.products import pair_products
from preflab.tabular import Dynamics
from preflab.types import AnyArray, FloatArray, IntArray, ScoredStore, ScoredTrajectory, Trajectory, Transitions

SETTINGS = SampledSettings(ridge=1e-8, n_resamples=150)
KINDS = ("val", "minimal", "epic", "dard")


@dataclass(frozen=True, eq=False)
class Finite:
    """A finite task whose states are numbers that nobody need know to be states. It is a `Step` and a uniform policy."""

    dynamics: Dynamics
    gold: FloatArray

    def __call__(self, states: FloatArray, actions: AnyArray, rng: np.random.Generator) -> Reached:
        before, chosen = states[:, 0].astype(np.int64), np.asarray(actions, np.int64)
        reached = rng.random((len(before), 1)) > self.dynamics.transitions.cumsum(-1)[before, chosen]
        after = reached.sum(-1).clip(max=self.dynamics.n_states - 1)
        return Reached(after, self.dynamics.terminal[after], self.gold[before, chosen, after], after[:, None].astype(np.float64))

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> IntArray:
        assert rng is not None
        return rng.integers(self.dynamics.n_actions, size=len(obs))

    def store(self, n: int, length: int, rng: np.random.Generator) -> ScoredStore:
        """Returns trajectories whose every state and action is uniform, among states that are not terminal."""
        found, starts = [], np.flatnonzero(~self.dynamics.terminal)
        for _ in range(n):
            states, actions = rng.choice(starts, length + 1), rng.integers(self.dynamics.n_actions, size=length)
            gold = self.gold[states[:-1], actions, states[1:]]
            kept = states[:, None].astype(np.float64)
            found.append(ScoredTrajectory(Trajectory(states, actions, False), gold, np.zeros((length, 0)), kept))
        return ScoredStore(found)

    def sample(self, rng: np.random.Generator, n_next: int = 4, n_crossed: int = 4) -> Sample:
        store = self.store(45, 40, rng)
        return branched_sample(store, self, 1800, rng, "uniform", policy=self, n_next=n_next, n_crossed=n_crossed)

    def exact(self, kind: str, reward: FloatArray) -> float:
        """Returns the distance between gold and `reward` under the distribution of `sample`."""
        if kind in ("val", "minimal"):
            name = {"val": "val", "minimal": "minimal_weighted"}[kind]
            return float(distances.starc_distance(self.gold, reward, self.dynamics, name))
        found = distances.epic_distance if kind == "epic" else distances.dard_distance
        return float(found(self.gold, reward, self.dynamics, coverage=self.dynamics.transitions))

    def sampled(self, kind: str, sample: Sample, reward: FloatArray, settings: SampledSettings = SETTINGS) -> SampledDistance:
        gamma, rng, proxy = self.dynamics.gamma, np.random.default_rng(5), table(reward)
        if kind in ("val", "minimal"):
            estimate = distances.val_sampled if kind == "val" else distances.minimal_sampled
            return estimate(sample, "recorded", proxy, one_hot(self.dynamics.n_states), gamma, rng, settings)
        compare = distances.epic_sampled if kind == "epic" else distances.dard_sampled
        return compare(sample, table(self.gold), proxy, gamma, rng, settings)


def table(reward: FloatArray) -> Callable[[Transitions], FloatArray]:
    return lambda steps: np.asarray(reward[steps.obs, steps.actions, steps.next_obs])


@pytest.fixture
def task(dynamics: Dynamics, rewards: FloatArray) -> Finite:
    return Finite(dynamics, rewards[0])


@pytest.fixture
def sample(task: Finite) -> Sample:
    return task.sample(np.random.default_rng(1))


def holds(found: SampledDistance, exact: float, times: float = 2.0) -> bool:
    """Returns whether the interval, `times` as wide, holds the exact distance but for the ridge's 1e-4."""
    value, low, high = found.distance.value, found.distance.low, found.distance.high
    return value - times * (value - low) - 1e-4 <= exact <= value + times * (high - value) + 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_an_interval_holds_the_exact_distance(kind: str, task: Finite, sample: Sample, rewards: FloatArray) -> None:
    for reward in (task.gold + rewards[1], rewards[1]):
        found = task.sampled(kind, sample, reward)
        assert holds(found, task.exact(kind, reward)) and found.distance.high - found.distance.low < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_gold_is_at_zero_and_its_opposite_at_the_maximum(kind: str, task: Finite, sample: Sample) -> None:
    same, opposite = (task.sampled(kind, sample, sign * 3 * task.gold) for sign in (1, -1))
    assert max(same.distance.value, same.distance.high) < 1e-6
    assert opposite.distance.value == pytest.approx(opposite.maximum, abs=1e-9)
    assert opposite.distance.low == pytest.approx(opposite.maximum, abs=1e-9)
    assert opposite.cosine == pytest.approx(-1, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_shaped_gold_is_at_zero(kind: str, task: Finite, sample: Sample, potential: FloatArray) -> None:
    found = task.sampled(kind, sample, shaped_by(task.gold, potential, task.dynamics.gamma))
    # One-hot features hold any potential, and DARD's draws of it cancel one by one; EPIC's only on average.
    assert found.distance.low < 1e-4 and (kind == "epic" or found.distance.high < 1e-4)


@pytest.mark.parametrize("kind", ["val", "minimal"])
def test_redistributed_gold_is_at_zero_within_its_interval(
    kind: str, task: Finite, sample: Sample, redistribution: FloatArray
) -> None:
    found = task.sampled(kind, sample, task.gold + redistribution)
    assert holds(found, 0.0)
    assert task.sampled("epic", sample, task.gold + redistribution).distance.low > 0.2  # to which EPIC is not blind


@pytest.mark.parametrize("kind", ["val", "minimal"])
def test_noise_is_orthogonal(kind: str, task: Finite, sample: Sample, rng: np.random.Generator) -> None:
    name = {"val": "val", "minimal": "minimal_weighted"}[kind]
    gold = distances.standardized(task.gold, task.dynamics, name)
    noise = distances.standardized(rng.normal(size=gold.shape), task.dynamics, name)
    noise -= (noise * gold).sum() * gold
    assert task.exact(kind, noise) == pytest.approx(np.sqrt(2), abs=1e-9)
    assert holds(task.sampled(kind, sample, noise), np.sqrt(2))


def test_one_draw_a_point_takes_noise_for_signal_and_several_do_not(task: Finite, redistribution: FloatArray) -> None:
    found = {n: task.sampled("val", task.sample(np.random.default_rng(2), n), task.gold + redistribution) for n in (1, 4)}
    assert found[1].distance.low > 0.5
    assert holds(found[4], 0.0)


def test_products_of_different_draws_average_to_products_of_means() -> None:
    # All 27 ordered draws of three from three values, each once: their mean is an expectation.
    values, chance = np.array([[1.0, 2.0], [-3.0, 0.5], [4.0, -1.0]]), np.array([0.5, 0.3, 0.2])
    draws = np.array([[i, j, k] for i in range(3) for j in range(3) for k in range(3)])
    each = pair_products(values[draws], np.arange(27), 27)
    mean = chance @ values
    np.testing.assert_allclose(np.tensordot(chance[draws].prod(1), each, 1), np.outer(mean, mean), atol=1e-12)
    np.testing.assert_allclose(pair_products(values[:, None], np.zeros(3, np.int64), 1)[0], values.T @ values)


def test_a_constant_reward_is_trivial(task: Finite, sample: Sample) -> None:
    for kind in ("val", "minimal"):
        found = task.sampled(kind, sample, np.full_like(task.gold, 3.0), SampledSettings(n_resamples=20))
        assert found.distance.value == pytest.approx(1.0) and np.isnan(found.cosine)
    assert np.isnan(task.sampled("dard", sample, np.full_like(task.gold, 3.0)).distance.value)


@pytest.mark.parametrize("kind", ["val", "minimal"])
def test_true_terminals_are_worth_nothing(kind: str, ending: Dynamics, rewards: FloatArray, potential: FloatArray) -> None:
    task = Finite(ending, rewards[0])
    sample = task.sample(np.random.default_rng(3), n_crossed=0)
    assert sample.taken.terminated.any()
    other = rewards[0] + rewards[1]
    assert holds(task.sampled(kind, sample, other), task.exact(kind, other))
    ends = np.where(ending.terminal, 0.0, potential)
    assert task.sampled(kind, sample, shaped_by(rewards[0], ends, ending.gamma)).distance.high < 1e-4
    shifted = task.sampled(kind, sample, rewards[0] + 2.0)  # which tells when to end
    assert holds(shifted, task.exact(kind, rewards[0] + 2.0)) and shifted.distance.low > 0.1


def test_the_same_generator_gives_the_same_interval_and_the_global_ones_stand_still(
    task: Finite, rewards: FloatArray, still_global_generators: None
) -> None:
    for kind in KINDS:
        first, again = (task.sampled(kind, task.sample(np.random.default_rng(4)), rewards[1]) for _ in range(2))
        assert first == again


def test_a_result_says_what_it_is_about(task: Finite, sample: Sample) -> None:
    found = task.sampled("val", sample, task.gold)
    assert (found.kind, found.distribution, found.n_points, found.n_draws) == ("val", "uniform", 1800, 4)
    assert (found.distance.n_groups, found.distance.confidence, found.distance.share_undefined) == (45, 0.95, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_intervals_hold_the_exact_distance_about_as_often_as_they_say(
    kind: str, task: Finite, rewards: FloatArray, redistribution: FloatArray
) -> None:
    others = (task.gold + rewards[1], rewards[1], task.gold + 0.5 * redistribution)
    samples = [task.sample(np.random.default_rng([9, seed])) for seed in range(50)]
    held = [[holds(task.sampled(kind, sample, other), task.exact(kind, other), 1.0) for sample in samples] for other in others]
    # 50 of 95 % each: fewer than 41 are a false alarm in 10,000; percentile intervals are known to be a little short.
    assert min(map(sum, held)) >= 41


# Refused by name.


def test_what_cannot_be_asked_is_refused_with_the_reason(task: Finite, sample: Sample) -> None:
    gold, gamma, rng = table(task.gold), 0.9, np.random.default_rng(0)
    without = replace(sample, under_policy=None, crossed=None)
    with pytest.raises(Refused, match="VAL needs V"):
        distances.val_sampled(without, "recorded", gold, one_hot(6), gamma, rng)
    with pytest.raises(Refused, match="EPIC asks rewards about steps that nobody took"):
        distances.epic_sampled(sample, "recorded", gold, gamma, rng)
    with pytest.raises(Refused, match="DARD asks rewards about steps that nobody took"):
        distances.dard_sampled(sample, gold, "recorded", gamma, rng)
    with pytest.raises(Refused, match="DARD needs steps from s and from s'"):
        distances.dard_sampled(without, gold, gold, gamma, rng)
    with pytest.raises(Refused, match="keep_states=True"):
        branched_sample(task.store(3, 5, rng).without_states(), task, 10, rng, "uniform")
    with pytest.raises(Refused, match="Fourier features are of vectors"):
        distances.FourierFeatures(sample.obs, 10, rng)


def test_epic_and_dard_are_refused_where_episodes_end(ending: Dynamics, rewards: FloatArray) -> None:
    task, rng = Finite(ending, rewards[0]), np.random.default_rng(0)
    gold = table(task.gold)
    with pytest.raises(Refused, match="DARD goes on from next states and knows no terminals"):
        task.sample(rng, n_crossed=2)
    with pytest.raises(Refused, match="EPIC knows no terminals"):
        distances.epic_sampled(task.sample(rng, n_crossed=0), gold, gold, 0.9, rng)


def test_what_does_not_fit_is_refused_by_name(task: Finite, sample: Sample) -> None:
    gold, rng = table(task.gold), np.random.default_rng(0)
    with pytest.raises(InvalidArgument, match="at least 6 trajectories"):
        few = branched_sample(task.store(5, 20, rng), task, 100, rng, "uniform")
        distances.minimal_sampled(few, "recorded", gold, one_hot(6), 0.9, rng)
    with pytest.raises(InvalidArgument, match="reward function must return"):
        distances.minimal_sampled(sample, "recorded", lambda steps: np.zeros(3), one_hot(6), 0.9, rng)
    with pytest.raises(InvalidArgument, match="finite rewards"):
        distances.minimal_sampled(sample, "recorded", lambda steps: np.full(len(steps), np.nan), one_hot(6), 0.9, rng)
    with pytest.raises(InvalidArgument, match="n_next, n_crossed"):
        branched_sample(task.store(5, 20, rng), task, 100, rng, "uniform", n_next=0)
    with pytest.raises(InvalidArgument, match="n_points"):
        recorded_sample(task.store(5, 20, rng), 0, rng, "uniform")
    with pytest.raises(InvalidArgument, match="ridge"):
        SampledSettings(ridge=-1.0)
