"""EPIC and DARD between rewards of a continuous task, from sampled steps, debiased as `sampled_starc` explains."""

from __future__ import annotations

import numpy as np

from preflab.errors import Refused
from preflab.rewards.distances.points import RewardFunction, Sample, Side, evaluated
from preflab.rewards.distances.products import grouped, pair_products
from preflab.rewards.distances.resampling import bootstrapped, group_numbers
from preflab.rewards.distances.results import SampledDistance, SampledSettings
from preflab.types import AnyArray, FloatArray


def epic_sampled(
    sample: Sample, first: Side, second: Side, gamma: float, rng: np.random.Generator, settings: SampledSettings | None = None,
    n_draws: int = 16,
) -> SampledDistance:
    """Returns √((1 − ρ) / 2) of R(s, a, s') + γR(s', A, S') − R(s, A, S') − γR(S, A, S'), in the mean over A, S, S' of the sample.

    Gleave et al. 2021, section 4 (https://arxiv.org/abs/2006.13900): A, S and S' are drawn each for itself, so rewards are asked
    about steps that cannot happen, of which a learned reward has seen none.

    Raises:
        Refused: a side is only recorded, or steps terminate.
    """
    asked = _anywhere("EPIC", sample, first, second)
    shape = (len(sample.obs), n_draws)
    actions = sample.taken.actions[rng.integers(len(sample.obs), size=shape), 0]
    begin, end = (sample.obs[rng.integers(len(sample.obs), size=shape)] for _ in range(2))
    return _pearson("epic", sample, asked, (actions, begin, end, end), gamma, rng, settings or SampledSettings())


def dard_sampled(
    sample: Sample, first: Side, second: Side, gamma: float, rng: np.random.Generator, settings: SampledSettings | None = None
) -> SampledDistance:
    """Returns √((1 − ρ) / 2) of R(s, a, s') + γR(s', A, S'') − R(s, A, S') − γR(S', A, S''), S' ~ T(s, A), S'' ~ T(s', A).

    Wulfe et al. 2022 (https://arxiv.org/abs/2201.10081). A is drawn from the sample's actions.

    Raises:
        Refused: the simulator was not restored, or a side is only recorded: nobody took the steps from S' to S''.
    """
    if sample.crossed is None:
        raise Refused(
            "DARD needs steps from s and from s' with one action, which only a restored simulator gives: keep simulator states and "
            "use branched_sample(…, n_crossed=4)"
        )
    asked = _anywhere("DARD", sample, first, second)
    actions, after, beyond = sample.crossed
    return _pearson("dard", sample, asked, (actions, after, after, beyond), gamma, rng, settings or SampledSettings())


def _anywhere(name: str, sample: Sample, first: Side, second: Side) -> tuple[RewardFunction, RewardFunction]:
    if isinstance(first, str) or isinstance(second, str):
        raise Refused(
            f"{name} asks rewards about steps that nobody took, and recorded gold is known only where the simulator paid it: hand "
            "over gold as a function of transitions, or compare by VAL or minimal"
        )
    if sample.taken.terminated.any():
        raise Refused(f"{name} knows no terminals: use VAL or minimal in a terminating form")
    return first, second


def _pearson(
    kind: str, sample: Sample, sides: tuple[RewardFunction, RewardFunction], drawn: tuple[AnyArray, AnyArray, AnyArray, AnyArray],
    gamma: float, rng: np.random.Generator, settings: SampledSettings,
) -> SampledDistance:
    """Returns √((1 − ρ) / 2) of R(s, a, s') + γR(s', A, Z) − R(s, A, Y) − γR(X, A, Z'), (A, X, Y, Z) drawn and Z' = Z."""
    actions, begin, near, far = drawn
    done = np.zeros(actions.shape[:2], np.bool_)
    obs, after = sample.obs[:, None], sample.taken.next_obs[:, :1]

    def canonical(side: RewardFunction) -> FloatArray:
        base = evaluated(side, obs, sample.taken.actions[:, :1], after, done[:, :1])
        ahead, here, met = (evaluated(side, x, actions, y, done) for x, y in ((after, far), (obs, near), (begin, far)))
        return base + gamma * ahead - here - gamma * met

    x = np.stack([canonical(side) for side in sides], -1)
    groups, n_groups = group_numbers(sample.trajectory)
    products, counts = pair_products(x, groups, n_groups), np.bincount(groups).astype(np.float64)
    sums = grouped(x.mean(1), np.ones((len(x), 1)), groups, n_groups)[..., 0]

    def correlation(weights: FloatArray) -> float:
        n, mean = weights @ counts, weights @ sums / (weights @ counts)
        spread = np.tensordot(weights, products, 1) / n - np.outer(mean, mean)
        size = float(spread[0, 0] * spread[1, 1])
        return float(spread[0, 1] / np.sqrt(size)) if spread[0, 0] > 0 and spread[1, 1] > 0 else float("nan")

    estimate = bootstrapped(
        lambda weights: float(np.sqrt((1 - np.clip(correlation(weights), -1, 1)) / 2)), n_groups, rng,
        n_resamples=settings.n_resamples, confidence=settings.confidence,
    )
    cosine = correlation(np.ones(n_groups))
    return SampledDistance(kind, estimate, 1.0, cosine, sample.distribution, len(x), x.shape[1])
