"""Oracles by name: `partial_return`, `noisy`, `regret`, `regret_branching`, `pluralistic`, each calibrated, with its card."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from preflab.errors import InvalidArgument, Refused, UnknownName
from preflab.interfaces import Judgment, Response, StateValue, ValueFunction
from preflab.oracles.branching import BranchedRegret
from preflab.oracles.calibration import Calibration, agreement, rounding, solve_beta
from preflab.oracles.judgments import FORMS, WEIGHTINGS, PartialReturn, Regret, WeightedFactors
from preflab.oracles.oracle import ComposedOracle
from preflab.oracles.population import Human, Member, Population, check_humans, humans_of, pairwise_agreement
from preflab.oracles.responses import Argmax, Boltzmann, Mistakes
from preflab.types import BoolArray, FloatArray, ScoredSegments

PRESETS = ("noisy", "partial_return", "pluralistic", "regret", "regret_branching")
BY_REGRET = ("regret", "regret_branching")  # the second is the first with other settings in its yaml
VALUES = ("critic", "branching")
MISTAKE_RATES = {"noisy": 0.1}  # Lee et al. 2021 (B-Pref), Mistake teacher; 0 for others


@dataclass(frozen=True)
class OracleSettings:
    """What a preset can be told.

    Attributes:
        target_accuracy: expected accuracy of strict answers on the calibration pool, before mistakes; None with `beta`.
        beta: inverse temperature in 1 / units of gold; `inf` always picks the better segment; None to solve for target.
        mistake_rate: share of strict answers that are flipped; None: the preset's own (noisy 0.1, others 0).
        gamma: discount inside the segment for partial return; regret uses the expert's own.
        regret_form: realized or expected.
        regret_weighting: uniform or discounted.
        regret_by: where regret has V from: critic (the expert's, fitted) or branching (the simulator is restored at both ends
            of a segment and the expert followed from there; realized form, discounted weights).
        branch_tail: a branch ends where what is left weighs no more than this, γ^h ≤ branch_tail, γ the expert's own.
        branch_steps: most steps of a branch; where γ asks for more, the critic stands in for the rest. None: no cap.
        humans: of oracle=pluralistic, each with name, share (they sum to 1) and weights of the task's factors.
    """

    target_accuracy: float | None = 0.85  # design.md
    beta: float | None = None
    mistake_rate: float | None = None
    gamma: float = 1.0  # Christiano et al. 2017
    regret_form: str = "realized"
    regret_weighting: str = "uniform"  # Knox et al. 2022
    regret_by: str = "critic"
    branch_tail: float = 0.01
    branch_steps: int | None = 1000
    humans: tuple[Human, ...] = ()

    def __post_init__(self) -> None:
        if (self.target_accuracy is None) == (self.beta is None):
            given = (self.target_accuracy, self.beta)
            raise InvalidArgument("target_accuracy, beta", "must be one given and one not", given, "one of them null")
        if self.target_accuracy is not None and not 0.5 < self.target_accuracy < 1:
            valid = "above 0.5 and below 1; beta=inf with target_accuracy=null never errs"
            raise InvalidArgument("target_accuracy", "cannot be reached by a finite beta", self.target_accuracy, valid)
        if self.beta is not None and not self.beta >= 0:
            raise InvalidArgument("beta", "must be at least 0", self.beta, "a number in 1 / units of gold, or inf")
        if self.mistake_rate is not None and not 0 <= self.mistake_rate <= 1:
            raise InvalidArgument("mistake_rate", "must be in [0, 1]", self.mistake_rate)
        if not 0 <= self.gamma <= 1:
            raise InvalidArgument("gamma", "must be in [0, 1]", self.gamma)
        if self.regret_form not in FORMS:
            raise InvalidArgument("regret_form", "is not known", self.regret_form, ", ".join(FORMS))
        if self.regret_weighting not in WEIGHTINGS:
            raise InvalidArgument("regret_weighting", "is not known", self.regret_weighting, ", ".join(WEIGHTINGS))
        self._check_branching()
        object.__setattr__(self, "humans", humans_of(self.humans))

    def _check_branching(self) -> None:
        if self.regret_by not in VALUES:
            raise InvalidArgument("regret_by", "is not known", self.regret_by, ", ".join(VALUES))
        given = (self.regret_form, self.regret_weighting)
        if self.regret_by == "branching" and given != ("realized", "discounted"):
            rule = "must be realized and discounted with regret_by=branching: only that sum telescopes to V at both ends"
            valid = "oracle=regret_branching, or regret_form=realized and regret_weighting=discounted"
            raise InvalidArgument("regret_form, regret_weighting", rule, given, valid)
        if not 0 < self.branch_tail < 1:
            raise InvalidArgument("branch_tail", "must be in (0, 1)", self.branch_tail)
        if self.branch_steps is not None and self.branch_steps < 1:
            raise InvalidArgument("branch_steps", "must be at least 1, or null for no cap", self.branch_steps)


def build(
    name: str, settings: OracleSettings, *, seed: int, calibration: ScoredSegments, value: ValueFunction | None = None,
    value_card: Mapping[str, Any] | None = None, state_value: StateValue | None = None, factor_names: Sequence[str] = (),
    task: str, form: str,
) -> ComposedOracle | Population:
    """Builds the oracle `name` for one task and form.

    Args:
        name: one of `PRESETS`.
        settings: how it judges and errs.
        seed: of its answers.
        calibration: the frozen pool that β is solved on and that the card's figures are about.
        value: the expert's value function; only regret by a critic uses it.
        value_card: the expert's card; its `task` and `form` must be these.
        state_value: the same expert's value of simulator states; only regret by branching uses it.
        factor_names: of the task, in the order of `ScoredSegments.factors`; only `pluralistic` uses them.
        task: name of the task judged.
        form: "fixed" or "terminating".

    Raises:
        UnknownName: `name` is no preset.
        Refused: regret without a value, with another task's or form's, or (expected form) without Q; a pool of ties;
            `pluralistic` without humans.
    """
    if name not in PRESETS:
        raise UnknownName("oracle", name, PRESETS)
    if name == "pluralistic":
        return _population(settings, seed, calibration, tuple(factor_names), {"task": task, "form": form})
    expert = dict(value_card or {})
    judgment: Judgment = PartialReturn(settings.gamma)
    if name in BY_REGRET:
        judgment = _expert_judgment(settings, state_value if settings.regret_by == "branching" else value, expert, task, form)
    values = judgment.values(calibration)
    is_terminated = np.asarray(calibration.segments.terminated.any(axis=1), dtype=np.bool_)
    solved, response = _calibrated(name, settings, values, is_terminated)
    how = _calibration_card(settings, solved, len(values))
    if isinstance(judgment, BranchedRegret):
        how |= {"n_env_steps": judgment.value.n_env_steps, "share_bootstrapped": judgment.value.share_bootstrapped}
    notes = {
        "task": task, "form": form, "calibration": how,
        "accuracy": agreement(values, is_terminated, response), "judged_spread": float(values.std()),
    }
    if name in BY_REGRET:
        notes |= _regret_notes(values, expert, calibration.segments.length)
    return ComposedOracle(judgment, response, seed=seed, name=name, notes=notes)


def _population(
    settings: OracleSettings, seed: int, calibration: ScoredSegments, factor_names: tuple[str, ...], about: dict[str, Any]
) -> Population:
    """Returns the humans of `settings`, β calibrated for each on the same pool."""
    check_humans(settings.humans, factor_names, about["task"])
    judgments = [WeightedFactors(human.weights, factor_names, settings.gamma) for human in settings.humans]
    values = np.stack([judgment.values(calibration) for judgment in judgments])
    is_terminated = np.asarray(calibration.segments.terminated.any(axis=1), dtype=np.bool_)
    members, figures = [], {}
    for human, judgment, judged in zip(settings.humans, judgments, values, strict=True):
        _, response = _calibrated("pluralistic", settings, judged, is_terminated)
        members.append(Member(human.name, human.share, judgment, response))
        found = agreement(judged, is_terminated, response)["equal status"]
        figures[human.name] = {"accuracy": found["accuracy"], "n_pairs": found["n_pairs"], "judged_spread": float(judged.std())}
    names, alike = [human.name for human in settings.humans], pairwise_agreement(values)
    how = "each human's beta solved for a target accuracy in that human's own eyes"
    notes = {
        **about, "humans": figures, "calibration": {
            "how": "beta given, not solved" if settings.target_accuracy is None else how,
            "target_accuracy": settings.target_accuracy, "n_segments": values.shape[1],
        },
        "agreement": {name: dict(zip(names, _finite(row), strict=True)) for name, row in zip(names, alike, strict=True)},
        "agreement_is": "share of pairs of the calibration pool that two humans order alike, without noise",
    }
    return Population(members, seed=seed, name="pluralistic", notes=notes)


def needs_sim_states(name: str, settings: OracleSettings) -> bool:
    """Returns whether the oracle `name` will need simulator states, as its `needs_sim_states` says once it is built."""
    return name in BY_REGRET and settings.regret_by == "branching"


def _expert_judgment(
    settings: OracleSettings, value: ValueFunction | StateValue | None, expert: Mapping[str, Any], task: str, form: str
) -> Judgment:
    if value is None:
        arguments = "" if form == "fixed" else f" ARGS=form={form}"
        raise Refused(
            f"oracle=regret needs an expert's value function for {task} (form={form}) and there is none; run "
            f"`make experts ENV={task}{arguments}`, or use oracle=partial_return"
        )
    own = expert.get("task", task), expert.get("form", form)
    if own != (task, form):
        raise Refused(
            f"the expert of {own[0]} (form={own[1]}) cannot judge {task} (form={form}) by regret: its value function "
            f"is about other episodes; use the expert of that task and form, or run `make experts ENV={task}`"
        )
    if isinstance(value, ValueFunction):
        return Regret(value, settings.regret_form, settings.regret_weighting)
    return BranchedRegret(value)


def _calibrated(
    name: str, settings: OracleSettings, values: FloatArray, is_terminated: BoolArray
) -> tuple[Calibration | None, Response]:
    solved = None if settings.target_accuracy is None else solve_beta(values, is_terminated, settings.target_accuracy)
    return solved, _response(name, settings, solved)


def _response(name: str, settings: OracleSettings, solved: Calibration | None) -> Response:
    beta = solved.beta if solved is not None else float(settings.beta or 0.0)
    response: Response = Argmax() if math.isinf(beta) else Boltzmann(beta)
    rate = MISTAKE_RATES.get(name, 0.0) if settings.mistake_rate is None else settings.mistake_rate
    return Mistakes(response, rate) if rate > 0 else response


def _calibration_card(settings: OracleSettings, solved: Calibration | None, n_segments: int) -> dict[str, Any]:
    if solved is None:
        beta = settings.beta if settings.beta is not None and math.isfinite(settings.beta) else "inf"
        return {"how": "beta given, not solved", "beta": beta, "n_segments": n_segments}
    return {
        "how": "solved for a target accuracy of strict answers before mistakes, on pairs of equal termination status",
        "beta": solved.beta, "target_accuracy": solved.target, "achieved_accuracy": solved.achieved,
        "n_segments": n_segments, "n_pairs": solved.n_pairs, "n_tied_pairs": solved.n_tied,
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
