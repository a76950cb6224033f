"""Oracles by name: what they are made of, what their card says, and what is refused."""

import json
from typing import Any

import numpy as np
import pytest

from preflab.errors import InvalidArgument, Refused, UnknownName
from preflab.experts import TabularExpert, tabular_expert
from preflab.oracles import Argmax, Boltzmann, ComposedOracle, Mistakes, OracleSettings, PartialReturn, build
from preflab.oracles.settings import JUDGMENT_OF
from preflab.tabular import TabularMDP
from preflab.testing.oracles import FACTOR_NAMES, check_oracle, random_world

WORLD = random_world()
EXPERT = tabular_expert("random-mdp", "terminating", WORLD.mdp)


def built(name: str, settings: OracleSettings | None = None, **changes: Any) -> ComposedOracle:
    arguments = {
        "seed": 0, "calibration": WORLD.pool, "value": EXPERT.value, "value_card": EXPERT.card, "task": "random-mdp",
        "form": "terminating",
    }
    made = build(name, settings or OracleSettings(), **(arguments | changes))  # type: ignore[arg-type]
    assert isinstance(made, ComposedOracle)
    return made


@pytest.mark.parametrize("name", sorted(set(JUDGMENT_OF) - {"pluralistic"}))
def test_the_card_is_json_and_says_who_judged_how(name: str) -> None:
    card = built(name, seed=7).card()
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert (card["name"], card["task"], card["form"], card["seed"]) == (name, "random-mdp", "terminating", 7)
    assert card["judgment"]["kind"] == ("regret" if "regret" in name else "partial_return")
    assert card["judged_spread"] == pytest.approx(built(name).values(WORLD.pool).std())
    groups = ("both terminated", "neither terminated", "mixed")
    assert sum(card["accuracy"][group]["n_pairs"] for group in groups) == card["accuracy"]["all"]["n_pairs"]


@pytest.mark.parametrize(("name", "accuracy"), [("partial_return", 0.85), ("noisy", 0.78), ("regret", 0.85)])
def test_answers_reach_the_target_before_mistakes(name: str, accuracy: float) -> None:
    # mistakes at rate 0.1: 0.9 · 0.85 + 0.1 · 0.15 = 0.78
    card = built(name).card()
    assert card["calibration"]["achieved_accuracy"] == pytest.approx(0.85, abs=1e-9)
    assert card["accuracy"]["equal status"]["accuracy"] == pytest.approx(accuracy, abs=1e-9)


def test_a_raw_beta_is_used_as_given_and_infinity_never_errs() -> None:
    raw = built("partial_return", OracleSettings(target_accuracy=None, beta=0.3))
    assert isinstance(raw.response, Boltzmann) and raw.response.beta == 0.3
    assert raw.card()["calibration"]["how"] == "beta given, not solved"
    sure = built("partial_return", OracleSettings(target_accuracy=None, beta=np.inf))
    assert isinstance(sure.response, Argmax)
    assert sure.card()["accuracy"]["all"]["accuracy"] == 1.0
    json.dumps(sure.card(), allow_nan=False)
    assert built("partial_return", OracleSettings(target_accuracy=None, beta=0.0)).response.card()["beta"] == 0.0


def test_noisy_errs_at_one_in_ten_unless_told_otherwise() -> None:
    assert isinstance(built("noisy").response, Mistakes)
    assert built("noisy").card()["response"]["mistake_rate"] == 0.1
    assert built("noisy", OracleSettings(mistake_rate=0.25)).card()["response"]["mistake_rate"] == 0.25
    assert isinstance(built("noisy", OracleSettings(mistake_rate=0.0)).response, Boltzmann)


def test_regret_says_how_often_it_is_negative_and_how_good_its_expert_is() -> None:
    exact = built("regret", OracleSettings(regret_form="expected")).card()
    assert exact["share_negative_regret"] == 0 and exact["expert"]["task"] == "random-mdp"
    assert exact["expert_gap"] == 0.0
    weak = {**EXPERT.card, "gap": {"per_step": 0.2}}
    assert built("regret", value_card=weak).card()["expert_gap"] == pytest.approx(1.0)  # five steps
    lucky = built("regret")
    assert lucky.card()["share_negative_regret"] == np.mean(lucky.values(WORLD.pool) > 0) > 0


