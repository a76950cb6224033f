"""Comparisons as a likelihood takes them: distinct steps, who compares which, and the cross-entropy of segment scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import nn

from preflab.inputs import Inputs, LazyInputs, in_memory
from preflab.types import AnyArray, Comparisons, SegmentIndex, TrajectoryStore

StepFunction = Callable[[Any], torch.Tensor]  # inputs of B steps → (K, B)


@dataclass(frozen=True, eq=False)
class PairBatch:
    """M comparisons, ready for the loss.

    Attributes:
        inputs: (B, n) standardized inputs of steps, or `StepInputs` with their images; `LazyInputs` where they are too many.
        rows: (2, M, L) which row of `inputs` each step of the first and of the second segment is.
        real: (2, M, L) what a step counts: 0 if absorbing, else 1 (or γ^t in a discounted sum).
        p_first: (M,) target probability that the first segment is better.
        weight: (M,), or (K, M) with one row a member.
        offset: (2, M) what is added to segment scores whatever the network says; None adds nothing.
        is_own: `rows` count up from 0: each step of each segment has a row of its own, in order.
        annotator: (M,) who answered; None if nobody asks.
    """

    inputs: Inputs | LazyInputs
    rows: torch.Tensor
    real: torch.Tensor
    p_first: torch.Tensor
    weight: torch.Tensor
    offset: torch.Tensor | None = None
    is_own: bool = False
    annotator: torch.Tensor | None = None

    @property
    def is_tie(self) -> torch.Tensor:
        """(M,) the answer was TIE: a target of exactly ½."""
        return self.p_first == 0.5

    def __len__(self) -> int:
        return len(self.p_first)

    def of(self, pairs: torch.Tensor) -> Self:
        """Returns the comparisons (m,) named by `pairs`, with all inputs."""
        return replace(
            self, rows=self.rows[:, pairs], real=self.real[:, pairs], p_first=self.p_first[pairs],
            weight=self.weight[..., pairs], offset=None if self.offset is None else self.offset[:, pairs],
            is_own=False, annotator=None if self.annotator is None else self.annotator[pairs],
        )

    def take(self, pairs: torch.Tensor) -> Self:
        """Returns the comparisons (m,) named by `pairs`, with only their own inputs if these are fewer."""
        taken = self.of(pairs)
        if taken.rows.numel() >= len(self.inputs):
            return replace(taken, inputs=in_memory(self.inputs))
        own = torch.arange(taken.rows.numel()).reshape(taken.rows.shape)
        return replace(taken, inputs=self.inputs[taken.rows.reshape(-1)], rows=own, is_own=True)


def segment_sums(steps: torch.Tensor, batch: PairBatch) -> torch.Tensor:
    """Returns (K, 2, M, D) sums of (K, B, D) vectors of steps over the real steps of first and second segments."""
    own = steps.reshape(len(steps), *batch.rows.shape, -1) if batch.is_own else steps[:, batch.rows]
    return (own * batch.real[..., None]).sum(-2)


def segment_scores(steps: torch.Tensor, batch: PairBatch) -> torch.Tensor:
    """Returns (K, 2, M) sums of (K, B) figures of steps over the real steps of first and second segments, and offsets."""
    own = steps.reshape(len(steps), *batch.rows.shape) if batch.is_own else steps[:, batch.rows]
    sums = (own * batch.real).sum(-1)
    return sums if batch.offset is None else sums + batch.offset


def binary_nats(scores: torch.Tensor, batch: PairBatch) -> torch.Tensor:
    """Returns (K, M) cross-entropies −p log σ(Δ) − (1 − p) log σ(−Δ) in nats, Δ the difference of the (K, 2, M) `scores`.

    p = ½ for a tie (Christiano et al. 2017, section 2.2.3, https://arxiv.org/abs/1706.03741); linear in p, which may leave [0, 1].
    """
    logits = scores[:, 0] - scores[:, 1]
    return nn.functional.softplus(logits) - batch.p_first * logits


def weighted_mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Returns (K,) means Σ_m w_m x_m / Σ_m w_m of (K, M) values, weights (M,) or (K, M); 0 where all weights are 0."""
    weight = weight.expand_as(values)
    return (values * weight).sum(1) / weight.sum(1).clamp_min(1e-12)


def cross_entropies(scores: torch.Tensor, batch: PairBatch) -> torch.Tensor:
    """Returns (K,) weighted mean cross-entropies in nats, one a member; 0 for a member whose weights are all 0."""
    return weighted_mean(binary_nats(scores, batch), batch.weight)


def smoothed(batch: PairBatch, share: float) -> PairBatch:
    """Returns `batch` with the share of each answer moved to ½: −(1 − ε) log σ(h) − ε log σ(−h), ε = `share` / 2.

    Mitchell 2023 (cDPO, https://ericmitchell.ai/cdpo.pdf): its optimum is at σ(h) = 1 − ε, where it stops.
    """
    return replace(batch, p_first=batch.p_first * (1 - share) + share / 2)


def unbiased(batch: PairBatch, flip_rate: float) -> PairBatch:
    """Returns `batch` with targets (p − ε) / (1 − 2 ε): [(1 − ε) ℓ(answer) − ε ℓ(its opposite)] / (1 − 2 ε).

    In the mean over answers that are flipped with chance ε it is the loss of unflipped ones (Chowdhury et al. 2024, rDPO,
    https://arxiv.org/abs/2403.00409; Natarajan et al. 2013, lemma 1); unbounded below, so that a fit should stop early.
    """
    return replace(batch, p_first=torch.where(batch.is_tie, 0.5, (batch.p_first - flip_rate) / (1 - 2 * flip_rate)))


def offsets(scores: torch.Tensor, batch: PairBatch) -> torch.Tensor:
    """Returns (K,) weighted means of (s₊ + s₋)² over comparisons, (K, 2, M) `scores`: what a free constant is drawn to 0 by.

    Eisenstein et al. 2023, section 3 (https://arxiv.org/abs/2312.09244).
    """
    return weighted_mean(scores.sum(1) ** 2, batch.weight)


def distinct_steps(comparisons: Comparisons, pool: TrajectoryStore) -> tuple[SegmentIndex, AnyArray, AnyArray]:
    """Returns each step that was judged once, (2, M, L) rows into these, and (2, M, L) which steps are real."""
    steps, rows, real = pool.distinct_steps(SegmentIndex.concatenate([comparisons.first, comparisons.second]))
    shape = (2, len(comparisons), comparisons.first.length)
    return steps, rows.reshape(shape), real.reshape(shape)
