"""The report: what a person sees must be there, be true, and be safe to open anywhere."""

import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import pytest

from preflab.errors import DamagedFile, InvalidArgument
from preflab.experiments import compare
from preflab.experiments.report import (
    compose_film,
    film_steps,
    find_warnings,
    write_joint_report,
    write_report,
    write_video,
)
from preflab.experiments.report.film import strips_within
from preflab.experiments.report.folder import read_run
from preflab.experiments.report.joint import Condition, difference, group, means
from preflab.experiments.report.judged import belief
from preflab.experiments.report.report import what_next
from preflab.experiments.report.statistics import sign_flip_p, t_coverage, t_interval, t_quantile, wilson_interval
from preflab.experiments.report.words import make_command
from preflab.storage import save_arrays, save_json

Record = dict[str, Any]
Make = Callable[..., Path]

RECORD: Record = {
    "env": "mujoco-humanoid",
    "form": "fixed",
    "horizon": 250,
    "oracle": "partial_return",
    "reward": "ensemble",
    "agent": "ppo",
    "budget": "demo",
    "seed": 0,
    "device": "cpu",
    "likelihood": "partial_return",
    "is_misspecified": False,
    "n_queries": 400,
    "n_comparisons": 396,
    "n_skips": 4,
    "n_heldout_comparisons": 80,
    "n_weights": 28_000,
    "n_eval_episodes": 20,
    "gold_return_initial": 98.0,
    "gold_return_initial_low": 80.0,
    "gold_return_initial_high": 116.0,
    "gold_return_final": 423.0,
    "gold_return_final_low": 398.0,
    "gold_return_final_high": 448.0,
    "gold_return_final_deterministic": 466.0,
    "gold_return_gold_agent": 555.0,
    "gold_return_constant": 12.0,
    "gold_forward_final": 62.0,
    "score": 325 / 457,
    "gold_return_best": 431.0,
    "proxy_return_final": 61.0,
    "episode_length_final": 250.0,
    "heldout_accuracy": 0.79,
    "best_possible_accuracy": 0.85,
    "heldout_log_loss": 0.47,
    "calibration_error": 0.041,
    "reward_distance": 0.31,
    "reward_distance_kind": "pearson",
    "distance_to_reference": 7.1,
    "padded_share": 0.0,
    "reference_source": "initial policy",
    "n_env_steps": 1_000_000,
    "wall_seconds": 642.0,
    "seconds_env": 310.0,
    "seconds_oracle": 3.1,
    "seconds_reward_fit": 41.0,
    "seconds_reward_inference": 9.0,
    "seconds_agent": 241.0,
    "seconds_other": 37.9,
    "version": "0.1.0",
    "date": "2026-11-21",
    "command": "python -m preflab.experiments env=mujoco-humanoid oracle=partial_return budget=demo seed=0",
}
CARD = {
    "name": "regret",
    "seed": 0,
    "judgment": {"name": "regret", "formula": "−Σ w_t m_t [V(s_t) − r_t − γ V(s_t+1)]", "gamma": 0.99},
    "response": {"name": "boltzmann", "beta": 0.213, "target_accuracy": 0.85, "achieved_accuracy": 0.8499},
    "judged_spread": 14.2,
    "expert_gap": 3.1,
    "share_of_negative_regret": 0.31,
    "expert": {"task": "mujoco-humanoid", "form": "fixed", "explained_variance": {"random": 0.91, "expert": 0.62}},
}


def _history(gold: list[float], proxy: list[float | None], length: list[float] | None = None) -> list[Record]:
    rows = []
    for i, (mean, predicted) in enumerate(zip(gold, proxy, strict=True)):
        share = i / (len(gold) - 1)
        rows.append(
            {
                "round": i,
                "n_env_steps": 1_000_000 * share,
                "n_comparisons": 396 * share,
                "gold_return_mean": mean,
                "gold_return_low": mean - 25,
                "gold_return_high": mean + 25,
                "gold_return_deterministic": mean * 1.1,
                "proxy_return_mean": predicted,
                "proxy_return_low": None if predicted is None else predicted - 4,
                "proxy_return_high": None if predicted is None else predicted + 4,
                "episode_length_mean": 250.0 if length is None else length[i],
                "heldout_accuracy": None if i == 0 else 0.6 + 0.19 * share,
                "heldout_log_loss": 0.6,
                "best_possible_accuracy": 0.85,
                "best_possible_low": 0.81,
                "best_possible_high": 0.89,
                "calibration_error": 0.05,
                "tie_share": 0.02,
                "skip_share": 0.01,
                "factors": {
                    "reward_survive": 0.8 * mean,
                    "reward_forward": 0.15 * mean,
                    "reward_ctrl": 0.04 * mean,
                    "reward_contact": 0.01 * mean,
                },
                "seconds": 90.0 * i,
            }
        )
    return rows


