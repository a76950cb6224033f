"""How fast rewards are fitted: beside imitation at its own defaults, five members beside one, and bfloat16 products.

Run by itself: PYTHONPATH=benchmarks python benchmarks/fitting.py
"""

from __future__ import annotations

import itertools
import time
import warnings
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from measuring import Row, Speed, compared, imitation, slowdown

from preflab.interfaces import LearnerContext
from preflab.rewards import BradleyTerryLearner, FewComparisonsWarning, RewardSettings
from preflab.types import Comparisons, Trajectory, TrajectoryStore

SIZES = {"Pendulum": (3, 1), "HalfCheetah": (17, 6)}
T = 1000


@cache
def data(n_obs: int, n_act: int, length: int, n: int) -> tuple[Comparisons, LearnerContext, Any, Any]:
    """Returns n comparisons of random segments, and the spaces: each pair brings 2 · `length` steps of its own to the pool."""
    rng = np.random.default_rng(0)
    pool = TrajectoryStore([
        Trajectory(
            rng.normal(size=(T + 1, n_obs)).astype(np.float32), rng.uniform(-1, 1, size=(T, n_act)).astype(np.float32), False
        ) for _ in range(max(4, 2 * n * length // T))
    ])
    segments = pool.admissible(length)
    first, second = (segments[rng.integers(len(segments), size=n)] for _ in range(2))
    zero = np.zeros(n, np.int64)
    answers = Comparisons(first, second, rng.integers(0, 2, n).astype(np.int8), zero, zero, np.ones(n), np.arange(n))
    spaces = gym.spaces.Box(-np.inf, np.inf, (n_obs,), np.float32), gym.spaces.Box(-1, 1, (n_act,), np.float32)
    return answers, LearnerContext(pool, segments[:: max(1, len(segments) // 20)], True), *spaces


def fit(task: str, settings: RewardSettings, length: int, n: int, device: str = "cpu") -> Speed:
    """Returns what fits `n` comparisons and says how many of them a second it trained on, everything of a fit included."""
    answers, context, obs, act = data(*SIZES[task], length, n)

    def work() -> float:
        learner = BradleyTerryLearner(obs, act, settings)
        started = time.perf_counter()
        report = learner.fit(answers, context, np.random.default_rng(0))
        seconds = time.perf_counter() - started
        return min(report.n_steps * settings.batch_size, settings.n_epochs * n) / seconds

    return work


def settings_of(n_members: int, width: int, batch_size: int, n_epochs: int, precision: str = "float32") -> RewardSettings:
    """Returns a plain fit: every member sees all comparisons, nothing stops early."""
    return RewardSettings(
        n_members=n_members, hidden=(width, width), batch_size=batch_size, n_epochs=n_epochs, max_steps=10**9, data="shared",
        early_stopping=False, precision=precision,
    )


def main(is_smoke: bool = False) -> list[Row]:
    """Returns the rows of item 2."""
    warnings.simplefilter("ignore", FewComparisonsWarning)
    torch.set_num_threads(1)
    rows = []
    n, n_turns = (64, 1) if is_smoke else (320, 5)
    with imitation(is_smoke) as peer:
        for width, task in itertools.product((32, 256), SIZES):
            target = "≥ 10" if width == 32 else "≥ 3"
            for precision in ("float32", "bfloat16") if width == 256 else ("float32",):
                n_epochs = 1 if is_smoke else 10 if width == 32 else 2
                line = f"fit, {task}, one {width}×{width} net, fragment 100, batch 32, {precision}; beside imitation"
                ours = fit(task, settings_of(1, width, 32, n_epochs, precision), 100, n)
                if isinstance(peer, str):
                    rows.append(Row(line, ours(), None, None, None, None, "pairs/s", target, peer))
                else:
                    task_line = f"fit {' '.join(map(str, SIZES[task]))} {width} {n}"
                    rows.append(compared(line, ours, lambda said=task_line: peer.ask(said), n_turns, "pairs/s", target))
    rows += members(is_smoke)
    return rows


def members(is_smoke: bool) -> list[Row]:
    """Returns what five members cost beside one, on this CPU and on a GPU where there is one."""
    n, n_turns = (64, 1) if is_smoke else (256, 5)
    rows = []
    for width, target in ((64, "≤ 2.5"), (256, "≤ 5")):
        for precision in ("float32", "bfloat16"):
            n_epochs = 1 if is_smoke else 4 if width == 64 else 2
            one, five = (fit("HalfCheetah", settings_of(k, width, 64, n_epochs, precision), 50, n) for k in (1, 5))
            line = f"fit, HalfCheetah, five {width}×{width} members beside one, {precision}, one core: times slower"
            rows.append(slowdown(line, one, five, n_turns, "pairs/s", target))
    rows += on_gpu(n_turns)
    return rows


def on_gpu(n_turns: int) -> list[Row]:
    """Returns what five members cost beside one in gradient steps on a GPU."""
    if not torch.cuda.is_available():
        line, note = "fit, five members beside one on a GPU: times slower", "no GPU here: python benchmarks/gpu.py measures it"
        return [Row(line, float("nan"), None, None, None, None, "pairs/s", "≤ 2.5", note)]
    from gpu import reward_fit

    def speed(n_members: int, width: int) -> Speed:
        step = reward_fit(n_members, width, "float32", "cuda")

        def work() -> float:
            torch.cuda.synchronize()
            started = time.perf_counter()
            n = sum(step() for _ in range(100))
            torch.cuda.synchronize()
            return n / (time.perf_counter() - started)

        return work

    return [
        slowdown(f"fit, five {width}×{width} members beside one, on a GPU: times slower", speed(1, width), speed(5, width), n_turns,
                 "pairs/s", "≤ 2.5") for width in (64, 256)
    ]


if __name__ == "__main__":
    for found in main():
        print(found, found.met)
