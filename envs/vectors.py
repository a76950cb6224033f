"""Many copies of a task as one SB3 `VecEnv`, stepped on threads (MuJoCo lets go of the interpreter while it steps)."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from preflab import seeding
from preflab.envs.hidden import HiddenGold, gold, make
from preflab.envs.tasks import Task, task
from preflab.errors import InvalidArgument
from preflab.observations import pack
from preflab.types import AnyArray, BoolArray, FloatArray

MAX_THREADS = 8


class TaskVecEnv(DummyVecEnv):
    """SB3's `DummyVecEnv` on threads, with gold beside it: same results to the bit, whatever the number of threads.

    Attributes:
        last_gold: (n,) gold of the last step. For collectors only.
        last_factors: (n, F) its parts.
        keep_terminal_states: if set, `terminal_states[i]` is the simulator state of env i in which its last episode
            ended, before its automatic reset.
    """

    envs: list[HiddenGold]  # type: ignore[assignment]

    def __init__(self, name: str, form: str, n_envs: int, n_threads: int, *, reveal_gold: bool = False) -> None:
        """Makes `n_envs` copies of the task, not yet seeded."""
        if n_envs < 1 or n_threads < 1:
            raise InvalidArgument("n_envs, n_threads", "must be at least 1", (n_envs, n_threads))
        super().__init__([partial(make, name, form, reveal_gold=reveal_gold)] * n_envs)
        self.task: Task = task(name)
        self.form = form
        self.n_threads = min(n_threads, n_envs)
        self.last_gold: FloatArray = np.zeros(n_envs)
        self.last_factors: FloatArray = np.zeros((n_envs, len(self.task.factor_names)))
        self.keep_terminal_states = False
        self.terminal_states: list[FloatArray | None] = [None] * n_envs
        self.is_idle: BoolArray = np.zeros(n_envs, dtype=np.bool_)
        self._pool: ThreadPoolExecutor | None = None

    def step_wait(self) -> VecEnvStepReturn:
        """Steps every copy that is not idle; the rest repeats its last result."""
        if self.n_threads == 1:
            self._step_range(range(self.num_envs))
        else:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.n_threads, thread_name_prefix="envs")
            shares = [range(first, self.num_envs, self.n_threads) for first in range(self.n_threads)]
            list(self._pool.map(self._step_range, shares))  # list: an exception of a thread is raised here
        infos = [dict(info) for info in self.buf_infos]
        return self._obs_from_buf(), self.buf_rews.copy(), self.buf_dones.copy(), infos

    def save_states(self) -> FloatArray:
        """Returns the full state of every copy, (n, S)."""
        return np.stack([env.save_state() for env in self.envs])

    def restore_states(self, states: FloatArray, *, n_elapsed: int | None = None) -> AnyArray:
        """Restores one state per copy, (n, S), and returns the observations there, (n, *obs).

        `n_elapsed` replaces the saved number of elapsed steps: 0 gives every copy a whole horizon.
        """
        if len(states) != self.num_envs:
            raise InvalidArgument("states", f"must be one per copy, ({self.num_envs}, S)", np.shape(states))
        for i, env in enumerate(self.envs):
            self._save_obs(i, env.restore_state(states[i], n_elapsed=n_elapsed))
        observations: Any = self._obs_from_buf()
        return pack(self.observation_space, observations) if isinstance(observations, dict) else observations

    def close(self) -> None:
        """Ends the threads and closes every copy."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        super().close()

    def _step_range(self, indices: range) -> None:
        for i in indices:
            if not self.is_idle[i]:
                self._step_one(i)

    def _step_one(self, i: int) -> None:
        """Does what `DummyVecEnv.step_wait` does for env `i`, and notes its gold."""
        env = self.envs[i]
        obs, self.buf_rews[i], terminated, truncated, info = env.step(self.actions[i])
        last = gold(env)
        self.last_gold[i], self.last_factors[i] = last.reward, last.factors
        self.buf_dones[i] = terminated or truncated
        info["TimeLimit.truncated"] = truncated and not terminated
        if self.buf_dones[i]:
            info["terminal_observation"] = obs
            if self.keep_terminal_states:
                self.terminal_states[i] = env.save_state()
            obs, self.reset_infos[i] = env.reset()
        self.buf_infos[i] = info
        self._save_obs(i, obs)


def make_vec(
    name: str, form: str, n_envs: int, seed: int, n_threads: int | None = None, *, reveal_gold: bool = False
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
    """
    n_threads = default_threads(name, n_envs) if n_threads is None else n_threads
    venv = TaskVecEnv(name, form, n_envs, n_threads, reveal_gold=reveal_gold)
    venv.seed(seeding.small_seed(seed, "envs", name, form))
    return venv


def default_threads(name: str, n_envs: int) -> int:
    """Returns how many threads step `n_envs` copies: as many as this process may use (at most 8) for MuJoCo, else 1."""
    return min(_n_usable_cores(), n_envs, MAX_THREADS) if name.startswith("mujoco-") else 1


def _n_usable_cores() -> int:
    has_affinity = hasattr(os, "sched_getaffinity")  # Linux
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def step_vec(venv: TaskVecEnv, actions: AnyArray) -> tuple[AnyArray, BoolArray, list[dict[str, Any]]]:
    """Steps `venv` and returns packed observations, dones and infos."""
    obs, _, dones, infos = venv.step(actions)
    return pack(venv.observation_space, obs), dones, infos
