"""What response models that wrap another one share, and the judgment that gives them several columns."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from preflab.errors import Refused
from preflab.interfaces import Judgment, Response
from preflab.types import FloatArray, IntArray, ScoredSegments


class SideBySide(Judgment):
    """Two judgments in columns, for a response that compares them in a way of its own; the card is the first one's."""

    def __init__(self, first: Judgment, second: Judgment) -> None:
        """Takes judgments of one value or several; what either reads, both together read."""
        self.first, self.second = first, second
        for name in ("needs_sim_states", "needs_observations", "needs_factors"):
            setattr(self, name, getattr(first, name) or getattr(second, name))

    def values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N, D), the columns of the first and then those of the second."""
        return np.column_stack([self.first.values(scored), self.second.values(scored)])

    def card(self) -> dict[str, Any]:
        """Returns the first judgment's card."""
        return self.first.card()


class Wrapping(Response):
    """A response model around another one: rounds, evaluation and levels are passed on."""

    def __init__(self, inner: Response) -> None:
        """Wraps `inner`."""
        self.inner = inner

    def around(self, inner: Response) -> Response:
        """Returns this wrapper around another model; itself if that is the same."""
        if inner is self.inner:
            return self
        made = copy.copy(self)
        made.inner = inner
        return made

    def inner_values(self, values: FloatArray) -> FloatArray:
        """Returns what the wrapped model compares, of the values given to this one."""
        return values

    def gap(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """Returns (M,) differences of the one value that orders segments; refuses a model without an order."""
        one, other = self.main(first), self.main(second)
        if one is None or other is None:
            raise Refused(
                f"{type(self).__name__} asks by how much one segment is better, and a hierarchy or preference matrix does not say"
            )
        return np.asarray(one - other)

    def in_round(self, stats: Mapping[str, float]) -> Response:
        """Returns this wrapper around the inner model of the round."""
        return self.around(self.inner.in_round(stats))

    def for_evaluation(self) -> Response:
        """Returns this wrapper around the inner model that held-out answers are drawn from."""
        return self.around(self.inner.for_evaluation())

    def main(self, values: FloatArray) -> FloatArray | None:
        """Returns the inner model's one value a segment."""
        return self.inner.main(self.inner_values(values))

    def levels(self, first: FloatArray, second: FloatArray) -> IntArray | None:
        """Returns the inner model's deciding levels."""
        return self.inner.levels(self.inner_values(first), self.inner_values(second))

    @property
    def p_first_if_same(self) -> float:
        """The inner model's."""
        return self.inner.p_first_if_same

    def card(self) -> dict[str, Any]:
        """Returns the inner model's card."""
        return self.inner.card()
