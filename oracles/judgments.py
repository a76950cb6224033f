"""How a human values a segment: by what it earned, all in all or factor by factor, or by what it lost against an expert."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from preflab.errors import InvalidArgument, Refused, UnknownName
from preflab.interfaces import ActionValueFunction, Judgment, ValueFunction
from preflab.networks import in_blocks
from preflab.types import AnyArray, BoolArray, FloatArray, ScoredSegments, Segments

FORMS = ("realized", "expected")
WEIGHTINGS = ("uniform", "discounted")


class PartialReturn(Judgment):
    """Values a segment by Σ_t γ^t r_t over the n steps that really happened, r gold, or myopically by Σ_t γ^(n−1−t) r_t.

    Christiano et al. 2017, section 2.2.1 (https://arxiv.org/abs/1706.03741), with γ = 1. A myopic human remembers the last
    of the n real steps best: Lee et al. 2021 (B-Pref, https://arxiv.org/abs/2111.03026), the Myopic teacher, there with
    γ = 0.9.
    """

    needs_observations = False
    needs_factors = False

    def __init__(self, gamma: float = 1.0, *, is_myopic: bool = False) -> None:
        """Discounts by `gamma` from the first step on, or myopically from the last one back; it must be in [0, 1]."""
        if not 0 <= gamma <= 1:
            raise InvalidArgument("gamma", "must be in [0, 1]", gamma)
        self.gamma, self.is_myopic = float(gamma), is_myopic

    def values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N,) discounted sums, in units of gold; absorbing steps count 0 whatever gold stands there."""
        mask = real_steps(scored.segments)
        if not self.is_myopic:
            return weighted_sum(scored.gold_rewards, mask, self.gamma)
        left = mask.sum(axis=1)[:, None] - 1 - np.arange(mask.shape[1])
        kept = np.where(mask, scored.gold_rewards * self.gamma ** np.maximum(left, 0), 0.0)
        return np.asarray(np.ascontiguousarray(kept).sum(axis=1), dtype=np.float64)

    def card(self) -> dict[str, Any]:
        """Returns formula, discount, unit and source."""
        if self.is_myopic:
            return {
                "kind": "partial_return", "formula": "sum over n real steps of gamma^(n-1-t) * gold reward", "gamma": self.gamma,
                "unit": "gold", "source": "Lee et al. 2021 (B-Pref), https://arxiv.org/abs/2111.03026, Myopic teacher",
            }
        return {
            "kind": "partial_return", "formula": "sum over real steps of gamma^t * gold reward", "gamma": self.gamma,
            "unit": "gold", "source": "Christiano et al. 2017, https://arxiv.org/abs/1706.03741",
        }


class WeightedFactors(Judgment):
    """Values a segment by Σ_t γ^t Σ_f w_f factor_f over the steps that really happened: one human's own weights on gold's parts.

    Weights of 1 are partial return where the factors sum to gold.
    """

    needs_observations = False

    def __init__(self, weights: Mapping[str, float], factor_names: Sequence[str], gamma: float = 1.0) -> None:
        """Weighs the factors by name; those not named weigh 0.

        Raises:
            UnknownName: a weight for a factor that is not in `factor_names`.
            InvalidArgument: a weight that is not finite, all of them 0, or `gamma` outside [0, 1].
        """
        for name, weight in weights.items():
            if name not in factor_names:
                raise UnknownName("weights", name, factor_names)
            if not math.isfinite(weight):
                raise InvalidArgument(f"weights.{name}", "must be finite", weight)
        if not any(weights.values()):
            raise InvalidArgument("weights", "must hold one that is not 0", dict(weights), ", ".join(factor_names))
        if not 0 <= gamma <= 1:
            raise InvalidArgument("gamma", "must be in [0, 1]", gamma)
        self.weights = {name: float(weights.get(name, 0.0)) for name in factor_names}
        self.gamma = float(gamma)

    def values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N,) discounted weighted sums; absorbing steps count 0 whatever stands there."""
        steps = (scored.factors * np.array(list(self.weights.values()))).sum(axis=2)
        return weighted_sum(steps, real_steps(scored.segments), self.gamma)

    def card(self) -> dict[str, Any]:
        """Returns formula, weights, discount, unit and source."""
        return {
            "kind": "weighted_factors", "formula": "sum over real steps of gamma^t * sum over factors of weight * factor",
            "weights": self.weights, "gamma": self.gamma, "unit": "gold, weighted",
            "source": "preflab; humans who differ: Poddar et al. 2024, https://arxiv.org/abs/2408.10075",
        }


class Regret(Judgment):
    """Values a segment by minus its regret against an expert who knows V (and Q), under the expert's own discount γ.

    realized: −Σ_t w_t [V(s_t) − r_t − γ V(s_{t+1})];  expected: Σ_t w_t [Q(s_t, a_t) − V(s_t)].

    Sums run over the steps that really happened; V of a terminal is 0; w_t = 1, or γ^t, with which the realized form
    telescopes to −[V(s_0) − Σ_t γ^t r_t − γ^L V(s_L)]. Knox et al. 2022, section 3 (https://arxiv.org/abs/2206.02231),
    there with γ = 1. The two forms are equal segment by segment where transitions are deterministic, and only in the
    mean over next states elsewhere: the realized form also judges luck. Against an imperfect expert regret can be
    negative; nothing is clipped.
    """

    needs_factors = False

    def __init__(self, value_fn: ValueFunction, form: str = "realized", weighting: str = "uniform") -> None:
        """Judges with the expert's `value_fn`.

        Raises:
            InvalidArgument: `form` or `weighting` is none of `FORMS`, `WEIGHTINGS`.
            Refused: the expected form with a `value_fn` that has no action values.
        """
        if form not in FORMS:
            raise InvalidArgument("form", "is not known", form, ", ".join(FORMS))
        if weighting not in WEIGHTINGS:
            raise InvalidArgument("weighting", "is not known", weighting, ", ".join(WEIGHTINGS))
        if form == "expected" and not isinstance(value_fn, ActionValueFunction):
            raise Refused(
                "the expected form of regret needs Q(s, a), which this expert does not have (exact experts of tabular "
                "tasks do); use the realized form"
            )
        self.value_fn, self.form, self.weighting = value_fn, form, weighting

    def values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N,) minus regret, in units of gold; absorbing steps count 0 whatever gold or V says there."""
        segments = scored.segments
        if self.form == "realized" and self.weighting == "discounted":
            return self._telescoped(scored)
        n, length = len(segments), segments.length
        at = in_blocks(self.value_fn.values, _flat(segments.observations)).reshape(n, length + 1)
        if self.form == "expected" and isinstance(self.value_fn, ActionValueFunction):
            q = in_blocks(self.value_fn.action_values, _flat(segments.observations[:, :-1]), _flat(segments.actions))
            steps = q.reshape(n, length) - at[:, :-1]
        else:
            after = np.where(segments.terminated, 0.0, at[:, 1:])
            steps = scored.gold_rewards + self.value_fn.gamma * after - at[:, :-1]
        weight = self.value_fn.gamma if self.weighting == "discounted" else 1.0
        return weighted_sum(steps, real_steps(segments), weight)

    def _telescoped(self, scored: ScoredSegments) -> FloatArray:
        """Returns Σ_t γ^t r_t + γ^n V(s_n) − V(s_0) over the n real steps: V is asked for at both ends only."""
        segments, gamma = scored.segments, self.value_fn.gamma
        mask = real_steps(segments)
        n_real = mask.sum(axis=1)
        is_cut = ~(segments.terminated & mask).any(axis=1)
        last = segments.observations[np.arange(len(segments)), n_real]
        found = in_blocks(self.value_fn.values, np.concatenate([segments.observations[:, 0], last[is_cut]]))
        after = np.zeros(len(segments))
        after[is_cut] = found[len(segments) :]
        return np.asarray(weighted_sum(scored.gold_rewards, mask, gamma) + gamma**n_real * after - found[: len(segments)])

    def card(self) -> dict[str, Any]:
        """Returns formula, form, weighting, the expert's discount, unit and source."""
        step = "V(s) - r - gamma V(s')" if self.form == "realized" else "V(s) - Q(s, a)"
        weight = "gamma^t * " if self.weighting == "discounted" else ""
        return {
            "kind": "regret", "formula": f"minus the sum over real steps of {weight}[{step}], V(terminal) = 0",
            "form": self.form, "weighting": self.weighting, "gamma": float(self.value_fn.gamma), "unit": "gold",
            "source": "Knox et al. 2022, https://arxiv.org/abs/2206.02231",
        }


def real_steps(segments: Segments) -> BoolArray:
    """Returns (N, L): the step happened and is no absorbing padding."""
    return segments.valid & ~segments.absorbing


def weighted_sum(steps: FloatArray, mask: BoolArray, gamma: float) -> FloatArray:
    """Returns (N,) Σ_t γ^t steps_t where `mask`; row by row, so that no sum depends on the other rows."""
    kept = np.ascontiguousarray(np.where(mask, steps, 0.0), dtype=np.float64)
    return np.asarray((kept * gamma ** np.arange(kept.shape[1])).sum(axis=1), dtype=np.float64)


def _flat(array: AnyArray) -> AnyArray:
    return array.reshape(-1, *array.shape[2:])
