"""Several runs on one page: means with t intervals over seeds, differences paired by seed, gold curves."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from preflab.errors import InvalidArgument
from preflab.experiments.report import figures
from preflab.experiments.report.checks import find_warnings
from preflab.experiments.report.folder import RunFolder, number, read_run
from preflab.experiments.report.judged import belief
from preflab.experiments.report.page import figure, note, page, section, table
from preflab.experiments.report.statistics import Interval, sign_flip_p, t_interval
from preflab.experiments.report.words import count, duration, escape, plain, signed, spoken, steps, what_ran
from preflab.storage import save_text

METRICS = {
    "score": "score",
    "gold_return_final": "gold after",
    "heldout_accuracy": "accuracy",
    "best_possible_accuracy": "best possible",
    "n_comparisons": "answers",
    "n_env_steps": "env steps",
    "wall_seconds": "wall time",
}
_NAMES = ("env", "form", "oracle", "reward", "agent", "budget", "strategy", "likelihood")
_NOT_SETTINGS = ("seed", "out", "device", "video", "resume", "jobs", "description", "source")


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """Runs that differ in nothing but their seed, one for each seed.

    Attributes:
        label: what sets these runs apart from the others on the page.
        runs: by rising seed.
        n_left_out: runs that repeated a seed; the last one given counts.
    """

    label: str
    runs: tuple[RunFolder, ...]
    n_left_out: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """How much one condition differs from another on the seeds that both have.

    Attributes:
        metric: "score", or "gold_return_final" where a score is missing.
        interval: t interval of the differences by seed.
        p_sign_flip: exact two-sided p, or None.
    """

    metric: str
    interval: Interval
    p_sign_flip: float | None


def group(runs: Sequence[RunFolder]) -> list[Condition]:
    """Returns the runs sorted into conditions, in the order in which each first appears."""
    rows = [_settings(run) for run in runs]
    keys = sorted({key for row in rows for key in row}, key=lambda key: (key not in _NAMES, key))
    differing = [key for key in keys if len({str(row.get(key)) for row in rows}) > 1]
    named = [key for key in differing if key in _NAMES]
    kinds = {tuple(str(row.get(key)) for key in differing) for row in rows}
    if len({tuple(str(row.get(key)) for key in named) for row in rows}) == len(kinds):
        differing = named
    by_label: dict[str, list[RunFolder]] = {}
    for run, row in zip(runs, rows, strict=True):
        label = ", ".join(f"{key}={row.get(key, '–')}" for key in differing) or what_ran({**run.record, "seed": None})
        by_label.setdefault(label, []).append(run)
    return [_condition(label, members) for label, members in by_label.items()]


def means(condition: Condition) -> dict[str, Interval]:
    """Returns mean and t interval over the condition's seeds, for each of `METRICS` that any run recorded."""
    found = {
        name: [value for run in condition.runs if (value := number(run.record, name)) is not None] for name in METRICS
    }
    return {name: t_interval(values) for name, values in found.items() if values}


def difference(reference: Condition, other: Condition) -> Difference | None:
    """Returns `other` − `reference` paired by seed; None with fewer than two common seeds or without a common unit."""
    pairs = [(run.record, match.record) for run in other.runs for match in reference.runs if _seed(run) == _seed(match)]
    metric = "score"
    if any(number(row, "score") is None for pair in pairs for row in pair):
        metric = "gold_return_final"
        if any(pair[0].get(key) != pair[1].get(key) for pair in pairs for key in ("env", "form")):
            return None
    values = [
        a - b
        for mine, its in pairs
        if (a := number(mine, metric)) is not None and (b := number(its, metric)) is not None
    ]
    return Difference(metric, t_interval(values), sign_flip_p(values)) if len(values) > 1 else None


def write_joint_report(run_dirs: Sequence[Path], out: Path) -> Path:
    """Writes one page over the runs in `run_dirs` (a sweep over seeds, or several conditions) to `out` and returns it.

    Raises:
        InvalidArgument: no run folders, or one without record.json.
    """
    if not run_dirs:
        raise InvalidArgument("run_dirs", "must name at least one run folder", list(run_dirs))
    conditions = group([read_run(Path(path)) for path in run_dirs])
    out = Path(out)
    seeds = sum(len(condition.runs) for condition in conditions)
    first = conditions[0].runs[0]
    what = (
        what_ran({**first.record, "seed": None}) if len(conditions) == 1 else f"{len(conditions)} conditions compared"
    )
    belief_text = belief(first.record, first.card) if len(conditions) == 1 else "Conditions, side by side"
    body = [
        f'<p class="what">{escape(what)} · {seeds} runs</p>',
        f"<h1>{escape(belief_text[0].upper() + belief_text[1:])}.</h1>",
        table(*_means_table(conditions, as_html=True)),
        note(_reading(conditions)),
        _differences(conditions),
        section(
            "Gold over training",
            figure(
                figures.curves_figure(
                    [(condition.label, [run.history for run in condition.runs]) for condition in conditions],
                    "Gold return per episode: thin a run, thick their mean",
                )
            ),
        ),
        section("Every run", _run_table(conditions, out)),
        _warning_section(conditions),
        "<footer>Written by preflab from the files of the run folders alone. Intervals are 95 %.</footer>",
    ]
    save_text(out, page(f"{what}: {seeds} runs", body))
    return out


