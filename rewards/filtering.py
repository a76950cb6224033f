"""Answers that the reward finds too unlikely are left out, and the least likely turned around: RIME.

With κ the divergence of an answer from its prediction (−log p for a strict one), an answer is kept where κ < τ and turned where
κ > −log 0.001:

    τ = −log x + α x + min(β_t Var κ, 3),    x the largest κ among those kept last,    β_t falling from 3 to 1 over the fit

(Cheng et al. 2024, RIME, https://arxiv.org/abs/2402.17257; α = 0.5 and the variance as in the authors' code). Predictions are
those of members not trained on the answer, where there are such. All answers are kept in the first third of a fit.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from preflab.rewards.pairs import PairBatch
from preflab.rewards.trust import Trust, fair_differences, turned

ALPHA, BETAS, MOST, TURNED = 0.5, (3.0, 1.0), 3.0, -math.log(0.001)
_WARM_UP = 1 / 3


def divergences(differences: torch.Tensor, batch: PairBatch) -> torch.Tensor:
    """Returns (M,) KL divergences of answers from predictions σ(Δ): −log p of a strict answer, −½ log(4 p (1 − p)) of a tie."""
    log_given = torch.nn.functional.logsigmoid((2 * batch.p_first - 1) * differences)
    even = -0.5 * (2 * math.log(2) + torch.nn.functional.logsigmoid(differences) + torch.nn.functional.logsigmoid(-differences))
    return torch.where(batch.is_tie, even, -log_given)


def threshold(largest: float, variance: float, progress: float) -> float:
    """Returns τ, given x, Var κ and the share of the fit done.

    >>> round(threshold(1.0, 0.0, 0.5), 3), round(threshold(1.0, 0.25, 1.0), 3), round(threshold(1.0, 9.0, 0.0), 3)
    (0.5, 0.75, 3.5)
    """
    beta = BETAS[0] + (BETAS[1] - BETAS[0]) * progress
    return -math.log(largest) + ALPHA * largest + min(beta * variance, MOST)


class Filter(Trust):
    """Keeps likely answers and turns the least likely."""

    def __init__(self, given: PairBatch) -> None:
        """Keeps all at first."""
        super().__init__(given)
        self.is_kept = torch.ones(len(given), dtype=torch.bool)
        self.is_turned = torch.zeros(len(given), dtype=torch.bool)

    def look(self, differences: torch.Tensor, progress: float) -> None:
        """Decides anew which answers to keep and which to turn."""
        if progress < _WARM_UP:
            return
        kappa = divergences(fair_differences(differences, self.given), self.given)
        is_kept = kappa < threshold(float(kappa[self.is_kept].max().clamp_min(1e-6)), float(kappa.var(correction=0)), progress)
        if not is_kept.any():
            return
        self.is_kept, self.is_turned = is_kept, (kappa > TURNED) & ~self.given.is_tie
        weight = self.given.weight * (self.is_kept | self.is_turned)
        self.data = replace(self.given, weight=weight, p_first=turned(self.given, (~self.is_turned).float()))

    def scalars(self) -> dict[str, float]:
        """Returns the shares of answers kept and turned."""
        return {"kept_share": float(self.is_kept.float().mean()), "turned_share": float(self.is_turned.float().mean())}
