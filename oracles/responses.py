"""How two values become a choice: Boltzmann-rational, or always the better one. Other responses wrap or replace these."""

import math
from typing import Any

import numpy as np

from preflab.errors import InvalidArgument
from preflab.interfaces import AnswerContext, Response
from preflab.types import Choice, FloatArray

_MOST = float(np.finfo(np.float64).max)


class Boltzmann(Response):
    """Prefers the first with probability σ(β (v_1 − v_2)) and never ties or skips.

    Bradley & Terry 1952; Luce 1959; in this use Christiano et al. 2017, equation 1 (https://arxiv.org/abs/1706.03741).
    """

    def __init__(self, beta: float) -> None:
        """Takes β in 1 / units of value; raises `InvalidArgument` unless it is finite and at least 0."""
        if not (math.isfinite(beta) and beta >= 0):
            raise InvalidArgument("beta", "must be finite and at least 0 (Argmax is its limit)", beta)
        self.beta = float(beta)

    def probabilities(self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None) -> FloatArray:
        """Returns (M, 4) for (M,) values of both sides; TIE and SKIP are exactly 0; swapping mirrors bit for bit."""
        with np.errstate(over="ignore"):  # β · gap may be infinite; relative to the better side, that is odds of 0
            odds = np.exp(-self.beta * np.abs(difference_of(first, second)))
        p_worse, p_better = odds / (1 + odds), 1 / (1 + odds)
        is_first = np.asarray(first) > np.asarray(second)
        return columns(np.where(is_first, p_better, p_worse), np.where(is_first, p_worse, p_better))

    def card(self) -> dict[str, Any]:
        """Returns formula, β and source."""
        return {
            "kind": "boltzmann", "formula": "P(first) = 1 / (1 + exp(-beta (v1 - v2)))", "beta": self.beta,
            "source": "Bradley & Terry 1952; Christiano et al. 2017, https://arxiv.org/abs/1706.03741",
        }


class Argmax(Response):
    """Always prefers the better segment; a tie where values differ by no more than `tolerance` (0: exactly equal)."""

    def __init__(self, tolerance: float = 0.0) -> None:
        """Takes `tolerance` in units of value; raises `InvalidArgument` if it is negative or not finite."""
        if not (math.isfinite(tolerance) and tolerance >= 0):
            raise InvalidArgument("tolerance", "must be finite and at least 0", tolerance)
        self.tolerance = float(tolerance)

    def probabilities(self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None) -> FloatArray:
        """Returns (M, 4) of zeros and ones for (M,) values of both sides."""
        difference = difference_of(first, second)
        return columns(
            (difference > self.tolerance).astype(np.float64), (difference < -self.tolerance).astype(np.float64),
            (np.abs(difference) <= self.tolerance).astype(np.float64),
        )

    def card(self) -> dict[str, Any]:
        """Returns rule, tolerance and source."""
        return {
            "kind": "argmax", "formula": "the segment of higher value; a tie within the tolerance",
            "tolerance": self.tolerance,
            "source": "Lee et al. 2021 (B-Pref), https://arxiv.org/abs/2111.03026, Oracle teacher",
        }


def p_first_if_strict(probabilities: FloatArray) -> FloatArray:
    """Returns (M,) P(FIRST | FIRST or SECOND) of (M, 4) rows; ½ where no strict answer is possible."""
    first, second = probabilities[:, Choice.FIRST], probabilities[:, Choice.SECOND]
    strict = first + second
    return np.where(strict > 0, first / np.where(strict > 0, strict, 1.0), 0.5)


def difference_of(first: FloatArray, second: FloatArray) -> FloatArray:
    """Returns (M,) first − second; raises `InvalidArgument` unless both are (M,) and finite."""
    v_first, v_second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if v_first.shape != v_second.shape or v_first.ndim != 1:
        raise InvalidArgument("second", "must be (M,) values like first", (v_first.shape, v_second.shape))
    if not (np.isfinite(v_first).all() and np.isfinite(v_second).all()):
        bad = int((~np.isfinite(v_first)).sum() + (~np.isfinite(v_second)).sum())
        raise InvalidArgument("values", "must be finite", f"{bad} that are not", "finite gold and expert values")
    with np.errstate(over="ignore"):  # an infinite difference times a beta of 0 would be no number
        return np.clip(v_first - v_second, -_MOST, _MOST)


def columns(first: FloatArray, second: FloatArray, tie: FloatArray | None = None) -> FloatArray:
    """Returns (M, 4) of (M,) columns; nothing is skipped, and without `tie` nothing is a tie."""
    nothing = np.zeros(len(first))
    return np.stack([first, second, nothing if tie is None else tie, nothing], axis=1)
