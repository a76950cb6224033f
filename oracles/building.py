"""One human from settings: the judgment, the response model around it, and what solving for rates found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from preflab.errors import InvalidArgument, Refused, UnknownName
from preflab.interfaces import Judgment, Response, StateValue, ValueFunction
from preflab.oracles.branching import BranchedRegret
from preflab.oracles.calibration import Calibration, compared_pairs, rounding, solve_beta
from preflab.oracles.cells import Cells, PreferenceMatrix, random_preferences
from preflab.oracles.features import Feature, IdealPoint, SegmentFeatures, ZoneVisits, spreads_of
from preflab.oracles.habits import Drift, DriftingJudgment, Fatigue, OrderBias
from preflab.oracles.hierarchy import Hierarchy, Level
from preflab.oracles.judgments import PartialReturn, Regret, WeightedFactors, real_steps
from preflab.oracles.mistakes import FeatureMistakes, MarginMistakes, Mistakes
from preflab.oracles.plugged import CallableJudgment, RewardCode, imported
from preflab.oracles.responses import Argmax, Boltzmann
from preflab.oracles.settings import OracleSettings
from preflab.oracles.ties import BPrefThresholds, Davidson, RaoKupper, Skips, SkipsBelow, ThresholdTies
from preflab.oracles.wrapping import SideBySide
from preflab.types import BoolArray, Choice, FloatArray, ScoredSegments

MATRIX_SEED = 20_240_108  # a preference matrix belongs to a task, not to a run


@dataclass(frozen=True)
class Scene:
    """What humans are built for.

    Attributes:
        calibration: the frozen pool on which everything is solved.
        value: the expert's value function; only regret by a critic uses it.
        expert: the expert's card.
        state_value: the same expert's value of simulator states; only regret by branching uses it.
        factor_names: of the task, in the order of `ScoredSegments.factors`.
        task: name of the task judged.
        form: "fixed" or "terminating".
    """

    calibration: ScoredSegments
    value: ValueFunction | None
    expert: Mapping[str, Any]
    state_value: StateValue | None
    factor_names: tuple[str, ...]
    task: str
    form: str

    @property
    def is_terminated(self) -> BoolArray:
        """(N,) whether the calibration segment reached a true terminal."""
        return np.asarray(self.calibration.segments.terminated.any(axis=1), dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class Built:
    """One human.

    Attributes:
        judgment: with the columns that the response reads.
        response: how values become a choice.
        values: (N,) or (N, D) of the calibration pool.
        solved: how β was found; None if it was given.
        base: the judgment without these columns.
        rates: what was solved for beside it: asked for and achieved, by name.
    """

    judgment: Judgment
    response: Response
    values: FloatArray
    solved: Calibration | None
    base: Judgment
    rates: Mapping[str, float] = field(default_factory=dict)


def check_human(settings: OracleSettings, name: str, factor_names: Sequence[str], who: str = "") -> None:
    """Refuses names of factors and features that the task does not have, and what cannot be built, before any work."""
    kind, names = settings.judged_by(name), tuple(factor_names)
    where = f"humans.{who}." if who else ""
    for setting in ("weights", "drift_to"):
        for factor in getattr(settings, setting) or {}:
            if factor not in names:
                raise UnknownName(f"{where}{setting}", factor, names)
    if settings.drift_to is not None and not any(settings.drift_to.values()):
        raise Refused(
            f"a human whose mind drifts must be told where to: oracle.drift_to={{{names[0]}:1}}, weights of gold's factors "
            f"({', '.join(names)})"
        )
    features = [*(settings.ideal or {}), *(settings.goal or {}), *(level.feature for level in settings.levels)]
    features += [settings.cell_feature] if kind == "cells" else []
    features += [str(settings.zone["feature"])] if settings.zone and "feature" in settings.zone else []
    features += [settings.mistake_feature] if settings.mistakes == "feature" and settings.mistake_feature else []
    for feature in features:
        Feature(feature, names)
    for setting, of in (("goal", "goal"), ("zone", "zone_visits"), ("function", "callable"), ("code", "reward_code")):
        if kind == of and not getattr(settings, setting):
            valid = {
                "goal": "{obs_0: 1.0}, or q0.9 for a quantile", "zone": "{feature: obs_0, low: 0, high: 1, at_most: 5}",
                "function": "module:function", "code": "a Python file that defines compute(obs, act, next_obs, info)",
            }[setting]
            raise InvalidArgument(f"oracle.{where}{setting}", f"must be given with judgment={of}", None, valid)
    if settings.zone is not None:
        known = ("feature", "low", "high", "at_least", "at_most")
        for key in settings.zone:
            if key not in known:
                raise UnknownName(f"{where}zone.<key>", str(key), known)
        if not {"feature", "at_most"} <= set(settings.zone):
            valid = "{feature: obs_0, at_most: 5}"
            raise InvalidArgument(f"{where}zone", "must have feature and at_most", dict(settings.zone), valid)
        for key in ("at_least", "at_most"):
            if isinstance(settings.zone.get(key, 0), bool) or not isinstance(settings.zone.get(key, 0), int):
                raise InvalidArgument(f"{where}zone.{key}", "must be a whole number", settings.zone[key], "5")
    if kind in ("hierarchy", "cells") and (settings.drift_to or settings.mistakes == "margin" or settings.bpref):
        raise Refused(f"judgment={kind} orders segments by no value of their own: no drift, bpref or mistakes=margin there")
    if kind == "callable":
        imported(str(settings.function))


def build_human(name: str, settings: OracleSettings, scene: Scene) -> Built:
    """Returns the human of `settings`; `name` is the preset's."""
    base = judgment = _judgment(settings.judged_by(name), settings, scene)
    values = judgment.values(scene.calibration)
    response, solved, rates = _response(name, judgment, values, settings, scene)
    if settings.drift_to is not None:
        end = WeightedFactors(settings.drift_to, scene.factor_names, settings.gamma)
        judgment, response = DriftingJudgment(judgment, end), Drift(response, settings.drift_answers)
    rate = settings.mistaken(name)
    if rate > 0 and settings.mistakes == "feature":
        feature = SegmentFeatures((str(settings.mistake_feature),), scene.factor_names, "mean")
        center, spread = (float(each[0]) for each in spreads_of(feature, scene.calibration))
        judgment = SideBySide(judgment, feature)
        response = FeatureMistakes(response, rate, center, spread, str(settings.mistake_feature), settings.mistakes_when)
    elif rate > 0 and settings.mistakes == "iid":
        response = Mistakes(response, rate, settings.mistakes_when)
    if settings.fatigue > 0:
        response = Fatigue(response, settings.fatigue, settings.fatigue_half_life)
    if settings.order_bias:
        response = OrderBias(response, settings.order_bias)
    if settings.random_skip_rate > 0:
        response = Skips(response, settings.random_skip_rate)
    if isinstance(judgment, SideBySide):
        values = judgment.values(scene.calibration)
    return Built(judgment, response, values, solved, base, rates)


