"""How rational a simulated human is: β solved for an expected accuracy, and accuracy told apart by terminations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from preflab.errors import InvalidArgument, Refused
from preflab.interfaces import Response
from preflab.oracles.responses import p_first_if_strict
from preflab.seeding import generator
from preflab.types import BoolArray, Choice, FloatArray, IntArray

GROUPS = ("neither terminated", "both terminated", "mixed")
_ROUNDING = 1e-9  # of the largest value: a smaller difference is rounding and no judgment (Knox et al. 2022 round too)
_MOST_PAIRS = 100_000


@dataclass(frozen=True, slots=True)
class Calibration:
    """How β was found.

    Attributes:
        beta: inverse temperature, in 1 / units of value.
        target: expected accuracy asked for, on strict answers and before mistakes.
        achieved: the one that `beta` gives on the same pairs.
        n_pairs: pairs of equal termination status and different value that it was solved on.
        n_tied: pairs of equal termination status left out because both sides have one value.
    """

    beta: float
    target: float
    achieved: float
    n_pairs: int
    n_tied: int


def solve_beta(values: FloatArray, is_terminated: BoolArray, target: float) -> Calibration:
    """Returns the β with which Boltzmann answers are right with probability `target` on average.

    Accuracy(β) = mean over pairs of σ(β |v_1 − v_2|), which rises from ½ to 1, solved by bisection on log β. Pairs are
    of equal termination status, because across status the gap is mostly about episode length; pairs of one value have
    no right answer and are left out.

    Args:
        values: (N,) judged values of the calibration pool.
        is_terminated: (N,) whether the segment reached a true terminal.
        target: expected accuracy, above ½ and below 1.

    Raises:
        InvalidArgument: a target that no finite β reaches.
        Refused: there is no pair of equal termination status and different value.
    """
    if not 0.5 < target < 1:
        valid = "above 0.5 (guessing) and below 1 (which only beta=inf reaches)"
        raise InvalidArgument("target_accuracy", "cannot be reached by any finite beta above 0", target, valid)
    first, second = compared_pairs(len(values))
    is_equal = is_terminated[first] == is_terminated[second]
    gaps = np.abs(values[first] - values[second])[is_equal]
    strict = gaps[gaps > rounding(values)]
    if not len(strict):
        raise Refused(
            f"no beta can be calibrated: of {len(gaps)} pairs of equal termination status among {len(values)} "
            "segments, none has two different values; calibrate on more varied segments, or give beta itself, as in "
            "oracle.target_accuracy=null oracle.beta=1"
        )
    low, high = np.log(1e-6 / strict.max()), np.log(1e3 / strict.min())
    for _ in range(60):  # to 1e-17 of the bracket
        middle = 0.5 * (low + high)
        low, high = (low, middle) if _accuracy(middle, strict) > target else (middle, high)
    beta = float(np.exp(0.5 * (low + high)))
    return Calibration(beta, target, _accuracy(np.log(beta), strict), len(strict), len(gaps) - len(strict))


def agreement(values: FloatArray, is_terminated: BoolArray, response: Response) -> dict[str, Any]:
    """Returns how often strict answers name the segment of higher value: over all pairs, equal status, and each group.

    Each entry has `accuracy` (expected, mistakes included; None without such pairs), `n_pairs` of different value, and
    `tie_rate`, the mean of P(TIE), or of having one value where the response never ties. Every pair counts in either order:
    pools are sorted by who acted, and a bias for what is shown first would else be taken for accuracy.
    `values` are (N,), or (N, D) for a response that compares several.
    """
    one, other = compared_pairs(len(values))
    first, second = np.concatenate([one, other]), np.concatenate([other, one])
    probabilities = response.probabilities(values[first], values[second])
    p_first, p_tie = p_first_if_strict(probabilities), probabilities[:, Choice.TIE]
    p_strict = probabilities[:, Choice.FIRST] + probabilities[:, Choice.SECOND]
    main = response.main(values)
    difference = p_first - 0.5 if main is None else main[first] - main[second]  # without an order, the likelier answer is right
    is_strict = np.abs(difference) > (0.0 if main is None else rounding(main))
    p_right = np.where(difference > 0, p_first, 1 - p_first)
    n_terminated = is_terminated[first].astype(np.int64) + is_terminated[second]

    def entry(rows: BoolArray) -> dict[str, Any]:
        strict = rows & is_strict
        weight = p_strict[strict]  # a pair that is skipped or called even has no right answer
        return {
            "accuracy": float((weight * p_right[strict]).sum() / weight.sum()) if weight.sum() > 0 else None,
            "n_pairs": int(strict.sum()) // 2,
            "tie_rate": float(np.maximum(p_tie, ~is_strict)[rows].mean()) if rows.any() else None,
        }

    groups = {name: entry(n_terminated == count) for name, count in zip(GROUPS, (0, 2, 1), strict=True)}
    everything = np.ones(len(first), dtype=np.bool_)
    return {"all": entry(everything), "equal status": entry(n_terminated != 1), **groups}


def rounding(values: FloatArray) -> float:
    """Returns the difference of values below which they are one value."""
    return _ROUNDING * float(np.abs(values).max(initial=0.0))


def _accuracy(log_beta: float, gaps: FloatArray) -> float:
    with np.errstate(over="ignore"):
        return float((1 / (1 + np.exp(-np.exp(log_beta) * gaps))).mean())


def compared_pairs(n: int) -> tuple[IntArray, IntArray]:
    """Returns every unordered pair of n rows, or a fixed random 100,000 of them where there are more."""
    if n * (n - 1) // 2 <= _MOST_PAIRS:
        first, second = np.triu_indices(n, k=1)
        return first.astype(np.int64), second.astype(np.int64)
    rng = generator(0, "calibration pairs")
    first = rng.integers(n, size=_MOST_PAIRS)
    return first, (first + rng.integers(1, n, size=_MOST_PAIRS)) % n
