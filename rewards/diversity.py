"""How members come to differ besides their initial weights and their data, and how far they agree in the end.

Members that differ in their seed alone share their errors where no comparison lies (Eisenstein et al. 2023,
https://arxiv.org/abs/2312.09244): agreement on answers says little, agreement where a policy was optimized to go says more.
Subsets of features follow Ho 1998 (https://doi.org/10.1109/34.709601).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch

from preflab.networks import EnsembleMLP
from preflab.types import AnyArray, BoolArray, FloatArray

DIVERSITY = ("seed", "features", "architecture", "trunk")
_SMALLEST = 4  # hidden units


class MaskedMLP(EnsembleMLP):
    """K perceptrons computed as one product, each with only some of the inputs and some of the hidden units."""

    def __init__(
        self, seen: BoolArray, widths: Sequence[Sequence[int]], activation: str = "relu",
        generator: torch.Generator | None = None,
    ) -> None:
        """Draws weights as `EnsembleMLP` does and leaves out those of what a member does not have.

        Args:
            seen: (K, n) which inputs a member reads.
            widths: (K, n_layers) its hidden units.
            activation: "tanh" or "relu".
            generator: torch's own, or None for the global one.
        """
        units = np.asarray(widths)
        super().__init__(len(seen), seen.shape[1], units.max(0).tolist(), activation, generator)
        hidden = [torch.as_tensor(np.arange(column.max()) < column[:, None]) for column in units.T]
        has = [torch.as_tensor(seen), *hidden, torch.ones(len(seen), 1, dtype=torch.bool)]
        for i, (into, out) in enumerate(itertools.pairwise(has)):
            self.register_buffer(f"weight_mask_{i}", (into[:, :, None] & out[:, None, :]).float())
            self.register_buffer(f"bias_mask_{i}", out[:, None, :].float())

    def layers(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Returns weights and biases, 0 where a member has no input or unit."""
        return [
            (weight * self.get_buffer(f"weight_mask_{i}"), bias * self.get_buffer(f"bias_mask_{i}"))
            for i, (weight, bias) in enumerate(super().layers())
        ]


def feature_subsets(n_members: int, n_features: int, share: float, generator: torch.Generator | None = None) -> BoolArray:
    """Returns (K, n) which features each member reads: ceil(share · n) of them, each feature read by about as many members.

    In a random circle of features, members read arcs of equal length whose starts are spread evenly.
    """
    n_read = max(1, math.ceil(share * n_features - 1e-9))
    circle = torch.randperm(n_features, generator=generator).numpy()
    seen = np.zeros((n_members, n_features), dtype=np.bool_)
    for k in range(n_members):
        seen[k, circle[(k * n_features // n_members + np.arange(n_read)) % n_features]] = True
    return seen


def member_widths(n_members: int, hidden: Sequence[int]) -> list[list[int]]:
    """Returns (K, n_layers) hidden units: in full, half and a quarter, in turns.

    >>> member_widths(4, (64, 32))
    [[64, 32], [32, 16], [16, 8], [64, 32]]
    """
    return [[max(min(_SMALLEST, width), width >> k % 3) for width in hidden] for k in range(n_members)]


def rank_correlations(values: AnyArray) -> FloatArray:
    """Returns (K, K) Spearman's rank correlations of (K, B) members' rewards; nan beside a member that is constant.

    Ties have the mean of their ranks. Give it `model.member_rewards(transitions)` of states of the optimized policy: on the
    states that were compared, members agree because they were fitted to.

    >>> rank_correlations(np.array([[1.0, 2.0, 9.0], [3.0, 2.0, 1.0]]))
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    ranks = np.stack([_ranks(row) for row in values])
    centered = ranks - ranks.mean(1, keepdims=True)
    norms = np.sqrt((centered**2).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(centered @ centered.T / np.outer(norms, norms))


def mean_rank_correlation(values: AnyArray) -> float:
    """Returns the mean over pairs of different members of `rank_correlations`; nan for one member.

    >>> mean_rank_correlation(np.array([[1.0, 2.0, 9.0], [3.0, 2.0, 1.0]]))
    -1.0
    """
    pairs = np.triu_indices(len(values), 1)
    return float(rank_correlations(values)[pairs].mean()) if len(pairs[0]) else float("nan")


def _ranks(values: AnyArray) -> FloatArray:
    """Returns (B,) ranks from 0, ties at their mean."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count + 1) / 2)[place.reshape(-1)])
