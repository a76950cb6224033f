"""Do sampled distances know shaped gold, another goal, noise and the opposite of gold? Reacher, as in STARC's paper, and Pendulum.

    python benchmarks/distances_sampled.py                     # both tasks, five seeds: minutes on one core
    python benchmarks/distances_sampled.py --tasks pendulum

15,000 steps of 300 trajectories (Reacher) or 75 (Pendulum) of the random policy, one next state each (nothing is left to chance in
either task), V^π of the random policy on 300 Fourier features, γ .95; the potential is scaled until shaping varies twice as much as
gold. Published for Reacher by the released code of Skalse et al. 2024 (VAL, 2-2, 100,000 steps, V by temporal differences over
5,000 episodes): shaped .897, another peak 1.257, random 1.378, negated 1.706; exact values of the first and last are 0 and 2.

Said before these seeds (100 to 104) were run, of VAL and minimal on both tasks: gold is at 0 and its opposite at 2; shaped gold is
below .5, and every other proxy above 1; noise within .1 of √2. Any figure elsewhere contradicts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from preflab import envs
from preflab.experiments.one_step import OneStep
from preflab.rewards.distances import FourierFeatures, SampledSettings, branched_sample, epic_sampled, minimal_sampled, val_sampled
from preflab.types import FloatArray, ScoredStore, Transitions

GAMMA = 0.95
Reward = Callable[[Transitions], FloatArray]
PUBLISHED = {"shaped": 0.897, "another goal": 1.257, "noise": 1.378, "opposite": 1.706}


def pendulum(steps: Transitions, upright: float = 0.0) -> FloatArray:
    """Returns −(θ² + 0.1 θ'² + 0.001 a²), θ from `upright`."""
    angle = np.arctan2(steps.obs[:, 1], steps.obs[:, 0]) - upright
    angle = (angle + np.pi) % (2 * np.pi) - np.pi
    return np.asarray(-(angle**2) - 0.1 * steps.obs[:, 2] ** 2 - 0.001 * steps.actions[:, 0] ** 2, dtype=np.float64)


def reacher(steps: Transitions) -> FloatArray:
    """Returns −|tip − target| − |a|²."""
    return np.asarray(-np.linalg.norm(steps.next_obs[:, 8:10], axis=1) - (steps.actions**2).sum(1), dtype=np.float64)


def reacher_elsewhere(steps: Transitions) -> FloatArray:
    """Returns minus the distance of the tip from the point opposite of the target; actions are free."""
    opposite = steps.next_obs[:, 8:10] + 2 * steps.next_obs[:, 4:6]
    return np.asarray(-np.linalg.norm(opposite, axis=1), dtype=np.float64)


TASKS: dict[str, tuple[Reward, Reward]] = {
    "pendulum": (pendulum, lambda steps: pendulum(steps, np.pi / 2)), "mujoco-reacher": (reacher, reacher_elsewhere),
}


def shaping(steps: Transitions) -> FloatArray:
    """Returns γΦ(s') − Φ(s) of a potential that no feature was made for."""
    after, before = (np.sin(2 * obs[:, 0]) + obs[:, 1] ** 2 + 0.1 * obs[:, -1] for obs in (steps.next_obs, steps.obs))
    return np.asarray(GAMMA * after - before, dtype=np.float64)


def noise(steps: Transitions) -> FloatArray:
    """Returns what looks like noise and is a function of state and action."""
    return np.asarray(np.sin(1e5 * (steps.obs.sum(1) + steps.actions.sum(1)).astype(np.float64)))


def figures(name: str, seed: int) -> dict[str, tuple[float, float, float, float]]:
    """Returns distances of each proxy from gold by VAL, minimal and EPIC, and the chord without a canonical form."""
    venv = envs.make_vec(name, "fixed", 10, seed=seed)
    policy, rng = envs.RandomPolicy(venv.action_space), np.random.default_rng(seed)
    store = ScoredStore(envs.collect(venv, policy, 15_000 // envs.task(name).horizon(), rng, keep_states=True))
    venv.close()
    with OneStep(name, "fixed") as step:
        sample = branched_sample(store, step, 15_000, rng, "random policy", policy=policy, n_next=1)
    gold, elsewhere = TASKS[name]
    if np.abs(sample.taken.rewards(sample.obs, gold) - sample.taken.gold).max() > 1e-3:
        raise RuntimeError(f"the formula of {name} is not its gold")
    ratio = 2 * sample.taken.gold.std() / sample.taken.rewards(sample.obs, shaping).std()
    proxies: dict[str, Reward] = {
        "gold": gold, "shaped": lambda steps: gold(steps) + ratio * shaping(steps) + 1, "another goal": elsewhere, "noise": noise,
        "opposite": lambda steps: -gold(steps),
    }
    features, settings = FourierFeatures(sample.obs, 300, rng), SampledSettings(n_resamples=2)
    found = {}
    for proxy, side in proxies.items():
        paid = [sample.taken.rewards(sample.obs, each).reshape(-1) for each in (gold, side)]
        found[proxy] = (
            val_sampled(sample, gold, side, features, GAMMA, np.random.default_rng(seed), settings).distance.value,
            minimal_sampled(sample, gold, side, features, GAMMA, np.random.default_rng(seed), settings).distance.value,
            epic_sampled(sample, gold, side, GAMMA, np.random.default_rng(seed), settings).distance.value * 2,
            float(np.sqrt(2 - 2 * np.corrcoef(paid[0], paid[1])[0, 1])),
        )
    return found


def main() -> None:
    """Prints means and ranges over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    for name in given.tasks:
        started = time.perf_counter()
        every = [figures(name, seed) for seed in range(given.first_seed, given.first_seed + given.seeds)]
        print(f"\n{name}: mean [least, most] of {given.seeds} seeds\n\n| proxy | VAL | minimal | 2 · EPIC | none | published |")
        print("|---|---|---|---|---|---|")
        for proxy in every[0]:
            table = np.array([found[proxy] for found in every])
            cells = [f"{each.mean():.3f} [{each.min():.3f}, {each.max():.3f}]" for each in table.T]
            published = f"{PUBLISHED[proxy]:.3f}" if proxy in PUBLISHED and name == "mujoco-reacher" else ""
            print(f"| {proxy} | {' | '.join(cells)} | {published} |")
        print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
