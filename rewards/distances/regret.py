"""What optimizing one reward costs as another one counts it, exactly, in a finite MDP."""

from __future__ import annotations

import numpy as np
import torch

from preflab.rewards.distances.canonical import expected
from preflab.rewards.planning import ExactPlanner
from preflab.tabular import Dynamics
from preflab.types import FloatArray

_TIE = 1e-9  # of the largest |Q|: actions this close are equally good


def policy_regret(proxy: FloatArray, judge: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Returns (max J − J(π̂)) / (max J − min J) in [0, 1], (…), J by `judge` and π̂ optimal for `proxy`; 0 where J is constant.

    Skalse et al. 2024 (https://arxiv.org/abs/2309.15257). π̂ is uniform over all actions that are optimal for `proxy`,
    so that a proxy which calls all actions equal is judged by what chance earns and not by the order of actions.

    Args:
        proxy: (…, S, A, S), what is optimized.
        judge: (…, S, A, S), what counts.
        dynamics: T, γ, terminals and where episodes begin.
    """
    shape = np.broadcast_shapes(proxy.shape, judge.shape)[:-3]
    means = [np.broadcast_to(expected(each, dynamics), (*shape, *dynamics.transitions.shape[:2])) for each in (proxy, judge)]
    optimized, counted = (mean.reshape(-1, *mean.shape[-2:]) for mean in means)
    best = optimal_returns(counted, dynamics)
    worst = -optimal_returns(-counted, dynamics)
    reached = returns_of(best_policies(optimized, dynamics), counted, dynamics)
    spread = best - worst
    is_flat = spread <= 1e-12 * np.abs(counted).max((-2, -1)) / (1 - dynamics.gamma)
    regret = np.where(is_flat, 0.0, (best - reached) / np.where(is_flat, 1.0, spread))
    return regret.clip(0.0, 1.0).reshape(shape)


def mutual_regret(first: FloatArray, second: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Returns the mean of `policy_regret` in both directions, (…): what published correlations are with."""
    return 0.5 * (policy_regret(first, second, dynamics) + policy_regret(second, first, dynamics))


def optimal_returns(mean: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Returns max_π J(π), (K,), of (K, S, A) expected rewards."""
    return np.asarray(_optimal_values(mean, dynamics) @ dynamics.initial)


def best_policies(mean: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Returns (K, S, A): uniform over the optimal actions of each state under (K, S, A) expected rewards."""
    after = np.einsum("ijk,mk->mij", dynamics.transitions, _optimal_values(mean, dynamics))
    q = np.where(dynamics.terminal[:, None], 0.0, mean + dynamics.gamma * after)
    is_best = q >= q.max(-1, keepdims=True) - _TIE * np.abs(q).max((-2, -1), keepdims=True)
    return np.asarray(is_best / is_best.sum(-1, keepdims=True))


def returns_of(policies: FloatArray, mean: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Returns J(π), (K,), of stochastic policies (K, S, A) under (K, S, A) expected rewards, by linear solves."""
    flow = np.einsum("mij,ijk->mik", policies, dynamics.transitions)
    flow[:, dynamics.terminal], flow[:, :, dynamics.terminal] = 0.0, 0.0
    system = np.eye(dynamics.n_states) - dynamics.gamma * flow
    values = np.linalg.solve(system, (policies * mean).sum(-1)[..., None])[..., 0]
    return np.asarray(values @ dynamics.initial)


def _optimal_values(mean: FloatArray, dynamics: Dynamics) -> FloatArray:
    return np.asarray(ExactPlanner(dynamics).values(torch.tensor(mean)).numpy())
