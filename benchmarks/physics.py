"""How fast are eight copies of a MuJoCo task, native, beside SB3's DummyVecEnv, Gymnasium's SyncVectorEnv and EnvPool of eight?

Run by itself: PYTHONPATH=benchmarks python benchmarks/physics.py

Figures are paired: ours, the peer, ours again, with the same random actions. Everybody is paid, counts time and resets by
itself, as training does: ours is `make_vec(…, reveal_gold=True)`, the peers are `gymnasium.make(id)` as it comes (time limit,
order and passive checks), without Monitor. EnvPool lives in imitation's environment, with one thread where ours has one.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from measuring import Row, Speed, compared, imitation
from stable_baselines3.common.vec_env import DummyVecEnv

from preflab import envs
from preflab.types import AnyArray

Step = Callable[[AnyArray], Any]
TARGETS = {  # of native copies beside DummyVecEnv, by task and threads
    ("mujoco-halfcheetah", 1): "≥ 1.3", ("mujoco-humanoid", 1): "≥ 1.05",
    ("mujoco-halfcheetah", 2): "≥ 2.7", ("mujoco-humanoid", 2): "≥ 1.8",
}
TASKS = ("mujoco-halfcheetah", "mujoco-humanoid", "mujoco-hopper")
N_ENVS = 8


def gymnasium_id(name: str) -> str:
    """Returns the Gymnasium id of one of preflab's MuJoCo tasks."""
    return envs.task(name).source.split()[1].rstrip(",")


def ours(name: str, n_threads: int) -> Step:
    """Returns the step of reset native copies that pay gold."""
    form = envs.task(name).forms[-1]  # the terminating one, which is Gymnasium's, or the only one
    venv = envs.make_vec(name, form, N_ENVS, 0, n_threads, reveal_gold=True)
    venv.reset()
    return venv.step


def peer(kind: str, name: str) -> Step:
    """Returns the step of a reset peer."""
    makers = [lambda: gym.make(gymnasium_id(name))] * N_ENVS
    if kind == "DummyVecEnv":
        dummy = DummyVecEnv(makers)
        dummy.seed(0)
        dummy.reset()
        return dummy.step
    sync = gym.vector.SyncVectorEnv(makers)
    sync.reset(seed=0)
    return sync.step


def stepped(step: Step, name: str, n_steps: int) -> Speed:
    """Returns what takes `n_steps` random steps of all copies; environment steps a second."""
    space = envs.make(name).action_space
    assert isinstance(space, gym.spaces.Box)
    size = (n_steps, N_ENVS, *space.shape)
    actions = np.random.default_rng(0).uniform(space.low, space.high, size).astype(np.float32)

    def work() -> float:
        started = time.perf_counter()
        for each in actions:
            step(each)
        return n_steps * N_ENVS / (time.perf_counter() - started)

    return work


def main(is_smoke: bool = False) -> list[Row]:
    """Returns one row per task, peer and number of threads."""
    n_steps, n_turns, tasks = (5, 1, TASKS[:1]) if is_smoke else (400, 7, TASKS)
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)  # Gymnasium's old model files: remarks would go into ./MUJOCO_LOG.TXT
    rows = []
    try:
        with warnings.catch_warnings(), imitation(is_smoke) as other:
            warnings.simplefilter("ignore")
            for name in tasks:
                for n_threads in (1, 2):
                    own = stepped(ours(name, n_threads), name, n_steps)
                    line = f"{gymnasium_id(name)} x {N_ENVS}, {n_threads} thread{'s' * (n_threads > 1)}"
                    for kind in ("DummyVecEnv", "SyncVectorEnv"):
                        target = TARGETS.get((name, n_threads), "") if kind == "DummyVecEnv" else ""
                        rows.append(compared(
                            f"{line}, beside {kind}", own, stepped(peer(kind, name), name, n_steps), n_turns, "env steps/s", target
                        ))
                    rows.append(_beside_envpool(line, own, other, f"{gymnasium_id(name)} {N_ENVS} {n_threads} {n_steps}", n_turns))
    finally:
        mujoco.set_mju_user_warning(before)
    return rows


def _beside_envpool(line: str, own: Speed, other: Any, task: str, n_turns: int) -> Row:
    line = f"{line}, beside EnvPool"
    missing = other if isinstance(other, str) else "" if other.versions.get("envpool") else "EnvPool: not installed"
    if missing:
        return Row(line, own(), None, None, None, None, "env steps/s", note=missing)
    return compared(line, own, lambda: float(other.ask(f"envpool {task}")), n_turns, "env steps/s")


if __name__ == "__main__":
    for found in main():
        print(found, found.met)
