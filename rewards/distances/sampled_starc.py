"""STARC distances between rewards of a continuous task, from sampled steps; each about the distribution that its sample names.

One draw at a point estimates the canonical form of a reward there without bias. Products of two different draws average to the
product of canonical forms, where squares of one draw would add its noise; so norms and angles are debiased, and noise makes an
interval wider instead of a distance larger. The potential that is fitted is noisy too: both factors of a product take theirs from
different thirds of the trajectories, and the product is taken on the last third.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preflab.errors import InvalidArgument, Refused
from preflab.rewards.distances.features import Features
from preflab.rewards.distances.points import Draws, Sample, Side
from preflab.rewards.distances.products import grouped, pair_products
from preflab.rewards.distances.resampling import bootstrapped, group_numbers
from preflab.rewards.distances.results import SampledDistance, SampledSettings
from preflab.types import FloatArray, IntArray

_FOLDS = 3
_MOST_GROUPS = 60  # trajectories are resampled in so many blocks of them at most: each keeps a square of all features
_TRIVIAL = 1e-10  # of the mean square of a reward: less than this of it is rounding
_SPREAD = 1e-12  # of a feature: one that moves less is constant


def val_sampled(
    sample: Sample, first: Side, second: Side, features: Features, gamma: float, rng: np.random.Generator,
    settings: SampledSettings | None = None,
) -> SampledDistance:
    """Returns the STARC distance √(2 − 2 cos) of E_{s'}[R + γV^π(s') − V^π(s)], V^π by least-squares temporal differences.

    V^π = φ·w with Σ φ(s) (φ(s) − γφ(s')) w = Σ φ(s) R over steps under π (Bradtke & Barto 1996,
    https://doi.org/10.1007/BF00114723), the same φ for both rewards: w is linear in R, so errors of V^π are a potential of either
    reward's own and what shaping adds within φ cancels exactly.

    Args:
        sample: points, with steps under π.
        first: a reward function, or "recorded".
        second: the same.
        features: φ.
        gamma: of V^π.
        rng: splits and resamples trajectories.
        settings: ridge and interval.

    Raises:
        Refused: the sample has no steps under π.
    """
    if sample.under_policy is None:
        raise Refused(
            "VAL needs V^π, and the sample has no steps under π: give `branched_sample` a policy, say of `recorded_sample` that "
            "is_of_policy, or compare by `minimal_sampled`, which needs no policy"
        )
    groups, n_groups = _blocks(sample)
    here = features(sample.obs)
    apart = here - gamma * _after(features, sample.under_policy).mean(1)
    paid = np.stack([sample.under_policy.rewards(sample.obs, side).mean(1) for side in (first, second)], -1)
    system, target = grouped(here, apart, groups, n_groups), grouped(here, paid, groups, n_groups)
    return _starc("val", sample, _Sums(_moments(sample, (first, second), features, gamma), system, target, here), rng, settings)


def minimal_sampled(
    sample: Sample, first: Side, second: Side, features: Features, gamma: float, rng: np.random.Generator,
    settings: SampledSettings | None = None,
) -> SampledDistance:
    """Returns the STARC distance √(2 − 2 cos) of what no potential φ·w explains: residuals of R on φ(s) − γ E φ(s'), by ridge.

    The minimal canonical form under the norm of the sampled steps; no policy is evaluated. Takes what `val_sampled` takes.
    """
    moments = _moments(sample, (first, second), features, gamma)
    sums = _Sums(moments, moments[:, 2:, 2:], -moments[:, 2:, :2], features(sample.obs))
    return _starc("minimal", sample, sums, rng, settings)


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums over each of G trajectories, or blocks of them.

    Attributes:
        moments: (G, 2 + P, 2 + P) `pair_products` of both rewards and of γφ(s') − φ(s).
        system: (G, P, P) of the equations whose solution w is the fitted potential φ·w,
        target: (G, P, 2) for both rewards.
        here: (B, P) φ(s).
    """

    moments: FloatArray
    system: FloatArray
    target: FloatArray
    here: FloatArray

    def products(self, weights: FloatArray, fold: IntArray, ridge: float) -> FloatArray:
        """Returns (2, 2) products of R + (γφ(s') − φ(s))·w, each fold's with w of the two others.

        A constant feature is not shrunk, so that a constant shift goes without a trace.
        """
        is_constant = (np.ptp(self.here, axis=0) <= _SPREAD) & (np.abs(self.here[0]) > _SPREAD)
        shrunk = np.where(is_constant, 0.0, ridge)
        folds = [np.flatnonzero(fold == one) for one in range(_FOLDS)]
        fitted = [_ridge(_sum(self.system, mine, weights), _sum(self.target, mine, weights), shrunk) for mine in folds]
        found = np.zeros((2, 2))
        for one, mine in enumerate(folds):
            left, right = (np.concatenate([np.eye(2), fitted[(one + other) % _FOLDS]]) for other in (1, 2))
            found += left.T @ _sum(self.moments, mine, weights) @ right
        return (found + found.T) / 2


def _starc(
    kind: str, sample: Sample, sums: _Sums, rng: np.random.Generator, settings: SampledSettings | None
) -> SampledDistance:
    cfg, n_groups = settings or SampledSettings(), len(sums.moments)
    if n_groups < 2 * _FOLDS:
        raise InvalidArgument("sample", f"must have at least {2 * _FOLDS} trajectories", n_groups)
    fold, square = rng.permutation(n_groups) % _FOLDS, sums.moments[:, [0, 1], [0, 1]]

    def angle(weights: FloatArray) -> tuple[float, float]:
        return _angle(sums.products(weights, fold, cfg.ridge), weights @ square)

    estimate = bootstrapped(
        lambda weights: angle(weights)[0], n_groups, rng, n_resamples=cfg.n_resamples, confidence=cfg.confidence, strata=fold,
    )
    cosine = angle(np.ones(n_groups))[1]
    return SampledDistance(kind, estimate, 2.0, cosine, sample.distribution, len(sample.obs), sample.taken.terminated.shape[1])


def _after(features: Features, draws: Draws) -> FloatArray:
    """Returns (B, K, P) features of next states, 0 after a true termination."""
    shape = draws.terminated.shape
    found = features(draws.next_obs.reshape(-1, *draws.next_obs.shape[2:])).reshape(*shape, -1)
    return np.where(draws.terminated[..., None], 0.0, found)


def _moments(sample: Sample, sides: tuple[Side, Side], features: Features, gamma: float) -> FloatArray:
    groups, n_groups = _blocks(sample)
    paid = np.stack([sample.taken.rewards(sample.obs, side) for side in sides], -1)
    apart = gamma * _after(features, sample.taken) - features(sample.obs)[:, None]
    return pair_products(np.concatenate([paid, apart], -1), groups, n_groups)


def _blocks(sample: Sample) -> tuple[IntArray, int]:
    """Returns (B,) the block of trajectories of each point, and how many there are."""
    groups, n_groups = group_numbers(sample.trajectory)
    return groups % _MOST_GROUPS, min(n_groups, _MOST_GROUPS)


def _sum(parts: FloatArray, rows: IntArray, weights: FloatArray) -> FloatArray:
    """Returns the weighted sum of (G, …) `parts` over `rows`."""
    return np.asarray(np.tensordot(weights[rows], parts[rows], 1))


def _angle(products: FloatArray, square: FloatArray) -> tuple[float, float]:
    """Returns √(n₁ + n₂ − 2 cos) with n = 0 for a trivial reward and else 1, and the cosine; nan where noise outweighs a norm."""
    size = np.diag(products)
    is_there = size > _TRIVIAL * np.abs(square)
    is_hidden = size < -_TRIVIAL * np.abs(square)
    if is_hidden.any():
        return float("nan"), float("nan")
    if not is_there.all():
        return float(np.sqrt(is_there.sum())), float("nan")
    cosine = float(products[0, 1] / np.sqrt(size[0] * size[1]))
    return float(np.sqrt(2 - 2 * np.clip(cosine, -1, 1))), cosine


def _ridge(system: FloatArray, target: FloatArray, ridge: FloatArray) -> FloatArray:
    """Returns w of (system + diag(ridge · diagonal)) w = target; `ridge` is (P,). A feature that never showed has w = 0."""
    diagonal = np.diag(system)
    return np.asarray(np.linalg.solve(system + np.diag(np.where(diagonal == 0, 1.0, ridge * diagonal.clip(min=0.0))), target))
