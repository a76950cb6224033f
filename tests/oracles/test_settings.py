"""What an oracle cannot be told: each refusal names the argument, the rule, what was given and what would be valid."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from preflab import oracles
from preflab.errors import InvalidArgument, Refused, UnknownName
from preflab.oracles import Argmax, Boltzmann, ComposedOracle, Human, Level, OracleSettings, Population, WeightedFactors
from preflab.oracles.settings import JUDGMENTS, levels_of
from preflab.types import ScoredSegments

DrawSegments = Callable[..., ScoredSegments]
NAMES = ("speed", "effort", "height")
RANKED: Mapping[str, Any] = {"judgment": "hierarchy", "target_accuracy": None, "beta": np.inf}


@pytest.mark.parametrize(("changes", "said"), [
    ({"judgment": "regrets"}, "judgment is not known, got 'regrets'; valid: callable, cells, goal, .*zone_visits, null"),
    ({"regret_form": "real"}, "regret_form is not known, got 'real'; valid: realized, expected$"),
    ({"regret_weighting": "flat"}, "regret_weighting is not known, got 'flat'; valid: uniform, discounted$"),
    ({"regret_by": None}, "regret_by is not known, got None; valid: critic, branching$"),
    ({"how": "first"}, "how is not known, got 'first'; valid: sum, mean, last$"),
    ({"ties": "always"}, "ties is not known, got 'always'; valid: davidson, rao_kupper, threshold, null$"),
    ({"mistakes": None}, "mistakes is not known, got None; valid: feature, iid, margin$"),
    ({"mistakes_when": "held out"}, "mistakes_when is not known, got 'held out'; valid: always, training$"),
    ({"bpref": "stoc"}, "bpref is not known, got 'stoc'; valid: equal, skip, null$"),
    ({"population": None}, "population is not known, got None; valid: majority, mixture$"),
    ({"people": "llamas"}, "people is not known, got 'llamas'; valid: alpacafarm, ideal_points, raters, rotations, null$"),
    ({"beta": 1.0}, r"target_accuracy, beta must be one given and one not, got \(0.85, 1.0\); valid: one of them null"),
    ({"target_accuracy": None}, r"target_accuracy, beta must be one given and one not, got \(None, None\)"),
    ({"target_accuracy": 0.5}, "target_accuracy cannot be reached by a finite beta, got 0.5; valid: above 0.5 and below 1"),
    ({"target_accuracy": np.nan}, "target_accuracy cannot be reached by a finite beta, got nan"),
    ({"target_accuracy": None, "beta": -0.1}, "beta must be at least 0, got -0.1; valid: a number in 1 / units of gold, or inf"),
    ({"target_accuracy": None, "beta": np.nan}, "beta must be at least 0, got nan"),
    ({"mistake_rate": 1.1}, r"mistake_rate must be in \[0, 1\], got 1.1"),
    ({"mistake_rate": np.nan}, r"mistake_rate must be in \[0, 1\], got nan"),
    ({"skip_rate": 1.0}, r"skip_rate must be in \[0, 1\), got 1.0"),
    ({"random_skip_rate": -0.1}, r"random_skip_rate must be in \[0, 1\), got -0.1"),
    ({"gamma": 1.01}, r"gamma must be in \[0, 1\], got 1.01"), ({"fatigue": -0.5}, r"fatigue must be in \[0, 1\], got -0.5"),
    ({"ties": "threshold", "tie_rate": 0.0}, r"tie_rate must be in \(0, 1\), got 0.0"),
    ({"ties": "davidson", "tie_rate": 1.0}, r"tie_rate must be in \(0, 1\), got 1.0"),
    ({"order_bias": np.inf}, "order_bias must be finite, got inf; valid: log odds, such as 0.5"),
    ({"ties": "rao_kupper", "target_accuracy": None, "beta": np.inf}, "ties rao_kupper needs a finite beta.*valid: threshold"),
    ({"ties": "davidson", "target_accuracy": None, "beta": np.inf}, "ties davidson needs a finite beta"),
    ({"mistakes": "feature"}, "mistake_feature must be given with mistakes=feature, got None; valid: a factor, or obs_0"),
    ({"regret_by": "branching"}, "regret_form, regret_weighting must be realized and discounted.*valid: oracle=regret_br"),
    ({"branch_tail": 1.0}, r"branch_tail must be in \(0, 1\), got 1.0"),
    ({"branch_steps": 0}, "branch_steps must be at least 1, or null for no cap, got 0"),
    ({"n_people": 0}, "n_people must be at least 1, got 0"),
    ({"levels": "speed"}, r"levels must be a list, got 'speed'; valid: \[\{feature: forward"),
    ({"levels": {"feature": "speed"}}, "levels must be a list, got"), ({"levels": 3}, "levels must be a list, got 3"),
    ({"levels": [{"feature": "speed"}, {"feature": "speed", "sign": -1}]}, r"levels.feature must differ .*\['speed', 'speed'\]"),
    ({"levels": [3]}, "levels must be a list of mappings with a feature, got 3"),
])
def test_settings_out_of_range_are_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{said}") as raised:
        OracleSettings(**changes)
    assert str(raised.value).startswith(raised.value.argument)


@pytest.mark.parametrize("changes", [
    {"judgment": "hierarchy"}, {"judgment": "cells"}, {**RANKED, "ties": "threshold"}, {**RANKED, "skip_rate": 0.1},
    {**RANKED, "judgment": "cells", "skip_rate": 0.1},
])
def test_nothing_is_solved_for_a_human_without_an_order(changes: dict[str, Any]) -> None:
    name = changes["judgment"]
    with pytest.raises(Refused, match=f"judges by {name} orders segments by no value.*say target_accuracy=null beta=inf"):
        OracleSettings(**changes)
    with pytest.raises(Refused, match=f"judges by {name} orders segments by no value"):
        OracleSettings(humans=(Human("a", 1.0, None, changes),))


def test_a_human_may_have_settings_of_its_own_but_no_humans() -> None:
    own = OracleSettings.own_names()
    kept_back = {"humans", "population", "people", "n_people", "prototypes", "concentration", "levels", "weights"}
    assert set(own) | kept_back == {item.name for item in fields(OracleSettings)} and not set(own) & kept_back
    for name in ("population", "people", "humans", "prototypes", "bta"):
        with pytest.raises(UnknownName, match=rf"^humans.a is not a known name, got '{name}'.*all of them:.*beta.*weights"):
            OracleSettings(humans=(Human("a", 1.0, None, {name: 1}),))
    with pytest.raises(InvalidArgument, match="levels must be a list of mappings"):
        OracleSettings(humans=(Human("a", 1.0, None, {**RANKED, "levels": [3]}),))
    with pytest.raises(InvalidArgument, match=r"gamma must be in \[0, 1\], got 2"):
        OracleSettings(humans=(Human("a", 1.0, None, {"gamma": 2}),))


def test_what_a_human_says_goes_before_what_is_said_of_all() -> None:
    humans = (
        Human("a", 0.5), Human("b", 0.25, {"effort": 2.0}, {"gamma": 0.5, "beta": 3.0}),
        Human("c", 0.25, None, {**RANKED, "levels": [{"feature": "height", "sign": -1}]}),
    )
    settings = OracleSettings(judgment="partial_return", gamma=0.9, weights={"speed": 1.0}, mistake_rate=0.1, humans=humans)
    a, b, c = (settings.of(human) for human in settings.humans)
    assert (a.gamma, a.weights, a.target_accuracy, a.beta, a.mistake_rate) == (0.9, {"speed": 1.0}, 0.85, None, 0.1)
    assert (b.gamma, b.weights, b.target_accuracy, b.beta) == (0.5, {"effort": 2.0}, None, 3.0)  # a beta replaces the target
    assert (c.judgment, c.levels, c.humans, c.people) == ("hierarchy", (Level("height", -1),), (), None)


def test_the_name_says_the_judgment_where_the_settings_do_not() -> None:
    assert [OracleSettings().judged_by(name) for name in ("noisy", "pluralistic")] == ["partial_return", "weighted_factors"]
    assert OracleSettings(judgment="goal").judged_by("noisy") == "goal"
    with pytest.raises(UnknownName, match=r"oracle \(without a judgment\) is not a known name, got 'nosy'; valid: did you mean no"):
        OracleSettings().judged_by("nosy")
    assert (OracleSettings().mistaken("noisy"), OracleSettings().mistaken("other")) == (0.1, 0.0)
    assert OracleSettings(mistake_rate=0.0).mistaken("noisy") == 0.0


def test_levels_are_read_once_and_kept_as_they_are() -> None:
    said: list[Any] = [{"feature": "speed", "margin": 2}, Level("obs_1", -1, 0.5)]
    assert levels_of(said) == (Level("speed", 1, 2.0), Level("obs_1", -1, 0.5)) == levels_of(levels_of(said))


GIVEN: Mapping[str, Mapping[str, Any]] = {
    "goal": {"goal": {"obs_0": 1.0}}, "zone_visits": {"zone": {"feature": "gold", "at_most": 3}},
    "callable": {"function": "math:sqrt"}, "reward_code": {"code": "mine.py"},
}


@pytest.mark.parametrize("judgment", sorted(GIVEN))
def test_a_judgment_that_needs_telling_is_refused_untold(judgment: str) -> None:
    setting = next(iter(GIVEN[judgment]))
    with pytest.raises(InvalidArgument, match=rf"{setting} must be given with judgment={judgment}, got None; valid: \S"):
        oracles.check("mine", OracleSettings(judgment=judgment), NAMES, "t")
    with pytest.raises(InvalidArgument, match=rf"humans\.b\.{setting} must be given with judgment={judgment}"):
        own: Any = ({"name": "a", "share": 0.5}, {"name": "b", "share": 0.5, "judgment": judgment})
        oracles.check("mine", OracleSettings(judgment="partial_return", humans=own), NAMES, "t")
    oracles.check("mine", OracleSettings(judgment=judgment, **GIVEN[judgment]), NAMES, "t")


@pytest.mark.parametrize(("changes", "error", "said"), [
    ({"weights": {"spede": 1.0}}, UnknownName, "weights is not a known name, got 'spede'; valid: did you mean speed"),
    ({"drift_to": {"spede": 1.0}}, UnknownName, "drift_to is not a known name, got 'spede'"),
    ({"drift_to": {}}, Refused, "a human whose mind drifts must be told where to"),
    ({"drift_to": {"speed": 0.0}}, Refused, "a human whose mind drifts must be told where to"),
    ({"ideal": {"spede": 1.0}}, UnknownName, "feature is not a known name, got 'spede'"),
    ({"goal": {"spede": 1.0}}, UnknownName, "feature is not a known name, got 'spede'"),
    ({"levels": [{"feature": "spede"}]}, UnknownName, "feature is not a known name, got 'spede'"),
    ({"zone": {"feature": "spede", "at_most": 1}}, UnknownName, "feature is not a known name, got 'spede'"),
    ({**RANKED, "judgment": "cells", "cell_feature": "spede"}, UnknownName, "feature is not a known name, got 'spede'"),
    ({"mistakes": "feature", "mistake_feature": "spede"}, UnknownName, "feature is not a known name, got 'spede'"),
    ({"zone": {"feature": "speed", "at_most": 1, "lo": 2}}, UnknownName, "zone.<key> is not a known name, got 'lo'"),
    ({"zone": {"feature": "speed"}}, InvalidArgument, r"zone must have feature and at_most, got .*valid: \{feature"),
    ({"zone": {"feature": "speed", "at_most": 2.5}}, InvalidArgument, "zone.at_most must be a whole number, got 2.5; valid: 5"),
    ({"zone": {"feature": "speed", "at_most": 2, "at_least": "one"}}, InvalidArgument, "zone.at_least must be a whole number"),
    ({"humans": (Human("a", 1.0, {"spede": 1.0}),)}, UnknownName, "humans.a.weights is not a known name, got 'spede'"),
    ({"humans": (Human("a", 1.0, None, {"drift_to": {"spede": 1.0}}),)}, UnknownName, "humans.a.drift_to is not a known name"),
])
def test_what_the_task_does_not_have_is_refused_before_any_work(changes: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        oracles.check("mine", OracleSettings(**{"judgment": "partial_return"} | changes), NAMES, "t")


@pytest.mark.parametrize(("setting", "said"), [
    ({"judgment": "goal", "goal": {"speed": "fast"}}, "speed must be a number or a quantile, got 'fast'; valid: 1.5, or q0.9"),
    ({"judgment": "goal", "goal": {"speed": "q1.5"}}, "speed must be a number or a quantile, got 'q1.5'"),
    ({"judgment": "goal", "goal": {"speed": "quick"}}, "speed must be a number or a quantile, got 'quick'"),
    ({"judgment": "goal", "goal": {"speed": np.inf}}, "ideal must be finite"),
    ({"judgment": "zone_visits", "zone": {"feature": "gold", "at_most": 3, "low": np.nan}}, "gold must be a number or a quantile"),
    ({"judgment": "zone_visits", "zone": {"feature": "gold", "at_most": 3, "low": 2, "high": 1}}, "zone.low, zone.high must not"),
    ({"judgment": "cells", "target_accuracy": None, "beta": np.inf, "n_cells": 2}, "n_cells must be at least 3"),
    ({"judgment": "cells", "target_accuracy": None, "beta": np.inf, "strength": 0.0}, r"strength must be in \(0, 1\]"),
    ({"fatigue": 0.5, "fatigue_half_life": 0.0}, "fatigue_half_life must be finite and above 0"),
    ({"drift_to": {"speed": 1.0}, "drift_answers": -1.0}, "drift_answers must be finite and above 0"),
    ({"bpref": "skip", "bpref_epsilon": -0.1}, "epsilon must be finite and at least 0"),
    ({"judgment": "reward_code", "code": "mine.py", "code_bound": 1.0}, "code must be a Python file, got 'mine.py'"),
])
def test_what_only_the_pool_can_tell_is_refused_when_it_is_built(
    setting: dict[str, Any], said: str, draw_segments: DrawSegments
) -> None:
    settings = OracleSettings(**{"judgment": "partial_return"} | setting)
    with pytest.raises(InvalidArgument, match=said):
        oracles.build("mine", settings, seed=0, calibration=draw_segments(), factor_names=NAMES, task="t", form="fixed")


def test_goals_and_zones_may_be_quantiles_of_real_steps_of_the_pool(draw_segments: DrawSegments) -> None:
    pool = draw_segments()
    gold = pool.gold_rewards[pool.segments.valid]

    def judged(**settings: Any) -> Any:
        told = OracleSettings(**settings)
        return oracles.build("mine", told, seed=0, calibration=pool, factor_names=NAMES, task="t", form="fixed").card()["judgment"]

    goal = judged(judgment="goal", goal={"gold": "q0.9", "obs_0": -0.5})
    assert goal["ideal"] == {"gold": pytest.approx(np.quantile(gold, 0.9)), "obs_0": -0.5}
    assert goal["spreads"]["gold"] == pytest.approx(gold.std())
    said = {"feature": "gold", "low": "q0.6", "high": "q0.8", "at_most": 5}
    zone = judged(judgment="zone_visits", target_accuracy=None, beta=np.inf, zone=said)
    assert zone["zone"] == f"gold in [{np.quantile(gold, 0.6):g}, {np.quantile(gold, 0.8):g}] after a step"


def test_everyone_is_looked_at_for_what_a_run_needs() -> None:
    own: Any = ({"name": "a", "share": 0.5}, {"name": "b", "share": 0.5, "judgment": "regret", "regret_by": "branching",
                                              "regret_weighting": "discounted"})
    settings = OracleSettings(judgment="partial_return", humans=own)
    assert oracles.judgments("mine", settings) == {"partial_return", "regret"}
    assert oracles.needs_expert("mine", settings) and oracles.needs_sim_states("mine", settings)
    assert not oracles.needs_expert("mine", OracleSettings(judgment="goal"))
    assert "goal" in JUDGMENTS


def test_parts_are_put_together_in_the_order_in_which_a_human_meets_them(draw_segments: DrawSegments) -> None:
    """From the inside: ties, thresholds, drift, mistakes, fatigue, order, and skips of whatever is shown."""
    pool = draw_segments()
    settings = OracleSettings(
        judgment="partial_return", target_accuracy=None, beta=1.0, ties="threshold", tie_rate=0.2, bpref="equal", skip_rate=0.1,
        drift_to={"speed": 1.0}, mistake_rate=0.1, mistakes="feature", mistake_feature="obs_0", fatigue=0.5, order_bias=0.5,
        random_skip_rate=0.1,
    )
    oracle = oracles.build("all", settings, seed=0, calibration=pool, factor_names=NAMES, task="t", form="terminating")
    assert isinstance(oracle, ComposedOracle)
    chain, response = [], oracle.response
    while hasattr(response, "inner"):
        chain.append(type(response).__name__)
        response = response.inner
    assert chain == ["Skips", "OrderBias", "Fatigue", "FeatureMistakes", "Drift", "SkipsBelow", "BPrefThresholds", "ThresholdTies"]
    assert isinstance(response, Boltzmann) and oracle.judged(pool).shape == (40, 3)
    p = oracle.probabilities(pool[:20], pool[20:], oracle.context(np.arange(20)))
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=4e-16)
    assert oracle.p_first_if_same == pytest.approx(1 / (1 + np.exp(-0.5)))


def test_a_human_of_a_mixture_may_rank_while_another_sums(draw_segments: DrawSegments) -> None:
    own: Any = (
        {"name": "a", "share": 0.5, **RANKED, "levels": [{"feature": "speed"}, {"feature": "height"}]},
        {"name": "b", "share": 0.5, "judgment": "weighted_factors", "weights": {"effort": 1}},
    )
    settings = OracleSettings(judgment="partial_return", humans=own)
    oracle = oracles.build(
        "mix", settings, seed=0, calibration=draw_segments(), factor_names=NAMES, task="t", form="terminating")
    assert isinstance(oracle, Population)
    assert isinstance(oracle.members[0].response.inner, Argmax)  # type: ignore[attr-defined]
    assert isinstance(oracle.members[1].judgment, WeightedFactors)
    figures = oracle.card()["humans"]
    assert "deciding_levels" in figures["a"] and "deciding_levels" not in figures["b"]
    assert figures["b"]["accuracy"] == pytest.approx(0.85, abs=1e-9)