HISTORY = _history([98, 190, 264, 344, 390, 431, 423], [None, 11.0, 24.0, 31.0, 44.0, 52.0, 61.0])


def _frames(pairs: int, size: int = 96) -> npt.NDArray[np.uint8]:
    """Draws a swinging rod: (P, 2, 6, size, size, 3)."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    angle = np.linspace(0, 3, pairs * 2 * 6).reshape(pairs, 2, 6, 1, 1)
    along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    rod = (along > 0) & (along < 0.4) & (np.abs(across) < 0.03)
    return np.where(rod[..., None], (160, 60, 40), (232, 236, 240)).astype(np.uint8)


def _film(pairs: int = 6, size: int = 96) -> dict[str, npt.NDArray[Any]]:
    rng = np.random.default_rng(0)
    gold = rng.normal(2, 2, (pairs, 2, 6))
    return {
        "frames": _frames(pairs, size),
        "gold": gold,
        "proxy": rng.normal(0, 1, (pairs, 2, 6)),
        "gold_sum": gold.sum(2) * 8,
        "proxy_sum": rng.normal(0, 9, (pairs, 2)),
        "p_oracle": rng.uniform(0, 1, pairs),
        "p_model": rng.uniform(0, 1, pairs),
        "choice": np.arange(pairs) % 3,
        "round": np.arange(pairs),
        "is_wrong": np.arange(pairs) == 1,
    }


def _make(folder: Path, history: list[Record] | None = None, config: str | None = None, **changes: Any) -> Path:
    """Fills a run folder as the loop does, without a video; keyword arguments change its record."""
    record, rows = {**RECORD, **changes}, HISTORY if history is None else history
    bins = np.arange(10) / 10 + 0.05
    counts = [9, 8, 7, 6, 5, 6, 7, 8, 9, 15]
    save_json(folder / "record.json", record)
    save_json(folder / "history.json", rows)
    save_json(folder / "card.json", CARD)
    save_json(folder / "calibration.json", {"predicted": bins, "observed": bins**1.2, "count": counts})
    save_arrays(folder / "film.npz", _film())
    save_json(folder / "warnings.json", find_warnings(record, rows, CARD))
    text = f"env: {{name: {record['env']}}}\nreward: {{n_members: 3}}\nseed: {record['seed']}\n"
    (folder / "config.yaml").write_text(text if config is None else config, encoding="utf-8")
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    """Returns a function that fills a named run folder."""
    return lambda name="run", **changes: _make(tmp_path / name, **changes)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns the html of a whole report of a misspecified run."""
    run = tmp_path_factory.mktemp("shown") / "run"
    command = f"{RECORD['command']}  # https://example.org/?a=1"
    _make(run, oracle="regret", is_misspecified=True, command=command)
    (run / "video.mp4").write_bytes(b"")
    return _read(write_report(run))