def text_table(conditions: Sequence[Condition]) -> str:
    """Returns the table of means, and the paired differences, as plain text."""
    head, rows = _means_table(conditions, as_html=False)
    widths = [max(len(row[i]) for row in [list(head), *rows]) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [list(head), *rows]
    ]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join([*lines, *(f"{label}: {text}" for label, text in _difference_lines(conditions))])


def _condition(label: str, members: Sequence[RunFolder]) -> Condition:
    by_seed = {_seed(run): run for run in members}
    return Condition(label, tuple(by_seed[seed] for seed in sorted(by_seed)), len(members) - len(by_seed))


def _seed(run: RunFolder) -> float:
    seed = number(run.record, "seed")
    return float("inf") if seed is None else seed


def _settings(run: RunFolder) -> dict[str, Any]:
    """Returns what defines a run except its seed: the record's names, then every leaf of its configuration."""
    try:
        tree = OmegaConf.to_container(OmegaConf.create(run.config)) if run.config else {}
    except Exception:  # whatever a hand-edited yaml provokes; the record's own names still tell conditions apart
        tree = {}
    leaves = _leaves(tree) if isinstance(tree, Mapping) else {}
    own = {name: leaves.pop(f"{name}.name", None) for name in _NAMES}
    recorded = {name: run.record.get(name, own[name]) for name in _NAMES}
    kept = {
        key: value
        for key, value in leaves.items()
        if key.split(".")[-1] not in _NOT_SETTINGS and ".overlays" not in key
    }
    return {**kept, **{name: value for name, value in recorded.items() if value is not None}}


def _leaves(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _say(name: str, value: float) -> str:
    if name in ("score", "heldout_accuracy", "best_possible_accuracy"):
        return f"{value:.2f}".replace("-", "−")
    special = {"wall_seconds": duration, "n_env_steps": steps, "n_comparisons": count}
    return special[name](value) if name in special else plain(value)


def _means_table(conditions: Sequence[Condition], *, as_html: bool) -> tuple[list[str], list[list[str]]]:
    found = [means(condition) for condition in conditions]
    names = [name for name in METRICS if any(name in row for row in found)]
    rows = []
    for condition, row in zip(conditions, found, strict=True):
        label = escape(condition.label) if as_html else condition.label
        rows.append([label, str(len(condition.runs)), *(_cell(name, row.get(name), as_html) for name in names)])
    return ["condition", "seeds", *(METRICS[name] for name in names)], rows


def _cell(name: str, interval: Interval | None, as_html: bool) -> str:
    if interval is None:
        return "–"
    text = _say(name, interval.mean)
    is_measured = name in ("score", "gold_return_final", "heldout_accuracy")
    if not is_measured or interval.low is None or interval.high is None:
        return text
    bounds = f"{_say(name, interval.low)} to {_say(name, interval.high)}"
    return f"<b>{text}</b><small>{bounds}</small>" if as_html else f"{text} ({bounds})"


def _reading(conditions: Sequence[Condition]) -> str:
    left_out = sum(condition.n_left_out for condition in conditions)
    repeated = (
        f" {left_out} runs repeated a seed of the same condition and were left out (the last counts)."
        if left_out
        else ""
    )
    return (
        "Means over seeds with 95 % t intervals; one seed has none. Fewer than 6 seeds cannot decide a claim, whatever "
        f"the interval: with n pairs the exact sign-flip test cannot go below 2 / 2ⁿ.{repeated}"
    )


def _difference_lines(conditions: Sequence[Condition]) -> list[tuple[str, str]]:
    lines = []
    for condition in conditions[1:]:
        found = difference(conditions[0], condition)
        label = f"{condition.label} minus {conditions[0].label}"
        if found is None or found.interval.low is None or found.interval.high is None:
            lines.append((label, "not comparable by seed (fewer than two common seeds, or other units)"))
            continue
        interval, p = found.interval, found.p_sign_flip
        test = "" if p is None else f"; exact sign-flip p = {p:.3g}"
        few = ", undecided with fewer than 6 seeds" if interval.n < 6 else ""
        name = spoken(METRICS[found.metric])
        lines.append((label, f"{name} {signed(interval.mean)} ({signed(interval.low)} to {signed(interval.high)}) over "
                             f"{interval.n} common seeds{test}{few}"))
    return lines


def _differences(conditions: Sequence[Condition]) -> str:
    items = "".join(f"<li>{escape(label)}: {escape(text)}</li>" for label, text in _difference_lines(conditions))
    return section("Differences, paired by seed", f"<ul>{items}</ul>") if items else ""


def _run_table(conditions: Sequence[Condition], out: Path) -> str:
    rows = []
    for condition in conditions:
        for run in condition.runs:
            link = os.path.relpath(run.path.resolve() / "report.html", out.resolve().parent).replace(os.sep, "/")
            name = escape(run.path.name)
            cells = [f'<a href="{escape(link)}">{name}</a>' if (run.path / "report.html").is_file() else name]
            values = {key: number(run.record, key) for key in METRICS}
            cells += ["–" if value is None else _say(key, value) for key, value in values.items()]
            rows.append(cells)
    return table(["run", *METRICS.values()], rows)


def _warning_section(conditions: Sequence[Condition]) -> str:
    items = []
    for condition in conditions:
        for run in condition.runs:
            warnings = run.warnings if run.warnings is not None else find_warnings(run.record, run.history, run.card)
            items += [f"<li><b>{escape(run.path.name)}</b>: {escape(sentence)}</li>" for sentence in warnings]
    return section("Warnings", f"<ul>{''.join(items)}</ul>") if items else ""
