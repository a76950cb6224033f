"""Annotators' losses weighed so that their gradients come closest to cancelling: MORE.

Where annotators disagree, the sum of their losses goes with the majority. MORE takes the weights λ of the shortest vector in
the hull of the annotators' gradients, min ‖Σ_s λ_s g_s‖² with λ ≥ 0 and Σ λ = 1: a step along it lowers every annotator's loss,
or there is none that does (Désidéri 2012, MGDA, https://doi.org/10.1016/j.crma.2012.03.014; Zeng et al. 2023, MORE,
https://arxiv.org/abs/2312.07401). Gradients are those of the last layer, of length 1, and λ is averaged over steps.
"""

from __future__ import annotations

import numpy as np
import torch

from preflab.networks import EnsembleModule
from preflab.rewards.pairs import PairBatch
from preflab.rewards.trust import Losses, Trust, annotators

MEMORY = 0.99
_ITERATIONS, _TOLERANCE = 300, 1e-3


def min_norm_weights(gradients: torch.Tensor, heard: torch.Tensor | None = None) -> torch.Tensor:
    """Returns (…, S) weights of the shortest vector in the hull of (…, S, d) gradients, by Frank-Wolfe with exact steps.

    Gradients that are not `heard` (…, S) get none: 0 because nothing was said, they would be the shortest of all. Ends within a
    thousandth of the gradients' mean square of the smallest one; at once for two gradients.

    >>> min_norm_weights(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    tensor([0.2000, 0.8000])
    """
    gram = gradients @ gradients.transpose(-1, -2)
    heard = torch.ones(gram.shape[:-1], dtype=torch.bool) if heard is None else heard
    weights = heard.to(gram.dtype) / heard.sum(-1, keepdim=True).clamp_min(1)
    size = gram.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-30)
    for _ in range(_ITERATIONS):
        slope = (gram @ weights[..., None])[..., 0]
        corner = torch.nn.functional.one_hot(slope.masked_fill(~heard, torch.inf).argmin(-1), gram.shape[-1]).to(gram.dtype)
        way = corner - weights
        if float((-(way * slope).sum(-1) / size).max()) < _TOLERANCE:
            break
        bend = (way[..., None, :] @ gram @ way[..., None])[..., 0, 0].clamp_min(1e-30)
        step = (-(way * slope).sum(-1) / bend).clamp(0.0, 1.0)
        weights = weights + step[..., None] * way
    return weights


def last_weights(network: EnsembleModule) -> torch.Tensor:
    """Returns the weights (K, …) of the network's last layer."""
    return [parameter for name, parameter in network.named_parameters() if "weights" in name][-1]


class MinimumNorm(Trust):
    """Believes all answers, and weighs annotators by their gradients."""

    def __init__(self, given: PairBatch, n_members: int) -> None:
        """Weighs all annotators alike at first."""
        super().__init__(given)
        self.names = torch.as_tensor(np.unique(annotators(given)))
        self.weights = torch.full((n_members, len(self.names)), 1 / len(self.names))

    def loss(self, network: EnsembleModule, minibatch: PairBatch, losses: Losses) -> torch.Tensor:
        """Returns Σ_k Σ_s λ_ks of the annotators' mean losses, over those of whom member k has answers in the minibatch."""
        if len(self.names) == 1 or minibatch.annotator is None:
            return super().loss(network, minibatch, losses)
        places = torch.searchsorted(self.names, minibatch.annotator)
        present = torch.as_tensor(np.unique(places.numpy()))
        each = torch.stack([losses(network, minibatch.take(torch.nonzero(places == s)[:, 0])) for s in present], dim=1)
        has_weight = (minibatch.weight > 0).expand(len(each), len(minibatch))
        heard = torch.stack([has_weight[:, places == s].any(1) for s in present], dim=1)
        if len(present) > 1:
            self._weigh(network, each, present, heard)
        weights = self.weights[:, present] * heard
        return (each * weights / weights.sum(1, keepdim=True).clamp_min(1e-12)).sum()

    def _weigh(self, network: EnsembleModule, each: torch.Tensor, present: torch.Tensor, heard: torch.Tensor) -> None:
        """Moves λ of the annotators `present`, as far as a member has `heard` them, to the shortest vector of gradients."""
        last = last_weights(network)
        grads = [torch.autograd.grad(each[:, i].sum(), last, retain_graph=True)[0] for i in range(each.shape[1])]
        gradients = torch.nn.functional.normalize(torch.stack([grad.flatten(1) for grad in grads], dim=1), dim=-1)
        before = self.weights[:, present]
        share = (before * heard).sum(1, keepdim=True)
        moved = MEMORY * before + (1 - MEMORY) * share * min_norm_weights(gradients, heard)
        self.weights[:, present] = torch.where(heard, moved, before)

    def scalars(self) -> dict[str, float]:
        """Returns every annotator's weight, the mean over members."""
        means = self.weights.mean(0)
        return {f"annotator_weight_{name}": float(mean) for name, mean in zip(self.names.tolist(), means, strict=True)}