def test_regret_names_its_expert_however_its_answers_err() -> None:
    plain = built("regret").card()
    for changes in ({"mistakes": "feature", "mistake_rate": 0.3, "mistake_feature": "one"}, {"drift_to": {"one": 1.0}}):
        card = built("regret", OracleSettings(**changes), factor_names=FACTOR_NAMES).card()
        for name in ("expert", "expert_gap", "share_negative_regret", "mean_regret"):
            assert card[name] == plain[name]


def test_unknown_names_list_the_nearest_and_all() -> None:
    with pytest.raises(UnknownName, match=r"did you mean regret.*noisy, partial_return, pluralistic, regret"):
        built("regrets")


def test_regret_without_an_expert_says_what_to_run() -> None:
    with pytest.raises(Refused, match=r"mujoco-ant \(form=fixed\).*`make experts ENV=mujoco-ant`, or"):
        built("regret", value=None, value_card=None, task="mujoco-ant", form="fixed")
    with pytest.raises(Refused, match=r"`make experts ENV=mujoco-ant ARGS=form=terminating`"):
        built("regret", value=None, value_card=None, task="mujoco-ant")


@pytest.mark.parametrize(("task", "form"), [("random-mdp", "fixed"), ("pendulum", "terminating")])
def test_the_expert_of_another_task_or_form_is_refused_by_name(task: str, form: str) -> None:
    with pytest.raises(Refused, match=rf"random-mdp \(form=terminating\) cannot judge {task} \(form={form}\)"):
        built("regret", task=task, form=form)
    assert isinstance(built("partial_return", task=task, form=form).judgment, PartialReturn)


def test_a_pool_of_ties_is_refused_unless_beta_is_given() -> None:
    tied = WORLD.pool[np.zeros(5, np.int64)]
    with pytest.raises(Refused, match="no beta can be calibrated"):
        built("partial_return", calibration=tied)
    card = built("partial_return", OracleSettings(target_accuracy=None, beta=1.0), calibration=tied).card()
    assert card["accuracy"]["all"] == {"accuracy": None, "n_pairs": 0, "tie_rate": 1.0}


@pytest.mark.parametrize("changes", [
    {"beta": 1.0}, {"target_accuracy": None}, {"target_accuracy": 1.0}, {"target_accuracy": 0.5},
    {"target_accuracy": None, "beta": -1.0}, {"target_accuracy": None, "beta": np.nan}, {"mistake_rate": 1.1},
    {"gamma": -0.1}, {"regret_form": "real"}, {"regret_weighting": "flat"},
])
def test_settings_that_break_a_rule_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        OracleSettings(**changes)


def test_values_judged_once_give_the_same_probabilities_and_answers() -> None:
    oracle = built("noisy")
    values, (first, second) = oracle.values(WORLD.pool), WORLD.pairs()
    context = oracle.context(np.arange(len(first)))
    fast = oracle.probabilities_from_values(values[WORLD.first], values[WORLD.second])
    np.testing.assert_array_equal(fast, oracle.probabilities(first, second, context))
    np.testing.assert_array_equal(oracle.draw(fast, context), oracle.answer(first, second, context))
    np.testing.assert_array_equal(oracle.marginal_probabilities(first, second, np.arange(len(first))), fast)


def test_the_context_knows_its_round_and_begin_round_is_the_only_change() -> None:
    oracle = built("regret")
    assert oracle.context([4, 9]).round.tolist() == [0, 0]
    oracle.begin_round({})
    oracle.begin_round({})
    assert oracle.context([4]).round.tolist() == [1]
    oracle.begin_round({"round": 5.0})
    context = oracle.context([4, 9])
    assert (context.round.tolist(), context.query_id.tolist(), context.annotator.tolist()) == ([5, 5], [4, 9], [0, 0])
    with pytest.raises(InvalidArgument, match="query_ids"):
        oracle.context([-1])


def test_sides_of_different_lengths_are_refused() -> None:
    oracle = built("noisy")
    with pytest.raises(InvalidArgument, match="one entry per query"):
        oracle.probabilities(WORLD.pool[:3], WORLD.pool[:2], oracle.context([0, 1, 2]))


def test_the_kit_checks_an_oracle_in_one_call() -> None:
    def make(
        mdp: TabularMDP, *, seed: int = 0, beta: float | None = None, mistake_rate: float | None = None
    ) -> ComposedOracle:
        settings = OracleSettings(target_accuracy=0.85 if beta is None else None, beta=beta, mistake_rate=mistake_rate)
        return built("regret", settings, seed=seed, value=TabularExpert(mdp))

    check_oracle(make)
