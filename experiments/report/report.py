"""Writes report.html of one run from the files in its folder, so that a person sees in a minute what happened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from preflab.experiments.report import figures
from preflab.experiments.report.checks import find_warnings
from preflab.experiments.report.circles import circles_section
from preflab.experiments.report.folder import RunFolder, number, read_run
from preflab.experiments.report.judged import belief
from preflab.experiments.report.levels import levels_section
from preflab.experiments.report.page import (
    definitions,
    figure,
    folded,
    note,
    page,
    record_table,
    section,
    shares_bar,
    table,
    warning_box,
)
from preflab.experiments.report.pairs import film_section
from preflab.experiments.report.users import MOST_ROWS, users_section
from preflab.experiments.report.verdict import facts, headline, verdict
from preflab.experiments.report.words import (
    count,
    duration,
    escape,
    make_command,
    percent,
    plain,
    signed,
    spoken,
    steps,
    what_ran,
)
from preflab.storage import save_text

_TIMES = (
    ("env", "simulating", "#a06a00"),
    ("oracle", "answering", "#c9a24a"),
    ("reward_fit", "fitting the reward", "#2b5c8a"),
    ("reward_inference", "scoring with the reward", "#7fa3c4"),
    ("agent", "training the agent", "#4c4a45"),
    ("other", "everything else", "#c9c4b8"),
)


def write_report(run_dir: Path) -> Path:
    """Writes and returns `run_dir`/report.html, reading only files of that folder.

    Self-contained and below 5 MB (the video beside it is linked); what the run did not leave is named, not raised.

    Raises:
        InvalidArgument: no record.json in `run_dir`.
        DamagedFile: record.json cannot be read.
    """
    run = read_run(Path(run_dir))
    warnings = run.warnings if run.warnings is not None else find_warnings(run.record, run.history, run.card)
    sections: list[Callable[[RunFolder], str]] = [
        _training, _video, _answers, film_section, _factors, users_section, levels_section, circles_section, _card, _time, _next,
        _made, _everything,
    ]
    body = [headline(run), warning_box(warnings), verdict(run), facts(run), *(part(run) for part in sections)]
    body.append("<footer>Written by preflab from the files of this folder alone. Intervals are 95 %.</footer>")
    path = run.path / "report.html"
    save_text(path, page(f"{what_ran(run.record)} — {belief(run.record, run.card)}", body))
    return path


def _training(run: RunFolder) -> str:
    if not run.history:
        return section("Gold and proxy over training", note("Not shown: the run left no measurements (history.json)."))
    episodes = number(run.record, "n_eval_episodes")
    on = f"{count(episodes)} episodes" if episodes else "a separate environment, the same reset seeds each time"
    text = (
        f"Bands are intervals of the mean over evaluation episodes ({on}; the stochastic policy, as trained). They say "
        "nothing about other seeds. The proxy is measured by the reward of its round: its scale may move with a refit."
    )
    return section("Gold and proxy over training", figure(figures.training_figure(run)), note(text))


def _video(run: RunFolder) -> str:
    if run.has_video:
        video = '<video src="video.mp4" controls muted playsinline preload="metadata"></video>'
        return section(
            "What it learned to do", video, '<p class="note"><a href="video.mp4">video.mp4</a>, beside this page.</p>'
        )
    return section(
        "What it learned to do", note(f"No video: {run.record.get('video_note') or 'the run wrote no video.mp4.'}")
    )


def _answers(run: RunFolder) -> str:
    calibration = figures.calibration_figure(run.calibration) if run.calibration.get("count") else ""
    accuracy = figures.accuracy_figure(run.history)
    pictures = "".join(figure(svg) for svg in (calibration, accuracy) if svg)
    error, log_loss = number(run.record, "calibration_error"), number(run.record, "heldout_log_loss")
    last = run.history[-1] if run.history else {}
    parts = [
        f"Expected calibration error {error:.3f}." if error is not None else "",
        f"Log loss {log_loss:.3f} nats (a coin: 0.693)." if log_loss is not None else "",
        f"Ties: {percent(tie)} of all answers." if (tie := number(last, "tie_share")) is not None else "",
        f"Skipped: {percent(skip)} of all queries." if (skip := number(last, "skip_share")) is not None else "",
    ]
    missing = "" if calibration else "No calibration plot: the run left no held-out answers (calibration.json)."
    return section(
        "What it learned from the answers", f'<div class="two">{pictures}</div>' if pictures else "",
        note(" ".join(part for part in parts if part)), note(missing),
    )


def _factors(run: RunFolder) -> str:
    rows = [row for row in run.history if isinstance(row.get("factors"), dict) and row["factors"]]
    if not rows:
        return ""
    names = sorted(
        (name for name in rows[0]["factors"] if number(rows[-1]["factors"], name) is not None), key=_factor_rank
    )
    names = [name for name in names if number(rows[0]["factors"], name) is not None]
    if not names:
        return ""
    changes = {name: float(rows[-1]["factors"][name]) - float(rows[0]["factors"][name]) for name in names}
    before, after = number(rows[0], "gold_return_mean"), number(rows[-1], "gold_return_mean")
    text = "Means per episode, each on its own scale."
    gain = None if before is None or after is None else after - before
    if gain and abs(sum(changes.values()) - gain) < 0.02 * abs(gain):
        shares = ", ".join(
            f"{spoken(name)} {signed(change)} ({percent(change / gain)})" for name, change in changes.items()
        )
        text = f"Of the change in gold of {signed(gain)} an episode: {shares}. {text}"
    return section("What gold is made of", figure(figures.factor_figure(rows, names)), note(text))


def _factor_rank(name: str) -> tuple[int, str]:
    """Returns a key that puts the task itself (going forward) first and the alive bonus, apart from it, second."""
    word = name.lower()
    if "forward" in word:
        return 0, word
    return (1 if any(part in word for part in ("survive", "alive", "healthy", "upright")) else 2), word


def _card(run: RunFolder) -> str:
    """Returns the oracle's card, without what has a section of its own; many humans are folded."""
    card, circles, humans = dict(run.card), run.card.get("intransitive"), run.card.get("humans")
    if isinstance(circles, dict):
        card["intransitive"] = {name: value for name, value in circles.items() if name != "example"}
    if (number(run.record, "n_annotators") or 0) > 1:
        card.pop("agreement", None)
    many = ""
    if isinstance(humans, dict) and all(isinstance(human, dict) for human in humans.values()):
        card["humans"] = _told_apart(humans)
        if len(humans) > MOST_ROWS:
            many = folded(f"Its {len(humans)} humans", definitions({"humans": card.pop("humans")}))
    none = note("The run left no card of its oracle (card.json).")
    return section("The simulated human", definitions(card) or none, many)


