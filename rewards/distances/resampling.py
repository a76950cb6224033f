"""Intervals by resampling whole trajectories: steps of one trajectory are no independent evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from preflab.errors import InvalidArgument
from preflab.types import AnyArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its percentile bootstrap interval over groups (Efron 1979, https://doi.org/10.1214/aos/1176344552).

    Attributes:
        value: from all groups; nan where it is not defined.
        low: lower end.
        high: upper end.
        confidence: of the interval.
        n_groups: trajectories, blocks of them, or episodes, that were resampled.
        share_undefined: of the resamples; they are left out of the interval, so that one with many of them says little.
    """

    value: float
    low: float
    high: float
    confidence: float
    n_groups: int
    share_undefined: float = 0.0


def group_weights(n_groups: int, n_resamples: int, rng: np.random.Generator, strata: IntArray | None = None) -> FloatArray:
    """Returns (n_resamples, n_groups) how often each group is drawn, as many in a stratum (n_groups,) as it has."""
    stratum = np.zeros(n_groups, np.int64) if strata is None else strata
    weights = np.zeros((n_resamples, n_groups))
    for one in np.unique(stratum):
        mine = np.flatnonzero(stratum == one)
        weights[:, mine] = rng.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), size=n_resamples)
    return weights


def bootstrapped(
    statistic: Callable[[FloatArray], float], n_groups: int, rng: np.random.Generator, *, n_resamples: int = 500,
    confidence: float = 0.95, strata: IntArray | None = None,
) -> Estimate:
    """Returns `statistic` of group weights (n_groups,), all 1, with its interval over resampled weights.

    Raises:
        InvalidArgument: fewer than 2 groups, or a confidence outside (0, 1).
    """
    if n_groups < 2:
        raise InvalidArgument("n_groups", "must be at least 2, or nothing can be resampled", n_groups)
    if not 0 < confidence < 1:
        raise InvalidArgument("confidence", "must be in (0, 1)", confidence)
    every = np.array([statistic(each) for each in group_weights(n_groups, n_resamples, rng, strata)])
    found = every[np.isfinite(every)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail]) if len(found) else (np.nan, np.nan)
    share = 1 - len(found) / max(1, len(every))
    return Estimate(statistic(np.ones(n_groups)), float(low), float(high), confidence, n_groups, share)


def group_numbers(names: AnyArray) -> tuple[IntArray, int]:
    """Returns (N,) groups counted from 0 in the order of their names, and how many there are."""
    distinct, numbers = np.unique(names, return_inverse=True)
    return numbers.reshape(-1).astype(np.int64), len(distinct)
