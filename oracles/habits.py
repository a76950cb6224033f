"""Humans who are not the same from query to query, or to both sides: fatigue, drift, order bias."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from preflab.errors import InvalidArgument
from preflab.interfaces import AnswerContext, Response
from preflab.oracles.wrapping import SideBySide, Wrapping
from preflab.types import Choice, FloatArray


class Fatigue(Wrapping):
    """Lapses more often the longer it has been asked: a strict answer is a guess with probability λ(n) = rate (1 − 2^(−n / h)).

    n counts the queries before this one. A constant lapse rate is the usual one of psychophysics (Wichmann & Hill 2001,
    https://doi.org/10.3758/BF03194544); here it rises.
    """

    def __init__(self, inner: Response, rate: float, half_life: float) -> None:
        """Takes the rate of lapses after very many queries, in [0, 1], and h > 0, after which half of it is reached."""
        super().__init__(inner)
        if not 0 <= rate <= 1:
            raise InvalidArgument("fatigue", "must be in [0, 1]", rate)
        if not (math.isfinite(half_life) and half_life > 0):
            raise InvalidArgument("fatigue_half_life", "must be finite and above 0", half_life)
        self.rate, self.half_life = float(rate), float(half_life)

    def lapses(self, n_answered: Any) -> FloatArray:
        """Returns the chance of a lapse after `n_answered` queries."""
        return np.asarray(self.rate * -np.expm1(-math.log(2) * np.asarray(n_answered, dtype=np.float64) / self.half_life))

    def probabilities(self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None) -> FloatArray:
        """Returns (M, 4) for values of both sides and who was asked how often."""
        inner = self.inner.probabilities(self.inner_values(first), self.inner_values(second), context)
        if context is None:
            return inner
        guess = inner.copy()
        guess[:, Choice.FIRST] = guess[:, Choice.SECOND] = 0.5 * (inner[:, Choice.FIRST] + inner[:, Choice.SECOND])
        lapse = self.lapses(context.n_answered)[:, None]
        return (1 - lapse) * inner + lapse * guess

    @property
    def p_first_if_same(self) -> float:
        """½, or nan: what lapses leave of a bias depends on how often one was asked."""
        return 0.5 if self.inner.p_first_if_same == 0.5 else math.nan

    def card(self) -> dict[str, Any]:
        """Returns the inner model's card with rate and half-life."""
        return {
            **self.inner.card(), "fatigue": self.rate, "fatigue_half_life": self.half_life,
            "lapses": "after n queries a strict answer is a guess with probability fatigue * (1 - 2^(-n / half_life))",
        }


class OrderBias(Wrapping):
    """Leans to the side shown first (log odds above 0: primacy) or last (below 0: recency).

    Odds of FIRST to SECOND are multiplied by e^bias; ties and skips stay. A segment against itself is answered FIRST with
    probability σ(bias): the declared bias of `check_oracle`. Day 1969; in language models as judges, Zheng et al. 2023
    (https://arxiv.org/abs/2306.05685).
    """

    def __init__(self, inner: Response, bias: float) -> None:
        """Takes the bias in log odds, finite."""
        super().__init__(inner)
        if not math.isfinite(bias):
            raise InvalidArgument("order_bias", "must be finite", bias)
        self.bias = float(bias)

    def probabilities(self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None) -> FloatArray:
        """Returns (M, 4) for values of both sides."""
        inner = self.inner.probabilities(self.inner_values(first), self.inner_values(second), context)
        strict = inner[:, Choice.FIRST] + inner[:, Choice.SECOND]
        share = inner[:, :2] / np.where(strict > 0, strict, 1.0)[:, None]
        one, other = self._leaning(share[:, Choice.FIRST], share[:, Choice.SECOND])
        total = np.where(strict > 0, one + other, 1.0)
        found = inner.copy()
        found[:, Choice.FIRST], found[:, Choice.SECOND] = strict * (one / total), strict * (other / total)
        return found

    @property
    def p_first_if_same(self) -> float:
        """The inner model's, with the bias."""
        one, other = self._leaning(self.inner.p_first_if_same, 1 - self.inner.p_first_if_same)
        return float(one / (one + other))

    def _leaning(self, first: Any, second: Any) -> tuple[Any, Any]:
        """Returns both shares in the odds that the bias gives them; the disfavored one shrinks, so that none overflows."""
        shrunk = math.exp(-min(abs(self.bias), 700.0))  # e^−700 is next to the least number that there is
        return (first, second * shrunk) if self.bias > 0 else (first * shrunk, second)

    def card(self) -> dict[str, Any]:
        """Returns the inner model's card with the bias."""
        return {
            **self.inner.card(), "order_bias": self.bias,
            "order": "odds of the segment shown first are multiplied by e^order_bias (above 0: primacy, below: recency)",
        }


class DriftingJudgment(SideBySide):
    """A human's judgment at the start and the one after the drift, each of one value: (N, 2), for `Drift` to mix."""

    def card(self) -> dict[str, Any]:
        """Returns the card of the start, with that of the end."""
        return {**self.first.card(), "drifts_to": self.second.card()}


class Drift(Wrapping):
    """Changes its mind: v = (1 − t) v_start + t v_end with t = min(1, n / n_answers), n the queries before this one.

    Values are (M, 2) of a `DriftingJudgment`. Where both judgments weigh factors, so does every mixture.
    """

    def __init__(self, inner: Response, n_answers: float) -> None:
        """Takes after how many queries the change is complete, above 0."""
        super().__init__(inner)
        if not (math.isfinite(n_answers) and n_answers > 0):
            raise InvalidArgument("drift_answers", "must be finite and above 0", n_answers)
        self.n_answers = float(n_answers)

    def inner_values(self, values: FloatArray) -> FloatArray:
        """Returns (M,) values at the start."""
        return np.asarray(values)[:, 0]

    def probabilities(self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None) -> FloatArray:
        """Returns (M, 4) for (M, 2) values of both sides and who was asked how often."""
        t = 0.0 if context is None else np.minimum(1.0, context.n_answered / self.n_answers)
        one, other = (np.asarray((1 - t) * side[:, 0] + t * side[:, 1]) for side in (np.asarray(first), np.asarray(second)))
        return self.inner.probabilities(one, other, context)

    def card(self) -> dict[str, Any]:
        """Returns the inner model's card with the pace."""
        return {
            **self.inner.card(), "drift_answers": self.n_answers,
            "drift": "values go from the first judgment to the second in a straight line over so many queries",
        }
