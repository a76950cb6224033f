"""Exact planning, against MDPs solved by hand and against slower methods on random ones."""

import itertools

import numpy as np
import pytest

from preflab.errors import InvalidArgument
from preflab.tabular import (
    TabularMDP,
    action_values,
    evaluate_policy,
    greedy,
    occupancy,
    optimal_actions,
    optimal_values,
    shaped,
)
from preflab.types import FloatArray


def random_mdp(rng: np.random.Generator, n_states: int = 6, n_actions: int = 3, gamma: float = 0.9) -> TabularMDP:
    """Sparse random transitions, Gaussian rewards on (s, a, s'), the last state terminal."""
    transitions = rng.dirichlet(np.full(n_states, 0.3), size=(n_states, n_actions))
    terminal = np.arange(n_states) == n_states - 1
    initial = rng.dirichlet(np.ones(n_states))
    return TabularMDP(transitions, rng.normal(size=transitions.shape), gamma, terminal, initial)


def random_policy(mdp: TabularMDP, rng: np.random.Generator) -> FloatArray:
    return rng.dirichlet(np.ones(mdp.n_actions), size=mdp.n_states)


@pytest.fixture
def stay_or_go() -> TabularMDP:
    """State 0 stays for 1 or goes to 1 for 0; state 1 stays for 2 or ends (in 2) for 5. γ = ½.

    By hand: V(1) = max(2 + V(1)/2, 5) = 5, where staying forever is worth only 4.
    V(0) = max(1 + V(0)/2, 0 + 5/2) = 2.5, where staying forever is worth only 2.
    """
    transitions = np.zeros((3, 2, 3))
    transitions[0, 0, 0] = transitions[0, 1, 1] = transitions[1, 0, 1] = transitions[1, 1, 2] = 1.0
    transitions[2, :, 2] = 1.0
    rewards = np.zeros((3, 2, 3))
    rewards[0, 0, 0], rewards[1, 0, 1], rewards[1, 1, 2], rewards[2, :, 2] = 1.0, 2.0, 5.0, 99.0
    return TabularMDP(transitions, rewards, 0.5, np.array([False, False, True]), np.array([1.0, 0.0, 0.0]))


def test_optimal_values_equal_those_solved_by_hand(stay_or_go: TabularMDP) -> None:
    values, q = optimal_values(stay_or_go)
    assert np.allclose(values, [2.5, 5.0, 0.0], atol=1e-12)
    assert np.allclose(q, [[1 + 2.5 / 2, 2.5], [2 + 5 / 2, 5.0], [0.0, 0.0]], atol=1e-12)
    assert greedy(q)[:2].tolist() == [1, 1]


def test_a_terminal_is_worth_nothing_whatever_it_would_pay(stay_or_go: TabularMDP) -> None:
    uniform = np.full((3, 2), 0.5)
    # V(1) = ½(2 + V(1)/2) + ½ · 5 → V(1) = 14/3; V(0) = ½(1 + V(0)/2) + ½ · V(1)/2 → V(0) = (½ + 7/6) · 4/3 = 20/9.
    assert np.allclose(evaluate_policy(stay_or_go, uniform), [20 / 9, 14 / 3, 0.0], atol=1e-12)
    assert stay_or_go.expected_rewards()[2].tolist() == [0.0, 0.0]


def test_occupancy_equals_the_one_solved_by_hand(stay_or_go: TabularMDP) -> None:
    # Half of state 0 goes on to 1, half of 1 ends: visits(0) = 1/(1 − ¼) = 4/3; visits(1) = (¼ · 4/3)/(1 − ¼) = 4/9.
    found = occupancy(stay_or_go, np.full((3, 2), 0.5))
    assert np.allclose(found, [[2 / 3, 2 / 3], [2 / 9, 2 / 9], [0.0, 0.0]], atol=1e-12)


def test_policy_iteration_agrees_with_value_iteration(rng: np.random.Generator) -> None:
    for _ in range(20):
        mdp = random_mdp(rng)
        values, q = optimal_values(mdp)
        iterated = np.zeros(mdp.n_states)
        for _ in range(600):  # 0.9^600 < 1e-27
            iterated = action_values(mdp, iterated).max(-1)
        assert np.allclose(values, iterated, atol=1e-10)
        assert np.allclose(q, action_values(mdp, iterated), atol=1e-10)


def test_no_deterministic_policy_beats_the_optimal_one(rng: np.random.Generator) -> None:
    mdp = random_mdp(rng, n_states=4, n_actions=2)
    values, _ = optimal_values(mdp)
    every = [evaluate_policy(mdp, np.eye(2)[list(actions)]) for actions in itertools.product(range(2), repeat=4)]
    assert np.allclose(np.max(every, axis=0), values, atol=1e-10)


