"""Does a reward fitted with bfloat16 products predict worse? Held-out accuracy of both, paired by seed, with a 95 % t interval.

    PYTHONPATH=benchmarks python benchmarks/precision.py --seeds 6 --width 256

Answers are Boltzmann's about a synthetic reward of 5 of 17 observations and the actions' size, β such that 85 % of them are
right in expectation; segments have 25 steps, answers to learn from are 400 and held-out pairs 4,000 (whose better side is asked).
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace

import gymnasium as gym
import numpy as np
import torch
from scipy import stats

from preflab.interfaces import LearnerContext
from preflab.oracles import solve_beta
from preflab.rewards import BradleyTerryLearner, FewComparisonsWarning, RewardSettings, metrics
from preflab.types import Comparisons, FloatArray, SegmentIndex, Trajectory, TrajectoryStore

N_OBS, N_ACT, LENGTH = 17, 6, 25


def pool_of(rng: np.random.Generator) -> tuple[TrajectoryStore, FloatArray]:
    """Returns 40 random walks of 500 steps, and the reward of each step (N,)."""
    trajectories, rewards = [], []
    for _ in range(40):
        obs = np.cumsum(rng.normal(size=(501, N_OBS)), 0) * 0.1
        actions = rng.uniform(-1, 1, (500, N_ACT))
        rewards.append(np.tanh(obs[:-1, 0]) + obs[:-1, 1] * np.sin(obs[:-1, 2]) - 0.3 * np.abs(obs[:-1, 3] - obs[:-1, 4])
                       - 0.1 * (actions**2).sum(1))
        trajectories.append(Trajectory(obs.astype(np.float32), actions.astype(np.float32), False))
    return TrajectoryStore(trajectories), np.concatenate(rewards)


def drawn(pool: TrajectoryStore, rewards: FloatArray, n: int, rng: np.random.Generator, is_noisy: bool) -> Comparisons:
    """Returns n answers; without noise the better side."""
    index = pool.admissible(LENGTH)
    first, second = (index[rng.integers(len(index), size=n)] for _ in range(2))

    def values(side: SegmentIndex) -> FloatArray:
        return np.asarray(rewards[500 * side.trajectory[:, None] + side.start[:, None] + np.arange(LENGTH)].sum(1))

    gap = values(first) - values(second)
    beta = solve_beta(values(index[:: len(index) // 400]), np.zeros(len(index[:: len(index) // 400]), np.bool_), 0.85).beta
    is_first = rng.random(n) < 1 / (1 + np.exp(-beta * gap)) if is_noisy else gap > 0
    zero = np.zeros(n, np.int64)
    return Comparisons(first, second, np.where(is_first, 0, 1).astype(np.int8), zero, zero, np.ones(n), np.arange(n))


def accuracies(seed: int, settings: RewardSettings) -> dict[str, tuple[float, float]]:
    """Returns (held-out accuracy, seconds of the fit) of each precision, from the same data and the same draws."""
    rng = np.random.default_rng(seed)
    pool, rewards = pool_of(rng)
    answers, heldout = drawn(pool, rewards, 400, rng, True), drawn(pool, rewards, 4_000, rng, False)
    obs, act = gym.spaces.Box(-np.inf, np.inf, (N_OBS,), np.float32), gym.spaces.Box(-1, 1, (N_ACT,), np.float32)
    found = {}
    for precision in ("float32", "bfloat16"):
        learner = BradleyTerryLearner(obs, act, replace(settings, precision=precision))
        started = time.perf_counter()
        learner.fit(answers, LearnerContext(pool, pool.admissible(LENGTH)[::40], True), np.random.default_rng(seed))
        seconds = time.perf_counter() - started
        found[precision] = metrics.accuracy(metrics.predicted(learner.model, pool, heldout), heldout.choice), seconds
    return found


def main() -> None:
    """Prints accuracies by seed and the mean difference with its interval."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--steps", type=int, default=150)
    given = parser.parse_args()
    warnings.simplefilter("ignore", FewComparisonsWarning)
    torch.set_num_threads(1)
    settings = RewardSettings(hidden=(given.width, given.width), max_steps=given.steps)
    gaps = []
    for seed in range(given.seeds):
        found = accuracies(seed, settings)
        gaps.append(found["bfloat16"][0] - found["float32"][0])
        said = (f"{name} {value:.4f} in {seconds:.1f} s" for name, (value, seconds) in found.items())
        print(f"seed {seed}: {', '.join(said)}", flush=True)
    half = float(stats.t.ppf(0.975, len(gaps) - 1) * np.std(gaps, ddof=1) / np.sqrt(len(gaps)))
    print(f"bfloat16 − float32: {np.mean(gaps):+.4f} [{np.mean(gaps) - half:+.4f}, {np.mean(gaps) + half:+.4f}], {len(gaps)} seeds")


if __name__ == "__main__":
    main()
