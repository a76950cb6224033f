"""HERON's human: the first factor of a ranking that separates two segments decides, by a margin frozen beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from preflab.errors import InvalidArgument, UnknownName
from preflab.interfaces import AnswerContext, Response
from preflab.oracles.responses import Argmax
from preflab.types import Choice, FloatArray, IntArray

SOURCE = "Bukharin et al. 2023 (HERON), https://arxiv.org/abs/2309.02632"
_KEYS = ("feature", "sign", "margin")


@dataclass(frozen=True)
class Level:
    """One level of a hierarchy.

    Attributes:
        feature: what is compared, by name (see `Feature`).
        sign: 1 if more of it is better, −1 if less.
        margin: in spreads of the feature over the calibration pool; a smaller difference leaves the decision to the next level.
    """

    feature: str
    sign: int = 1
    margin: float = 1.0

    def __post_init__(self) -> None:
        if self.sign not in (1, -1):
            raise InvalidArgument("levels.sign", f"must be 1 or -1, as {self.feature}'s", self.sign)
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise InvalidArgument("levels.margin", f"must be finite and at least 0, as {self.feature}'s", self.margin)

    @staticmethod
    def of(said: Level | Mapping[str, Any]) -> Level:
        """Returns the level that a mapping of feature and, if not 1, sign and margin describes."""
        if isinstance(said, Level):
            return said
        if not isinstance(said, Mapping) or "feature" not in said:
            valid = "{feature: forward, sign: 1, margin: 0.5}"
            raise InvalidArgument("levels", "must be a list of mappings with a feature", said, valid)
        for name in said:
            if name not in _KEYS:
                raise UnknownName("levels.<key>", str(name), _KEYS)
        feature, sign, margin = str(said["feature"]), said.get("sign", 1), said.get("margin", 1.0)
        for name, value in (("sign", sign), ("margin", margin)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidArgument(f"levels.{name}", f"must be a number, as {feature}'s", value)
        return Level(feature, sign, float(margin))


class Hierarchy(Response):
    """Compares (M, F) features level by level: the first whose difference exceeds its margin decides, none makes a tie.

    What is put to `inner` is the deciding difference in spreads, so that a hesitant human (Boltzmann) is one too. Each level
    has a margin of its own; the public code reads the second level's margin at all deeper ones.
    """

    def __init__(self, levels: Sequence[Level], spreads: FloatArray, inner: Response | None = None) -> None:
        """Takes levels, most important first, and the (F,) frozen spreads of their features, above 0."""
        self.ranking, self.inner = tuple(levels), Argmax() if inner is None else inner
        self.spreads = np.asarray(spreads, dtype=np.float64)
        is_unit = np.isfinite(self.spreads) & (self.spreads > 0)
        if not self.ranking or self.spreads.shape != (len(self.ranking),) or not is_unit.all():
            raise InvalidArgument("spreads", f"must be {len(self.ranking)} numbers above 0, at least one", self.spreads.tolist())
        self._signs = np.array([float(level.sign) for level in self.ranking])
        self._margins = self.spreads * np.array([level.margin for level in self.ranking])

    def levels(self, first: FloatArray, second: FloatArray) -> IntArray:
        """Returns (M,) the level that decides, 0 the most important, −1 where none does, for (M, F) of both sides."""
        decides = np.abs(self._differences(first, second)) > self._margins
        return np.where(decides.any(axis=1), decides.argmax(axis=1), -1).astype(np.int64)

    def probabilities(self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None) -> FloatArray:
        """Returns (M, 4) for (M, F) features of both sides; TIE where no level decides."""
        level = self.levels(first, second)
        gaps = (self._signs * self._differences(first, second) / self.spreads)[np.arange(len(level)), level]
        gaps = np.where(level >= 0, gaps, 0.0)
        decided = self.inner.probabilities(gaps, np.zeros(len(gaps)), context)
        tie = np.zeros(4)
        tie[Choice.TIE] = 1.0
        return np.where((level >= 0)[:, None], decided, tie)

    def _differences(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """Returns (M, F) first − second, of one level for (M,) too; raises `InvalidArgument` unless both sides are finite."""
        one, other = (np.asarray(side, dtype=np.float64).reshape(len(side), len(self.ranking)) for side in (first, second))
        if not (np.isfinite(one).all() and np.isfinite(other).all()):
            bad = int((~np.isfinite(one)).sum() + (~np.isfinite(other)).sum())
            raise InvalidArgument("values", "must be finite", f"{bad} that are not", "finite features")
        return one - other

    def main(self, values: FloatArray) -> FloatArray | None:
        """Returns None: near-ties chain, so that a hierarchy with margins orders nothing."""
        return None

    def card(self) -> dict[str, Any]:
        """Returns the rule, the ranking with its margins in units of the features, and source."""
        inner = self.inner.card()
        return {
            "kind": "hierarchy", "formula": "the first level whose difference exceeds its margin decides; none: a tie",
            "decided": {name: inner[name] for name in ("kind", "formula", "beta") if name in inner},
            "levels": [
                {"feature": level.feature, "better": "more" if level.sign > 0 else "less", "margin": margin, "spread": spread}
                for level, margin, spread in zip(self.ranking, self._margins.tolist(), self.spreads.tolist(), strict=True)
            ],
            "source": SOURCE,
        }
