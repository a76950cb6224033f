"""Distances: norms by hand, ranges, zero exactly where policies are ordered alike, and the number that breaks each."""

import numpy as np
import pytest

from preflab.errors import InvalidArgument, UnknownName
from preflab.rewards.distances import (
    CANONICAL,
    NORMS,
    dard_distance,
    epic_distance,
    norm,
    policy_regret,
    shaped_by,
    standardized,
    starc_distance,
)
from preflab.rewards.distances.regret import returns_of
from preflab.tabular import Dynamics
from preflab.types import FloatArray

VALID = ("val", "minimal", "minimal_weighted")


@pytest.mark.parametrize(
    ("name", "size"), [("1", 9.0), ("2", np.sqrt(29)), ("inf", 4.0), ("w1", 4.0), ("w2", np.sqrt(12)), ("winf", 2.0)],
)
def test_norms_are_those_computed_by_hand(name: str, size: float) -> None:
    transitions = np.array([[[0.5, 0.5]], [[1.0, 0.0]]])
    reward = np.array([[[-4.0, 0.0]], [[2.0, 3.0]]])  # w1 = 0.5 · 4 + 1 · 2, w2 = √(0.5 · 16 + 1 · 4), the 3 cannot happen
    assert norm(reward, name, transitions) == pytest.approx(size, abs=1e-15)


@pytest.mark.parametrize("name", NORMS)
def test_a_standardized_form_has_norm_one(name: str, rewards: FloatArray, dynamics: Dynamics) -> None:
    np.testing.assert_allclose(norm(standardized(rewards, dynamics, "val", name), name, dynamics.transitions), 1.0, atol=1e-12)


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("canonical", CANONICAL)
def test_a_distance_is_a_pseudometric_and_two_at_most(
    canonical: str, name: str, rewards: FloatArray, dynamics: Dynamics, rng: np.random.Generator
) -> None:
    def distance(x: FloatArray, y: FloatArray) -> float:
        return float(starc_distance(x, y, dynamics, canonical, name, name))

    first, second = rewards
    third = rng.normal(size=first.shape)
    assert distance(first, 7 * first) <= 1e-12
    assert distance(first, second) == distance(second, first)
    assert distance(first, second) <= distance(first, third) + distance(third, second) + 1e-12
    assert 0 < distance(first, second) < distance(first, -first) == pytest.approx(2.0, abs=1e-12)


def test_in_the_second_norm_a_distance_is_the_chord_of_an_angle(rewards: FloatArray, dynamics: Dynamics) -> None:
    first, second = (standardized(each, dynamics).reshape(-1) for each in rewards)
    assert starc_distance(rewards[0], rewards[1], dynamics) == pytest.approx(np.sqrt(2 - 2 * first @ second), abs=1e-12)


def test_epic_is_half_of_the_distance_between_its_forms(rewards: FloatArray, dynamics: Dynamics) -> None:
    half = starc_distance(rewards[0], rewards[1], dynamics, "epic", "2", "2") / 2
    assert epic_distance(rewards[0], rewards[1], dynamics) == pytest.approx(half, abs=1e-12)


def test_a_pair_of_known_epic_distance() -> None:
    # One action, two states, γ = 0: C(s, s') = R − mean over s'; forms ½(1, −1; 0, 0) and ½(0, 0; 1, −1) are orthogonal.
    dynamics = Dynamics(np.full((2, 1, 2), 0.5), 0.0, np.zeros(2, np.bool_), np.full(2, 0.5))
    first, second = np.array([[[1.0, 0.0]], [[0.0, 0.0]]]), np.array([[[0.0, 0.0]], [[1.0, 0.0]]])
    assert epic_distance(first, second, dynamics) == pytest.approx(np.sqrt(0.5), abs=1e-12)
    assert epic_distance(first, -first, dynamics) == pytest.approx(1.0, abs=1e-12)


def test_epic_and_dard_are_blind_to_shaping_and_scale_on_any_coverage(
    rewards: FloatArray, dynamics: Dynamics, potential: FloatArray, rng: np.random.Generator
) -> None:
    coverage = rng.uniform(size=rewards[0].shape)
    other = 3 * shaped_by(rewards[0], potential, dynamics.gamma) + 1
    for distance in (epic_distance, dard_distance):
        assert distance(rewards[0], other, dynamics, coverage=coverage) <= 1e-7  # √ of rounding
        assert distance(rewards[0], -other, dynamics, coverage=coverage) == pytest.approx(1.0, abs=1e-12)


def test_a_reward_that_orders_nothing_is_at_distance_one_and_has_no_correlation(
    rewards: FloatArray, dynamics: Dynamics, potential: FloatArray
) -> None:
    trivial = shaped_by(np.full_like(rewards[0], 5.0), potential, dynamics.gamma)
    for canonical in VALID:
        assert starc_distance(rewards[0], trivial, dynamics, canonical) == pytest.approx(1.0, abs=1e-12)
        assert starc_distance(trivial, 0 * trivial, dynamics, canonical) == 0
    assert np.isnan(epic_distance(rewards[0], trivial, dynamics)) and np.isnan(dard_distance(rewards[0], trivial, dynamics))