def _judgment(kind: str, settings: OracleSettings, scene: Scene) -> Judgment:
    names = scene.factor_names
    if kind == "partial_return":
        return PartialReturn(settings.gamma, is_myopic=settings.myopic)
    if kind == "regret":
        value = scene.state_value if settings.regret_by == "branching" else scene.value
        return _regret(settings, value, scene)
    if kind == "weighted_factors":
        weights = dict.fromkeys(names, 1.0) if settings.weights is None else settings.weights
        return WeightedFactors(weights, names, settings.gamma)
    if kind == "hierarchy":
        return SegmentFeatures([level.feature for level in ranking(settings, scene)], names, settings.how)
    if kind == "ideal_point":
        return _ideal(settings, scene)
    if kind == "goal":
        goal = {name: _number(said, name, scene) for name, said in (settings.goal or {}).items()}
        spreads = [float(_real_steps_of(name, scene).std()) for name in goal]
        return IdealPoint(goal, names, spreads=np.array([each if each > 0 else 1.0 for each in spreads]), by_step=True)
    if kind == "zone_visits":
        return _zone(settings.zone or {}, scene)
    if kind == "cells":
        return Cells.of_pool(settings.cell_feature, names, settings.n_cells, scene.calibration)
    if kind == "callable":
        return CallableJudgment(imported(str(settings.function)), settings.function)
    code = RewardCode.from_file(str(settings.code), names, bound=settings.code_bound)
    code.probe(scene.calibration)
    return code


