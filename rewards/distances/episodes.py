"""How far two rewards agree on what was done: returns of whole episodes, ranks of steps. Neither removes shaping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from preflab.errors import InvalidArgument
from preflab.rewards.distances.points import RewardFunction
from preflab.rewards.distances.resampling import Estimate, bootstrapped, group_numbers
from preflab.types import AnyArray, FloatArray, Transitions


def episode_returns(rewards: npt.ArrayLike, trajectory: AnyArray, gamma: float = 1.0) -> FloatArray:
    """Returns (E,) Σ_t γ^t r_t of each episode, for (N,) rewards of steps in order and (N,) the episode of each.

    >>> episode_returns([1.0, 1.0, 5.0], np.array([0, 0, 1]), gamma=0.5)
    array([1.5, 5. ])
    """
    steps = np.asarray(rewards, dtype=np.float64)
    if steps.shape != trajectory.shape or steps.ndim != 1:
        raise InvalidArgument("trajectory", "must be (N,) like rewards", (steps.shape, trajectory.shape))
    groups, n_groups = group_numbers(trajectory)
    if (np.diff(groups) < 0).any():
        raise InvalidArgument("trajectory", "must have the steps of an episode together and in order", "steps that are not")
    begins = np.concatenate([[0], np.cumsum(np.bincount(groups, minlength=n_groups))[:-1]])
    discount = gamma ** (np.arange(len(steps)) - begins[groups])
    return np.bincount(groups, steps * discount, n_groups).astype(np.float64)


def episode_return_distance(
    first: npt.ArrayLike, second: npt.ArrayLike, rng: np.random.Generator, n_resamples: int = 500
) -> Estimate:
    """Returns the ERC distance √((1 − ρ) / 2) in [0, 1] of (E,) episode returns, with its bootstrap interval over episodes.

    Episode return correlation, a baseline of Gleave et al. 2021 (https://arxiv.org/abs/2006.13900); ρ is Pearson's. It is about the
    policy that made the episodes and no other, and shaping is neutral only where Φ is one number at all starts and 0 at all ends.
    nan where returns are constant.
    """
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise InvalidArgument("second", "must be (E,) like first", (x.shape, y.shape))

    def distance(weights: FloatArray) -> float:
        return float(np.sqrt((1 - np.clip(_pearson(x, y, weights), -1, 1)) / 2))

    return bootstrapped(distance, len(x), rng, n_resamples=n_resamples)


@dataclass(frozen=True, slots=True)
class RankCorrelations:
    """Spearman's rank correlation of two rewards' step rewards.

    Attributes:
        reference: on steps of the reference policy.
        optimized: on steps of the policy that was optimized for one of both. Well below `reference`, it says that the proxy was
            left where it had been right.
    """

    reference: Estimate
    optimized: Estimate


def rank_correlations(
    first: RewardFunction, second: RewardFunction, reference: tuple[Transitions, AnyArray], optimized: tuple[Transitions, AnyArray],
    rng: np.random.Generator, n_resamples: int = 200,
) -> RankCorrelations:
    """Returns how alike `first` and `second` rank steps before and after optimization, with bootstrap intervals over trajectories.

    Args:
        first: a reward of steps.
        second: another.
        reference: steps of the reference policy, and (B,) the trajectory of each.
        optimized: steps of the optimized policy, and the same.
        rng: resamples trajectories.
        n_resamples: how often.
    """
    found = []
    for steps, trajectory in (reference, optimized):
        x, y = (np.asarray(side(steps), dtype=np.float64) for side in (first, second))
        found.append(rank_correlation(x, y, trajectory, rng, n_resamples))
    return RankCorrelations(*found)


def rank_correlation(
    first: FloatArray, second: FloatArray, trajectory: AnyArray, rng: np.random.Generator, n_resamples: int = 200
) -> Estimate:
    """Returns Spearman's rank correlation of (B,) rewards, with its interval over trajectories (B,); nan if one is constant."""
    if not first.shape == second.shape == trajectory.shape or first.ndim != 1:
        raise InvalidArgument("trajectory", "must be (B,) like both rewards", (first.shape, second.shape, trajectory.shape))
    groups, n_groups = group_numbers(trajectory)

    def spearman(weights: FloatArray) -> float:
        rows = np.repeat(np.arange(len(first)), weights.astype(np.int64)[groups])
        return _pearson(stats.rankdata(first[rows]), stats.rankdata(second[rows]), np.ones(len(rows)))

    return bootstrapped(spearman, n_groups, rng, n_resamples=n_resamples)


def _pearson(x: FloatArray, y: FloatArray, weights: FloatArray) -> float:
    """Returns the weighted correlation of x and y; nan where one is constant."""
    share = weights / weights.sum()
    a, b = x - share @ x, y - share @ y
    spread = [float(np.sqrt(share @ each**2)) for each in (a, b)]
    if any(size <= 1e-12 * np.abs(each).max() for size, each in zip(spread, (x, y), strict=True)):
        return float("nan")
    return float(share @ (a * b)) / (spread[0] * spread[1])