def test_without_normalization_scale_counts(rewards: FloatArray, dynamics: Dynamics) -> None:
    form = CANONICAL["val"](rewards[0], dynamics)
    assert starc_distance(rewards[0], 3 * rewards[0], dynamics, "val", "none", "1") == pytest.approx(2 * np.abs(form).sum())


def test_unknown_names_are_answered_with_those_there_are(rewards: FloatArray, dynamics: Dynamics) -> None:
    with pytest.raises(UnknownName, match="did you mean minimal"):
        starc_distance(rewards[0], rewards[1], dynamics, "minimum")
    with pytest.raises(UnknownName, match="normalization"):
        starc_distance(rewards[0], rewards[1], dynamics, "val", "3")
    with pytest.raises(UnknownName, match="norm is not"):
        starc_distance(rewards[0], rewards[1], dynamics, "val", "2", "none")
    with pytest.raises(InvalidArgument, match="coverage must be"):
        epic_distance(rewards[0], rewards[1], dynamics, coverage=np.zeros_like(rewards[0]))


# Zero exactly where all policies are ordered alike.


def returns(reward: FloatArray, dynamics: Dynamics, policies: FloatArray) -> FloatArray:
    mean = np.broadcast_to((reward * dynamics.transitions).sum(-1), policies.shape)
    return returns_of(policies, mean, dynamics)


@pytest.mark.parametrize("canonical", VALID)
def test_a_valid_distance_is_zero_for_rewards_that_order_all_policies_alike(
    canonical: str, rewards: FloatArray, dynamics: Dynamics, potential: FloatArray, redistribution: FloatArray,
    rng: np.random.Generator,
) -> None:
    first = rewards[0]
    second = 0.3 * shaped_by(first + redistribution, potential, dynamics.gamma)
    policies = rng.dirichlet(np.ones(3), size=(500, 6))
    x, y = returns(first, dynamics, policies), returns(second, dynamics, policies)
    np.testing.assert_allclose(y - y.mean(), 0.3 * (x - x.mean()), atol=1e-12)
    assert all(starc_distance(first, second, dynamics, canonical, name, name) <= 1e-12 for name in NORMS)


@pytest.mark.parametrize("canonical", VALID)
def test_where_a_valid_distance_is_not_zero_two_policies_are_ordered_oppositely(
    canonical: str, rewards: FloatArray, dynamics: Dynamics, rng: np.random.Generator
) -> None:
    first, second = rewards[0], rewards[0] + 0.2 * rewards[1]
    policies = rng.dirichlet(0.2 * np.ones(3), size=(2000, 6))
    x, y = returns(first, dynamics, policies), returns(second, dynamics, policies)
    disagree = (np.diff(x) > 0) & (np.diff(y) < 0)
    assert starc_distance(first, second, dynamics, canonical) > 0.01 and disagree.any()


@pytest.mark.parametrize("canonical", [name for name in CANONICAL if name not in VALID])
def test_an_invalid_distance_is_not_zero_for_some_rewards_that_order_all_policies_alike(
    canonical: str, rewards: FloatArray, dynamics: Dynamics, redistribution: FloatArray
) -> None:
    assert starc_distance(rewards[0], rewards[0] + redistribution, dynamics, canonical) > 0.3


# The number that breaks each: docs/distances.md quotes them.


@pytest.mark.parametrize("canonical", ["epic", "dard", "val_potential", "minimal_potential", "none"])
def test_redistribution_makes_opposite_rewards_near_for_all_but_the_valid(
    canonical: str, rewards: FloatArray, dynamics: Dynamics, redistribution: FloatArray
) -> None:
    first, second = rewards[0] + 100 * redistribution, -rewards[0] + 100 * redistribution
    assert starc_distance(first, second, dynamics, canonical) < 0.05
    assert policy_regret(first, second, dynamics) == pytest.approx(1.0)
    assert all(starc_distance(first, second, dynamics, name) == pytest.approx(2.0, abs=1e-10) for name in VALID)


@pytest.mark.parametrize("canonical", VALID)
def test_a_state_that_nobody_reaches_moves_a_valid_distance_and_no_regret(
    canonical: str, rewards: FloatArray, dynamics: Dynamics
) -> None:
    transitions = dynamics.transitions.copy()
    transitions[:-1, :, -1] = 0
    transitions /= transitions.sum(-1, keepdims=True)
    start = np.array([0.2, 0.2, 0.2, 0.2, 0.2, 0.0])
    nobody_comes = Dynamics(transitions, dynamics.gamma, dynamics.terminal, start)
    other = rewards[0].copy()
    other[-1, 0] += 100  # the last state has a new best action
    assert policy_regret(other, rewards[0], nobody_comes) == pytest.approx(0, abs=1e-12)
    assert starc_distance(rewards[0], other, nobody_comes, canonical) > 0.9


@pytest.mark.parametrize("canonical", VALID)
def test_shaping_under_a_wrong_discount_is_nothing_there_and_much_here(
    canonical: str, rewards: FloatArray, dynamics: Dynamics, potential: FloatArray
) -> None:
    other = shaped_by(rewards[0], 30 * potential, 0.8)
    wrong = Dynamics(dynamics.transitions, 0.8, dynamics.terminal, dynamics.initial)
    assert starc_distance(rewards[0], other, wrong, canonical) <= 1e-11
    assert starc_distance(rewards[0], other, dynamics, canonical) > 1.0
