"""imitation 1.0.1's side of the benchmarks: run by its own Python, it reads one task a line and prints one speed a line.

    fit <n_obs> <n_act> <width> <n_pairs>     one epoch at imitation's defaults (fragment 100, batch 32), pairs/s
    label <n_obs> <n_act> <length> <n_pairs>  SyntheticGatherer on fragments that were cut before, pairs/s
    envpool <id> <n_envs> <n_threads> <n_steps>  random steps of EnvPool's, where it is installed, env steps/s
    versions                                  json

`make bench` makes that Python; nothing of preflab is imported here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from imitation.algorithms import preference_comparisons as pc
from imitation.data.types import TrajectoryWithRew
from imitation.rewards.reward_nets import BasicRewardNet

FRAGMENT = 100


def spaces(n_obs: int, n_act: int) -> tuple[Any, Any]:
    """Returns boxes of these sizes."""
    return gym.spaces.Box(-np.inf, np.inf, (n_obs,), np.float32), gym.spaces.Box(-1, 1, (n_act,), np.float32)


@cache
def pairs(n_obs: int, n_act: int, length: int, n: int) -> list[tuple[TrajectoryWithRew, TrajectoryWithRew]]:
    """Returns n pairs of random fragments."""
    rng = np.random.default_rng(0)

    def fragment() -> TrajectoryWithRew:
        obs, acts = rng.normal(size=(length + 1, n_obs)), rng.uniform(-1, 1, size=(length, n_act))
        return TrajectoryWithRew(
            obs.astype(np.float32), acts.astype(np.float32), None, False, rng.normal(size=length).astype(np.float32)
        )

    return [(fragment(), fragment()) for _ in range(n)]


def fit(n_obs: int, n_act: int, width: int, n_pairs: int) -> float:
    """Returns pairs/s of one epoch of reward training."""
    net = BasicRewardNet(*spaces(n_obs, n_act), hid_sizes=(width, width))
    model = pc.PreferenceModel(net)
    trainer = pc.BasicRewardTrainer(model, pc.CrossEntropyRewardLoss(), np.random.default_rng(0))
    data = pc.PreferenceDataset()
    data.push(pairs(n_obs, n_act, FRAGMENT, n_pairs), np.random.default_rng(1).integers(0, 2, n_pairs).astype(np.float32))
    started = time.perf_counter()
    trainer.train(data)
    return n_pairs / (time.perf_counter() - started)


def label(n_obs: int, n_act: int, length: int, n_pairs: int) -> float:
    """Returns pairs/s of synthetic answers."""
    gatherer, asked = pc.SyntheticGatherer(rng=np.random.default_rng(0)), pairs(n_obs, n_act, length, n_pairs)
    started = time.perf_counter()
    gatherer(asked)
    return n_pairs / (time.perf_counter() - started)


@cache
def pool(name: str, n_envs: int, n_threads: int) -> Any:
    """Returns reset environments of EnvPool."""
    import envpool

    made = envpool.make_gymnasium(name, num_envs=n_envs, num_threads=n_threads)
    made.reset()
    return made


def envpool(name: str, n_envs: str, n_threads: str, n_steps: str) -> float:
    """Returns env steps/s under random actions."""
    made = pool(name, int(n_envs), int(n_threads))
    space = made.action_space
    actions = np.random.default_rng(0).uniform(space.low, space.high, (int(n_steps), int(n_envs), *space.shape))
    started = time.perf_counter()
    for each in actions:
        made.step(each)
    return int(n_steps) * int(n_envs) / (time.perf_counter() - started)


def installed(name: str) -> str:
    """Returns the version of a package, or nothing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def main() -> None:
    """Answers each line of standard input."""
    torch.set_num_threads(1)
    out = os.fdopen(os.dup(1), "w")  # whatever else prints goes to standard error
    os.dup2(2, 1)
    for line in sys.stdin:
        task, *words = line.split()
        if task == "versions":
            names = ("imitation", "stable-baselines3", "gymnasium", "torch", "numpy", "envpool")
            found: Any = {name: installed(name) for name in names}
        elif task == "envpool":
            found = envpool(*words)
        else:
            found = {"fit": fit, "label": label}[task](*map(int, words))
        print(json.dumps(found), file=out, flush=True)


if __name__ == "__main__":
    main()
