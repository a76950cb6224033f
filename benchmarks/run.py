"""Every benchmark in one run: what `make bench` does. Writes `results.md`, `results.json` and `growth.svg`.

    PYTHONPATH=benchmarks python benchmarks/run.py                 # whole, about ten minutes on an idle machine
    PYTHONPATH=benchmarks python benchmarks/run.py smoke=1 out=…   # tiny work, to see that everything runs
    PYTHONPATH=benchmarks python benchmarks/run.py only=fitting,labeling   # the other topics' rows stay as they are

Each topic is a file of this folder whose `main(is_smoke)` returns rows.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measuring import Row, as_json, as_row, load, machine, settings_said

TOPICS = ("loop", "physics", "fitting", "labeling", "growth")  # a topic whose file is not there is said to be missing
FOLDER = Path(__file__).parent
DEFAULTS = {"smoke": "0", "out": str(FOLDER), "only": ",".join(TOPICS)}


def rows_of(topic: str, is_smoke: bool, folder: Path) -> list[Row]:
    """Returns the rows of one topic, or one row that says why there are none."""
    if not (FOLDER / f"{topic}.py").exists():
        return [Row(topic, float("nan"), None, None, None, None, "", note="no such benchmark yet")]
    main = importlib.import_module(topic).main
    given = (is_smoke, folder)[: len(inspect.signature(main).parameters)]
    return [as_row(row) for row in main(*given)]


def number(value: float | None) -> str:
    """Returns a figure of three digits, or a dash.

    >>> number(1234567.0), number(0.01234), number(None), number(float("nan"))
    ('1,230,000', '0.0123', '–', '–')
    """
    if value is None or value != value:
        return "–"
    if abs(value) >= 100:
        digits = len(f"{abs(value):.0f}") - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


def table(rows: Sequence[Row]) -> str:
    """Returns rows as a Markdown table."""
    lines = ["| line | ours | peer | unit | figure | range | target | met | note |", "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        span = "–" if row.low is None else f"{number(row.low)} – {number(row.high)}"
        cells = (row.line, number(row.ours), number(row.peer), row.unit, number(row.ratio), span, row.target, row.met, row.note)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def text(found: dict[str, list[Row]], said: dict[str, Any], is_smoke: bool) -> str:
    """Returns `results.md`."""
    versions = ", ".join(f"{name} {version}" for name, version in said["versions"].items())
    peer = ", ".join(f"{name} {version}" for name, version in said["peer_versions"].items()) or "not installed"
    parts = [
        "# Results of the benchmarks", "",
        f"{'A smoke run: its figures mean nothing. ' if is_smoke else ''}{said['date']}; {said['processor']}, "
        f"{said['cores']} cores, Python {said['python']}; {versions}; imitation's environment: {peer}. "
        f"Command: `{said['command']}`.", "",
        "Ours and a peer's run in turns (ours, theirs, ours, …) in one run, one thread each. `figure` is the median over turns "
        "of ours / peer, of how many times slower the larger is, of the speed itself, or of an exponent, as the line says; "
        "`range` its extremes.", "",
    ]
    for topic, rows in found.items():
        before, after = said["loads"][topic]
        parts += [f"## {topic}", "", f"Load averages before: {before}; after: {after}.", "", table(rows), ""]
        if topic == "growth":
            parts += ["![cost over size](growth.svg)", ""]
    return "\n".join(parts)


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    given = settings_said(DEFAULTS, words)
    is_smoke, folder = given["smoke"] == "1", Path(given["out"])
    folder.mkdir(parents=True, exist_ok=True)
    found, loads = earlier(folder / "results.json")
    asked = given["only"].split(",")
    found = {topic: found.get(topic, []) for topic in [*TOPICS, *asked] if topic in (*found, *asked)}  # in their order
    for topic in asked:
        before, started = load(), time.perf_counter()
        found[topic] = rows_of(topic, is_smoke, folder)
        loads[topic] = (before, load())
        print(f"{topic}: {time.perf_counter() - started:.0f} s, load {before} to {loads[topic][1]}", flush=True)
        print(table(found[topic]), flush=True)
    said = machine() | {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "loads": loads, "peer_versions": peer_versions(is_smoke)}
    (folder / "results.md").write_text(text(found, said, is_smoke), encoding="utf-8")
    kept = {"machine": said, "rows": {topic: as_json(rows) for topic, rows in found.items()}}
    (folder / "results.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0


def earlier(path: Path) -> tuple[dict[str, list[Row]], dict[str, tuple[str, str]]]:
    """Returns rows and loads of the topics that an earlier run left there, which a run of other topics keeps."""
    if not path.is_file():
        return {}, {}
    kept = json.loads(path.read_text(encoding="utf-8"))
    return {topic: [as_row(row) for row in rows] for topic, rows in kept["rows"].items()}, kept["machine"]["loads"]


def peer_versions(is_smoke: bool) -> dict[str, str]:
    """Returns the versions in imitation's environment."""
    from measuring import imitation

    with imitation(is_smoke) as peer:
        return {} if isinstance(peer, str) else peer.versions


if __name__ == "__main__":
    sys.exit(main())
