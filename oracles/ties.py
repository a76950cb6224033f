"""Answers that are no preference: ties below a threshold, ties as a model of their own, and skips."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from preflab.errors import InvalidArgument
from preflab.interfaces import AnswerContext, Response
from preflab.oracles.responses import columns, difference_of
from preflab.oracles.wrapping import Wrapping
from preflab.types import Choice, FloatArray

_TIE, _SKIP = np.eye(4)[Choice.TIE], np.eye(4)[Choice.SKIP]


class ThresholdTies(Wrapping):
    """Calls it a tie where values differ by less than a threshold; else answers as the wrapped model does.

    Lee et al. 2021 (B-Pref, https://arxiv.org/abs/2111.03026), the Equal teacher.
    """

    def __init__(self, inner: Response, threshold: float) -> None:
        """Takes the threshold in units of value, at least 0."""
        super().__init__(inner)
        if not (math.isfinite(threshold) and threshold >= 0):
            raise InvalidArgument("threshold", "must be finite and at least 0", threshold)
        self.threshold = float(threshold)

    def probabilities(self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None) -> FloatArray:
        """Returns (M, 4) for values of both sides."""
        inner = self.inner.probabilities(self.inner_values(first), self.inner_values(second), context)
        is_tie = np.abs(self.gap(first, second)) < self.threshold
        return np.where(is_tie[:, None], _TIE, inner)

    def card(self) -> dict[str, Any]:
        """Returns the inner model's card with the threshold."""
        return {**self.inner.card(), "tie_threshold": self.threshold, "ties": "where |v1 - v2| < tie_threshold"}


class SkipsBelow(Wrapping):
    """Skips a pair of which both sides are worth less than a threshold.

    Lee et al. 2021 (B-Pref, https://arxiv.org/abs/2111.03026), the Skip teacher.
    """

    def __init__(self, inner: Response, threshold: float) -> None:
        """Takes the threshold in units of value."""
        super().__init__(inner)
        if not math.isfinite(threshold):
            raise InvalidArgument("threshold", "must be finite", threshold)
        self.threshold = float(threshold)

    def probabilities(self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None) -> FloatArray:
        """Returns (M, 4) for values of both sides."""
        inner = self.inner.probabilities(self.inner_values(first), self.inner_values(second), context)
        self.gap(first, second)  # refuses a model without an order
        one, other = self.main(first), self.main(second)
        assert one is not None and other is not None
        return np.where((np.maximum(one, other) >= self.threshold)[:, None], inner, _SKIP)

    def card(self) -> dict[str, Any]:
        """Returns the inner model's card with the threshold."""
        return {**self.inner.card(), "skip_threshold": self.threshold, "skips": "where max(v1, v2) < skip_threshold"}


class Skips(Wrapping):
    """Skips a share of the queries, whatever is shown."""

    def __init__(self, inner: Response, rate: float) -> None:
        """Takes the share, in [0, 1)."""
        super().__init__(inner)
        if not 0 <= rate < 1:
            raise InvalidArgument("rate", "must be in [0, 1)", rate)
        self.rate = float(rate)

    def probabilities(self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None) -> FloatArray:
        """Returns (M, 4) for values of both sides."""
        inner = self.inner.probabilities(self.inner_values(first), self.inner_values(second), context)
        return np.asarray((1 - self.rate) * inner + self.rate * _SKIP)

    def card(self) -> dict[str, Any]:
        """Returns the inner model's card with the share."""
        return {**self.inner.card(), "skip_rate": self.rate, "skips": "with this probability, whatever is shown"}


class RaoKupper(Response):
    """Bradley-Terry with ties: P(FIRST) = σ(d − ln θ), P(SECOND) = σ(−d − ln θ), the rest a tie, d = β (v_1 − v_2).

    Rao & Kupper 1967 (https://doi.org/10.1080/01621459.1967.10482901). θ = 1 has no ties.
    """

    def __init__(self, beta: float, theta: float) -> None:
        """Takes β ≥ 0 in 1 / units of value and θ ≥ 1, both finite."""
        if not (math.isfinite(beta) and beta >= 0):
            raise InvalidArgument("beta", "must be finite and at least 0", beta)
        if not (math.isfinite(theta) and theta >= 1):
            raise InvalidArgument("theta", "must be finite and at least 1", theta)
        self.beta, self.theta = float(beta), float(theta)

    def probabilities(self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None) -> FloatArray:
        """Returns (M, 4) for (M,) values of both sides; swapping mirrors bit for bit."""
        difference = difference_of(first, second)
        with np.errstate(over="ignore"):
            odds = np.exp(-self.beta * np.abs(difference))
        better, worse = 1 / (1 + self.theta * odds), odds / (odds + self.theta)
        tie = (self.theta - 1) * better * ((self.theta + 1) * odds / (odds + self.theta))  # theta**2 - 1 would overflow
        is_first = difference > 0
        return columns(np.where(is_first, better, worse), np.where(is_first, worse, better), tie)

    def card(self) -> dict[str, Any]:
        """Returns formula, β, θ and source."""
        return {
            "kind": "rao_kupper", "formula": "P(first) = sigmoid(beta (v1 - v2) - ln theta); what is left of 1 is a tie",
            "beta": self.beta, "theta": self.theta, "source": "Rao & Kupper 1967, https://doi.org/10.1080/01621459.1967.10482901",
        }


class Davidson(Response):
    """Bradley-Terry with ties that leave the odds of strict answers alone: P ∝ e^(d/2), e^(−d/2), ν, with d = β (v_1 − v_2).

    Davidson 1970 (https://doi.org/10.1080/01621459.1970.10481082). ν = 0 has no ties.
    """

    def __init__(self, beta: float, nu: float) -> None:
        """Takes β ≥ 0 in 1 / units of value and ν ≥ 0, both finite."""
        if not (math.isfinite(beta) and beta >= 0):
            raise InvalidArgument("beta", "must be finite and at least 0", beta)
        if not (math.isfinite(nu) and nu >= 0):
            raise InvalidArgument("nu", "must be finite and at least 0", nu)
        self.beta, self.nu = float(beta), float(nu)

    def probabilities(self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None) -> FloatArray:
        """Returns (M, 4) for (M,) values of both sides; swapping mirrors bit for bit."""
        difference = difference_of(first, second)
        with np.errstate(over="ignore"):
            half = np.exp(-0.5 * self.beta * np.abs(difference))  # the odds of the worse side are its square
        total = 1 + half**2 + self.nu * half
        better, worse = 1 / total, half**2 / total
        is_first = difference > 0
        return columns(np.where(is_first, better, worse), np.where(is_first, worse, better), self.nu * half / total)

    def card(self) -> dict[str, Any]:
        """Returns formula, β, ν and source."""
        return {
            "kind": "davidson", "formula": "P(first) : P(second) : P(tie) = exp(d / 2) : exp(-d / 2) : nu, d = beta (v1 - v2)",
            "beta": self.beta, "nu": self.nu, "source": "Davidson 1970, https://doi.org/10.1080/01621459.1970.10481082",
        }


class BPrefThresholds(Wrapping):
    """B-Pref's Skip and Equal teachers: a threshold ε |R̄| H / T, taken anew every round.

    Lee et al. 2021 (https://arxiv.org/abs/2111.03026), section 3. R̄ is the mean gold return of the newest trajectories, H the
    segment's steps, T the episode's. Skip: unless max(v_1, v_2) − origin exceeds it; equal: where |v_1 − v_2| is below it.
    `origin` is 0 where R̄ ≥ 0, and else the worst segment of a frozen pool: measured from 0, every segment of a task whose
    gold is a cost would be skipped. `is_compat` reproduces the published code: ε multiplied twice from the second round
    on, and, R̄ taken with its sign, no threshold at all where it is negative.
    """

    def __init__(
        self, inner: Response, *, epsilon: float, kind: str, length: int, lowest: float = 0.0, is_compat: bool = False,
        threshold: float = 0.0, origin: float = 0.0,
    ) -> None:
        """Takes ε ≥ 0, "skip" or "equal", H, and the value of the worst segment of a frozen pool."""
        super().__init__(inner)
        if not (math.isfinite(epsilon) and epsilon >= 0):
            raise InvalidArgument("epsilon", "must be finite and at least 0", epsilon)
        if kind not in ("skip", "equal"):
            raise InvalidArgument("kind", "is not known", kind, "skip, equal")
        self.epsilon, self.kind, self.length, self.lowest, self.is_compat = float(epsilon), kind, length, float(lowest), is_compat
        self.threshold, self.origin = threshold, origin

    def in_round(self, stats: Any) -> Response:
        """Returns the teacher of the round: `stats` has mean_return (R̄), mean_length (T) and round, from 0."""
        inner = self.inner.in_round(stats)
        returns, steps = float(stats.get("mean_return", 0.0)), float(stats.get("mean_length", self.length))
        epsilon = self.epsilon**2 if self.is_compat and stats.get("round", 0.0) >= 1 else self.epsilon
        threshold = epsilon * (max(0.0, returns) if self.is_compat else abs(returns)) * self.length / max(1.0, steps)
        origin = 0.0 if self.is_compat or returns >= 0 else min(0.0, self.lowest)
        return BPrefThresholds(
            inner, epsilon=self.epsilon, kind=self.kind, length=self.length, lowest=self.lowest, is_compat=self.is_compat,
            threshold=threshold, origin=origin,
        )

    def probabilities(self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None) -> FloatArray:
        """Returns (M, 4) for values of both sides; without a threshold, the wrapped model's."""
        inner = self.inner.probabilities(first, second, context)
        gap = self.gap(first, second)
        if self.threshold <= 0:
            return inner
        if self.kind == "equal":
            return np.where((np.abs(gap) < self.threshold)[:, None], _TIE, inner)
        best = np.maximum(np.asarray(self.main(first)), np.asarray(self.main(second)))
        return np.where((best - self.origin > self.threshold)[:, None], inner, _SKIP)

    def card(self) -> dict[str, Any]:
        """Returns the inner model's card with the rule."""
        rule = "skips unless max(v1, v2) exceeds it" if self.kind == "skip" else "ties where |v1 - v2| is below it"
        return {
            **self.inner.card(), f"{self.kind}_epsilon": self.epsilon, "bpref_compat": self.is_compat,
            "threshold": f"epsilon * |mean return| * segment steps / episode steps, anew every round; {rule}",
            "source": "Lee et al. 2021 (B-Pref), https://arxiv.org/abs/2111.03026",
        }
