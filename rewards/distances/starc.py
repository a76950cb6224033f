"""Distances between rewards of a finite MDP: a canonical form, divided by its norm, and a metric between two of them.

d(R₁, R₂) = m(s(R₁) − s(R₂)) with s(R) = c(R) / n(c(R)), 0 where c(R) = 0 (Skalse et al. 2024, section 3,
https://arxiv.org/abs/2309.15257). The canonical form c, the normalization n and the metric m are chosen apart. With a valid c
(`val`, `minimal`, `minimal_weighted`) d is 0 exactly if both rewards order all policies alike, and bounds worst-case regret from
both sides; with another c it does neither. Policies are compared from every state: what no episode reaches counts as well.
"""

from __future__ import annotations

import numpy as np

from preflab.errors import InvalidArgument, UnknownName
from preflab.rewards.distances.canonical import CANONICAL, dard, epic
from preflab.tabular import Dynamics
from preflab.types import FloatArray

NORMS = ("1", "2", "inf", "w1", "w2", "winf")
_ROUNDING = 1e3 * float(np.finfo(np.float64).eps)


def norm(rewards: FloatArray, name: str, transitions: FloatArray) -> FloatArray:
    """Returns the norm of (…, S, A, S) rewards, (…).

    "1", "2", "inf": (Σ |x|^p)^{1/p} over all (s, a, s'). "w1", "w2", "winf": (Σ T(s'|s, a) |x|^p)^{1/p} and max T |x|, which do not
    see steps that cannot happen.
    """
    if name not in NORMS:
        raise UnknownName("norm", name, NORMS)
    weight = transitions if name.startswith("w") else None
    power = name.removeprefix("w")
    if power == "2":
        square = np.einsum("...ijk,...ijk->...", rewards if weight is None else weight * rewards, rewards)
        return np.asarray(np.sqrt(square))
    size = np.abs(rewards) if weight is None else weight * np.abs(rewards)
    return np.asarray(size.sum((-3, -2, -1)) if power == "1" else size.max((-3, -2, -1)))


def standardized(
    rewards: FloatArray, dynamics: Dynamics, canonical: str = "val", normalization: str = "2"
) -> FloatArray:
    """Returns s(R) = c(R) / n(c(R)), (…, S, A, S); 0 where c(R) is 0 up to rounding; c(R) itself for normalization "none"."""
    if canonical not in CANONICAL:
        raise UnknownName("canonical", canonical, CANONICAL)
    form = CANONICAL[canonical](rewards, dynamics)
    form = _without_rounding(form, rewards, dynamics)
    if normalization == "none":
        return form
    if normalization not in NORMS:
        raise UnknownName("normalization", normalization, (*NORMS, "none"))
    size = norm(form, normalization, dynamics.transitions)[..., None, None, None]
    return form / np.where(size == 0, 1.0, size)


def starc_distance(
    first: FloatArray, second: FloatArray, dynamics: Dynamics, canonical: str = "val", normalization: str = "2", metric: str = "2",
) -> FloatArray:
    """Returns d(R₁, R₂), (…): 0 for equivalent rewards, 2 for opposite ones where normalization and metric are one norm.

    In "2" and "2" it is √(2 − 2 cos) of the angle between canonical forms. A reward under which all policies are equal is at
    distance 1 from all others, if both are one norm.

    Args:
        first: (…, S, A, S).
        second: (…, S, A, S).
        dynamics: T, γ and terminals, the true ones: under others the same rewards are other tasks.
        canonical: a name of `CANONICAL`.
        normalization: one of `NORMS`, or "none".
        metric: one of `NORMS`.
    """
    apart = standardized(first, dynamics, canonical, normalization) - standardized(second, dynamics, canonical, normalization)
    return norm(apart, metric, dynamics.transitions)


def epic_distance(
    first: FloatArray, second: FloatArray, dynamics: Dynamics, states: FloatArray | None = None, actions: FloatArray | None = None,
    coverage: FloatArray | None = None,
) -> FloatArray:
    """Returns √((1 − ρ) / 2) in [0, 1], ρ Pearson's correlation of `canonical.epic` forms over steps, (…).

    Gleave et al. 2021, section 4 (https://arxiv.org/abs/2006.13900). Under uniform distributions it is half of `starc_distance` by
    "epic", "2" and "2".

    Args:
        first: (…, S, A, S).
        second: (…, S, A, S).
        dynamics: γ and terminals.
        states: (S,) D_S; None is uniform.
        actions: (A,) D_A; None is uniform.
        coverage: (S, A, S) weights of steps; None is D_S × D_A × D_S.
    """
    if coverage is None:
        d_states = np.full(dynamics.n_states, 1 / dynamics.n_states) if states is None else states
        d_actions = np.full(dynamics.n_actions, 1 / dynamics.n_actions) if actions is None else actions
        coverage = np.einsum("i,j,k->ijk", d_states, d_actions, d_states)
    x, y = (_without_rounding(epic(each, dynamics, states, actions), each, dynamics) for each in (first, second))
    return weighted_pearson_distance(x, y, coverage, dynamics)


def dard_distance(
    first: FloatArray, second: FloatArray, dynamics: Dynamics, actions: FloatArray | None = None,
    coverage: FloatArray | None = None,
) -> FloatArray:
    """Returns √((1 − ρ) / 2) in [0, 1] of `canonical.dard` forms over steps that can happen, (…).

    Wulfe et al. 2022 (https://arxiv.org/abs/2201.10081). `coverage` (S, A, S) weighs steps; None takes states and actions uniformly
    and s' from T.
    """
    weight = dynamics.transitions if coverage is None else coverage
    x, y = (_without_rounding(dard(each, dynamics, actions), each, dynamics) for each in (first, second))
    return weighted_pearson_distance(x, y, weight, dynamics)


def weighted_pearson_distance(first: FloatArray, second: FloatArray, weight: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Returns √((1 − ρ) / 2) of (…, S, A, S) arrays under (S, A, S) weights; terminals weigh nothing; nan where one is constant."""
    if weight.shape != dynamics.transitions.shape or (weight < 0).any() or weight.sum() <= 0:
        raise InvalidArgument("coverage", f"must be weights {dynamics.transitions.shape}, not all 0", weight.shape)
    share = np.where(dynamics.terminal[:, None, None], 0.0, weight)
    share, axes = share / share.sum(), (-3, -2, -1)
    x, y = (each - (share * each).sum(axes, keepdims=True) for each in (first, second))
    spread = np.sqrt((share * x**2).sum(axes) * (share * y**2).sum(axes))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (share * x * y).sum(axes) / spread
    return np.asarray(np.sqrt((1 - correlation.clip(-1, 1)) / 2), dtype=np.float64)


def _without_rounding(form: FloatArray, rewards: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Returns a canonical form, 0 where it is no larger than rounding of the largest value that R could have."""
    scale = np.abs(rewards).max((-3, -2, -1), keepdims=True) / (1 - dynamics.gamma)
    return np.where(np.abs(form).max((-3, -2, -1), keepdims=True) <= _ROUNDING * scale, 0.0, form)
