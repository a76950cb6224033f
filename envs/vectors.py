"""Many copies of a task as one SB3 `VecEnv`: natively where that is possible, else one environment per copy on threads."""

import os

from preflab import seeding
from preflab.envs.copied_vec_env import CopiedVecEnv
from preflab.envs.native import has_native
from preflab.envs.native_vec_env import NativeVecEnv
from preflab.envs.task_vec_env import TaskVecEnv

MAX_THREADS = 8


def make_vec(
    name: str, form: str, n_envs: int, seed: int, n_threads: int | None = None, *, reveal_gold: bool = False,
    native: bool = True,
) -> TaskVecEnv:
    """Returns `n_envs` seeded copies of a task as an SB3 `VecEnv` without Monitor.

    Args:
        name: of the task.
        form: "fixed" or "terminating".
        n_envs: number of copies.
        seed: copies are seeded from (seed, name, form), so that runs with neighboring seeds share no copy's stream;
            `venv.seed(s)` restarts them with s, s + 1, … at the next reset, as SB3 does.
        n_threads: by default as many as this process may use (at most 8) for MuJoCo, and 1 otherwise.
        reveal_gold: rewards are gold; for experts and baselines.
        native: MuJoCo tasks are stepped by `mujoco.batch` and paid on arrays. False, another task, or a MuJoCo without
            `mujoco.batch` takes SB3's `DummyVecEnv` of one environment per copy instead: the same numbers, and slower.
    """
    n_threads = default_threads(name, n_envs) if n_threads is None else n_threads
    kind = NativeVecEnv if native and has_native(name) else CopiedVecEnv
    venv = kind(name, form, n_envs, n_threads, reveal_gold=reveal_gold)
    venv.seed(seeding.small_seed(seed, "envs", name, form))
    return venv


def default_threads(name: str, n_envs: int) -> int:
    """Returns how many threads step `n_envs` copies: as many as this process may use (at most 8) for MuJoCo, else 1."""
    return min(_n_usable_cores(), n_envs, MAX_THREADS) if name.startswith("mujoco-") else 1


def _n_usable_cores() -> int:
    has_affinity = hasattr(os, "sched_getaffinity")  # Linux
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