class _Page(HTMLParser):
    """Collects what a browser would load, and the text that a person would read."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        loading = ("src", "href", "xlink:href", "srcset", "action", "data", "poster")
        self.addresses += [value or "" for name, value in attrs if name in loading]

    def handle_data(self, data: str) -> None:
        if self.lasttag != "style":
            self.text += data


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_the_report_is_one_small_file_that_loads_nothing_from_anywhere(shown: str) -> None:
    html = shown
    page = _Page(html)
    assert len(html.encode()) < 5_000_000
    assert {address for address in page.addresses if not address.startswith(("data:", "#"))} == {"video.mp4"}
    assert not {"script", "iframe", "object", "embed"} & set(page.tags) and page.tags.count("link") == 1
    assert "url(http" not in html and "@import" not in html and "xmlns" not in html
    assert page.tags.count("img") == 12 and page.tags.count("svg") == 4  # six pairs of two strips; four figures


def test_the_report_says_what_was_run_and_whether_the_likelihood_was_right_before_anything_else(shown: str) -> None:
    text = _Page(shown).text
    start = text[text.index("mujoco-humanoid (fixed, 250 steps) · regret oracle") :]
    first = "The human judged by regret; the learner assumed partial return: misspecified."
    assert start.index(first) < start.index("0.71") < start.index("Gold and proxy over training")
    for wanted in (
        "One warning",
        "423",
        "98.0",
        "555",
        "agent trained on gold",
        "the learner disagrees",
        "best possible 0.85",
        "The simulated human",
        "achieved accuracy",
        "Where the time went",
        "5.2 min",
        "forward reward",
        "400 queries",
        "SEED=0..4",
        "python -m preflab.experiments env=mujoco-humanoid",
    ):
        assert wanted in start, wanted


def test_what_the_first_line_says_follows_the_record() -> None:
    assert belief({**RECORD, "oracle": "noisy"}).endswith(
        "with mistakes; the learner assumed partial return: well specified"
    )
    assert belief({"oracle": "regret", "reward": "constant", "likelihood": None}).endswith(
        "the constant reward assumed nothing"
    )
    assert belief({}) == "the human judged by a rule that the record does not name; the record names no likelihood"


def test_strings_from_the_config_and_the_record_are_escaped(make_run: Make) -> None:
    evil = '<script>alert("x")</script>&amp;'
    run = make_run(config=f"env: '{evil}'\n", agent=evil, command=evil, video_note=evil)
    save_json(run / "card.json", {evil: {"name": evil}})
    save_json(run / "warnings.json", [evil])
    history = [{**row, "factors": {evil: 1.0}} for row in HISTORY]
    save_json(run / "history.json", history)
    html = _read(write_report(run))
    assert "<script" not in html and "script" not in _Page(html).tags
    assert _Page(html).text.count(evil) >= 7  # read back, it is what was written


def test_missing_and_damaged_parts_are_named_and_the_rest_is_shown(make_run: Make) -> None:
    run = make_run()
    for name in ("film.npz", "history.json", "calibration.json", "card.json", "config.yaml"):
        (run / name).unlink()
    note = "no OpenGL library: install libegl1 libegl-mesa0"
    save_json(run / "record.json", {"env": "pendulum", "video_note": note, "score": math.nan})
    (run / "warnings.json").write_text("[", encoding="utf-8")
    text = _Page(_read(write_report(run))).text
    assert text.count(note) == 3  # for the video, for the film strips, in the record
    for wanted in (
        "no measurements",
        "no held-out answers",
        "no card of its oracle",
        "no seconds_",
        "no command",
        "no score",
        "config.yaml is not in the run folder",
        "warnings.json is damaged",
    ):
        assert wanted in text, wanted
    save_arrays(run / "film.npz", {**_film(), "gold": np.zeros((6, 2, 5)), "p_model": np.full(6, np.nan)})
    text = _Page(_read(write_report(run))).text
    assert "gold of film.npz must be (6, 2, 6), it is (6, 2, 5)" in text
    assert "learner 0." not in text and "human 0." in text  # without a model there is nothing to say for the learner
    assert not re.search(r"\b(nan|None|inf)\b", text)


def test_a_folder_without_a_record_is_refused_and_a_damaged_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"record\.json"):
        write_report(tmp_path)
    (tmp_path / "record.json").write_text("{", encoding="utf-8")
    with pytest.raises(DamagedFile, match=r"record\.json"):
        write_report(tmp_path)


def _fired(record: Record | None = None, history: list[Record] | None = None, card: Record | None = None) -> list[str]:
    return find_warnings({**RECORD, **(record or {})}, HISTORY if history is None else history, card or CARD)


def test_a_healthy_run_and_an_empty_record_have_no_warnings() -> None:
    assert _fired() == [] and find_warnings({}, [], {}) == []


TERMINATING: Record = {"form": "terminating", "gold_return_constant": None}
PLANTED: dict[str, tuple[list[str], list[str]]] = {
    "misspecified": (_fired({"oracle": "regret", "is_misspecified": True}), ["regret", "0.79", "0.85", "0.06 short"]),
    "experimental": (_fired({"likelihood": "regret", "reward": "regret"}), ["experimental", "200 answers", "−1,060", "−801"]),
    "constant": (_fired({"gold_return_constant": 410.0}), ["does not beat", "410", "398 to 448", "+13.0"]),
    "hacking": (
        _fired(history=_history([98, 431, 300, 210], [None, 10.0, 20.0, 30.0])),
        ["gold fell from 431 at 333k steps to 210 at 1M (−221", "10.0 at 333k to 30.0 (+20.0)"],
    ),
    # 10 → 40 a run of 20 → 60 steps: rates 1/2 and 2/3, so length explains 40 · (1/2 + 2/3)/2 = 23.3 of 30
    "longer": (
        _fired(TERMINATING, _history([98, 200, 423], [None, 10.0, 40.0], [20, 20, 60])),
        ["Longer episodes", "+30.0", "+23.3", "78 %", "20.0 → 60.0 steps", "0.583 a step"],
    ),
    # −30 → −5 in 60 → 10 steps: both rates −1/2, so length explains all 25
    "shorter": (
        _fired(TERMINATING, _history([98, 200, 423], [None, -30.0, -5.0], [60, 60, 10])),
        ["Shorter episodes", "+25.0", "100 %"],
    ),
    "expert": (
        _fired(card={**CARD, "expert_gap": 28.4}),
        ["gap 28.4", "spread of the judged segments 14.2", "2.0 times"],
    ),
    "ceiling": (_fired({"heldout_accuracy": 0.862}), ["ceiling", "0.862", "0.850", "+0.012"]),
    "ties": (_fired({"n_ties": 396}), ["All answers were ties", "396 of 396", "0 strict"]),
    "skips": (_fired({"n_skips": 300}), ["300 of 400", "75 %"]),
    "nothing but skips": (_fired({"n_skips": 400}), ["all 400 of them", "no reward was learned"]),
    "heldout": (
        _fired({"n_heldout_comparisons": 10, "heldout_accuracy": 1.0}),
        ["rests on 10 answers", "0.72 to 1.00"],
    ),
    "weights": (_fired({"n_comparisons": 40, "n_weights": 71_000}), ["40 comparisons for 71,000 weights", "1,775"]),
    "denominator": (_fired({"gold_return_gold_agent": 140.0}), ["+42.0", "50.0"]),
}


@pytest.mark.parametrize("name", PLANTED)
def test_each_warning_fires_alone_on_its_planted_record_and_does_the_arithmetic(name: str) -> None:
    fired, wanted = PLANTED[name]
    assert len(fired) == 1
    assert all(part in fired[0] for part in wanted), (fired, wanted)


@pytest.mark.parametrize(
    ("record", "history"),
    [
        ({"gold_return_constant": 390.0}, None),  # below the interval's lower end
        ({"reward": "constant", "gold_return_constant": 500.0}, None),
        ({"likelihood": "regret", "reward": "regret_tabular"}, None),
        ({}, _history([98, 431, 395], [None, 10.0, 30.0])),  # gold fell within its intervals: 395 + 25 > 431 − 25
        ({}, _history([98, 431, 210], [None, 30.0, 10.0])),  # the proxy fell, too
        ({}, _history([98, 200, 423], [None, 10.0, 40.0], [20, 20, 60])),  # not the terminating form
        (TERMINATING, _history([98, 200, 423], [None, 10.0, 40.0], [50, 50, 60])),  # length explains 10 · .433 of 30
        ({"n_ties": 190}, None),
    ],
)
def test_near_misses_do_not_fire(record: Record, history: list[Record] | None) -> None:
    assert _fired(record, history) == []


def test_what_to_try_next_keeps_the_overrides_and_changes_one_thing(make_run: Make) -> None:
    command = "python -m preflab.experiments env=mujoco-humanoid seed=0 out=/tmp/x 'agent.hidden=[64,64]'"
    ideas = [line for _, line in what_next(read_run(make_run(command=command, form="terminating", oracle="regret")))]
    start = "make experiment ENV=mujoco-humanoid ORACLE=regret"
    assert (
        ideas[0] == f"{start} REWARD=constant AGENT=ppo BUDGET=demo SEED=0 ARGS='agent.hidden=[64,64] form=terminating'"
    )
    assert "budget.n_comparisons=800" in ideas[1] and "REWARD=ensemble" in ideas[1]
    assert len(ideas) == 3 and "SEED=0..4" in ideas[2]
    assert (
        make_command({"env": "pendulum", "command": "nothing 'unfinished"}, SEED="3")
        == "make experiment ENV=pendulum SEED=3"
    )


def test_student_t_agrees_with_the_tables_and_with_scipy() -> None:
    for degrees, quantile in ((1, 12.7062), (2, 4.3027), (4, 2.7764), (5, 2.5706), (30, 2.0423)):
        assert t_quantile(0.95, degrees) == pytest.approx(quantile, abs=5e-5)
    stats = pytest.importorskip("scipy.stats")
    for degrees in (1, 2, 3, 7, 8, 25):
        assert t_coverage(1.3, degrees) == pytest.approx(2 * stats.t.cdf(1.3, degrees) - 1, abs=1e-12)


def test_intervals_and_the_sign_flip_test_equal_hand_computed_ones() -> None:
    found = t_interval([0.5, 0.7, 0.9])  # mean .7, s .2, t(2) 4.3027: half-width 4.3027 · .2 / √3 = .49684
    assert (found.mean, found.low, found.high) == pytest.approx((0.7, 0.20316, 1.19684), abs=2e-5)
    assert t_interval([3.0]).low is None
    assert sign_flip_p([1.0, 2.0, 3.0]) == 2 / 8 and sign_flip_p([1.0, -1.0]) == 1.0 and sign_flip_p([1.0] * 19) is None
    assert sign_flip_p([3.0, 2.0, -1.0]) == 4 / 8  # |sum| ≥ 4: (3,2,±1) and their mirrors
    assert wilson_interval(0.5, 4) == pytest.approx((0.15004, 0.84996), abs=1e-5)  # (.5 ± …): z² = 3.84146


def _two_conditions(make_run: Make) -> list[Path]:
    scores = {"regret": (0.5, 0.7, 0.9), "partial_return": (0.6, 0.9, 0.9)}
    return [
        make_run(f"{oracle}-{seed}", oracle=oracle, seed=seed, score=score, is_misspecified=oracle == "regret")
        for oracle, row in scores.items() for seed, score in enumerate(row)
    ]


def test_conditions_differ_in_what_was_changed_and_are_paired_by_seed(make_run: Make) -> None:
    runs = [read_run(path) for path in _two_conditions(make_run)]
    regret, partial = group(runs)
    assert (regret.label, partial.label) == ("oracle=regret", "oracle=partial_return")
    assert means(regret)["score"] == t_interval([0.5, 0.7, 0.9])
    found = difference(regret, partial)  # .1, .2, 0: mean .1, s .1, half-width 4.3027 · .1 / √3 = .24842
    assert found is not None and found.metric == "score" and found.interval.n == 3 and found.p_sign_flip == 0.5
    assert (found.interval.mean, found.interval.low, found.interval.high) == pytest.approx(
        (0.1, -0.14842, 0.34842), abs=1e-5
    )
    assert difference(regret, Condition("alone", partial.runs[:1])) is None


def test_runs_that_differ_only_in_an_override_or_repeat_a_seed_are_told_apart(make_run: Make) -> None:
    small = (
        "env: {name: pendulum, overlays: {agent: {ppo: {gamma: 0.9}}}}\nreward: {name: ensemble, n_members: 3}\nseed: "
    )
    runs = [read_run(make_run(f"a{seed}", config=f"{small}{seed}\n", seed=seed)) for seed in (0, 1)]
    runs.append(read_run(make_run("b0", config=f"{small}0\n".replace("3", "5"), seed=0)))
    runs.append(read_run(make_run("again", config=f"{small}1\n", seed=1)))
    first, second = group(runs)
    assert (first.label, second.label) == ("reward.n_members=3", "reward.n_members=5")
    assert [run.path.name for run in first.runs] == ["a0", "again"] and first.n_left_out == 1


def test_without_a_score_gold_is_compared_only_on_the_same_task(make_run: Make) -> None:
    def runs(name: str, gold: float, **changes: Any) -> Condition:
        paths = [
            make_run(f"{name}{seed}", seed=seed, score=None, gold_return_final=gold + seed, **changes)
            for seed in (0, 1)
        ]
        return Condition(name, tuple(read_run(path) for path in paths))

    found = difference(runs("a", 100.0), runs("b", 130.0))
    assert found is not None and found.metric == "gold_return_final" and found.interval.mean == pytest.approx(30.0)
    assert difference(runs("c", 100.0), runs("d", 130.0, env="pendulum")) is None


def test_the_joint_report_shows_the_means_and_links_each_run(make_run: Make, tmp_path: Path) -> None:
    runs = [path for path in _two_conditions(make_run) if path.name.startswith("regret")]
    (runs[0] / "report.html").write_text("", encoding="utf-8")
    page = _Page(_read(write_joint_report(runs, tmp_path / "joint" / "page.html")))
    assert "0.70" in page.text and "0.20 to 1.20" in page.text and "misspecified" in page.text
    assert [address for address in page.addresses if not address.startswith(("data:", "#"))] == [
        "../regret-0/report.html"
    ]
    with pytest.raises(InvalidArgument, match="at least one"):
        write_joint_report([], tmp_path / "none.html")


def test_compare_prints_the_table_and_names_its_page(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _two_conditions(make_run)
    monkeypatch.chdir(tmp_path)
    assert compare.main([str(tmp_path), "regret-0"]) == 0  # a folder of runs, and one of them again
    out = capsys.readouterr().out
    assert "0.70 (0.20 to 1.20)" in out and "0.80 (0.37 to 1.23)" in out
    assert "oracle=regret minus oracle=partial_return: score −0.100 (−0.348 to +0.148) over 3 common seeds" in out
    assert "undecided with fewer than 6 seeds" in out
    pages = list((tmp_path / "runs").glob("compare-oracle-partial-return-vs-oracle-regret-*.html"))
    assert len(pages) == 1 and out.strip().endswith(pages[0].name)
    (tmp_path / "empty").mkdir()
    assert compare.main(["empty"]) == 2 and "record.json" in capsys.readouterr().err


def test_a_video_has_every_frame_at_the_given_rate_and_even_sides(tmp_path: Path) -> None:
    frames = _frames(2, 65).reshape(24, 65, 65, 3)
    write_video(tmp_path / "a.mp4", frames, fps=12)
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "a.mp4"))
    meta = next(reader)
    assert (meta["codec"], meta["fps"], meta["source_size"]) == ("h264", 12.0, (66, 66)) and meta["pix_fmt"].startswith(
        "yuv420p"
    )
    decoded = [np.frombuffer(frame, np.uint8).reshape(66, 66, 3)[:65, :65] for frame in reader]
    assert len(decoded) == 24
    assert max(float(np.abs(a.astype(float) - b).mean()) for a, b in zip(decoded, frames, strict=True)) < 12
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    wrongs: list[Any] = [frames[:0], frames[..., :1], frames.astype(np.float32)]
    for wrong in wrongs:
        with pytest.raises(InvalidArgument, match="frames"):
            write_video(tmp_path / "b.mp4", wrong, fps=12)
    with pytest.raises(InvalidArgument, match="fps"):
        write_video(tmp_path / "b.mp4", frames, fps=0)


def test_a_film_strip_holds_its_frames_from_left_to_right_and_shrinks_to_what_is_allowed() -> None:
    frames = np.stack([np.full((4, 5, 3), value, np.uint8) for value in (10, 20, 30)])
    strip = compose_film(frames, gap=2)
    assert strip.shape == (4, 19, 3)
    assert strip[0, :, 0].tolist() == [10] * 5 + [255] * 2 + [20] * 5 + [255] * 2 + [30] * 5
    assert film_steps(50).tolist() == [0, 10, 20, 29, 39, 49] and film_steps(1).tolist() == [0] * 6
    noise = np.random.default_rng(0).integers(0, 256, (2, 2, 6, 64, 64, 3)).astype(np.uint8)
    full, half = (sum(len(uri) for pair in strips_within(noise, limit) for uri in pair) for limit in (10**9, 60_000))
    assert half <= 60_000 < full


def test_a_report_of_large_noisy_frames_stays_below_five_megabytes(make_run: Make) -> None:
    run = make_run()
    film = _film(14)
    film["frames"] = np.random.default_rng(0).integers(0, 256, (14, 2, 6, 64, 64, 3)).astype(np.uint8)
    film["is_wrong"] = (
        np.arange(14) == 13
    )  # the only one that the learner gets wrong comes last, beyond the dozen shown
    save_arrays(run / "film.npz", film)
    html = _read(write_report(run))
    assert len(html.encode()) < 5_000_000
    assert html.count('class="pair') == 12 and html.count('class="pair wrong"') == 1 and "Round 13" in html
