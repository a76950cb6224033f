"""Oracles by name: `partial_return`, `noisy`, `regret`, each calibrated and with its card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from preflab.errors import InvalidArgument, Refused, UnknownName
from preflab.interfaces import Judgment, Response, ValueFunction
from preflab.oracles.calibration import Calibration, agreement, rounding, solve_beta
from preflab.oracles.judgments import FORMS, WEIGHTINGS, PartialReturn, Regret
from preflab.oracles.oracle import ComposedOracle
from preflab.oracles.responses import Argmax, Boltzmann, Mistakes
from preflab.types import FloatArray, ScoredSegments

PRESETS = ("noisy", "partial_return", "regret")
MISTAKE_RATES = {"noisy": 0.1, "partial_return": 0.0, "regret": 0.0}  # Lee et al. 2021 (B-Pref), Mistake teacher


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
    """

    target_accuracy: float | None = 0.85  # design.md
    beta: float | None = None
    mistake_rate: float | None = None
    gamma: float = 1.0  # Christiano et al. 2017
    regret_form: str = "realized"
    regret_weighting: str = "uniform"  # Knox et al. 2022

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


def build(
    name: str, settings: OracleSettings, *, seed: int, calibration: ScoredSegments, value: ValueFunction | None = None,
    value_card: Mapping[str, Any] | None = None, task: str, form: str,
) -> ComposedOracle:
    """Builds the oracle `name` for one task and form.

    Args:
        name: one of `PRESETS`.
        settings: how it judges and errs.
        seed: of its answers.
        calibration: the frozen pool that β is solved on and that the card's figures are about.
        value: the expert's value function; only `regret` uses it.
        value_card: the expert's card; its `task` and `form` must be these.
        task: name of the task judged.
        form: "fixed" or "terminating".

    Raises:
        UnknownName: `name` is no preset.
        Refused: `regret` without a value, with another task's or form's, or (expected form) without Q; a pool of ties.
    """
    if name not in PRESETS:
        raise UnknownName("oracle", name, PRESETS)
    expert = dict(value_card or {})
    judgment: Judgment = PartialReturn(settings.gamma)
    if name == "regret":
        judgment = _expert_judgment(settings, value, expert, task, form)
    values = judgment.values(calibration)
    is_terminated = np.asarray(calibration.segments.terminated.any(axis=1), dtype=np.bool_)
    solved = None if settings.target_accuracy is None else solve_beta(values, is_terminated, settings.target_accuracy)
    response = _response(name, settings, solved)
    notes = {
        "task": task, "form": form, "calibration": _calibration_card(settings, solved, len(values)),
        "accuracy": agreement(values, is_terminated, response), "judged_spread": float(values.std()),
    }
    if name == "regret":
        notes |= _regret_notes(values, expert, calibration.segments.length)
    return ComposedOracle(judgment, response, seed=seed, name=name, notes=notes)


def _expert_judgment(
    settings: OracleSettings, value: ValueFunction | None, expert: Mapping[str, Any], task: str, form: str
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
    return Regret(value, settings.regret_form, settings.regret_weighting)


def _response(name: str, settings: OracleSettings, solved: Calibration | None) -> Response:
    beta = solved.beta if solved is not None else float(settings.beta or 0.0)
    response: Response = Argmax() if math.isinf(beta) else Boltzmann(beta)
    rate = MISTAKE_RATES[name] if settings.mistake_rate is None else settings.mistake_rate
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
