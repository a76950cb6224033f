"""Every oracle preset on two tasks: realized rates beside nominal, labels a second, circles, and who agrees with whom.

    PYTHONPATH=benchmarks:examples python benchmarks/oracles.py                # two to three minutes: oracles.md, .json, .svg
    PYTHONPATH=benchmarks:examples python benchmarks/oracles.py smoke=1 out=…  # tiny work, Pendulum only
    PYTHONPATH=benchmarks:examples python benchmarks/oracles.py note="…"       # a sentence about the machine, beside the seconds

What would contradict an oracle: a nominal share outside the exact binomial interval of what was counted, at 99.9 % over all rows
together (Bonferroni). Agreement is about noiseless answers: which side is likelier, where one is.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import load, machine, settings_said
from oracle_rates import Rate, rates

from preflab.experiments.config import names
from preflab.experiments.humans import Calibrated, Humans
from preflab.experiments.stages import subsample
from preflab.interfaces import AnswerContext
from preflab.oracles import cyclic_share, label
from preflab.oracles.labeling import member_values
from preflab.types import Choice, FloatArray, SegmentIndex

FOLDER = Path(__file__).parent
EXAMPLES = FOLDER.parent / "examples"
DEFAULTS = {"smoke": "0", "out": str(FOLDER), "note": ""}
TASKS = {"pendulum": "pendulum_reward.py", "mujoco-halfcheetah": "halfcheetah_reward.py"}  # and reward code for them
FAMILY_WISE_RATE = 1e-3
SAME_FROM = 0.9995  # two oracles that agree on this share of pairs are one row of the matrix
LEAST_DECIDED = 0.05  # of all pairs, below which two oracles are not compared
IN_CIRCLES = ("heron", "heron_step", "condorcet", "condorcet, vote", "intransitive", "partial_return", "argmax")


@dataclass(frozen=True)
class Sizes:
    """How much work is done.

    Attributes:
        n_queries: answered for the rates.
        n_segments: labeled for the speed.
        n_pairs: of these.
        n_circled: segments among which every pair is asked once, for circles in the answers.
        n_compared: segments, all pairs of which two oracles are compared on.
        seconds: at least so long a speed is measured.
    """

    n_queries: int = 20_000
    n_segments: int = 2_000
    n_pairs: int = 20_000
    n_circled: int = 100
    n_compared: int = 200
    seconds: float = 0.3


SMOKE = Sizes(400, 100, 400, 12, 20, 0.0)


def speed(human: Calibrated, sizes: Sizes) -> dict[str, float]:
    """Returns the median of pairs labeled a second, its range, and of how many.

    Where a simulator branches, a twentieth of them, and once: what was branched is remembered.
    """
    every, rng = human.store.store.admissible(human.index.length), np.random.default_rng(0)
    fewer = 20 if human.oracle.needs_sim_states else 1
    n_segments, n_pairs = min(len(every), sizes.n_segments // fewer), sizes.n_pairs // fewer
    pool = every[rng.choice(len(every), n_segments, replace=False)]
    first, second = (pool[rng.integers(n_segments, size=n_pairs)] for _ in range(2))
    found: list[float] = []
    while not found or (fewer == 1 and (len(found) < 4 or sum(n_pairs / each for each in found[1:]) < sizes.seconds)):
        started = time.perf_counter()
        label(human.oracle, human.store, first, second, np.arange(n_pairs))
        found.append(n_pairs / (time.perf_counter() - started))
    found = found[1:] or found  # the first warms up
    return {"median": statistics.median(found), "low": min(found), "high": max(found), "n_segments": n_segments, "n_pairs": n_pairs}


def circles(human: Calibrated, n: int) -> dict[str, float]:
    """Returns which share of triples goes in a circle, by probabilities (the card's) and among answers, every pair asked once."""
    index = subsample(human.index, n, "circles")
    first, second = np.triu_indices(len(index), k=1)
    is_swapped = np.random.default_rng(0).random(len(first)) < 0.5
    one, other = np.where(is_swapped, second, first), np.where(is_swapped, first, second)
    choice = label(human.oracle, human.store, index[one], index[other], np.arange(len(one))).choice
    matrix = np.full((len(index), len(index)), 0.5)
    matrix[one, other] += 0.5 * (choice == Choice.FIRST) - 0.5 * (choice == Choice.SECOND)
    matrix[other, one] = 1 - matrix[one, other]
    card = human.oracle.card()["intransitive"]
    return {"by_probabilities": card["share_of_triples"], "by_answers": cyclic_share(matrix), "n_segments": len(index)}


def order(human: Calibrated, index: SegmentIndex) -> FloatArray:
    """Returns (P,) which segment of every pair is likelier preferred, 1 or −1 and 0 for neither; of a population, in the mean."""
    values = member_values(human.oracle, human.store, index)
    first, second = np.triu_indices(len(index), k=1)
    fresh = AnswerContext.fresh(len(first))
    human.oracle.begin_round(human.stats())
    ways = []
    for one, other in ((first, second), (second, first)):
        p = human.oracle.averaged(human.oracle.compared([v[one] for v in values], [v[other] for v in values], fresh))
        ways.append(p[:, Choice.FIRST] - p[:, Choice.SECOND])
    ahead = 0.5 * (ways[0] - ways[1])  # a bias for what is shown first is no preference
    return np.where(np.abs(ahead) > 1e-9, np.sign(ahead), 0.0)


def agreement(orders: FloatArray) -> FloatArray:
    """Returns (k, k): on which share of the pairs that neither calls even two oracles agree, for (k, P) signs.

    nan where these are fewer than `LEAST_DECIDED`.

    >>> agreement(np.array([[1.0, 1.0, 0.0], [1.0, -1.0, 1.0]]))
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    decided = (orders != 0).astype(np.float64)
    n = decided @ decided.T
    return np.asarray(np.where(n >= LEAST_DECIDED * orders.shape[1], 0.5 * (n + orders @ orders.T) / np.maximum(n, 1), np.nan))


def groups(matrices: Sequence[FloatArray], presets: Sequence[str]) -> dict[str, list[str]]:
    """Returns presets by the first one with which they agree on every task, the nearest to `partial_return` first."""
    rows = {name: i for i, name in enumerate(presets)}
    near = np.nan_to_num(np.mean([matrix[rows["partial_return"]] for matrix in matrices], axis=0), nan=-1.0).round(3)
    found: dict[str, list[str]] = {}
    for name in sorted(presets, key=lambda each: (each != "partial_return", -near[rows[each]], len(each))):
        alike = (first for first in found if all(matrix[rows[name], rows[first]] >= SAME_FROM for matrix in matrices))
        found.setdefault(next(alike, name), []).append(name)
    return found


def one_task(env: str, sizes: Sizes, budget: str) -> dict[str, Any]:
    """Returns everything that is measured on a task."""
    plugged = {
        "callable": ["oracle.function=my_humans:peak_end"], "reward_code": [f"oracle.code={EXAMPLES / TASKS[env]}"],
    }
    humans, found = Humans(env, budget, plugged), dict[str, Any](rates=[], speed={}, circles={}, levels={})
    branched = humans.of("regret_branching")
    index = subsample(branched.store.store.admissible(branched.index.length), sizes.n_compared, "compared")
    orders = []
    for name in names("oracle"):
        human = branched if name == "regret_branching" else humans.of(name)
        if not np.array_equal(human.store.gold_rewards, branched.store.gold_rewards):
            raise AssertionError("the pool with simulator states must hold the trajectories of the one without")
        found["rates"] += rates(human, sizes.n_queries)
        found["speed"][name] = speed(human, sizes)
        found["circles"][name] = circles(human, sizes.n_circled)
        orders.append(order(human, index))
        if "deciding_levels" in human.oracle.card():
            found["levels"][name] = human.oracle.card()["deciding_levels"]
    found["circles"]["condorcet, vote"] = circles(humans.of("condorcet", "oracle.population=majority"), sizes.n_circled)
    found["agreement"] = agreement(np.stack(orders))
    return found


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows]]


def rate_rows(found: Mapping[str, Any], level: float) -> list[list[str]]:
    """Returns a row a preset: accuracy, ties, skips and mistakes, each as nominal → realized, and all further rates."""
    rows = []
    for name in names("oracle"):
        mine = [rate for rate in found["rates"] if rate.oracle == name]
        cells = []
        for what in ("accuracy", "ties", "skips", "mistakes"):
            shown = [rate for rate in mine if rate.what.split(",")[0] == what and (rate.nominal or rate.count)]
            cells.append("; ".join(f"{_said(rate)}{rate.nominal:.3f} → {rate.share:.3f}{'' if _holds(rate, level) else ' **off**'}"
                                   for rate in shown) or "0")
        off = [rate.what for rate in mine if not _holds(rate, level)]
        rows.append([f"`{name}`", *cells, f"{len(mine)} of {len(mine)}" if not off else f"**off: {', '.join(off)}**"])
    return rows


def _said(rate: Rate) -> str:
    return f"{rate.what.split(', ')[1]}: " if ", " in rate.what else ""


def _holds(rate: Rate, level: float) -> bool:
    return rate.p_value() >= 1 - level


def text(tasks: Mapping[str, Mapping[str, Any]], same: Mapping[str, list[str]], said: Mapping[str, Any], sizes: Sizes) -> str:
    """Returns `oracles.md`."""
    every = [rate for found in tasks.values() for rate in found["rates"]]
    level = 1 - FAMILY_WISE_RATE / len(every)
    off, least = [rate for rate in every if not _holds(rate, level)], min(every, key=lambda rate: rate.p_value())
    versions = ", ".join(f"{name} {version}" for name, version in said["versions"].items())
    lines = [
        "# Every oracle, as measured", "",
        f"{said['date']}; {said['processor']}, {said['cores']} cores, Python {said['python']}; {versions}. "
        f"Command: `{said['command']}`; load averages {said['load']}. {said['note']}".rstrip(), "",
        "## Rates", "",
        f"{sizes.n_queries:,} queries a preset, drawn from the pairs that calibrated it. `a → b`: nominal a, realized b. Accuracy "
        "is of strict answers, in the eyes of whoever answers; mistakes are wrong answers where the human is else sure; the last "
        "column counts all rates of the preset, with who answered, which level decided, and what a segment beside itself gets.", "",
        f"Of {len(every)} rates, {len(off)} lie outside the interval that holds all of them together with probability "
        f"{1 - FAMILY_WISE_RATE:.1%}; the least p value is {least.p_value():.2g} ({least.oracle}, {least.what}), to be below "
        f"{FAMILY_WISE_RATE / len(every):.1g} before it says anything.", "",
    ]
    for task, found in tasks.items():
        lines += [f"### {task}", ""]
        heads = ["preset", "accuracy", "ties", "skips", "mistakes", "rates that hold"]
        lines += [*table(heads, rate_rows(found, level)), ""]
    lines += ["## Labels a second", "", (
        f"`label()` on {sizes.n_segments:,} segments and {sizes.n_pairs:,} pairs, one thread, all of it timed: gathering, judging, "
        "answering. Median, and range; where a simulator branches, a twentieth of the pairs, once."), ""]
    lines += table(["preset", *tasks], [
        [f"`{name}`", *(_speed(found["speed"][name]) for found in tasks.values())] for name in names("oracle")
    ])
    lines += ["", "## Circles", "", (
        f"The share of triples that are decided and go in a circle: by probabilities, and in the answers when every pair of "
        f"{sizes.n_circled} segments is asked once. A human who answers at random has 0.25, one with an order and no noise 0."), ""]
    heads = [f"{task}, {how}" for task in tasks for how in ("probabilities", "answers")]
    lines += table(["preset", *heads], [
        [name if "," in name else f"`{name}`", *(f"{found['circles'][name][how]:.4f}" for found in tasks.values()
                                                  for how in ("by_probabilities", "by_answers"))] for name in IN_CIRCLES
    ])
    lines += ["", "Which level of HERON's ranking decides, on all pairs that calibrated:", ""]
    lines += table(["preset", "task", "decided by"], [
        [f"`{name}`", task, ", ".join(f"{level} {share:.1%}" for level, share in shares.items())]
        for task, found in tasks.items() for name, shares in found["levels"].items()
    ])
    lines += ["", "## Agreement", "", (
        f"Every pair of {sizes.n_compared} segments: the share of those that neither calls even on which the likelier answers of "
        "two oracles agree; – where these are fewer than 5 % of all. Presets that agree on all tasks are one row:"), ""]
    lines += [f"- `{first}`: " + ", ".join(f"`{name}`" for name in others[1:]) for first, others in same.items() if len(others) > 1]
    lines += ["", "![agreement between oracles](oracles.svg)", ""]
    for task, found in tasks.items():
        rows = [names("oracle").index(name) for name in same]
        lines += [f"### {task}", ""]
        cells = [[f"`{name}`", *map(_share, found["agreement"][i, rows])] for name, i in zip(same, rows, strict=True)]
        lines += [*table(["", *(f"`{name}`" for name in same)], cells), ""]
    return "\n".join(lines)


def _share(each: float) -> str:
    return "–" if np.isnan(each) else f"{each:.2f}"


def _speed(found: Mapping[str, float]) -> str:
    low, median, high = (f"{float(f'{found[key]:.3g}'):,.0f}" for key in ("low", "median", "high"))
    return f"{median} ({low} – {high})"


def plot(tasks: Mapping[str, Mapping[str, Any]], same: Mapping[str, list[str]], path: Path) -> None:
    """Draws the agreement between oracles, a matrix a task."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [names("oracle").index(name) for name in same]
    shown = [f"{name} (+{len(others) - 1})" if len(others) > 1 else name for name, others in same.items()]
    with plt.rc_context({"svg.hashsalt": "preflab", "svg.fonttype": "none"}):
        size = 1.5 + 0.38 * len(rows)
        figure, grid = plt.subplots(len(tasks), 1, figsize=(size + 0.8, size * len(tasks)), squeeze=False, layout="constrained")
        for axes, (task, found) in zip(grid.flat, tasks.items(), strict=True):
            matrix = found["agreement"][np.ix_(rows, rows)]
            axes.pcolormesh(matrix, cmap="RdBu", vmin=0, vmax=1, edgecolors="white", linewidth=0.5)
            for (i, j), each in np.ndenumerate(matrix):
                color = "black" if np.isnan(each) or 0.15 < each < 0.85 else "white"
                shown_as = "–" if np.isnan(each) else f"{100 * each:.0f}"
                axes.text(j + 0.5, i + 0.5, shown_as, ha="center", va="center", fontsize=7, color=color)
            axes.set_xticks(np.arange(len(rows)) + 0.5, shown, rotation=60, ha="right", fontsize=8)
            axes.set_yticks(np.arange(len(rows)) + 0.5, shown, fontsize=8)
            axes.invert_yaxis()
            axes.set_title(f"{task}: % of decided pairs on which two oracles agree", fontsize=10)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(figure)


def as_json(found: Mapping[str, Any], level: float) -> dict[str, Any]:
    """Returns what was measured on a task as plain values."""
    rows = []
    for rate in found["rates"]:
        low, high = rate.interval(level)
        rows.append({**asdict(rate), "realized": rate.share, "low": low, "high": high, "p_value": rate.p_value()})
    matrix = [[None if np.isnan(each) else round(float(each), 4) for each in row] for row in found["agreement"]]
    return {**found, "rates": rows, "agreement": {"oracles": names("oracle"), "matrix": matrix}}


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    torch.set_num_threads(1)
    given = settings_said(DEFAULTS, words)
    is_smoke, folder, started, before = given["smoke"] == "1", Path(given["out"]), time.perf_counter(), load()
    folder.mkdir(parents=True, exist_ok=True)
    sizes = SMOKE if is_smoke else Sizes()
    tasks = {task: one_task(task, sizes, "smoke" if is_smoke else "demo") for task in list(TASKS)[: 1 if is_smoke else None]}
    same = groups([found["agreement"] for found in tasks.values()], names("oracle"))
    note = "A smoke run: its figures mean nothing. " * is_smoke + given["note"]
    said = machine() | {
        "command": "PYTHONPATH=benchmarks:examples python benchmarks/oracles.py" + " smoke=1" * is_smoke, "note": note,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"), "load": f"{before} before and {load()} after",
        "seconds": round(time.perf_counter() - started),
    }
    (folder / "oracles.md").write_text(text(tasks, same, said, sizes), encoding="utf-8")
    level = 1 - FAMILY_WISE_RATE / sum(len(found["rates"]) for found in tasks.values())
    kept = {
        "machine": said, "sizes": asdict(sizes), "level": level, "same": same,
        "tasks": {task: as_json(found, level) for task, found in tasks.items()},
    }
    (folder / "oracles.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    plot(tasks, same, folder / "oracles.svg")
    print(f"wrote {folder}/oracles.md, .json and .svg in {time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
