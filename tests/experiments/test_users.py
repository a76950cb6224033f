"""What a run did for each of several humans: figures by hand, a whole run, and the report's section."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import preflab
from preflab import oracles
from preflab.experiments import asking, checkpoint
from preflab.experiments.report import write_report
from preflab.experiments.run import Run
from preflab.experiments.users import user_figures, user_scores
from preflab.oracles import Boltzmann, Human, Member, OracleSettings, Population, WeightedFactors
from preflab.rewards import metrics
from preflab.storage import load_arrays, load_json, save_json
from preflab.types import ScoredStore, ScoredTrajectory, Trajectory

FACTORS = ("speed", "effort")


def trajectory(speed: float, n_steps: int = 6) -> ScoredTrajectory:
    """Returns a trajectory of constant speed, whose effort is minus its speed."""
    obs = np.arange(n_steps + 1, dtype=np.float32)[:, None]
    factors = np.tile([speed, -speed], (n_steps, 1))
    return ScoredTrajectory(Trajectory(obs, np.full((n_steps, 1), speed, np.float32), False), factors.sum(1), factors)


class LikesSpeed:
    """Predicts by the speed of the first step."""

    def prob_first(self, first: Any, second: Any, annotator: Any = None) -> Any:
        return np.where(first.actions[:, 0, 0] > second.actions[:, 0, 0], 0.9, 0.1)


def test_figures_of_users_by_hand() -> None:
    store = ScoredStore([trajectory(speed) for speed in (0.0, 1.0, 3.0)])
    settings = OracleSettings(
        humans=(Human("fast", 0.75, {"speed": 1}), Human("lazy", 0.25, {"effort": 2})), target_accuracy=None, beta=np.inf,
    )
    human = oracles.build(
        "pluralistic", settings, seed=0, calibration=store.gather(store.store.admissible(6)), task="t", form="fixed",
        factor_names=FACTORS,
    )
    index = store.store.admissible(6)
    rows = np.arange(40)
    first, second = index[rows % 3], index[(rows + 1) % 3]
    answers, _ = asking.ask(human, store, first, second, rows)
    np.testing.assert_array_equal(answers.probabilities[:, :2].max(axis=1), 0.75)  # who answers is not known beforehand
    history = [{"factors": {"speed": 10.0, "effort": -1.0}}, {"factors": {"speed": 16.0, "effort": -4.0}}]
    found = user_figures(human, history, LikesSpeed(), store, answers)  # type: ignore[arg-type]
    assert (found["user_fast_return_initial"], found["user_fast_return_final"]) == (10, 16)
    assert (found["user_lazy_return_initial"], found["user_lazy_return_final"]) == (-2, -8)
    assert (found["users_return_mean_initial"], found["users_return_mean_final"]) == (7, 0.75 * 16 - 0.25 * 8)
    assert (found["users_return_worst_initial"], found["users_return_worst_final"]) == (-2, -8)
    spread = np.std([0.0, 6.0, 18.0])  # of fast; lazy's is twice that
    assert found["user_fast_gain"] == pytest.approx(6 / spread) and found["user_lazy_gain"] == pytest.approx(-6 / (2 * spread))
    assert found["users_worst"] == "lazy" and found["users_gain_worst"] == found["user_lazy_gain"]
    assert found["users_gain_mean"] == pytest.approx(0.75 * 6 / spread - 0.25 * 3 / spread)
    assert (found["user_fast_heldout_accuracy"], found["user_lazy_heldout_accuracy"]) == (1.0, 0.0)
    assert found["user_fast_n_heldout"] + found["user_lazy_n_heldout"] == 40 and found["user_lazy_n_heldout"] > 3
    assert found["user_fast_best_possible_accuracy"] == found["user_lazy_best_possible_accuracy"] == 1.0
    assert found["users_agreement"] == found["users_agreement_fast_lazy"] == 0.0 and found["n_annotators"] == 2
    nobody = user_figures(human, history, None, store, asking.Answers.empty(6))
    assert nobody["user_fast_heldout_accuracy"] is None and nobody["user_fast_n_heldout"] == 0


def test_users_without_a_return_of_episodes_score_segments_of_them_by_hand() -> None:
    store = ScoredStore([trajectory(speed) for speed in (0.0, 1.0, 3.0)])
    soon = Human("soon", 0.5, {"speed": 1}, {"gamma": 0.5})
    ranks = Human("ranks", 0.5, None, {"judgment": "hierarchy", "levels": [{"feature": "speed", "margin": 0.0}]})
    settings = OracleSettings(humans=(soon, ranks), target_accuracy=None, beta=np.inf)
    human = oracles.build(
        "pluralistic", settings, seed=0, calibration=store.gather(store.store.admissible(6)), task="t", form="fixed",
        factor_names=FACTORS,
    )
    # Σ ½^t = 63/32 a unit of speed; the second's is the chance to beat speeds 0, 1 and 3, half of it where both are the same
    before, after = (user_scores(human, [trajectory(speed) for speed in speeds], 6) for speeds in ((0.0, 1.0), (1.0, 3.0)))
    assert before == pytest.approx([0.5 * 63 / 32, (1 / 6 + 3 / 6) / 2])
    assert after == pytest.approx([2 * 63 / 32, (3 / 6 + 5 / 6) / 2])
    history = [{"user_scores": before}, {"user_scores": after}]
    found = user_figures(human, history, None, store, asking.Answers.empty(6))
    assert "its value to the user, or its chance" in found["users_return_is"] and "segments" in found["users_return_is"]
    assert (found["user_soon_return_initial"], found["user_ranks_return_final"]) == (before[0], after[1])  # type: ignore[index]
    gains = [1.5 / np.std([0.0, 1.0, 3.0]), (2 / 6) / np.std([1 / 6, 3 / 6, 5 / 6])]
    assert [found["user_soon_gain"], found["user_ranks_gain"]] == pytest.approx(gains) and found["users_worst"] == "soon"
    assert found["users_gain_mean"] == pytest.approx(np.mean(gains))
    unmeasured = user_figures(human, [{}, {}], None, store, asking.Answers.empty(6))
    assert unmeasured["user_soon_gain"] is unmeasured["users_worst"] is unmeasured["users_return_mean_final"] is None


def test_users_who_need_simulator_states_are_not_measured_and_the_record_says_so() -> None:
    class Branches(WeightedFactors):
        needs_sim_states = True

    members = [Member(name, 0.5, Branches({name: 1}, FACTORS, gamma=0.9), Boltzmann(1.0)) for name in FACTORS]
    notes: dict[str, Any] = {"humans": {name: {"judged_spread": 1.0} for name in FACTORS}}
    notes["agreement"] = {name: dict.fromkeys(FACTORS, 1.0) for name in FACTORS}
    human = Population(members, seed=0, name="own", notes=notes)
    assert user_scores(human, [trajectory(1.0)], 6) is None
    found = user_figures(human, [{}, {}], None, ScoredStore(), asking.Answers.empty(6))
    assert found["users_return_is"].startswith("not measured") and found["user_speed_return_final"] is None


def test_held_out_answers_are_as_predictable_as_they_were_drawn_and_not_as_training_ones_are() -> None:
    store = ScoredStore([trajectory(speed) for speed in (0.0, 1.0, 3.0)])
    humans = tuple(Human(name, 0.5, {name: 1}) for name in FACTORS)
    settings = OracleSettings(humans=humans, target_accuracy=None, beta=np.inf, mistake_rate=0.25, mistakes_when="training")
    index, rows = store.store.admissible(6), np.arange(40)
    human = oracles.build(
        "pluralistic", settings, seed=0, calibration=store.gather(index), task="t", form="fixed", factor_names=FACTORS,
    )
    answers, _ = asking.ask(human.for_evaluation(), store, index[rows % 3], index[(rows + 1) % 3], rows)
    found = user_figures(human, [{"factors": dict.fromkeys(FACTORS, 0.0)}] * 2, None, store, answers)
    assert found["user_speed_best_possible_accuracy"] == found["user_effort_best_possible_accuracy"] == 1.0


def test_one_human_alone_adds_nothing_to_the_record() -> None:
    member = Member("all", 1.0, WeightedFactors({"speed": 1}, FACTORS), Boltzmann(1.0))
    alone = Population([member], seed=0, name="pluralistic")
    assert user_figures(alone, [], None, ScoredStore(), asking.Answers.empty(3)) == {}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs")
    overrides = ["budget.n_comparisons=60", "video=false", f"out={out}"]
    return preflab.run(overrides, env="pendulum", oracle="pluralistic", budget="smoke")


def test_a_run_knows_who_answered_and_what_it_did_for_each(done: Run) -> None:
    record, card, stored = done.record, load_json(done.folder / "card.json"), load_arrays(done.folder / "comparisons.npz")
    assert list(card["humans"]) == ["upright", "lively"] and record["n_annotators"] == 2 and record["is_misspecified"] is True
    assert set(stored["train_annotator"]) == {0, 1}
    assert record["user_upright_n_heldout"] == int((stored["heldout_annotator"] == 0).sum())
    assert record["user_upright_return_final"] == pytest.approx(record["factor_angle_final"])
    assert record["user_lively_return_initial"] == pytest.approx(-record["factor_velocity_initial"])
    assert record["users_agreement_upright_lively"] == card["agreement"]["upright"]["lively"] < 0.4
    shares = np.array([record[f"user_{name}_n_heldout"] for name in card["humans"]]) / record["n_heldout_comparisons"]
    parts = [record[f"user_{name}_heldout_accuracy"] for name in card["humans"]]
    assert shares @ parts == pytest.approx(record["heldout_accuracy"])
    state = checkpoint.load(done.folder / "checkpoint/round-001")
    best = metrics.best_possible_accuracy(state.heldout_answers.probabilities)[0]
    known = shares @ [record[f"user_{name}_best_possible_accuracy"] for name in card["humans"]]
    assert record["best_possible_accuracy"] == pytest.approx(best) and best < known - 0.02  # `known`: with who answers


def test_the_report_says_whom_the_run_served(done: Run, tmp_path: Path) -> None:
    html = done.report.read_text(encoding="utf-8")
    assert html.index("What gold is made of") < html.index("Whom it served") < html.index("The simulated human")
    section = html[html.index("Whom it served") : html.index("The simulated human")]
    upright = "<b>upright</b><small>angle 1</small>"
    for wanted in ("Served worst:", upright, "60 %", "velocity −1", "upright and lively 24 %", "lowest in each"):
        assert wanted in section, wanted
    assert "one of several people at a time; the learner assumed partial return" in html
    record = {key: value for key, value in done.record.items() if not key.startswith("user")}
    save_json(tmp_path / "record.json", record)
    save_json(tmp_path / "card.json", load_json(done.folder / "card.json"))
    poor = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Whom it served" in poor and "Served worst" not in poor and "nan" not in poor[poor.index("Whom it served") :][:1500]


def test_a_report_of_one_human_has_no_such_section(tmp_path: Path) -> None:
    overrides = ["video=false", f"out={tmp_path}"]
    run = preflab.run(overrides, env="random-mdp", oracle="partial_return", budget="smoke")
    assert "Whom it served" not in run.report.read_text(encoding="utf-8")
    assert not [key for key in run.record if key.startswith(("user", "n_annotators"))]
