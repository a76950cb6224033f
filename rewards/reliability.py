"""Annotators who err, each at a rate of their own, found by expectation maximization: LCPO.

With p the chance that the reward gives to an answer and η_k the chance that annotator k says what was meant,

    E   w = p η_k / (p η_k + (1 − p) (1 − η_k))
    M   η_k = mean of w over k's answers; the reward: w ℓ(answer) + (1 − w) ℓ(opposite)

(LCPO, later RE-PO, 2025, https://arxiv.org/abs/2509.24159; before, Dawid & Skene 1979, https://doi.org/10.2307/2346806). p is
that of members who were not trained on the answer, where there are such. η and the scale of rewards are told apart by pairs that
are clear: where all are close, an erring annotator and a small reward look alike. The reward turned around with every η turned
around explains answers as well: all are believed in the first fifth of a fit, and later while η would be below ½ on the whole.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from preflab.rewards.pairs import PairBatch
from preflab.rewards.trust import Trust, annotators, fair_differences, given_probabilities, turned

_START = 0.8
_ROUNDS = 100
_TINY = 1e-4
_WARM_UP = 1 / 5


def trusts(p_given: torch.Tensor, reliability: torch.Tensor) -> torch.Tensor:
    """Returns (M,) w, the chance that an answer of model probability p (M,) by someone of reliability η (M,) was meant."""
    right, wrong = p_given * reliability, (1 - p_given) * (1 - reliability)
    return right / (right + wrong)


def reliabilities(p_given: torch.Tensor, annotator: torch.Tensor, weight: torch.Tensor, n_annotators: int) -> torch.Tensor:
    """Returns (A,) η that maximize Σ_m weight_m log(p_m η + (1 − p_m) (1 − η)), by EM; `_START` for who answered nothing.

    Args:
        p_given: (M,) chance of each answer under the reward.
        annotator: (M,) who gave it, in 0…A − 1.
        weight: (M,).
        n_annotators: A.
    """
    p_given = p_given.double().clamp(_TINY, 1 - _TINY)
    total = torch.zeros(n_annotators, dtype=torch.float64).index_add_(0, annotator, weight.double())
    eta = torch.full((n_annotators,), _START, dtype=torch.float64)
    for _ in range(_ROUNDS):
        believed = weight.double() * trusts(p_given, eta[annotator])
        meant = torch.zeros_like(total).index_add_(0, annotator, believed)
        eta = torch.where(total > 0, meant / total.clamp_min(1e-12), _START).clamp(_TINY, 1 - _TINY)
    return eta.float()


class Reliability(Trust):
    """Believes each answer as far as its annotator proved right."""

    def __init__(self, given: PairBatch, weight: torch.Tensor) -> None:
        """Believes all annotators alike at first.

        Args:
            given: the comparisons.
            weight: (M,) before members left any out.
        """
        super().__init__(given)
        names, places = np.unique(annotators(given), return_inverse=True)
        self.names, self.annotator = names.tolist(), torch.as_tensor(places)
        self.eta = torch.full((len(self.names),), 1 - _TINY)
        self.weight = weight * ~given.is_tie
        self.given = self.data = replace(given, annotator=self.annotator)

    def look(self, differences: torch.Tensor, progress: float) -> None:
        """One E step and the M step of η, unless answers would be wrong more often than right."""
        p_given = given_probabilities(fair_differences(differences, self.given), self.given)
        eta = reliabilities(p_given, self.annotator, self.weight, len(self.names))
        if progress < _WARM_UP or float((self.weight * (eta[self.annotator] - 0.5)).sum()) < 0:
            return
        self.eta = eta
        self.data = replace(self.given, p_first=turned(self.given, trusts(p_given, self.eta[self.annotator])))

    def judged(self, nats: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """Returns (K, M) −log(p η + (1 − p) (1 − η))."""
        if batch.annotator is None:
            return nats
        p, eta = torch.exp(-nats), self.eta[batch.annotator]
        return torch.where(batch.is_tie, nats, -torch.log(p * eta + (1 - p) * (1 - eta)))

    def scalars(self) -> dict[str, float]:
        """Returns every annotator's η."""
        return {f"reliability_{name}": float(eta) for name, eta in zip(self.names, self.eta, strict=True)}
