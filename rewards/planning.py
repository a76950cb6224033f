"""V̂ of a reward table, differentiable in the reward: of the best policy of all, or of the best of given candidates.

Shapes: K rewards (K, S, A) of a finite MDP with S states and A actions → (K, S) values; float64. Terminals are worth 0.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from preflab.errors import InvalidArgument
from preflab.tabular import Dynamics
from preflab.types import FloatArray, IntArray

# Components of the random rewards whose optimal policies are candidates (Knox et al. 2022, released code).
CANDIDATE_WEIGHTS = (50.0, -50.0, 1.0, -1.0, -2.0, 0.0, -10.0, 10.0, 5.0)
_MOST_VAIN = 100  # draws of a known policy before no more are made (Knox et al. 2022, released code)
_MOST_SWEEPS = 10_000


class Planner(Protocol):
    """Values of rewards under fixed dynamics."""

    dynamics: Dynamics

    def values(self, rewards: torch.Tensor) -> torch.Tensor:
        """Returns (K, S) V̂ of (K, S, A) rewards, 0 in terminals, differentiable almost everywhere."""
        ...


class ExactPlanner:
    """V̂ = max_π V^π, by policy iteration.

    The gradient is the envelope theorem's: of V^π at the best policy π, held fixed, which is the discounted occupancy of π
    (Milgrom & Segal 2002); where several policies are best it is one of theirs. Each call starts from the policies that
    the last one found, which saves time and, such ties apart, changes nothing.
    """

    def __init__(self, dynamics: Dynamics) -> None:
        """Plans under `dynamics`."""
        self.dynamics = dynamics
        goes_on = ~torch.as_tensor(dynamics.terminal)
        transitions = torch.as_tensor(dynamics.transitions, dtype=torch.float64)
        # Nothing leaves a terminal, and what arrives in one is worth 0.
        self._flow = dynamics.gamma * transitions * goes_on[:, None, None] * goes_on
        self._goes_on = goes_on
        self._policies = torch.zeros(1, dynamics.n_states, dtype=torch.int64)

    def values(self, rewards: torch.Tensor) -> torch.Tensor:
        """Returns (K, S) V* of (K, S, A) rewards."""
        rewards = rewards * self._goes_on[:, None]
        with torch.no_grad():
            known = self._policies if len(self._policies) == len(rewards) else self._policies[:1].expand(len(rewards), -1)
            self._policies = self._improved(rewards, known)
        return self.evaluate(rewards, self._policies)

    def evaluate(self, rewards: torch.Tensor, policies: torch.Tensor) -> torch.Tensor:
        """Returns (K, S) V^π of (K, S, A) rewards for deterministic policies (K, S), by linear solves."""
        states = torch.arange(policies.shape[1])
        taken = rewards.gather(2, policies[..., None])[..., 0]
        system = torch.eye(len(states), dtype=torch.float64) - self._flow[states, policies]
        values: torch.Tensor = torch.linalg.solve(system, taken)
        return values

    def greedy(self, rewards: torch.Tensor) -> torch.Tensor:
        """Returns (K, S) best actions under (K, S, A) rewards."""
        rewards = rewards * self._goes_on[:, None]
        return self._improved(rewards, torch.zeros(len(rewards), rewards.shape[1], dtype=torch.int64))

    def _improved(self, rewards: torch.Tensor, policies: torch.Tensor) -> torch.Tensor:
        for _ in range(_MOST_SWEEPS):
            values = self.evaluate(rewards, policies)
            q = rewards + torch.einsum("ijk,mk->mij", self._flow, values)
            best = q.max(-1).values
            kept = q.gather(2, policies[..., None])[..., 0]
            is_kept = kept >= best - 1e-10 * best.abs().clamp_min(1.0)
            if is_kept.all():
                return policies
            policies = torch.where(is_kept, policies, q.argmax(-1))
        raise RuntimeError("policy iteration did not converge")  # finite MDPs always do


class CandidatePlanner:
    """V̂(s) = Σ_π softmax_π(V^π(s) / T) V^π(s) over candidate policies π, whose successor features are computed once.

    With features φ(s, a) and r̂ = w·φ, V^π(s) = ψ^π(s)·w (Barreto et al. 2017, https://arxiv.org/abs/1606.05312); here ψ is
    kept as occupancies, so that r̂ may be any table. Knox et al. 2022, section 4 (https://arxiv.org/abs/2206.02231).
    """

    def __init__(self, dynamics: Dynamics, policies: IntArray, temperature: float) -> None:
        """Takes (N, S) deterministic `policies`; `temperature` is in units of V̂."""
        self.dynamics, self.temperature = dynamics, temperature
        exact = ExactPlanner(dynamics)
        self._policies = torch.as_tensor(policies)
        states = torch.arange(dynamics.n_states)
        flow = exact._flow[states, self._policies]
        self._occupancy = torch.linalg.inv(torch.eye(len(states), dtype=torch.float64) - flow)
        self._goes_on = ~torch.as_tensor(dynamics.terminal)

    def values(self, rewards: torch.Tensor) -> torch.Tensor:
        """Returns (K, S) soft maxima over candidates for (K, S, A) rewards."""
        rewards = rewards * self._goes_on[:, None]
        taken = rewards[:, torch.arange(rewards.shape[1]), self._policies]
        each = torch.einsum("nij,knj->kni", self._occupancy, taken)
        return (torch.softmax(each / self.temperature, dim=1) * each).sum(1)


def candidate_policies(
    dynamics: Dynamics, features: FloatArray, n: int, rng: np.random.Generator
) -> IntArray:
    """Returns (N, S) different policies, N ≤ n, each optimal for a random reward w·φ, w drawn from `CANDIDATE_WEIGHTS`.

    At most n + 100 rewards are drawn. Knox et al. also take the true reward's own policy out of the set, which a learner
    cannot do, and need not.

    Args:
        dynamics: where the policies are optimal.
        features: (S, A, F) φ.
        n: candidates wanted.
        rng: draws w.
    """
    if n < 1:
        raise InvalidArgument("n", "must be at least 1", n)
    weights = rng.choice(CANDIDATE_WEIGHTS, size=(n + _MOST_VAIN, features.shape[-1]))
    rewards = torch.as_tensor(np.einsum("nf,ijf->nij", weights, features))
    policies = ExactPlanner(dynamics).greedy(rewards).numpy()
    _, first = np.unique(policies, axis=0, return_index=True)
    return np.asarray(policies[np.sort(first)[:n]], dtype=np.int64)