def test_exact_ties_do_not_keep_policy_iteration_busy(rng: np.random.Generator) -> None:
    mdp = random_mdp(rng, gamma=0.9999)
    twins = TabularMDP(
        np.repeat(mdp.transitions[:, :1], 3, axis=1), np.repeat(mdp.rewards[:, :1], 3, axis=1) * 1e3, mdp.gamma,
        np.zeros(6, np.bool_), mdp.initial,
    )
    _, q = optimal_values(twins)
    assert optimal_actions(q).all()


def test_policy_evaluation_agrees_with_its_power_series(rng: np.random.Generator) -> None:
    mdp = random_mdp(rng)
    policy = random_policy(mdp, rng)
    iterated = np.zeros(mdp.n_states)
    for _ in range(600):
        iterated = (policy * action_values(mdp, iterated)).sum(-1)
    assert np.allclose(evaluate_policy(mdp, policy), iterated, atol=1e-10)


def test_policy_evaluation_agrees_with_simulated_returns(rng: np.random.Generator) -> None:
    """A z test at 4.5 standard errors: false alarms 7e-6, and the seed is fixed."""
    mdp = random_mdp(rng, gamma=0.8)
    policy, n = random_policy(mdp, rng), 4000
    returns, states, alive = np.zeros(n), np.zeros(n, np.int64), np.ones(n, np.bool_)
    for step in range(100):  # 0.8^100 < 1e-9
        actions = (policy[states].cumsum(-1) < rng.random(n)[:, None]).sum(-1).clip(max=2)
        following = (mdp.transitions[states, actions].cumsum(-1) < rng.random(n)[:, None]).sum(-1).clip(max=5)
        returns += alive * mdp.gamma**step * mdp.rewards[states, actions, following]
        alive &= ~mdp.terminal[following]
        states = following
    error = returns.std() / np.sqrt(n)
    assert abs(returns.mean() - evaluate_policy(mdp, policy)[0]) < 4.5 * error


def test_occupancy_satisfies_the_flow_identity_and_weighs_rewards_to_the_value(rng: np.random.Generator) -> None:
    for _ in range(10):
        mdp = random_mdp(rng)
        policy = random_policy(mdp, rng)
        found = occupancy(mdp, policy)
        inflow = np.where(mdp.terminal, 0.0, mdp.initial + mdp.gamma * np.einsum("ij,ijk->k", found, mdp.transitions))
        assert np.allclose(found.sum(-1), inflow, atol=1e-12)
        value = mdp.initial @ np.where(mdp.terminal, 0.0, evaluate_policy(mdp, policy))
        assert np.isclose((found * mdp.expected_rewards()).sum(), value, atol=1e-10)


def test_without_terminals_occupancy_sums_to_the_horizon(rng: np.random.Generator) -> None:
    mdp = random_mdp(rng)
    endless = TabularMDP(mdp.transitions, mdp.rewards, 0.9, np.zeros(6, np.bool_), mdp.initial)
    assert np.isclose(occupancy(endless, random_policy(endless, rng)).sum(), 10.0)  # 1 / (1 − γ)


def test_shaping_lowers_values_by_the_potential_and_keeps_optimal_actions(rng: np.random.Generator) -> None:
    for _ in range(10):
        mdp, potential = random_mdp(rng), rng.normal(size=6) * 10
        phi = np.where(mdp.terminal, 0.0, potential)  # a terminal's potential is 0, whatever was given
        values, q = optimal_values(mdp)
        moved_values, moved_q = optimal_values(shaped(mdp, potential))
        assert np.allclose(moved_values, values - phi, atol=1e-9)
        alive = ~mdp.terminal
        assert np.allclose(moved_q[alive], (q - phi[:, None])[alive], atol=1e-9)
        assert np.array_equal(optimal_actions(q)[alive], optimal_actions(moved_q)[alive])


def test_optimal_actions_are_all_that_tie() -> None:
    assert optimal_actions(np.array([[1.0, 1.0 - 1e-12, 0.5], [2.0, 1.0, 2.0]])).tolist() == [
        [True, True, False], [True, False, True],
    ]


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"rewards": np.zeros((2, 1, 1))}, "rewards must be"),
        ({"transitions": np.full((2, 1, 2), 0.4)}, "transitions must be probabilities"),
        ({"transitions": np.array([[[1.5, -0.5]], [[0.0, 1.0]]])}, "transitions must be probabilities"),
        ({"gamma": 1.0}, "gamma must be"),
        ({"gamma": -0.1}, "gamma must be"),
        ({"terminal": np.zeros(3, np.bool_)}, "terminal must be"),
        ({"initial": np.array([0.5, 0.4])}, "initial must be"),
    ],
)
def test_what_is_no_mdp_is_refused_by_name(changed: dict[str, object], rule: str) -> None:
    plain: dict[str, object] = {
        "transitions": np.full((2, 1, 2), 0.5), "rewards": np.zeros((2, 1, 2)), "gamma": 0.9,
        "terminal": np.zeros(2, np.bool_), "initial": np.array([1.0, 0.0]),
    }
    with pytest.raises(InvalidArgument, match=rule):
        TabularMDP(**{**plain, **changed})  # type: ignore[arg-type]
