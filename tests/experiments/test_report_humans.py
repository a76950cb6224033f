"""What a report says of the humans: words for every preset, levels, circles, and tables of many."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

import preflab
from preflab import envs
from preflab.experiments.config import CONF, RunConfig, compose_run, from_tree, names
from preflab.experiments.record import is_misspecified
from preflab.experiments.report import find_warnings, write_report
from preflab.experiments.report.folder import read_run
from preflab.experiments.report.judged import belief, judged_by
from preflab.experiments.report.report import what_next
from preflab.experiments.run import Run
from preflab.experiments.stages import branched_value, build_oracle, calibration_pool, find_expert
from preflab.storage import load_json, save_json

MIXTURE = "one of several people at a time"
WORDS = {
    "alpacafarm": (
        f"weights of their own on gold's factors or discounted partial return, {MIXTURE}, with mistakes in training and ties"
    ),
    "argmax": "partial return, never unsure",
    "bpref_equal": "partial return, never unsure, with ties where it is close",
    "bpref_mistake": "partial return, never unsure, with mistakes",
    "bpref_myopic": "myopic partial return, never unsure",
    "bpref_oracle": "partial return, never unsure",
    "bpref_skip": "partial return, never unsure, with skips where neither is worth much",
    "bpref_stoc": "partial return",
    "callable": "a function of the whole segment",
    "condorcet": f"a hierarchy of features, {MIXTURE}, with ties where no level decides",
    "davidson": "partial return, with ties",
    "discounted": "discounted partial return",
    "drift": "partial return, drifting to weights of their own on gold's factors",
    "fatigue": "partial return, with growing fatigue",
    "feature_mistakes": "partial return, never unsure, with mistakes where a feature misleads",
    "heron": "a hierarchy: angle, then velocity, then torque, with ties where no level decides",
    "heron_step": "a hierarchy: angle, then velocity, then torque, with ties where no level decides",
    "ideal_point": "nearness to an ideal",
    "ideal_users": f"nearness to an ideal, {MIXTURE}",
    "intransitive": "a tournament between groups of segments",
    "latent_goals": f"nearness to a goal, {MIXTURE}",
    "majority": "partial return, by the majority of 5",
    "margin_mistakes": "partial return, never unsure, with mistakes where it is close",
    "myopic": "myopic partial return",
    "noisy": "partial return, with mistakes",
    "order_bias": "partial return, with a liking for what is shown first",
    "partial_return": "partial return",
    "pluralistic": f"weights of their own on gold's factors, {MIXTURE}",
    "rao_kupper": "partial return, with ties",
    "recency": "partial return, with a liking for what is shown last",
    "regret": "regret",
    "regret_branching": "regret, found by branching",
    "reward_code": "reward code of their own",
    "skips": "partial return, with skips where neither is worth much",
    "ties": "partial return, with ties where it is close",
    "weighted_factors": "weights of their own on gold's factors",
    "zone_visits": "visits to a zone, never unsure",
}
NEEDS: dict[str, dict[str, Any]] = {
    "callable": {"function": f"{__name__}:gold_of"}, "reward_code": {"code": "my_reward.py"},
    "weighted_factors": {"weights": {"angle": 1.0}},
}


def gold_of(scored: Any) -> Any:
    """Returns the gold of each segment."""
    return scored.gold_rewards.sum(axis=1)


def configured(tree: dict[str, Any], name: str) -> RunConfig:
    """Returns the run of `tree` with the preset `name`, as its yaml and the env's have it."""
    yaml: Any = OmegaConf.to_container(OmegaConf.load(CONF / "oracle" / f"{name}.yaml"))
    said = tree["env"]["overlays"].get(f"oracle.{name}", {})
    return from_tree({**tree, "oracle": {**yaml, **said, **NEEDS.get(name, {})}})


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[RunConfig, dict[str, Any]]]:
    """Returns config and card of every preset on Pendulum, calibrated on few segments."""
    tree = compose_run(["env=pendulum", "budget=smoke"])[1]
    code = tmp_path_factory.mktemp("code") / "my_reward.py"
    code.write_text("def compute(obs, act, next_obs, info):\n    return info['angle']\n")
    NEEDS["reward_code"]["code"] = str(code)
    configs = {name: configured(tree, name) for name in names("oracle")}
    venv, expert = envs.make_vec("pendulum", "fixed", 2, 0), find_expert(configs["partial_return"])
    pools = {name: calibration_pool(configs[name], venv, expert) for name in ("partial_return", "regret_branching")}
    venv.close()
    made = {}
    for name, config in configs.items():
        store, index = pools.get(name, pools["partial_return"])
        pool = store.gather(index[np.arange(0, len(index), max(1, len(index) // 60))], states="ends")
        made[name] = config, build_oracle(config, pool, expert, branched_value(config, expert)).card()
    return made


def test_every_preset_has_words_by_its_card(cards: dict[str, tuple[RunConfig, dict[str, Any]]]) -> None:
    assert {name: judged_by({}, card) for name, (_, card) in cards.items()} == WORDS


def test_whoever_judges_otherwise_than_by_the_plain_sum_makes_partial_return_misspecified(
    cards: dict[str, tuple[RunConfig, dict[str, Any]]]
) -> None:
    right = [name for name, (config, card) in cards.items() if not is_misspecified(config, card)]
    assert right == [name for name, words in WORDS.items() if words.startswith("partial return") and "drifting" not in words]
    assert all(is_misspecified(*cards[name]) is not None for name in cards)
    sentence = find_warnings({"oracle": "heron", "likelihood": "partial_return", "is_misspecified": True}, [], cards["heron"][1])[0]
    assert "a hierarchy: angle, then velocity, then torque" in sentence and "assumed partial return" in sentence


def test_a_card_that_does_not_say_how_it_judges_leaves_the_name() -> None:
    assert judged_by({"oracle": "my_own"}, {"judgment": {"formula": "?"}}) == "my own"
    assert belief({"oracle": "noisy", "likelihood": "regret", "is_misspecified": True}) == (
        "the human judged by partial return, with mistakes; the learner assumed regret: misspecified"
    )


def smoke(tmp_path_factory: pytest.TempPathFactory, **choices: str) -> Run:
    out = tmp_path_factory.mktemp("runs")
    return preflab.run(["video=false", f"out={out}", "budget.n_comparisons=40"], env="pendulum", budget="smoke", **choices)


@pytest.fixture(scope="module")
def heron(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return smoke(tmp_path_factory, reward="heron")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return smoke(tmp_path_factory, oracle="alpacafarm")


def part(run: Run, title: str) -> str:
    """Returns a section of the report, or nothing."""
    html = run.report.read_text(encoding="utf-8")
    _, _, rest = html.partition(f"<h2>{title}</h2>")
    return rest.partition("</section>")[0]


def test_reward_heron_runs_and_its_report_shows_which_level_decided(heron: Run) -> None:
    record, card = heron.record, load_json(heron.folder / "card.json")
    assert (record["oracle"], record["reward"], record["likelihood"]) == ("heron", "heron", "partial_return")
    shares = [record[f"level_{name}_share"] for name in ("angle", "velocity", "torque", "none")]
    assert sum(shares) == pytest.approx(1) and record["intransitive_triples"] == card["intransitive"]["share_of_triples"]
    assert 0 < record["tie_share"] < 1 and record["skip_share"] == 0
    assert record["tie_share"] == record["n_ties"] / record["n_comparisons"]
    shown = part(heron, "Which level decided")
    for name, share in zip(("angle", "velocity", "torque", "none"), shares, strict=True):
        in_pool = card["deciding_levels"][name]
        assert f"<td>{round(100 * in_pool)} %</td><td>{round(100 * share)} %</td>" in shown, name
    assert "1.00 spreads" in shown and "<td>more</td>" in shown and "none: a tie" in shown
    assert f"Ties: {round(100 * record['tie_share'])} % of all answers." in heron.report.read_text(encoding="utf-8")


def test_the_report_names_a_circle_with_its_chances(heron: Run, tmp_path: Path) -> None:
    example = load_json(heron.folder / "card.json")["intransitive"]["example"]
    assert example["p"] == [1, 1, 1] and len(set(example["segments"])) == 3  # never unsure, and still in a circle
    shown = part(heron, "Circles")
    for wanted in ("go in a circle", "<b>b</b> with 100 %", "<b>a</b> with 100 %", "<th>velocity</th>"):
        assert wanted in shown, wanted
    save_json(tmp_path / "record.json", heron.record)
    ordered = {"response": {"kind": "hierarchy"}, "intransitive": {"share_of_triples": 0.0, "n_segments": 60}}
    save_json(tmp_path / "card.json", ordered)
    assert "No triple of 60 segments" in part(Run(write_report(tmp_path).parent), "Circles")


def test_what_to_try_next_after_reward_heron_is_no_refused_command(heron: Run, tmp_path: Path) -> None:
    save_json(tmp_path / "record.json", {**heron.record, "score": 1.0, "heldout_accuracy": None})
    commands = [command for _, command in what_next(read_run(tmp_path))]
    assert any("ORACLE=partial_return REWARD=ensemble" in command for command in commands)
    assert not any("ORACLE=partial_return REWARD=heron" in command for command in commands)


def test_a_report_of_many_humans_shows_the_best_and_the_worst_and_folds_the_rest(pool: Run) -> None:
    record, card = pool.record, load_json(pool.folder / "card.json")
    assert record["n_annotators"] == 13 and "mean, over segments" in record["users_return_is"]
    gains = {name: record[f"user_{name}_gain"] for name in card["humans"]}
    ranked = sorted(gains, key=lambda name: -gains[name])
    assert record["users_worst"] == ranked[-1] and record["users_gain_worst"] == gains[ranked[-1]]
    assert not [key for key in record if key.startswith("users_agreement_")] and 0.5 < record["users_agreement"] < 1
    first, _, folded = part(pool, "Whom it served").partition("<details>")
    assert [name for name in ranked if f"<b>{name}</b>" in first] == [*ranked[:2], *ranked[-2:]]
    assert [name for name in ranked if f"<b>{name}</b>" in folded] == ranked and "All 13, best served first" in folded
    assert folded.count('class="shade"') == 169 and "least alike" in folded
    before, after = (record[f"user_a1_return_{when}"] for when in ("initial", "final"))
    assert gains["a1"] == pytest.approx((after - before) / card["humans"]["a1"]["judged_spread"])
    assert (before, after) == (pool.history[0]["user_scores"][0], pool.history[-1]["user_scores"][0])
    assert "What it did for each of its humans" in part(pool, "The record")
    assert "Its 13 humans" in part(pool, "The simulated human") and "agreement</dt>" not in part(pool, "The simulated human")