def _regret(settings: OracleSettings, value: ValueFunction | StateValue | None, scene: Scene) -> Judgment:
    task, form = scene.task, scene.form
    if value is None:
        arguments = "" if form == "fixed" else f" ARGS=form={form}"
        raise Refused(
            f"oracle=regret needs an expert's value function for {task} (form={form}) and there is none; run "
            f"`make experts ENV={task}{arguments}`, or use oracle=partial_return"
        )
    own = scene.expert.get("task", task), scene.expert.get("form", form)
    if own != (task, form):
        raise Refused(
            f"the expert of {own[0]} (form={own[1]}) cannot judge {task} (form={form}) by regret: its value function "
            f"is about other episodes; use the expert of that task and form, or run `make experts ENV={task}`"
        )
    if isinstance(value, ValueFunction):
        return Regret(value, settings.regret_form, settings.regret_weighting)
    return BranchedRegret(value)


def ranking(settings: OracleSettings, scene: Scene) -> tuple[Level, ...]:
    """Returns the levels named, or else gold's factors in their order, without those that never change on the pool."""
    if settings.levels:
        return settings.levels
    every = SegmentFeatures(scene.factor_names, scene.factor_names, settings.how).values(scene.calibration)
    moves = every.std(axis=0) > 1e-12 * np.maximum(np.abs(every).max(axis=0, initial=0.0), 1e-300)
    if not moves.any():
        factors = ", ".join(scene.factor_names)
        raise Refused(f"no factor of {scene.task} ({factors}) differs between calibration segments; name levels")
    return tuple(Level(name) for name, each in zip(scene.factor_names, moves, strict=True) if each)


def _ideal(settings: OracleSettings, scene: Scene) -> IdealPoint:
    """Returns the ideal point, given in spreads from the pool's mean; without one, a spread above it in every factor."""
    said = settings.ideal or {level.feature: 1.0 for level in ranking(replace(settings, levels=()), scene)}
    center, spread = spreads_of(SegmentFeatures(list(said), scene.factor_names, "mean"), scene.calibration)
    points = center + spread * np.array([float(each) for each in said.values()])
    return IdealPoint(dict(zip(said, points.tolist(), strict=True)), scene.factor_names, spreads=spread)


def _zone(zone: Mapping[str, Any], scene: Scene) -> ZoneVisits:
    feature = str(zone["feature"])
    bounds = {key: _number(zone[key], feature, scene) for key in ("low", "high") if key in zone}
    return ZoneVisits(
        feature, scene.factor_names, at_least=int(zone.get("at_least", 1)), at_most=int(zone["at_most"]), **bounds,
    )


def _number(said: object, feature: str, scene: Scene) -> float:
    """Returns a number, or the quantile of a feature's calibration steps that "q0.9" names."""
    text = str(said)
    is_quantile = text.startswith("q")
    try:
        number = float(text.removeprefix("q"))
    except ValueError:
        number = math.nan
    if math.isnan(number) or (is_quantile and not 0 <= number <= 1):
        raise InvalidArgument(feature, "must be a number or a quantile", said, "1.5, or q0.9")
    return float(np.quantile(_real_steps_of(feature, scene), number)) if is_quantile else number


def _real_steps_of(feature: str, scene: Scene) -> FloatArray:
    return Feature(feature, scene.factor_names).steps(scene.calibration)[real_steps(scene.calibration.segments)]


