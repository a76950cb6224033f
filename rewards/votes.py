"""How strongly networks that never saw an answer agree with it, and what is made of that: flips and adaptive margins.

The strength of an answer is μ̂, the mean of r(chosen) − r(rejected) over networks that were trained without it. The weakest
answers that μ̂ contradicts are turned around; a margin asks Δ for more where μ̂ is large, −log σ(Δ − μ̂) (Wang et al. 2024, Secrets
of RLHF II, https://arxiv.org/abs/2401.06080). Networks that were trained on an answer would agree with it, wrong or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from preflab.networks import EnsembleModule
from preflab.rewards.pairs import PairBatch
from preflab.rewards.trust import turned

Train = Callable[[PairBatch], EnsembleModule]  # comparisons with (K, M) weights → K networks trained on them
Differences = Callable[[EnsembleModule], torch.Tensor]  # K networks → (K, M)


def halves(n_members: int, n: int, generator: torch.Generator) -> torch.Tensor:
    """Returns (K, M) which members are trained on which comparisons: half of them, rounded up, on each."""
    places = torch.rand(n_members, n, generator=generator).argsort(0).argsort(0)
    return places < -(-n_members // 2)


def strengths(
    data: PairBatch, n_members: int, n_rounds: int, generator: torch.Generator, train: Train, differences: Differences
) -> torch.Tensor:
    """Returns (M,) μ̂, cross-fitted: each round trains K networks on half of the comparisons each; 0 for ties.

    Args:
        data: M comparisons, of weight (M,).
        n_members: K, at least 2.
        n_rounds: so many votes of K // 2 networks on each comparison.
        generator: draws who is trained on what.
        train: trains K new networks.
        differences: score differences of all comparisons.
    """
    votes = torch.zeros(len(data))
    for _ in range(n_rounds):
        trained = halves(n_members, len(data), generator)
        found = differences(train(replace(data, weight=data.weight * trained)))
        votes += (found * ~trained).sum(0) / (~trained).sum(0)
    return (2 * data.p_first - 1) * votes / n_rounds


def flipped(strength: torch.Tensor, batch: PairBatch, share: float) -> torch.Tensor:
    """Returns (M,) which answers are turned: those of negative strength among the weakest `share` of strict answers."""
    strict = strength[~batch.is_tie]
    if not len(strict):
        return torch.zeros_like(batch.is_tie)
    return (strength <= strict.quantile(share)) & (strength < 0) & ~batch.is_tie


def believed(data: PairBatch, strength: torch.Tensor, flip_share: float, has_margin: bool) -> PairBatch:
    """Returns `data` with the weakest answers turned and, if asked for, the margin taken off every difference."""
    is_flipped = flipped(strength, data, flip_share) if flip_share else torch.zeros_like(data.is_tie)
    p_first = turned(data, (~is_flipped).float())
    if not has_margin:
        return replace(data, p_first=p_first)
    margin = (2 * p_first - 1) * torch.where(is_flipped, -strength, strength)
    taken = torch.stack([-margin / 2, margin / 2])
    return replace(data, p_first=p_first, offset=taken if data.offset is None else data.offset + taken)
