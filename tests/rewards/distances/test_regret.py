"""Policy regret against enumeration of all policies, and its limits."""

import itertools

import numpy as np
import pytest

from preflab.rewards.distances import mutual_regret, policy_regret, shaped_by
from preflab.tabular import Dynamics, TabularMDP, evaluate_policy
from preflab.types import FloatArray


def returns_of_all(reward: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Returns J of every deterministic policy, in one order."""
    mdp = TabularMDP(dynamics.transitions, reward, dynamics.gamma, dynamics.terminal, dynamics.initial)
    policies = itertools.product(range(dynamics.n_actions), repeat=dynamics.n_states)
    return np.array([dynamics.initial @ evaluate_policy(mdp, np.eye(dynamics.n_actions)[list(each)]) for each in policies])


def test_regret_is_that_of_enumeration_in_both_directions(rewards: FloatArray, dynamics: Dynamics, ending: Dynamics) -> None:
    for task in (dynamics, ending):
        first, second = (returns_of_all(each, task) for each in rewards)
        there = (second.max() - second[first.argmax()]) / np.ptp(second)
        back = (first.max() - first[second.argmax()]) / np.ptp(first)
        assert policy_regret(rewards[0], rewards[1], task) == pytest.approx(there, abs=1e-10)
        assert mutual_regret(rewards[0], rewards[1], task) == pytest.approx((there + back) / 2, abs=1e-10)


def test_equivalent_rewards_have_no_regret_and_opposite_ones_all(
    rewards: FloatArray, dynamics: Dynamics, potential: FloatArray
) -> None:
    same = 4 * shaped_by(rewards, potential, dynamics.gamma)
    np.testing.assert_allclose(policy_regret(same, rewards, dynamics), 0, atol=1e-9)
    np.testing.assert_allclose(policy_regret(-rewards, rewards, dynamics), 1, atol=1e-9)


def test_a_proxy_that_calls_all_actions_equal_earns_what_chance_earns(rewards: FloatArray, dynamics: Dynamics) -> None:
    judge = rewards[0]
    mdp = TabularMDP(dynamics.transitions, judge, dynamics.gamma, dynamics.terminal, dynamics.initial)
    chance = dynamics.initial @ evaluate_policy(mdp, np.full((6, 3), 1 / 3))
    every = returns_of_all(judge, dynamics)
    expected = (every.max() - chance) / np.ptp(every)
    assert policy_regret(np.ones_like(judge), judge, dynamics) == pytest.approx(expected, abs=1e-10)


def test_a_judge_who_calls_all_policies_equal_regrets_nothing(
    rewards: FloatArray, dynamics: Dynamics, potential: FloatArray
) -> None:
    trivial = shaped_by(np.ones_like(rewards[0]), potential, dynamics.gamma)
    assert policy_regret(rewards[0], trivial, dynamics) == 0


def test_one_proxy_may_be_judged_by_many(rewards: FloatArray, dynamics: Dynamics) -> None:
    together = policy_regret(rewards[0], rewards, dynamics)
    assert together.shape == (2,)
    np.testing.assert_allclose(together, [policy_regret(rewards[0], each, dynamics) for each in rewards], atol=1e-12)
