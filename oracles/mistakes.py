"""Strict answers turned round: at a rate of their own, more often where it is close, or where a feature misleads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from preflab.errors import InvalidArgument
from preflab.interfaces import AnswerContext, Response
from preflab.oracles.wrapping import Wrapping
from preflab.types import Choice, FloatArray

WHEN = ("always", "training")


class Mistakes(Wrapping):
    """Flips a share `rate` of the strict answers of another response model; its ties and skips stay.

    Lee et al. 2021 (B-Pref, https://arxiv.org/abs/2111.03026), the Mistake teacher, there with rate 0.1. Flips in training
    only: Dubois et al. 2023 (AlpacaFarm, https://arxiv.org/abs/2305.14387), there with rate 0.25.
    """

    def __init__(self, inner: Response, rate: float, when: str = "always") -> None:
        """Wraps `inner`; raises `InvalidArgument` unless `rate` is in [0, 1] and `when` in `WHEN`."""
        super().__init__(inner)
        if not 0 <= rate <= 1:
            raise InvalidArgument("rate", "must be in [0, 1]", rate)
        if when not in WHEN:
            raise InvalidArgument("when", "is not known", when, ", ".join(WHEN))
        self.rate, self.when = float(rate), when

    def flips(self, first: FloatArray, second: FloatArray) -> FloatArray | float:
        """Returns the chance of a flip for (M,) or (M, D) values of both sides: (M,), or one for all."""
        return self.rate

    def probabilities(self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None) -> FloatArray:
        """Returns (M, 4) for values of both sides: P'(FIRST) = (1 − ε) P(FIRST) + ε P(SECOND)."""
        inner = self.inner.probabilities(self.inner_values(first), self.inner_values(second), context)
        flipped = inner[:, [Choice.SECOND, Choice.FIRST, Choice.TIE, Choice.SKIP]]
        strict = np.array([True, True, False, False])
        rate = np.asarray(self.flips(first, second))[..., None]
        return np.asarray(np.where(strict, (1 - rate) * inner + rate * flipped, inner), dtype=np.float64)

    def for_evaluation(self) -> Response:
        """Returns the model without mistakes where they are made in training only."""
        inner = self.inner.for_evaluation()
        return inner if self.when == "training" else self.around(inner)

    @property
    def p_first_if_same(self) -> float:
        """Of a bias, mistakes leave 1 − 2ε."""
        return 0.5 + (1 - 2 * self.rate) * (self.inner.p_first_if_same - 0.5)

    def card(self) -> dict[str, Any]:
        """Returns the inner model's card with the rate of mistakes."""
        said = "each strict answer is flipped with this probability (Lee et al. 2021, https://arxiv.org/abs/2111.03026)"
        if self.when == "training":
            said = "each strict training answer is flipped with this probability, and no held-out one (https://arxiv.org/abs/2305.14387)"
        return {**self.inner.card(), "mistake_rate": self.rate, "mistakes": said}


class MarginMistakes(Mistakes):
    """Flips where it is close: ε(v_1, v_2) = ε_0 exp(−|v_1 − v_2| / scale).

    Noise that fades with the margin, as in Massart's and Tsybakov's conditions; with Boltzmann it is more doubt about doubtful
    pairs, with argmax the only doubt.
    """

    def __init__(self, inner: Response, rate: float, scale: float, when: str = "always") -> None:
        """Takes the rate ε_0 of flips between equals, and the scale in units of value, above 0."""
        super().__init__(inner, rate, when)
        if not (math.isfinite(scale) and scale > 0):
            raise InvalidArgument("scale", "must be finite and above 0", scale)
        self.scale = float(scale)

    def flips(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """Returns (M,) chances of a flip."""
        return np.asarray(self.rate * np.exp(-np.abs(self.gap(first, second)) / self.scale))

    def card(self) -> dict[str, Any]:
        """Returns the inner model's card with the rate between equals and its scale."""
        said = "a strict answer is flipped with probability rate * exp(-|v1 - v2| / scale)"
        return {**self.inner.card(), "mistake_rate_at_equality": self.rate, "mistake_scale": self.scale, "mistakes": said}


class FeatureMistakes(Mistakes):
    """Flips where a feature misleads: ε = ε_max σ(2 z), z the mean of the feature over both segments, in spreads from its mean.

    Noise that depends on what is shown and not on who is right: what noise-robust losses assume away. Values are (M, D + 1),
    the feature last.
    """

    def __init__(self, inner: Response, rate: float, center: float, spread: float, name: str, when: str = "always") -> None:
        """Takes the rate ε_max where the feature is very large, and the feature's mean and spread (above 0) on a frozen pool."""
        super().__init__(inner, rate, when)
        if not (math.isfinite(spread) and spread > 0 and math.isfinite(center)):
            raise InvalidArgument("center, spread", "must be finite, and spread above 0", (center, spread))
        self.center, self.spread, self.name = float(center), float(spread), name

    def inner_values(self, values: FloatArray) -> FloatArray:
        """Returns the values without the feature."""
        rest = np.asarray(values)[:, :-1]
        return rest[:, 0] if rest.shape[1] == 1 else rest

    def for_evaluation(self) -> Response:
        """Returns the model without mistakes where they are made in training only: values keep the column of the feature."""
        inner = self.inner.for_evaluation()
        if self.when == "always" or self.rate == 0:
            return self.around(inner)
        return FeatureMistakes(inner, 0.0, self.center, self.spread, self.name, self.when)

    @property
    def p_first_if_same(self) -> float:
        """½, or nan: what mistakes leave of a bias depends on the segment."""
        return 0.5 if self.inner.p_first_if_same == 0.5 else math.nan

    def flips(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """Returns (M,) chances of a flip."""
        z = (0.5 * (np.asarray(first)[:, -1] + np.asarray(second)[:, -1]) - self.center) / self.spread
        return np.asarray(self.rate / (1 + np.exp(-2 * np.clip(z, -300, 300))))

    def card(self) -> dict[str, Any]:
        """Returns the inner model's card with what misleads."""
        return {
            **self.inner.card(), "mistake_rate_at_most": self.rate, "misled_by": self.name,
            "mistakes": "a strict answer is flipped with probability rate * sigmoid(2 z), z the pair's mean feature in spreads",
        }
