"""What does learning from answers cost beside plain SB3 on gold? Stepping, whole runs, and scoring a million transitions again.

Run by itself: PYTHONPATH=benchmarks python benchmarks/loop.py
HalfCheetah under its preset's PPO. "On the same copies": plain SB3 steps the same native copies, which pay it gold, so that
the figure is the loop's alone; beside it SB3 as its documentation makes it, `make_vec_env` with Monitor.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fitting import data, settings_of
from measuring import Row, Speed, alone, slowdown
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from preflab import agents, envs
from preflab.experiments import loop
from preflab.experiments.config import compose_run
from preflab.interfaces import RewardModel
from preflab.rewards import BradleyTerryLearner, FewComparisonsWarning
from preflab.types import Transitions

TASK = "mujoco-halfcheetah"
SIZES = {"HalfCheetah": (17, 6), "Humanoid": (348, 17)}


def settings() -> Any:
    """Returns the preset's PPO."""
    return compose_run([f"env={TASK}"])[0].agent


def copies(n_envs: int, seed: int) -> VecEnv:
    """Returns native copies that pay gold."""
    return envs.make_vec(TASK, "fixed", n_envs, seed, 1, reveal_gold=True)


def documented(n_envs: int, seed: int) -> VecEnv:
    """Returns SB3's own vectorized environment."""
    return make_vec_env("HalfCheetah-v5", n_envs, seed=seed)


def plain(make_vec: Any, n_steps: int) -> Speed:
    """Returns plain SB3: PPO on gold, observations standardized."""
    preset = settings()
    env = VecNormalize(make_vec(preset.n_envs, 0), norm_reward=False)
    model = PPO("MlpPolicy", env, seed=0, device="cpu", **preset.keywords())

    def work() -> float:
        started, before = time.perf_counter(), model.num_timesteps
        model.learn(n_steps, reset_num_timesteps=False)
        return (model.num_timesteps - before) / (time.perf_counter() - started)

    return work


def reward(n_members: int, width: int, task: str = "HalfCheetah") -> RewardModel:
    """Returns a reward of so many networks, hardly fitted."""
    answers, context, obs, act = data(*SIZES[task], 50, 20)
    learner = BradleyTerryLearner(obs, act, settings_of(n_members, width, 10, 1))
    learner.fit(answers, context, np.random.default_rng(0))
    return learner.model


def stepping(n_members: int, n_steps: int) -> Speed:
    """Returns PPO on the proxy of `n_members` 64 x 64 networks."""
    def make_vec(n_envs: int, seed: int) -> VecEnv:
        return envs.make_vec(TASK, "fixed", n_envs, seed, 1)

    agent, source = agents.build(settings(), make_vec, seed=0, device="cpu"), reward(n_members, 64).rewards

    def work() -> float:
        started = time.perf_counter()
        report = agent.train(n_steps, source, seed=0, steps_done=0, steps_total=n_steps)
        return report.n_env_steps / (time.perf_counter() - started)

    return work


def whole(n_members: int, n_steps: int, n_collect: int) -> Speed:
    """Returns a run's rounds (collect, ask, fit, train), all but evaluation and report; env steps of training a second.

    In the demo's proportions: a comparison every 1,000 steps of training, a sixth as many steps collected to ask about.
    """
    words = [
        f"env={TASK}", f"reward.n_members={n_members}", f"budget.n_env_steps={n_steps}", "budget.n_rounds=2",
        "budget.round_starts=null", f"budget.n_comparisons={max(20, n_steps // 1000)}", f"budget.n_collect={n_collect}",
        "budget.n_eval_episodes=1", "video=false",
    ]
    words += ["reward.data=shared", "reward.early_stopping=false"] if n_members == 1 else []
    config, _ = compose_run(words)

    def work() -> float:
        with tempfile.TemporaryDirectory() as folder:
            run = loop.start(config, Path(folder) / "run")
            state, seconds = run.begin(), 0.0
            while state.round < config.budget.n_rounds:
                started = time.perf_counter()
                run.restore(state)
                state = run.trained(run.fitted(run.asked(*run.collected(state))))
                state = replace(state, round=state.round + 1)
                seconds += time.perf_counter() - started
            run.stages.close()
            return state.steps_done / seconds

    return work


def relabeling(task: str, n: int) -> Speed:
    """Returns the scoring of `n` transitions by five 256 x 256 members; seconds a million."""
    n_obs, n_act = SIZES[task]
    model, rng = reward(5, 256, task), np.random.default_rng(0)
    size = min(n, 100_000)  # as a replay buffer is scored
    obs = rng.standard_normal((size + 1, n_obs), dtype=np.float32)
    actions = rng.uniform(-1, 1, (size, n_act)).astype(np.float32)
    batch = Transitions(obs[:-1], actions, obs[1:], np.zeros(size, dtype=np.bool_))

    def work() -> float:
        started = time.perf_counter()
        for _ in range(n // size):
            model.rewards(batch)
        return (time.perf_counter() - started) * 1e6 / (n // size * size)

    return work


def main(is_smoke: bool = False) -> list[Row]:
    """Returns the rows of stepping, whole runs and relabeling."""
    warnings.simplefilter("ignore", FewComparisonsWarning)
    torch.set_num_threads(1)
    step, run, n_turns = (4_096, 8_192, 1) if is_smoke else (20_480, 61_440, 3)
    rows = []
    for n_members, target, whole_target in ((1, "≤ 1.05", "≤ 1.25"), (5, "≤ 1.25", "≤ 1.5")):
        nets = f"{n_members} net{'s' if n_members > 1 else ''} of 64 x 64"
        proxy = stepping(n_members, step)
        rows += [
            slowdown(f"PPO on {nets}, times slower than plain SB3 on the same copies", plain(copies, step), proxy, n_turns,
                     "env steps/s", target),
            slowdown(f"PPO on {nets}, times slower than plain SB3 on make_vec_env", plain(documented, step), proxy, n_turns,
                     "env steps/s", target),
            slowdown(f"whole rounds with {nets}, times slower than plain SB3 on the same copies", plain(copies, run),
                     whole(n_members, run, 2 if is_smoke else 5), 1, "env steps/s", whole_target),
        ]
    for task, target in (("HalfCheetah", "≤ 10"), ("Humanoid", "≤ 20")):
        n, line = 20_000 if is_smoke else 1_000_000, f"score 1M {task} transitions with five nets of 256 x 256"
        rows.append(alone(line, relabeling(task, n), 1 if is_smoke else 2, "s", target))
    return rows


if __name__ == "__main__":
    for found in main():
        print(found, found.met)
