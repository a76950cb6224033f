"""Which weights a fit keeps: those at which each member predicted best what it was not trained on."""

from __future__ import annotations

from collections.abc import Callable

import torch

from preflab.networks import EnsembleModule
from preflab.rewards.ensemble import InChunks
from preflab.rewards.pairs import PairBatch, StepFunction


class Best:
    """Keeps, for each member, the weights at which it predicted the judged comparisons best."""

    def __init__(
        self, network: EnsembleModule, judged: PairBatch, losses: Callable[[StepFunction, PairBatch], torch.Tensor]
    ) -> None:
        """Watches `network` on `judged`, whose weight is (K, M); a member with nothing to be judged by keeps its last.

        Args:
            network: what is trained.
            judged: the comparisons.
            losses: (K,) mean log losses of members, given a network and comparisons.
        """
        self.n_vain = 0  # looks since some member improved
        self._network, self._judged, self._losses = network, judged, losses
        self._loss = torch.full((network.n_members,), torch.inf)
        self._step = torch.zeros(network.n_members)
        self._weights = [parameter.detach().clone() for parameter in network.parameters()]
        self._judges_nothing = judged.weight.expand(network.n_members, -1).sum(1) == 0

    @torch.no_grad()
    def look(self, step: int) -> None:
        """Keeps the weights of members that predict better than before."""
        loss = self._losses(InChunks(self._network), self._judged)
        better = (loss < self._loss) | self._judges_nothing
        self.n_vain = 0 if better.any() else self.n_vain + 1
        self._loss = torch.where(better, loss, self._loss)
        self._step[better] = step
        for kept, parameter in zip(self._weights, self._network.parameters(), strict=True):
            kept[better] = parameter[better]

    @torch.no_grad()
    def restore(self) -> dict[str, float]:
        """Puts the kept weights back; returns their mean log loss on what they were judged by, and their mean step."""
        for kept, parameter in zip(self._weights, self._network.parameters(), strict=True):
            parameter.copy_(kept)
        return {"left_out_log_loss": float(self._loss.mean()), "stopped_at_step": float(self._step.mean())}
