"""Oracles from settings: humans calibrated on a frozen pool, one or several of them, and the card that says what they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from preflab.errors import InvalidArgument, Refused
from preflab.interfaces import Response, StateValue, ValueFunction
from preflab.oracles.branching import BranchedRegret
from preflab.oracles.building import Built, Scene, build_human, check_human
from preflab.oracles.calibration import Calibration, agreement, compared_pairs, rounding
from preflab.oracles.cells import Cells, cyclic_share
from preflab.oracles.features import FeatureJudgment
from preflab.oracles.judgments import PartialReturn, Regret
from preflab.oracles.majority import Majority, vote
from preflab.oracles.oracle import ComposedOracle, scores_of
from preflab.oracles.people import people_of
from preflab.oracles.population import Human, Member, Population, pairwise_agreement
from preflab.oracles.settings import OracleSettings
from preflab.types import Choice, FloatArray, ScoredSegments

_N_TRIED = 60  # calibration segments among which triples are looked for that go round in a circle


def build(
    name: str, settings: OracleSettings, *, seed: int, calibration: ScoredSegments, value: ValueFunction | None = None,
    value_card: Mapping[str, Any] | None = None, state_value: StateValue | None = None, factor_names: Sequence[str] = (),
    task: str, form: str,
) -> ComposedOracle | Population:
    """Builds an oracle for one task and form.

    Args:
        name: what it is called; where `settings` leave the judgment or the rate of mistakes open, the name says it.
        settings: how it judges, answers and errs.
        seed: of its answers.
        calibration: the frozen pool that everything is solved on and that the card's figures are about.
        value: the expert's value function; only regret by a critic uses it.
        value_card: the expert's card; its `task` and `form` must be these.
        state_value: the same expert's value of simulator states; only regret by branching uses it.
        factor_names: of the task, in the order of `ScoredSegments.factors`.
        task: name of the task judged.
        form: "fixed" or "terminating".

    Raises:
        Refused: what the task or the pool does not have: an expert, its Q, factors that differ, humans.
        UnknownName: a factor or feature that is none.
    """
    names = tuple(factor_names)
    check(name, settings, names, task)
    scene = Scene(calibration, value, dict(value_card or {}), state_value, names, task, form)
    humans = people_of(settings, names, task)
    if humans:
        return _population(name, settings, humans, seed, scene)
    built = build_human(name, settings, scene)
    reference = built.values if built.response.main(built.values[:1]) is None else None
    scores = scores_of(built.response, built.values, reference)
    how = _calibration_card(settings, built, len(calibration))
    if isinstance(built.base, BranchedRegret):
        how |= {"n_env_steps": built.base.value.n_env_steps, "share_bootstrapped": built.base.value.share_bootstrapped}
    found = agreement(built.values, scene.is_terminated, built.response)
    notes = {
        "task": task, "form": form, "calibration": how, "accuracy": found, "judged_spread": float(scores.std()),
        **_level_notes(built),
        "intransitive": _intransitive([built.response], [built.values], np.ones(1), shown=_shown(built, scene)),
    }
    if isinstance(built.base, BranchedRegret | Regret):
        notes |= _regret_notes(scores, dict(scene.expert), calibration.segments.length)
    return ComposedOracle(built.judgment, built.response, seed=seed, name=name, notes=notes, reference=reference)


def check(name: str, settings: OracleSettings, factor_names: Sequence[str], task: str) -> None:
    """Refuses what cannot be built for `task`, before any work."""
    names = tuple(factor_names)
    humans = people_of(settings, names, task)
    if not humans and name == "pluralistic":
        why = f"gold has one factor, {names[0]}" if len(names) == 1 else f"factors: {', '.join(names)}"
        raise Refused(
            f"oracle=pluralistic needs humans with weights of their own on the factors of {task}, and its yaml names none "
            f"({why}); give them as oracle.humans=[{{name:a,share:0.5,weights:{{{names[0] if names else 'factor'}:1}}}},…], or use "
            "oracle=partial_return"
        )
    if not humans and settings.population == "majority":
        raise InvalidArgument("humans", "must be given with population=majority", None, "humans, or people=raters")
    if not humans:
        check_human(settings, name, names)
    for human in humans:
        check_human(settings.of(human), name, names, human.name)


def needs_sim_states(name: str, settings: OracleSettings) -> bool:
    """Returns whether the oracle will need simulator states, as its `needs_sim_states` says once it is built."""
    return any(each.judged_by(name) == "regret" and each.regret_by == "branching" for each in _everyone(settings))


def needs_expert(name: str, settings: OracleSettings) -> bool:
    """Returns whether anybody judges by regret."""
    return any(each.judged_by(name) == "regret" for each in _everyone(settings))


def judgments(name: str, settings: OracleSettings) -> frozenset[str]:
    """Returns by what the humans judge."""
    return frozenset(each.judged_by(name) for each in _everyone(settings))


def _everyone(settings: OracleSettings) -> list[OracleSettings]:
    return [settings.of(human) for human in settings.humans] or [settings]


def _population(name: str, settings: OracleSettings, humans: Sequence[Human], seed: int, scene: Scene) -> Population:
    """Returns the humans of `settings`, each calibrated on the same pool; humans who are alike share a judgment."""
    alike: dict[str, Built] = {}
    members, scores, figures = [], [], {}
    for human in humans:
        own = settings.of(human)
        if repr(own) not in alike:
            alike[repr(own)] = build_human(name, own, scene)
        built = alike[repr(own)]
        reference = built.values if built.response.main(built.values[:1]) is None else None
        members.append(Member(human.name, human.share, built.judgment, built.response, reference))
        scores.append(scores_of(built.response, built.values, reference))
        found = agreement(built.values, scene.is_terminated, built.response)["equal status"]
        figures[human.name] = {
            "judged_by": own.judged_by(name), **({"ties": own.ties} if own.ties else {}),
            "accuracy": found["accuracy"], "tie_rate": found["tie_rate"], "n_pairs": found["n_pairs"],
            "judged_spread": float(scores[-1].std()), **_level_notes(built),
        }
    names, orders = [human.name for human in humans], pairwise_agreement(np.stack(scores))
    how = "each human's beta solved for a target accuracy in that human's own eyes"
    responses, values = [member.response for member in members], [alike[repr(settings.of(human))].values for human in humans]
    shares, shown = np.array([human.share for human in humans]), _shown(alike[repr(settings.of(humans[0]))], scene)
    kind = Majority if settings.population == "majority" else Population
    notes = {
        "task": scene.task, "form": scene.form, "humans": figures, "calibration": {
            "how": "beta given, not solved" if settings.target_accuracy is None else how,
            "target_accuracy": settings.target_accuracy, "n_segments": len(scene.calibration),
        },
        "agreement": {name: dict(zip(names, _finite(row), strict=True)) for name, row in zip(names, orders, strict=True)},
        "agreement_is": "share of pairs of the calibration pool that two humans order alike, without noise",
        "intransitive": _intransitive(responses, values, shares, shown=shown, is_majority=kind is Majority),
    }
    return kind(members, seed=seed, name=name, notes=notes)


def _intransitive(
    responses: Sequence[Response], values: Sequence[FloatArray], shares: FloatArray, *, shown: Mapping[str, FloatArray],
    is_majority: bool = False,
) -> dict[str, Any]:
    """Returns which share of triples of calibration segments goes in a circle: a is likelier preferred to b, b to c, c to a.

    With it comes the circle whose least certain answer is the most certain: `p` of a over b, b over c and c over a (a tie or
    skip counts half), and what `shown` has of the three.
    """
    n = len(values[0])
    rows = np.unique(np.linspace(0, n - 1, min(n, _N_TRIED)).round().astype(np.int64))
    first, second = (grid.reshape(-1) for grid in np.meshgrid(rows, rows, indexing="ij"))
    each = np.stack([
        response.probabilities(judged[first], judged[second]) for response, judged in zip(responses, values, strict=True)
    ])
    p = vote(each) if is_majority else (shares[:, None, None] * each).sum(axis=0)
    ahead = (p[:, Choice.FIRST] - p[:, Choice.SECOND]).reshape(len(rows), len(rows))
    ahead = 0.5 * (ahead - ahead.T)  # a bias for what is shown first is no preference
    matrix = 0.5 + 0.5 * np.where(np.abs(ahead) > 1e-9, ahead, 0.0)
    share = cyclic_share(matrix)
    found: dict[str, Any] = {"share_of_triples": share, "n_segments": len(rows)}
    if share > 0:
        least = np.minimum(np.minimum(matrix[:, :, None], matrix[None]), matrix.T[:, None])  # of a over b, b over c, c over a
        a, b, c = np.unravel_index(int(least.argmax()), least.shape)
        chosen = rows[[a, b, c]]
        found["example"] = {
            "segments": chosen.tolist(), "p": [float(matrix[a, b]), float(matrix[b, c]), float(matrix[c, a])],
            **{name: each[chosen].tolist() for name, each in shown.items()},
        }
    return found


def _shown(built: Built, scene: Scene) -> dict[str, FloatArray]:
    """Returns what a reader can tell calibration segments apart by: their gold sums and the features that are judged."""
    gold = {"gold": PartialReturn().values(scene.calibration)}
    if isinstance(built.judgment, Cells):
        return gold | {"cell": built.values}
    if isinstance(built.judgment, FeatureJudgment):
        return dict(zip(built.judgment.names, built.judgment.of_segments(scene.calibration).T, strict=True)) | gold
    return gold


def _level_notes(built: Built) -> dict[str, Any]:
    """Returns which level decides which share of the pool's pairs; nothing without a hierarchy."""
    first, second = compared_pairs(len(built.values))
    levels = built.response.levels(built.values[first], built.values[second])
    said = built.response.card().get("levels")
    if levels is None or said is None:
        return {}
    shares = {level["feature"]: float(np.mean(levels == i)) for i, level in enumerate(said)}
    return {"deciding_levels": {**shares, "none": float(np.mean(levels < 0))}}


