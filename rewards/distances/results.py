"""How a sampled distance is asked for, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass

from preflab.errors import InvalidArgument
from preflab.rewards.distances.resampling import Estimate


@dataclass(frozen=True)
class SampledSettings:
    """How a distance is estimated.

    Attributes:
        ridge: λ, in units of each diagonal entry of what is inverted: less removes more of a potential, more narrows an interval.
        n_resamples: bootstrap resamples of trajectories.
        confidence: of the interval.
    """

    ridge: float = 1e-3
    n_resamples: int = 300
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not self.ridge >= 0:
            raise InvalidArgument("ridge", "must be at least 0", self.ridge)


@dataclass(frozen=True, slots=True)
class SampledDistance:
    """A distance between two rewards on sampled steps.

    Attributes:
        kind: "val", "minimal", "epic" or "dard".
        distance: with its interval over trajectories; nan where noise hides whether a reward is trivial.
        maximum: what opposite rewards are at: 2 on STARC's scale, 1 on EPIC's and DARD's.
        cosine: of both canonical forms, debiased and therefore not confined to [−1, 1]; nan where one of them is trivial.
        distribution: whose steps it is about.
        n_points: steps.
        n_draws: draws at each of them.
    """

    kind: str
    distance: Estimate
    maximum: float
    cosine: float
    distribution: str
    n_points: int
    n_draws: int
