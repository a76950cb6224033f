"""Any task vectorized: one environment per copy in SB3's `DummyVecEnv`, stepped on threads."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from preflab.envs.hidden import HiddenGold, gold, make
from preflab.envs.task_vec_env import TaskVecEnv
from preflab.observations import pack
from preflab.types import AnyArray, FloatArray


class CopiedVecEnv(TaskVecEnv, DummyVecEnv):
    """SB3's `DummyVecEnv` on threads (MuJoCo lets go of the interpreter while it steps), with gold beside it."""

    envs: list[HiddenGold]  # type: ignore[assignment]

    def __init__(self, name: str, form: str, n_envs: int, n_threads: int, *, reveal_gold: bool = False) -> None:
        """Makes `n_envs` copies of the task, not yet seeded."""
        self._describe(name, form, n_envs, n_threads)
        DummyVecEnv.__init__(self, [partial(make, name, form, reveal_gold=reveal_gold)] * n_envs)
        self._pool: ThreadPoolExecutor | None = None

    def save_states(self) -> FloatArray:
        """Returns the full state of every copy, (n, S)."""
        return np.stack([env.save_state() for env in self.envs])

    def restore_states(self, states: FloatArray, *, n_elapsed: int | None = None) -> AnyArray:
        """Restores one state per copy, (n, S), and returns the observations there, (n, *obs)."""
        self._check_one_state_per_copy(states)
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

    def _step_copies(self) -> None:
        if self.n_threads == 1:
            self._step_range(range(self.num_envs))
        else:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.n_threads, thread_name_prefix="envs")
            shares = [range(first, self.num_envs, self.n_threads) for first in range(self.n_threads)]
            list(self._pool.map(self._step_range, shares))  # list: an exception of a thread is raised here

    def _seen(self) -> VecEnvStepReturn:
        infos = [dict(info) for info in self.buf_infos]
        return self._obs_from_buf(), self.buf_rews.copy(), self.buf_dones.copy(), infos

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