def _calibration_card(settings: OracleSettings, built: Built, n_segments: int) -> dict[str, Any]:
    solved: Calibration | None = built.solved
    if solved is None:
        beta = settings.beta if settings.beta is not None and math.isfinite(settings.beta) else "inf"
        return {"how": "beta given, not solved", "beta": beta, "n_segments": n_segments, **built.rates}
    return {
        "how": "solved for a target accuracy of strict answers before mistakes, on pairs of equal termination status",
        "beta": solved.beta, "target_accuracy": solved.target, "achieved_accuracy": solved.achieved,
        "n_segments": n_segments, "n_pairs": solved.n_pairs, "n_tied_pairs": solved.n_tied, **built.rates,
    }


def _regret_notes(values: FloatArray, expert: dict[str, Any], length: int) -> dict[str, Any]:
    """Returns the share of segments of negative regret, the expert's card, and its gap over a segment, in gold."""
    notes: dict[str, Any] = {
        "share_negative_regret": float(np.mean(values > rounding(values))), "mean_regret": float(-values.mean()),
        "expert": expert,
    }
    gap = expert.get("gap")
    if isinstance(gap, Mapping) and isinstance(gap.get("per_step"), int | float):
        notes["expert_gap"] = float(gap["per_step"]) * length
    return notes


def _finite(row: FloatArray) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in row]

