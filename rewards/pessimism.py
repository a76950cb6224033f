"""How the K members of an ensemble become one number: their mean, or something below it where they disagree.

| rule | value | knob | source |
|---|---|---|---|
| mean | m̄ | – | |
| worst | min_k m_k | – | WCO, Coste et al. 2023 |
| variance | m̄ − λ Var_k m_k | λ | UWO, Coste et al. 2023: the variance, not its root |
| deviation | m̄ − κ √Var_k m_k | κ | Eisenstein et al. 2023 |
| blend | a m̄ + (1 − a) min_k m_k | a | reward-robust RLHF, with the mean as nominal reward |
| soft | −b log mean_k exp(−m_k / b) | b | b → ∞ is the mean, b → 0 the worst, large b m̄ − Var_k m_k / (2 b) |

None rises above the mean, and equal members are left as they are. λ and b have a unit, that of members: callers give it, so
that a knob means the same for every reward. Coste et al.: https://arxiv.org/abs/2310.02743; Eisenstein et al.:
https://arxiv.org/abs/2312.09244; Yan et al. 2024 (reward-robust RLHF): https://arxiv.org/abs/2409.15360.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from preflab.errors import InvalidArgument, UnknownName
from preflab.types import AnyArray

KNOBS = {"mean": 0.0, "worst": 0.0, "variance": 0.5, "deviation": 1.0, "blend": 0.3, "soft": 1.0}  # λ: Coste et al.; a: Yan et al.
RULES = tuple(KNOBS)
LEVELS = ("step", "return")


@dataclass(frozen=True, slots=True)
class Pessimism:
    """A rule that makes one number of K; see the module.

    Attributes:
        rule: "mean", "worst", "variance", "deviation", "blend" or "soft".
        knob: λ, κ, a or b of the rule; None takes its usual value, `KNOBS`.
        ddof: variances are sums of squares over K − ddof: 0 as published, 1 as in the authors' PPO.
        level: what the members say of single steps ("step") or of whole segments ("return") is combined.
    """

    rule: str = "mean"
    knob: float | None = None
    ddof: int = 0
    level: str = "step"

    def __post_init__(self) -> None:
        for name, value, known in (("pessimism", self.rule, RULES), ("pessimism_level", self.level, LEVELS)):
            if value not in known:
                raise UnknownName(name, value, known)
        if self.knob is None:
            object.__setattr__(self, "knob", KNOBS[self.rule])
        elif math.isnan(self.knob) or self.knob < 0:
            raise InvalidArgument("pessimism_knob", "must be at least 0", self.knob)
        if self.rule == "blend" and self.strength > 1:
            raise InvalidArgument("pessimism_knob", "must be the mean's share, in [0, 1], for blend", self.knob)
        if self.rule in ("variance", "deviation") and math.isinf(self.strength):
            raise InvalidArgument("pessimism_knob", f"must be finite for {self.rule}", self.knob, "rule 'worst'")
        if self.ddof not in (0, 1):
            raise InvalidArgument("pessimism_ddof", "must be 0 or 1", self.ddof)

    @property
    def strength(self) -> float:
        """The knob as a number."""
        return KNOBS[self.rule] if self.knob is None else float(self.knob)

    def __call__(self, members: AnyArray, unit: float = 1.0) -> AnyArray:
        """Returns (…) of (K, …) `members`; λ is in 1 / `unit` and b in `unit`.

        >>> Pessimism("variance", 0.5)(np.array([[1.0], [3.0]]))
        array([1.5])
        """
        mean = members.mean(0)
        if self.rule == "mean":
            return np.asarray(mean)
        if self.rule in ("variance", "deviation"):
            if len(members) <= self.ddof:
                raise InvalidArgument("pessimism_ddof", f"must be below the number of members, {len(members)}", self.ddof, "0")
            variance = members.var(0, ddof=self.ddof)
            return np.asarray(mean - self.strength * (variance / unit if self.rule == "variance" else np.sqrt(variance)))
        if self.rule == "soft":
            return soft_minimum(members, self.strength * unit)
        worst = members.min(0)
        return np.asarray(worst if self.rule == "worst" else self.strength * mean + (1 - self.strength) * worst)


def soft_minimum(members: AnyArray, b: float) -> AnyArray:
    """Returns (…) −b log mean_k exp(−m_k / b) of (K, …) members; b = ∞ is the mean and b = 0 the smallest, exactly.

    Computed from the smallest member on, as min − b log1p(mean expm1(−(m − min) / b)), which loses no digits at either end.
    """
    smallest = members.min(0)
    if b == 0:
        return np.asarray(smallest)
    if math.isinf(b):
        return np.asarray(members.mean(0))
    return np.asarray(smallest - b * np.log1p(np.expm1((smallest - members) / b).mean(0)))
