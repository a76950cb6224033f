"""Preferences without any order: segments fall into cells, and a random matrix says which cell beats which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from preflab.errors import InvalidArgument
from preflab.interfaces import AnswerContext, Response
from preflab.oracles.features import FeatureJudgment, spreads_of
from preflab.seeding import generator
from preflab.types import Choice, FloatArray, ScoredSegments

_SOURCE = "Swamy et al. 2024 (SPO), https://arxiv.org/abs/2401.04056, intransitive preferences"


class Cells(FeatureJudgment):
    """Which of k cells a segment falls in, by its sum of one feature: edges are quantiles of a frozen pool."""

    def __init__(self, feature: str, factor_names: Sequence[str], edges: FloatArray) -> None:
        """Takes k − 1 rising edges."""
        super().__init__((feature,), factor_names, "sum")
        self.edges = np.asarray(edges, dtype=np.float64)
        if self.edges.ndim != 1 or not (np.diff(self.edges) > 0).all():
            raise InvalidArgument("edges", "must be rising", self.edges.tolist())

    @staticmethod
    def of_pool(feature: str, factor_names: Sequence[str], n_cells: int, calibration: ScoredSegments) -> Cells:
        """Returns at most `n_cells` cells that are about equally full on the calibration segments, and none of them empty."""
        whole = Cells(feature, factor_names, np.zeros(0))
        spreads_of(whole, calibration)  # refuses a feature that never changes
        values, shares = whole.of_segments(calibration)[:, 0], np.arange(1, n_cells) / max(1, n_cells)
        edges = np.unique(np.quantile(values, shares))
        filled = np.unique(np.searchsorted(edges, values, side="right"))  # where many values are one, not every cell is
        return Cells(feature, factor_names, edges[filled[1:] - 1])

    @property
    def n_cells(self) -> int:
        """K."""
        return len(self.edges) + 1

    def values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N,) numbers of cells, 0…k − 1, which order nothing."""
        return np.searchsorted(self.edges, self.of_segments(scored)[:, 0], side="right").astype(np.float64)

    def card(self) -> dict[str, Any]:
        """Returns which feature is cut where, and source."""
        return {
            "kind": "cells", "formula": "the cell in which the segment's sum of the feature lies", "feature": self.names[0],
            "edges": self.edges.tolist(), "unit": "cells", "source": _SOURCE,
        }


class PreferenceMatrix(Response):
    """P(FIRST) by the cells of both sides: an antisymmetric matrix around ½."""

    def __init__(self, matrix: FloatArray) -> None:
        """Takes (k, k) probabilities with P_ij + P_ji = 1; raises `InvalidArgument` otherwise."""
        self.matrix = np.asarray(matrix, dtype=np.float64)
        square = self.matrix.ndim == 2 and self.matrix.shape[0] == self.matrix.shape[1] > 0
        if not square or not ((self.matrix >= 0).all() and np.abs(self.matrix + self.matrix.T - 1).max() < 1e-12):
            raise InvalidArgument("matrix", "must be (k, k) probabilities with P_ij + P_ji = 1", self.matrix.shape)

    def probabilities(self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None) -> FloatArray:
        """Returns (M, 4) for the (M,) cells of both sides."""
        found = np.zeros((len(first), 4))
        p = self.matrix[np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)]
        found[:, Choice.FIRST], found[:, Choice.SECOND] = p, 1 - p
        return found

    def main(self, values: FloatArray) -> FloatArray | None:
        """Returns None: there is no order."""
        return None

    def card(self) -> dict[str, Any]:
        """Returns the matrix, how much of it is cyclic, and source."""
        return {
            "kind": "preference_matrix", "formula": "P(first) = P[cell of the first, cell of the second]",
            "matrix": self.matrix.round(4).tolist(), "cyclic_triples": cyclic_share(self.matrix), "source": _SOURCE,
        }


def random_preferences(n: int, seed: int, strength: float = 0.8) -> FloatArray:
    """Returns (n, n) probabilities of a random tournament with at least one cycle: P_ij = ½ ± strength / 2.

    Args:
        n: cells, at least 3.
        seed: of the tournament.
        strength: in (0, 1]; 1 is without noise.
    """
    if n < 3:
        raise InvalidArgument("n_cells", "must be at least 3: fewer have no cycle", n)
    if not 0 < strength <= 1:
        raise InvalidArgument("strength", "must be in (0, 1]", strength)
    for attempt in range(1000):
        upper = np.triu(generator(seed, "tournament", attempt).choice([-1.0, 1.0], size=(n, n)), k=1)
        matrix = 0.5 + 0.5 * strength * (upper - upper.T)
        if cyclic_share(matrix) > 0:
            return np.asarray(matrix)
    raise AssertionError("three in four tournaments of three have no cycle, and no thousand in a row")


def cyclic_share(matrix: FloatArray) -> float:
    """Returns the share of triples i, j, k, all strictly decided, in which i beats j, j beats k and k beats i (or all reversed).

    >>> cyclic_share(np.array([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]]))
    1.0
    """
    beats = np.asarray(matrix > 0.5, dtype=np.float64)
    strict = beats + beats.T
    n_strict = float(np.einsum("ij,jk,ki->", strict, strict, strict)) / 6
    n_cycles = float(np.einsum("ij,jk,ki->", beats, beats, beats)) / 3
    return n_cycles / n_strict if n_strict else 0.0