def _told_apart(humans: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns what the card says of each human, without rankings, which have a section, and a judgment that all share."""
    said = {key for human in humans.values() for key, value in human.items() if value is not None} - {"levels", "deciding_levels"}
    said -= {key for key in ("gamma", "judged_by") if len({str(human.get(key)) for human in humans.values()}) == 1}
    return {name: {key: value for key, value in human.items() if key in said} for name, human in humans.items()}


def _time(run: RunFolder) -> str:
    spent = [(label, color, number(run.record, f"seconds_{key}") or 0.0) for key, label, color in _TIMES]
    total = sum(seconds for _, _, seconds in spent)
    if total <= 0:
        return section("Where the time went", note("The record holds no seconds_… of its parts."))
    parts = [
        (label, color, seconds, f"{duration(seconds)} ({percent(seconds / total)})") for label, color, seconds in spent
    ]
    rate = number(run.record, "n_env_steps")
    text = (
        ""
        if rate is None
        else f"{duration(total)} for {steps(rate)} env steps of training: {count(rate / total)} a second."
    )
    return section("Where the time went", shares_bar(parts), note(text))


def _next(run: RunFolder) -> str:
    items = "".join(f"<li>{escape(why)}<pre>{escape(command)}</pre></li>" for why, command in what_next(run))
    return section("What to try next", f'<ol class="next">{items}</ol>')


def what_next(run: RunFolder) -> list[tuple[str, str]]:
    """Returns up to three (reason, command), the ones that this run's figures ask for first."""
    record = run.record
    ideas: list[tuple[str, str]] = []
    reward, score = record.get("reward"), number(record, "score")
    accuracy, best = number(record, "heldout_accuracy"), number(record, "best_possible_accuracy")
    asked = number(record, "n_queries") or number(record, "n_comparisons")
    if record.get("form") == "terminating" and reward != "constant":
        why = (
            "Does the reward matter? In this form an episode's end leaks the task, so put a constant reward beside it:"
        )
        ideas.append((why, make_command(record, REWARD="constant")))
    if reward == "constant":
        ideas.append(("Put a learned reward beside this control:", make_command(record, REWARD="ensemble")))
    if score is None and reward != "gold":
        why = "There is no score yet. What would the same agent reach on gold itself?"
        ideas.append((why, make_command(record, REWARD="gold")))
    if accuracy is not None and best is not None and best - accuracy > 0.05 and asked:
        why = (
            f"Held-out accuracy is {best - accuracy:.2f} below what is possible. Ask twice as much ({count(2 * asked)} "
            f"instead of {count(asked)}):"
        )
        ideas.append((why, make_command(record, ARGS=f"budget.n_comparisons={2 * asked:.0f}")))
    elif accuracy is not None and best is not None and score is not None and score < 0.6 and record.get("n_env_steps"):
        twice = 2 * (number(record, "n_env_steps") or 0)
        why = f"Accuracy is {accuracy:.2f} of {best:.2f}, yet the score is {plain(score)}. Train longer:"
        ideas.append((why, make_command(record, ARGS=f"budget.n_env_steps={twice:.0f}")))
    if record.get("is_misspecified") is True and record.get("oracle") != "partial_return":
        why = "Was it the assumption? Let the human judge as the learner believes, and change nothing else:"
        other = {"REWARD": "ensemble"} if reward == "heron" else {}  # which is fitted to no one else's answers
        ideas.append((why, make_command(record, ORACLE="partial_return", **other)))
    ideas.append(
        ("One seed is an anecdote. Repeat it on five and get one joint report:", make_command(record, SEED="0..4"))
    )
    if reward not in ("constant", "gold") and record.get("form") != "terminating":
        ideas.append(("How much would a reward that knows nothing reach?", make_command(record, REWARD="constant")))
    return ideas[:3]


def _made(run: RunFolder) -> str:
    record = run.record
    price = [
        duration(number(record, "wall_seconds")), f"{count(number(record, 'n_env_steps'))} env steps",
        f"{count(number(record, 'n_queries'))} queries",
    ]
    rows = [("price", ", ".join(price)), ("date", record.get("date")), ("preflab", record.get("version")),
            ("seed", record.get("seed")), ("device", record.get("device")), ("versions", record.get("versions"))]
    shown = {name: value for name, value in rows if value is not None}
    command = record.get("command")
    config = (
        f"<details><summary>config.yaml</summary><pre>{escape(run.config[:200_000])}</pre></details>"
        if run.config
        else ""
    )
    return section(
        "How it was made", f"<pre>{escape(command)}</pre>" if command else note("The record names no command."),
        definitions(shown), note("".join(f"{sentence}. " for sentence in run.missing)), config,
    )


def _everything(run: RunFolder) -> str:
    heads = ("round", "env steps", "answers", "gold", "deterministic", "proxy", "accuracy", "episode length")
    keys = (
        "gold_return_mean",
        "gold_return_deterministic",
        "proxy_return_mean",
        "heldout_accuracy",
        "episode_length_mean",
    )
    rows = [
        [count(number(row, "round")), steps(number(row, "n_env_steps")), count(number(row, "n_comparisons")),
         *(plain(number(row, key)) for key in keys)]
        for row in run.history
    ]
    of_one = {key: value for key, value in run.record.items() if key.startswith("user_")}
    if (number(run.record, "n_annotators") or 0) <= MOST_ROWS:
        of_one = {}
    shown = record_table({key: value for key, value in run.record.items() if key not in of_one})
    many = folded("What it did for each of its humans", record_table(of_one)) if of_one else ""
    return section("The record", table(heads, rows) if rows else "", "<br>", shown, many)
