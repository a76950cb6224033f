"""How well a preference model predicts answers: pure functions of predicted probabilities and choices.

`p_first` (M,) are predicted probabilities that the first segment is preferred, `choice` (M,) answers over {FIRST,
SECOND, TIE}. Accuracy, Brier score and calibration are over strict answers; ties enter the log loss at ½.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from preflab.errors import InvalidArgument
from preflab.interfaces import FitReport, LearnerContext, PreferenceModel
from preflab.types import AnyArray, BoolArray, Choice, Comparisons, FloatArray, IntArray, TrajectoryStore

_TINY = 1e-12
_MOST_BYTES = 1 << 28


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationCurve:
    """Predicted against observed shares, for a plot; empty bins are left out.

    Attributes:
        predicted: (B,) mean predicted probability that the first segment wins, per bin.
        observed: (B,) share of answers FIRST, per bin.
        count: (B,) answers in the bin.
        error: Σ count |predicted − observed| / Σ count, the expected calibration error.
    """

    predicted: FloatArray
    observed: FloatArray
    count: IntArray
    error: float


def accuracy(p_first: npt.ArrayLike, choice: npt.ArrayLike) -> float:
    """Returns the share of strict answers on the predicted side; a prediction of exactly ½ counts ½; nan without any.

    >>> accuracy([0.9, 0.2, 0.5, 0.9], [Choice.FIRST, Choice.FIRST, Choice.SECOND, Choice.TIE])
    0.5
    """
    predicted, target = _strict(p_first, choice)
    right = np.where(predicted == 0.5, 0.5, (predicted > 0.5) == (target == 1.0))
    return float(right.mean()) if len(right) else float("nan")


def log_loss(p_first: npt.ArrayLike, choice: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> float:
    """Returns the (weighted) mean cross-entropy in nats, ties at ½; nan without answers.

    >>> round(log_loss([0.5, 0.25], [Choice.FIRST, Choice.SECOND]), 4)
    0.4904
    """
    predicted, answers = _checked(p_first, choice)
    if not len(answers):
        return float("nan")
    target = np.array([1.0, 0.0, 0.5])[answers]
    predicted = predicted.clip(_TINY, 1 - _TINY)
    nats = -(target * np.log(predicted) + (1 - target) * np.log1p(-predicted))
    return float(np.average(nats, weights=None if weight is None else np.asarray(weight, dtype=np.float64)))


def brier(p_first: npt.ArrayLike, choice: npt.ArrayLike) -> float:
    """Returns the mean squared error of probabilities on strict answers; nan without any.

    >>> round(brier([1.0, 0.5], [Choice.FIRST, Choice.SECOND]), 3)
    0.125
    """
    predicted, target = _strict(p_first, choice)
    return float(((predicted - target) ** 2).mean()) if len(target) else float("nan")


def calibration(
    p_first: npt.ArrayLike, choice: npt.ArrayLike, n_bins: int = 10, is_adaptive: bool = False
) -> CalibrationCurve:
    """Returns the calibration curve over strict answers, in bins of equal width on [0, 1], or of equal count.

    The expected calibration error of a perfectly calibrated model is not 0 but about √(2 p (1 − p) / (π count)) a bin:
    with few answers it is biased upward (Kumar, Liang & Ma 2019, https://arxiv.org/abs/1909.10155).

    Args:
        p_first: (M,).
        choice: (M,).
        n_bins: how many, at most.
        is_adaptive: equal count instead of equal width; equal predictions share a bin.

    Raises:
        InvalidArgument: `n_bins` < 1.
    """
    if n_bins < 1:
        raise InvalidArgument("n_bins", "must be at least 1", n_bins)
    predicted, target = _strict(p_first, choice)
    place = (stats.rankdata(predicted) - 0.5) / max(1, len(predicted)) if is_adaptive else predicted
    bins = np.minimum((place * n_bins).astype(np.int64), n_bins - 1)
    count = np.bincount(bins, minlength=n_bins)
    filled = count > 0
    mean_predicted = np.bincount(bins, predicted, n_bins)[filled] / count[filled]
    mean_observed = np.bincount(bins, target, n_bins)[filled] / count[filled]
    count = count[filled]
    error = float((count * np.abs(mean_predicted - mean_observed)).sum() / count.sum()) if len(target) else float("nan")
    return CalibrationCurve(mean_predicted, mean_observed, count, error)


def ece(p_first: npt.ArrayLike, choice: npt.ArrayLike, n_bins: int = 10) -> float:
    """Returns the expected calibration error of `calibration`: `n_bins` bins of equal width, strict answers."""
    return calibration(p_first, choice, n_bins).error


def ace(p_first: npt.ArrayLike, choice: npt.ArrayLike, n_bins: int = 10) -> float:
    """Returns the adaptive calibration error: that of `calibration` in `n_bins` bins of equal count, strict answers.

    Nixon et al. 2019 (https://arxiv.org/abs/1904.01685). Sees what equal widths put into one bin: predictions that crowd.
    """
    return calibration(p_first, choice, n_bins, is_adaptive=True).error


def temperature(p_first: npt.ArrayLike, choice: npt.ArrayLike) -> float:
    """Returns the T at which `tempered` predictions have the least log loss on these answers, ties at ½.

    Guo et al. 2017, section 4.2 (https://arxiv.org/abs/1706.04599): the loss is convex in 1/T, whose root is found by bisection
    between 1e-3 and 1e3; 1e3 where predictions are worse than none, 1e-3 where they are never wrong. Above 1 the model was too
    sure. Fit it on other answers than those it is reported on.
    """
    predicted, answers = _checked(p_first, choice)
    if not len(answers):
        return float("nan")
    target, logit = np.array([1.0, 0.0, 0.5])[answers], _logit(predicted)
    if not logit.any():
        return 1.0
    low, high = np.log(1e-3), np.log(1e3)
    for _ in range(60):
        middle = 0.5 * (low + high)
        slope = float(((special.expit(np.exp(middle) * logit) - target) * logit).sum())
        low, high = (middle, high) if slope <= 0 else (low, middle)
    return float(np.exp(-0.5 * (low + high)))


def tempered(p_first: npt.ArrayLike, temperature: float) -> FloatArray:
    """Returns σ(logit(p) / T), (M,).

    >>> tempered([0.5, 0.9], 2.0).round(3).tolist()
    [0.5, 0.75]
    """
    if not temperature > 0:
        raise InvalidArgument("temperature", "must be above 0", temperature)
    return np.asarray(special.expit(_logit(np.asarray(p_first, dtype=np.float64)) / temperature))


def best_possible_accuracy(probabilities: FloatArray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Returns the accuracy that nobody can beat on strict answers, and between what it may come out on M such answers.

    The expectation is mean max(p_F, p_S) / (p_F + p_S); the interval is where the best predictor's accuracy on as many
    answers falls with probability `confidence`: Wilson's binomial interval around the expectation
    (https://doi.org/10.1080/01621459.1927.10502953), a little wide where chances differ between pairs. Queries that are
    never answered strictly are left out.

    Args:
        probabilities: (M, 4) of FIRST, SECOND, TIE, SKIP, given what the learner sees.
        confidence: in (0, 1).
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or probabilities.shape[1] != 4:
        raise InvalidArgument("probabilities", "must be (M, 4)", probabilities.shape)
    if not 0 < confidence < 1:
        raise InvalidArgument("confidence", "must be in (0, 1)", confidence)
    strict = probabilities[:, [Choice.FIRST, Choice.SECOND]]
    strict = strict[strict.sum(1) > 0]
    n = len(strict)
    if not n:
        return float("nan"), float("nan"), float("nan")
    estimate = float((strict.max(1) / strict.sum(1)).mean())
    z_squared = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    middle = (estimate + z_squared / (2 * n)) / (1 + z_squared / n)
    half = np.sqrt(z_squared * (estimate * (1 - estimate) / n + z_squared / (4 * n**2))) / (1 + z_squared / n)
    return estimate, float(max(0.0, middle - half)), float(min(1.0, middle + half))


def pearson_distance(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Returns √((1 − ρ) / 2) in [0, 1]: 0 for a positive affine function of the other, 1 for a negative one.

    Gleave et al. 2021, section 4 (https://arxiv.org/abs/2006.13900); nan where one of both is constant.

    >>> pearson_distance([1, 2, 3], [10, 20, 30]), pearson_distance([1, 2, 3], [3, 2, 1])
    (0.0, 1.0)
    """
    a, b = (np.asarray(values, dtype=np.float64).reshape(-1) for values in (x, y))
    if a.shape != b.shape:
        raise InvalidArgument("y", "must have as many entries as x", (a.shape, b.shape))
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    if norm == 0.0:
        return float("nan")
    return float(np.sqrt(max(0.0, 1.0 - float(a @ b) / norm) / 2))


def predicted(model: PreferenceModel, pool: TrajectoryStore, comparisons: Comparisons) -> FloatArray:
    """Returns (M,) probabilities that the first segment is preferred; segments are gathered 256 MB at a time."""
    each = 2 * (comparisons.first.length + 1) * max(1, pool.observations[:1].nbytes)
    size = max(1, _MOST_BYTES // each)
    parts = [comparisons[first : first + size] for first in range(0, max(1, len(comparisons)), size)]
    found = [model.prob_first(pool.gather(part.first), pool.gather(part.second)) for part in parts]
    return np.concatenate(found)


def fit_report(
    model: PreferenceModel, comparisons: Comparisons, context: LearnerContext, n_steps: int,
    scalars: Mapping[str, float] | None = None,
) -> FitReport:
    """Returns how well `model` predicts the data it was fitted to."""
    p_first = predicted(model, context.pool, comparisons)
    return FitReport(
        n_comparisons=len(comparisons), n_steps=n_steps,
        train_log_loss=log_loss(p_first, comparisons.choice, comparisons.weight),
        train_accuracy=accuracy(p_first, comparisons.choice), scalars=dict(scalars or {}),
    )


def _checked(p_first: npt.ArrayLike, choice: npt.ArrayLike) -> tuple[FloatArray, AnyArray]:
    predicted, answers = np.asarray(p_first, dtype=np.float64), np.asarray(choice, dtype=np.int64)
    if predicted.ndim != 1 or predicted.shape != answers.shape:
        raise InvalidArgument("choice", "must be (M,) like p_first", (predicted.shape, answers.shape))
    if len(predicted) and not (np.isfinite(predicted).all() and predicted.min() >= 0 and predicted.max() <= 1):
        outside = [float(predicted.min()), float(predicted.max())]
        raise InvalidArgument("p_first", "must be probabilities", outside, "[0, 1]")
    if not np.isin(answers, (Choice.FIRST, Choice.SECOND, Choice.TIE)).all():
        raise InvalidArgument("choice", "must be FIRST, SECOND or TIE", sorted(set(answers.tolist())), "0, 1 or 2")
    return predicted, answers


def _logit(probability: FloatArray) -> FloatArray:
    return np.asarray(special.logit(probability.clip(_TINY, 1 - _TINY)))


def _strict(p_first: npt.ArrayLike, choice: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    predicted, answers = _checked(p_first, choice)
    is_strict: BoolArray = answers != Choice.TIE
    return predicted[is_strict], (answers[is_strict] == Choice.FIRST).astype(np.float64)
