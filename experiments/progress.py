"""What a run says while it runs: where the seconds go, how far it is, and when it will end."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

STAGES = ("env", "oracle", "reward_fit", "reward_inference", "agent", "other")


class Stopwatch:
    """Adds up wall seconds by stage; `other` is what no stage claimed."""

    def __init__(self, spent: dict[str, float] | None = None) -> None:
        """Continues from `spent` seconds by stage, where a run is resumed."""
        self._seconds = dict.fromkeys(STAGES, 0.0) | dict(spent or {})
        self._before = sum(self._seconds.values())
        self._started = time.perf_counter()

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        """Charges the block's wall time to `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.charge(stage, time.perf_counter() - start)

    def charge(self, stage: str, seconds: float) -> None:
        """Charges `seconds` to `stage`; negative seconds move a part elsewhere."""
        self._seconds[stage] += seconds

    @property
    def wall_seconds(self) -> float:
        """Wall time of the run, earlier sittings included."""
        return self._before + time.perf_counter() - self._started

    def seconds(self) -> dict[str, float]:
        """Returns seconds by stage; they add up to `wall_seconds`."""
        claimed = {stage: value for stage, value in self._seconds.items() if stage != "other"}
        return {**claimed, "other": max(0.0, self.wall_seconds - sum(claimed.values()))}


@dataclass
class Progress:
    """One line about a run, rewritten in a terminal and repeated every `every` seconds in a log.

    The ETA is what is left of training at its measured speed, and what is left of rounds at what the last one cost outside
    training (fits grow with their answers, so an earlier one says less).
    """

    label: str
    n_env_steps: int
    n_rounds: int
    folder: Path
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    every: float = 10.0
    steps_done: int = 0
    rounds_done: int = 0
    stage: str = "start"
    gold: float | None = None
    proxy: float | None = None
    final_seconds: float = 8.0

    def __post_init__(self) -> None:
        self._started = self._last = self._stage_started = time.perf_counter()
        self._train_seconds, self._train_steps = 0.0, 0
        self._outside, self._outside_last = 0.0, 0.0  # seconds outside training: of this round so far, of the last one

    def enter(self, stage: str) -> None:
        """Says which stage runs now."""
        self._close_stage()
        self.stage = stage
        self.show(force=True)

    def trained(self, n_steps: int, seconds: float) -> None:
        """Reports `n_steps` env steps of training that took `seconds`."""
        self.steps_done += n_steps
        self._train_steps += n_steps
        self._train_seconds += seconds
        self.show()

    def round_done(self) -> None:
        """Reports that a round has ended."""
        self._close_stage()
        self.rounds_done += 1
        self._outside, self._outside_last = 0.0, self._outside

    def eta_seconds(self) -> float | None:
        """Returns the seconds left, or None before there is anything to go by."""
        if self.stage == "done":
            return 0.0
        if not self._train_steps:
            return None
        outside = self._outside + (0.0 if self.stage == "train" else time.perf_counter() - self._stage_started)
        if self.rounds_done >= self.n_rounds:
            return max(0.0, self.final_seconds - outside)
        train = (self.n_env_steps - self.steps_done) * self._train_seconds / self._train_steps
        a_round = self._outside_last or outside
        rounds = max(0.0, a_round - outside) + a_round * (self.n_rounds - self.rounds_done - 1)
        return max(0.0, train) + rounds + self.final_seconds

    def _close_stage(self) -> None:
        now = time.perf_counter()
        if self.stage != "train":
            self._outside += now - self._stage_started
        self._stage_started = now

    def row(self) -> dict[str, Any]:
        """Returns the state as a row, for `progress.jsonl`."""
        return {
            "elapsed": time.perf_counter() - self._started, "stage": self.stage, "round": self.rounds_done,
            "n_env_steps": self.steps_done, "eta_seconds": self.eta_seconds(), "gold": self.gold,
        }

    def show(self, force: bool = False) -> None:
        """Writes the line, if it is time to."""
        now = time.perf_counter()
        is_terminal = self.stream.isatty()
        if not force and now - self._last < (0.5 if is_terminal else self.every):
            return
        self._last = now
        with (self.folder / "progress.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.row()) + "\n")
        if not is_terminal and force and self.stage not in ("train", "report", "done"):
            return
        self.stream.write(f"\r\x1b[2K{self.line()}" if is_terminal else f"{self.line()}\n")
        self.stream.flush()

    def line(self) -> str:
        """Returns the line."""
        share = min(1.0, self.steps_done / max(1, self.n_env_steps))  # the last rollout is finished
        parts = [f"{share:4.0%} {self.label}", f"round {min(self.rounds_done + 1, self.n_rounds)}/{self.n_rounds} {self.stage}"]
        parts.append(f"{self.steps_done:,} of {self.n_env_steps:,} steps")
        if self.gold is not None:
            parts.append(f"gold {self.gold:,.1f}")
        if self.proxy is not None:
            parts.append(f"proxy {self.proxy:,.1f}")
        if self._train_seconds:
            parts.append(f"{self._train_steps / self._train_seconds:,.0f} steps/s")
        eta = self.eta_seconds()
        if eta is not None and self.stage != "done":
            parts.append(f"{int(eta) // 60}:{int(eta) % 60:02d} left")
        return " · ".join(parts)