def _response(
    name: str, judgment: Judgment, values: FloatArray, settings: OracleSettings, scene: Scene
) -> tuple[Response, Calibration | None, dict[str, float]]:
    """Returns the response to the judgment's own values: β, then ties, thresholds and skips, each solved on the pool."""
    beta = float(settings.beta or 0.0)
    if isinstance(judgment, Cells):
        if judgment.n_cells < 3 <= settings.n_cells:
            raise Refused(
                f"the calibration segments fall into only {judgment.n_cells} groups by {settings.cell_feature}, and nothing goes "
                "in a circle among fewer than three; name a cell_feature of more values"
            )
        return PreferenceMatrix(random_preferences(judgment.n_cells, MATRIX_SEED, settings.strength)), None, {}
    if isinstance(judgment, SegmentFeatures):
        spreads = spreads_of(judgment, scene.calibration)[1]
        return Hierarchy(ranking(settings, scene), spreads, Argmax() if math.isinf(beta) else Boltzmann(beta)), None, {}
    solved = None
    if settings.target_accuracy is not None:
        solved = solve_beta(values, scene.is_terminated, settings.target_accuracy)
        beta = solved.beta
    response: Response = Argmax() if math.isinf(beta) else Boltzmann(beta)
    first, second = compared_pairs(len(values))
    gaps, rates = np.abs(values[first] - values[second]), dict[str, float]()
    if settings.ties is not None:
        response = _with_ties(response, beta, gaps, rounding(values), settings)
        realized = response.probabilities(values[first], values[second])[:, Choice.TIE].mean()
        rates |= {"tie_rate": settings.tie_rate, "achieved_tie_rate": float(realized)}
    if settings.mistaken(name) > 0 and settings.mistakes == "margin":
        strict = gaps[gaps > rounding(values)]
        scale = float(np.median(strict)) if len(strict) else 1.0
        response = MarginMistakes(response, settings.mistaken(name), scale, settings.mistakes_when)
    if settings.bpref is not None:
        response = BPrefThresholds(
            response, epsilon=settings.bpref_epsilon, kind=settings.bpref, length=scene.calibration.segments.length,
            lowest=float(values.min()), is_compat=settings.bpref_compat,
        )
    if settings.skip_rate > 0:
        best = np.maximum(values[first], values[second])
        threshold = _cut(best, settings.skip_rate, rounding(values))
        response = SkipsBelow(response, threshold)
        rates |= {"skip_rate": settings.skip_rate, "achieved_skip_rate": float(np.mean(best < threshold))}
    return response, solved, rates


def _cut(numbers: FloatArray, rate: float, slack: float) -> float:
    """Returns the threshold below which a share of `numbers` lies that is nearest to `rate`.

    Of numbers that differ by no more than rounding, `slack`, all are below it or none: no threshold tells them apart.
    """
    at = float(np.quantile(numbers, rate))
    return min(at - slack, at + slack, key=lambda threshold: abs(float(np.mean(numbers < threshold)) - rate))


def _with_ties(response: Response, beta: float, gaps: FloatArray, slack: float, settings: OracleSettings) -> Response:
    """Returns the tie model whose expected share of ties on pairs of these gaps is nearest to `tie_rate`."""
    if settings.ties == "threshold":
        return ThresholdTies(response, max(0.0, _cut(gaps, settings.tie_rate, slack)))

    def model(log_parameter: float) -> RaoKupper | Davidson:
        if settings.ties == "rao_kupper":
            return RaoKupper(beta, 1 + math.exp(log_parameter))
        return Davidson(beta, math.exp(log_parameter))

    low, high = -30.0, min(700.0, 30.0 + beta * float(gaps.max(initial=0.0)))  # even the farthest pair can be made a tie
    for _ in range(60):
        middle = 0.5 * (low + high)
        share = float(model(middle).probabilities(gaps, np.zeros(len(gaps)))[:, Choice.TIE].mean())
        low, high = (low, middle) if share > settings.tie_rate else (middle, high)
    return model(0.5 * (low + high))
