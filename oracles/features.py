"""What a human may look at, by name: gold, its factors, numbers of the observation and the action, step by step."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from preflab.errors import InvalidArgument, Refused, UnknownName
from preflab.interfaces import Judgment
from preflab.oracles.judgments import real_steps
from preflab.types import AnyArray, FloatArray, ScoredSegments

HOW = ("sum", "mean", "last")
_PART = re.compile(r"(abs_)?(obs|act)(?:_(\w+?))?_(\d+)")


@dataclass(frozen=True)
class Feature:
    """One number a step, by name.

    Attributes:
        name: a factor of the task; `gold`; `obs_3`, a number of the observation that the step led to (of a Discrete one:
            whether it is 3; of a Dict's part, `obs_part_3`); `act_0`, a number of the action; `abs_obs_3`, its absolute value.
        factor_names: of the task, in the order of `ScoredSegments.factors`.
    """

    name: str
    factor_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.name not in (*self.factor_names, "gold") and not _PART.fullmatch(self.name):
            raise UnknownName("feature", self.name, [*self.factor_names, "gold", "obs_0", "abs_obs_0", "act_0"])

    @property
    def needs_observations(self) -> bool:
        """Whether it reads observations or actions."""
        return _PART.fullmatch(self.name) is not None

    @property
    def needs_factors(self) -> bool:
        """Whether it reads gold's factors."""
        return self.name in self.factor_names

    def steps(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N, L) numbers; on padding, whatever stands there."""
        if self.name in self.factor_names:
            return scored.factors[..., self.factor_names.index(self.name)]
        if self.name == "gold":
            return scored.gold_rewards
        return self._part(scored)

    def _part(self, scored: ScoredSegments) -> FloatArray:
        match = _PART.fullmatch(self.name)
        assert match is not None
        is_absolute, kind, part, number = match.groups()
        array: AnyArray = scored.segments.observations[:, 1:] if kind == "obs" else scored.segments.actions
        names = array.dtype.names
        if (part is None) != (names is None) or (names is not None and part not in names):
            valid = ", ".join(f"obs_{name}_0" for name in names) if names else f"{kind}_{number}"
            raise InvalidArgument("feature", f"must name a part of the {kind}", self.name, valid)
        array = array[part] if part is not None else array
        if array.ndim == 2 and array.dtype.kind in "iu":
            return np.asarray(array == int(number), dtype=np.float64)
        n_numbers = math.prod(array.shape[2:])  # reshape cannot find it out where there is no segment
        flat = array.reshape(*array.shape[:2], n_numbers)
        if int(number) >= n_numbers:
            named = self.name[: -len(number)]
            raise InvalidArgument("feature", f"must be below {named}{n_numbers}", self.name)
        found = np.asarray(flat[..., int(number)], dtype=np.float64)
        return np.abs(found) if is_absolute else found


class FeatureJudgment(Judgment):
    """What judgments by named features share: which arrays they read, and numbers of a segment from numbers of its steps."""

    def __init__(self, names: Sequence[str], factor_names: Sequence[str], how: str) -> None:
        """Looks at the features `names`, each summed over a segment's real steps, averaged, or at the last of them.

        Raises:
            InvalidArgument: no name, or `how` is none of `HOW`.
            UnknownName: a name that is no `Feature`.
        """
        if how not in HOW:
            raise InvalidArgument("how", "is not known", how, ", ".join(HOW))
        if not names:
            raise InvalidArgument("features", "must name at least one", list(names), ", ".join(factor_names))
        self.features = tuple(Feature(name, tuple(factor_names)) for name in names)
        self.how = how
        self.needs_observations = any(feature.needs_observations for feature in self.features)
        self.needs_factors = any(feature.needs_factors for feature in self.features)

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names."""
        return tuple(feature.name for feature in self.features)

    def of_steps(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N, L, F), 0 where no step really happened."""
        mask = real_steps(scored.segments)
        return np.stack([np.where(mask, feature.steps(scored), 0.0) for feature in self.features], axis=2)

    def of_segments(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N, F): sums, means or last numbers over the steps that really happened; `InvalidArgument` if not finite."""
        steps, mask = np.ascontiguousarray(self.of_steps(scored)), real_steps(scored.segments)
        n_real = mask.sum(axis=1)
        if self.how == "last":
            found = steps[np.arange(len(steps)), np.maximum(n_real - 1, 0)]
        else:
            summed = steps.sum(axis=1)
            found = summed if self.how == "sum" else summed / np.maximum(n_real, 1)[:, None]
        if not np.isfinite(found).all():
            bad = [name for name, is_finite in zip(self.names, np.isfinite(found).all(axis=0), strict=True) if not is_finite]
            raise InvalidArgument("features", "must be finite on real steps", ", ".join(bad))
        return np.asarray(found)


class SegmentFeatures(FeatureJudgment):
    """Judges nothing yet: (N, F) numbers of a segment, for a response that compares them one after another."""

    def values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N, F) features; absorbing steps count nothing."""
        return self.of_segments(scored)

    def card(self) -> dict[str, Any]:
        """Returns the features and how steps become one number."""
        return {"kind": "features", "formula": f"{self.how} over real steps of each feature", "features": list(self.names)}


class IdealPoint(FeatureJudgment):
    """Prefers what is near an ideal: −‖(φ(σ) − a) / spread‖, or −Σ_t ‖(φ(s_t, a_t, s_{t+1}) − a) / spread‖ step by step.

    Of segments: Coombs 1950; in reward learning PAL-A, Chen et al. 2024 (https://arxiv.org/abs/2406.08469), where φ is
    learned. Of steps, a is a goal that only this human knows: the users of VPL, Poddar et al. 2024
    (https://arxiv.org/abs/2408.10075), section 6; a distance is a cost, so where episodes may end early, an early end is
    the nearest way to no distance at all.
    """

    def __init__(
        self, ideal: Mapping[str, float], factor_names: Sequence[str], *, spreads: FloatArray | None = None, by_step: bool = False,
    ) -> None:
        """Takes the ideal value of each feature.

        Args:
            ideal: by feature, in the feature's own units: of its mean over a segment, or of a step.
            factor_names: of the task.
            spreads: (F,) units of distance, above 0; 1 by default.
            by_step: whether every step is held against the ideal, or the segment's means.
        """
        super().__init__(tuple(ideal), factor_names, "mean")
        self.ideal = np.array(list(ideal.values()), dtype=np.float64)
        self.spreads = np.ones(len(self.ideal)) if spreads is None else np.asarray(spreads, dtype=np.float64)
        if not np.isfinite(self.ideal).all():
            raise InvalidArgument("ideal", "must be finite", dict(ideal))
        if self.spreads.shape != self.ideal.shape or not (np.isfinite(self.spreads) & (self.spreads > 0)).all():
            raise InvalidArgument("spreads", f"must be {len(self.ideal)} numbers above 0", self.spreads.tolist())
        self.by_step = by_step

    def values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N,) minus distances, in spreads (times steps, where each counts); absorbing steps count nothing."""
        if not self.by_step:
            return np.asarray(-np.sqrt((((self.of_segments(scored) - self.ideal) / self.spreads) ** 2).sum(axis=1)))
        away = np.sqrt((((self.of_steps(scored) - self.ideal) / self.spreads) ** 2).sum(axis=2))
        return np.asarray(-np.ascontiguousarray(np.where(real_steps(scored.segments), away, 0.0)).sum(axis=1))

    def card(self) -> dict[str, Any]:
        """Returns formula, the ideal, its units and source."""
        formula = "minus the sum over real steps of |(features - goal) / spread|" if self.by_step else (
            "minus |(mean features over real steps - ideal) / spread|")
        return {
            "kind": "goal" if self.by_step else "ideal_point", "formula": formula, "unit": "spreads",
            "ideal": dict(zip(self.names, self.ideal.tolist(), strict=True)),
            "spreads": dict(zip(self.names, self.spreads.tolist(), strict=True)),
            "source": "Poddar et al. 2024, https://arxiv.org/abs/2408.10075" if self.by_step else (
                "Coombs 1950; Chen et al. 2024 (PAL), https://arxiv.org/abs/2406.08469"),
        }


class ZoneVisits(FeatureJudgment):
    """Likes a segment that visits a zone, but not too often: 1 if at_least ≤ visits ≤ at_most, else 0.

    A visit is a real step after which the feature lies in [low, high]. No sum of rewards of single steps says this: the
    worked example of a judgment that is not Markovian (Swamy et al. 2024, https://arxiv.org/abs/2401.04056, section 5).
    """

    def __init__(
        self, feature: str, factor_names: Sequence[str], *, low: float = -math.inf, high: float = math.inf, at_most: int,
        at_least: int = 1,
    ) -> None:
        """Takes the zone and how many visits are liked; raises `InvalidArgument` if either is empty."""
        super().__init__((feature,), factor_names, "sum")
        if not low <= high:
            raise InvalidArgument("zone.low, zone.high", "must not be the wrong way round", (low, high))
        if not 0 <= at_least <= at_most:
            given = (at_least, at_most)
            raise InvalidArgument("zone.at_least, zone.at_most", "must be 0 or more, and not the wrong way round", given)
        self.low, self.high, self.at_least, self.at_most = float(low), float(high), at_least, at_most

    def visits(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N,) how many real steps led into the zone."""
        at = self.features[0].steps(scored)
        inside = (at >= self.low) & (at <= self.high) & real_steps(scored.segments)
        return np.asarray(inside.sum(axis=1), dtype=np.float64)

    def values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N,) of ones and zeros."""
        visits = self.visits(scored)
        return np.asarray((visits >= self.at_least) & (visits <= self.at_most), dtype=np.float64)

    def card(self) -> dict[str, Any]:
        """Returns formula, zone and source."""
        return {
            "kind": "zone_visits", "formula": f"1 if {self.at_least} <= visits <= {self.at_most}, else 0", "unit": "1",
            "zone": f"{self.names[0]} in [{self.low:g}, {self.high:g}] after a step",
            "source": "not Markovian: Swamy et al. 2024, https://arxiv.org/abs/2401.04056",
        }


def spreads_of(judgment: FeatureJudgment, calibration: ScoredSegments) -> tuple[FloatArray, FloatArray]:
    """Returns (F,) means and (F,) standard deviations of the features of the calibration segments, to be frozen.

    Raises:
        Refused: a feature is the same in all of them, and has no unit.
    """
    values = judgment.of_segments(calibration)
    spread = values.std(axis=0)
    for name, each, scale in zip(judgment.names, spread, np.abs(values).max(axis=0, initial=0.0), strict=True):
        if not each > 1e-12 * max(scale, 1e-300):
            raise Refused(
                f"{name} is the same in all {len(values)} calibration segments, so its spread is no unit: leave it out, or "
                "calibrate on more varied segments"
            )
    return values.mean(axis=0), spread
