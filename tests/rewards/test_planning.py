"""Planning on reward tables: V̂ against exact solvers, its gradient against occupancies and finite differences."""

import numpy as np
import pytest
import torch

from preflab import tabular
from preflab.rewards.planning import CANDIDATE_WEIGHTS, CandidatePlanner, ExactPlanner, candidate_policies

N_STATES, N_ACTIONS = 6, 3


def random_mdp(seed: int, n_terminal: int = 1) -> tabular.TabularMDP:
    rng = np.random.default_rng(seed)
    transitions = rng.dirichlet(0.5 * np.ones(N_STATES), size=(N_STATES, N_ACTIONS))
    rewards = np.broadcast_to(rng.normal(size=(N_STATES, N_ACTIONS, 1)), transitions.shape).copy()
    terminal = np.arange(N_STATES) >= N_STATES - n_terminal
    initial = np.where(terminal, 0.0, 1.0)
    return tabular.TabularMDP(transitions, rewards, 0.9, terminal, initial / initial.sum())


def table(*mdps: tabular.TabularMDP) -> torch.Tensor:
    return torch.as_tensor(np.stack([mdp.rewards[..., 0] for mdp in mdps]))


@pytest.mark.parametrize("n_terminal", [0, 1])
def test_exact_values_are_those_of_policy_iteration_for_each_member(n_terminal: int) -> None:
    mdps = [random_mdp(seed, n_terminal) for seed in range(3)]
    dynamics = mdps[0].dynamics()
    planner = ExactPlanner(dynamics)
    for _ in range(2):  # the second time it starts from the policies that it found
        values = planner.values(table(*mdps))
        for mdp, found in zip(mdps, values, strict=True):
            same = tabular.TabularMDP(dynamics.transitions, mdp.rewards, 0.9, dynamics.terminal, dynamics.initial)
            np.testing.assert_allclose(found, tabular.optimal_values(same)[0], atol=1e-10)
    assert planner.values(table(mdps[0])).shape == (1, N_STATES)  # another number of members


def test_the_gradient_of_exact_values_is_the_occupancy_of_the_best_policy() -> None:
    mdp = random_mdp(0)
    rewards = table(mdp).requires_grad_()
    start = torch.as_tensor(mdp.initial)
    (gradient,) = torch.autograd.grad(ExactPlanner(mdp.dynamics()).values(rewards)[0] @ start, rewards)
    best = np.eye(N_ACTIONS)[tabular.greedy(tabular.optimal_values(mdp)[1])]
    np.testing.assert_allclose(gradient[0], tabular.occupancy(mdp, best), atol=1e-12)


@pytest.mark.parametrize("kind", ["exact", "candidates"])
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    mdp = random_mdp(1)
    dynamics = mdp.dynamics()
    policies = np.random.default_rng(0).integers(N_ACTIONS, size=(5, N_STATES))
    planner = ExactPlanner(dynamics) if kind == "exact" else CandidatePlanner(dynamics, policies, 0.3)
    rewards = table(mdp).requires_grad_()
    direction = torch.as_tensor(np.random.default_rng(1).normal(size=(1, N_STATES, N_ACTIONS)))
    outer = torch.arange(N_STATES, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((planner.values(rewards) * outer).sum(), rewards)
    step = 1e-6 * direction
    up, down = ((planner.values(rewards.detach() + sign * step) * outer).sum() for sign in (1, -1))
    assert float((gradient * direction).sum()) == pytest.approx(float((up - down) / 2e-6), rel=1e-5)


def test_the_soft_maximum_over_candidates_is_the_weighted_sum_by_hand_and_the_maximum_when_cold() -> None:
    mdp = random_mdp(2)
    policies = np.random.default_rng(0).integers(N_ACTIONS, size=(4, N_STATES))
    each = np.stack([tabular.evaluate_policy(mdp, np.eye(N_ACTIONS)[policy]) for policy in policies])
    each = np.where(mdp.terminal, 0.0, each)
    for temperature in (1.0, 1e-3):
        weights = np.exp((each - each.max(0)) / temperature)
        by_hand = (weights * each).sum(0) / weights.sum(0)
        found = CandidatePlanner(mdp.dynamics(), policies, temperature).values(table(mdp))
        np.testing.assert_allclose(found[0], by_hand, atol=1e-9)
    np.testing.assert_allclose(by_hand, each.max(0), atol=1e-3)


def test_candidates_are_different_policies_each_best_for_a_reward_of_the_listed_weights() -> None:
    mdp = random_mdp(3)
    features = np.random.default_rng(0).normal(size=(N_STATES, N_ACTIONS, 2))
    found = candidate_policies(mdp.dynamics(), features, 100, np.random.default_rng(0))
    assert 1 < len(found) <= 100 and len(np.unique(found, axis=0)) == len(found)
    best = set()
    for first in CANDIDATE_WEIGHTS:
        for second in CANDIDATE_WEIGHTS:
            rewards = np.broadcast_to((features @ [first, second])[..., None], mdp.rewards.shape)
            same = tabular.TabularMDP(mdp.transitions, rewards.copy(), mdp.gamma, mdp.terminal, mdp.initial)
            q = tabular.optimal_values(same)[1]
            best.add(tuple(tabular.greedy(q)[:-1]))
    assert {tuple(policy[:-1]) for policy in found} <= best
    few = candidate_policies(mdp.dynamics(), features, 3, np.random.default_rng(0))
    assert np.array_equal(few, found[:3])
