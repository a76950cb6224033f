"""How the benchmarks measure: ours and a peer's in turns (A/B/A), medians with their range, and the load beside them."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PEER = ROOT / ".venv-imitation" / "bin" / "python"
PACKAGES = ("preflab", "torch", "numpy", "gymnasium", "mujoco", "stable-baselines3")
Speed = Callable[[], float]  # does a piece of work and returns how many units a second that was


def settings_said(defaults: Mapping[str, str], words: Sequence[str] | None) -> dict[str, str]:
    """Returns the settings that `name=value` words (the command line's, if None) leave of `defaults`; exits on any other word."""
    given = dict(defaults)
    for word in sys.argv[1:] if words is None else words:
        name, equals, value = word.partition("=")
        if name not in defaults or not equals:
            raise SystemExit(f"{word}: must be one of {', '.join(f'{key}=…' for key in defaults)}")
        given[name] = value
    return given


@dataclass(frozen=True)
class Row:
    """One line of the results.

    Attributes:
        line: what was measured.
        ours: median speed, in `unit`.
        peer: the peer's median, in the same unit; None where there is none.
        ratio: median over turns of ours / peer, or of the figure that `target` is about.
        low: least of these.
        high: greatest.
        unit: of `ours` and `peer`.
        target: what was wanted of `ratio`, as "≥ 10" or "≤ 2.5"; empty where nothing was.
        note: why a figure is missing, or what to know.
    """

    line: str
    ours: float
    peer: float | None
    ratio: float | None
    low: float | None
    high: float | None
    unit: str
    target: str = ""
    note: str = ""

    @property
    def met(self) -> str:
        """Returns "yes", "no", or "" where there is nothing to meet.

        >>> Row("fit", 20.0, 1.0, 20.0, 18.0, 22.0, "pairs/s", "≥ 10").met
        'yes'
        """
        if not self.target or self.ratio is None:
            return ""
        sign, bound = self.target.split()
        limit = float(bound.replace(",", ""))
        return "yes" if (self.ratio >= limit if sign == "≥" else self.ratio <= limit) else "no"


def in_turns(ours: Speed, peer: Speed, n_turns: int) -> tuple[float, float, float, float, float]:
    """Returns (our median, the peer's median, median ratio, lowest, highest) over A/B/A turns after a warm-up of each.

    A turn's ratio is the mean of our speeds before and after it over the peer's.
    """
    ours(), peer()
    own, other = [ours()], []
    for _ in range(n_turns):
        other.append(peer())
        own.append(ours())
    ratios = [(own[i] + own[i + 1]) / 2 / other[i] for i in range(n_turns)]
    return statistics.median(own), statistics.median(other), statistics.median(ratios), min(ratios), max(ratios)


def compared(line: str, ours: Speed, peer: Speed, n_turns: int, unit: str, target: str = "") -> Row:
    """Returns the row of ours beside a peer's."""
    return Row(line, *in_turns(ours, peer, n_turns), unit, target)


def slowdown(line: str, base: Speed, more: Speed, n_turns: int, unit: str, target: str) -> Row:
    """Returns how many times slower `more` is than `base`, in turns; `ours` is `more`, `peer` is `base`."""
    fast, slow, ratio, low, high = in_turns(base, more, n_turns)
    return Row(line, slow, fast, ratio, low, high, unit, target)


def alone(line: str, ours: Speed, n_turns: int, unit: str, target: str = "") -> Row:
    """Returns our speed, its range in place of the ratio's: for targets that are speeds."""
    ours()
    speeds = [ours() for _ in range(n_turns + 1)]
    return Row(line, statistics.median(speeds), None, statistics.median(speeds), min(speeds), max(speeds), unit, target)


class Peer:
    """imitation in its own process: asked one line at a time."""

    def __init__(self) -> None:
        """Starts it; raises OSError where it is not installed."""
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        self._process = subprocess.Popen(
            [str(PEER), str(Path(__file__).with_name("peer_imitation.py"))], env=kept | {"OMP_NUM_THREADS": "1"}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        self.versions: dict[str, str] = self.ask("versions")

    def ask(self, task: str) -> Any:
        """Returns the answer to one task."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(task + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise OSError(f"imitation's process ended on: {task}")
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


@contextmanager
def imitation(is_smoke: bool) -> Iterator[Peer | str]:
    """Yields imitation, or in a sentence why there is none."""
    if is_smoke or not PEER.exists():
        yield "imitation: left out of the smoke form" if is_smoke else "imitation: not installed (make bench makes .venv-imitation)"
        return
    try:
        peer = Peer()
    except (OSError, json.JSONDecodeError) as error:
        yield f"imitation: not installed ({error})"
        return
    try:
        yield peer
    finally:
        peer.close()


def machine() -> dict[str, Any]:
    """Returns what the figures belong to."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return {
        "processor": processor(), "cores": len(os.sched_getaffinity(0)), "python": platform.python_version(), "versions": found,
        "command": " ".join(["python", "benchmarks/run.py", *(word for word in sys.argv[1:] if not word.startswith("out="))]),
    }


def processor() -> str:
    """Returns the processor's model."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def load() -> str:
    """Returns the load averages of 1, 5 and 15 minutes."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def as_row(found: Row | dict[str, Any]) -> Row:
    """Returns a row of a benchmark that gives dictionaries."""
    return found if isinstance(found, Row) else Row(**{key: value for key, value in found.items() if key in Row.__annotations__})


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """Returns rows with whether each met its target."""
    return [asdict(row) | {"met": row.met} for row in rows]
