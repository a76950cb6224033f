"""Humans by rule: pools, panels, rotated rankings and mixtures of ideals, instead of a list written out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from preflab.errors import InvalidArgument, Refused
from preflab.oracles.population import Human
from preflab.seeding import generator

if TYPE_CHECKING:
    from preflab.oracles.settings import OracleSettings

_SEED = 20_240_523  # people belong to a task, not to a run: every seed is judged by the same ones


def people_of(settings: OracleSettings, factor_names: tuple[str, ...], task: str) -> tuple[Human, ...]:
    """Returns the humans of `settings`: those it lists, or those that its rule makes; none for an oracle of one human."""
    if settings.people is None:
        return settings.humans
    if settings.humans:
        raise InvalidArgument("humans, people", "must not both be given", (len(settings.humans), settings.people), "one of them")
    return {
        "alpacafarm": _alpacafarm, "ideal_points": _ideal_points, "raters": _raters, "rotations": _rotations,
    }[settings.people](settings, factor_names, task)


def _alpacafarm(settings: OracleSettings, factor_names: tuple[str, ...], task: str) -> tuple[Human, ...]:
    """Returns annotators who differ in how sure, how patient and how forgetful they are, in what they call even and in what counts.

    Dubois et al. 2023 (https://arxiv.org/abs/2305.14387), section 3.2, draw each answer from one of 13 prompted models; what
    sets these apart is named here: accuracy, discount (from the first step on, or from the last one back), ties, weights.
    """
    rng, n = generator(_SEED, "alpacafarm"), settings.n_people
    humans = []
    for i in range(n):
        own: dict[str, Any] = {
            "target_accuracy": round(float(rng.uniform(0.75, 0.95)), 3), "beta": None,
            "gamma": float(rng.choice([1.0, 0.98, 0.95])), "myopic": bool(rng.random() < 0.5),
        }
        if rng.random() < 1 / 3:
            own |= {"ties": "threshold", "tie_rate": round(float(rng.uniform(0.02, 0.1)), 3)}
        tilt = rng.normal(0, 0.4, len(factor_names))
        weights = None
        if len(factor_names) > 1 and not own["myopic"]:  # partial return knows no weights, and weighted factors no myopia
            own["judgment"] = "weighted_factors"
            weights = {name: float(np.exp(each).round(3)) for name, each in zip(factor_names, tilt, strict=True)}
        humans.append(Human(f"a{i + 1}", 1 / n, weights, own))
    return tuple(humans)


def _raters(settings: OracleSettings, factor_names: tuple[str, ...], task: str) -> tuple[Human, ...]:
    """Returns n humans who are all alike, for a vote."""
    return tuple(Human(f"r{i + 1}", 1 / settings.n_people) for i in range(settings.n_people))


def _rotations(settings: OracleSettings, factor_names: tuple[str, ...], task: str) -> tuple[Human, ...]:
    """Returns one rater a level, each ranking the same levels from another one on: the Condorcet cycle."""
    levels = settings.levels
    if len(levels) < 3:
        raise Refused(
            f"raters with rotated rankings need three levels to go in a circle, and {len(levels)} are named for {task}; "
            "give them as oracle.levels=[{feature:…},{feature:…},{feature:…}]: factors, or numbers of the observation such as obs_0"
        )
    n = len(levels)
    return tuple(Human(f"r{i + 1}", 1 / n, None, {"levels": (*levels[i:], *levels[:i])}) for i in range(n))


def _ideal_points(settings: OracleSettings, factor_names: tuple[str, ...], task: str) -> tuple[Human, ...]:
    """Returns PAL's users (Chen et al. 2024, https://arxiv.org/abs/2406.08469): a_u = Σ_k w_uk p_k, p prototypes, w_u Dirichlet."""
    if len(settings.prototypes) < 2:
        raise Refused(
            f"users between prototypes need at least two of these, and {len(settings.prototypes)} are named for {task}; give them "
            f"as oracle.prototypes=[{{{factor_names[0]}:1}},{{{factor_names[0]}:-1}}], in spreads from the mean"
        )
    if not settings.concentration > 0:
        raise InvalidArgument("concentration", "must be above 0", settings.concentration)
    rng, n = generator(_SEED, "ideal points"), settings.n_people
    names = list(dict.fromkeys(name for prototype in settings.prototypes for name in prototype))
    points = np.array([[float(prototype.get(name, 0.0)) for name in names] for prototype in settings.prototypes])
    mixtures = rng.dirichlet(np.full(len(points), settings.concentration), size=n)
    return tuple(
        Human(f"u{i + 1}", 1 / n, None, {"ideal": dict(zip(names, map(float, (mixture @ points).round(4)), strict=True))})
        for i, mixture in enumerate(mixtures)
    )
