"""What a fit believes of the answers it was given, while it goes on; the base believes every one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from preflab.networks import EnsembleModule
from preflab.rewards.pairs import PairBatch, StepFunction
from preflab.types import IntArray

Losses = Callable[[StepFunction, PairBatch], torch.Tensor]  # a network and comparisons → (K,)


class Trust:
    """Believes all answers.

    Attributes:
        given: the comparisons as they came, of weight 0 for members that leave them out.
        data: the comparisons as they are believed now.
    """

    def __init__(self, given: PairBatch) -> None:
        """Starts out believing."""
        self.given = self.data = given

    def loss(self, network: EnsembleModule, minibatch: PairBatch, losses: Losses) -> torch.Tensor:
        """Returns the scalar that a gradient step lowers: the sum of the members' `losses`."""
        return losses(network, minibatch).sum()

    @property
    def looks(self) -> bool:
        """Whether `look` is to be called."""
        return type(self).look is not Trust.look

    def look(self, differences: torch.Tensor, progress: float) -> None:
        """Reconsiders the answers.

        Args:
            differences: (K, M) members' score differences now.
            progress: share of the fit's gradient steps taken, in (0, 1].
        """

    def judged(self, nats: torch.Tensor, batch: PairBatch) -> torch.Tensor:
        """Returns (K, M) −log P(answer as given) where members say `nats` of the answer that was meant."""
        return nats

    def scalars(self) -> dict[str, float]:
        """Returns what it came to believe, by name."""
        return {}


def annotators(batch: PairBatch) -> IntArray:
    """Returns (M,) who answered; all the same one where nobody said."""
    return np.zeros(len(batch), np.int64) if batch.annotator is None else np.asarray(batch.annotator.numpy())


def fair_differences(differences: torch.Tensor, given: PairBatch) -> torch.Tensor:
    """Returns (M,) mean score differences of those (K, M) whose member left the comparison out; of all where none did.

    A network that was trained on an answer has it by heart: only the others can doubt it.
    """
    left_out = (given.weight == 0).expand_as(differences).to(differences.dtype)
    heard = torch.where(left_out.any(0), left_out, torch.ones_like(left_out))
    return (differences * heard).sum(0) / heard.sum(0)


def given_probabilities(differences: torch.Tensor, batch: PairBatch) -> torch.Tensor:
    """Returns (M,) σ(±Δ), the chance of the strict answer as given; ½ for ties."""
    return torch.sigmoid((2 * batch.p_first - 1) * differences)


def turned(batch: PairBatch, believed: torch.Tensor) -> torch.Tensor:
    """Returns (M,) targets w p + (1 − w) (1 − p): answers believed with chance w, their opposites with 1 − w; ties stay."""
    target = believed * batch.p_first + (1 - believed) * (1 - batch.p_first)
    return torch.where(batch.is_tie, batch.p_first, target)
