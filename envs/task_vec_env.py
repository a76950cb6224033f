"""What every vectorized task offers beside SB3's `VecEnv`: gold for collectors, saved states, idle copies."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from preflab.envs.tasks import Task, task
from preflab.errors import InvalidArgument
from preflab.observations import pack
from preflab.types import AnyArray, BoolArray, FloatArray


class TaskVecEnv(VecEnv):
    """Copies of a task as an SB3 `VecEnv` without Monitor, with gold beside it; from `make_vec`.

    Results do not depend, to the bit, on the number of threads, nor on which class steps the copies.

    Attributes:
        task, form, n_threads: what is stepped, and on how many threads.
        last_gold: (n,) gold of the last step. For collectors only.
        last_factors: (n, F) its parts.
        is_idle: (n,) copies that are not stepped; they repeat their last result.
        keep_terminal_states: if set, `terminal_states[i]` is the simulator state of env i in which its last episode
            ended, before its automatic reset.
    """

    def _describe(self, name: str, form: str, n_envs: int, n_threads: int) -> None:
        """Sets the attributes; to be called first."""
        if n_envs < 1 or n_threads < 1:
            raise InvalidArgument("n_envs, n_threads", "must be at least 1", (n_envs, n_threads))
        self.task: Task = task(name)
        self.form = form
        self.n_threads = min(n_threads, n_envs)
        self.last_gold: FloatArray = np.zeros(n_envs)
        self.last_factors: FloatArray = np.zeros((n_envs, len(self.task.factor_names)))
        self.keep_terminal_states = False
        self.terminal_states: list[FloatArray | None] = [None] * n_envs
        self.is_idle: BoolArray = np.zeros(n_envs, dtype=np.bool_)

    def step_wait(self) -> VecEnvStepReturn:
        """Steps every copy that is not idle; the rest repeats its last result."""
        self._step_copies()
        return self._seen()

    @abc.abstractmethod
    def save_states(self) -> FloatArray:
        """Returns the full state of every copy, (n, S)."""

    @abc.abstractmethod
    def restore_states(self, states: FloatArray, *, n_elapsed: int | None = None) -> AnyArray:
        """Restores one state per copy, (n, S), and returns the observations there, (n, *obs).

        `n_elapsed` replaces the saved number of elapsed steps: 0 gives every copy a whole horizon.
        """

    @abc.abstractmethod
    def _step_copies(self) -> None:
        """Steps every copy that is not idle, notes its gold, and resets it where its episode has ended."""

    @abc.abstractmethod
    def _seen(self) -> VecEnvStepReturn:
        """Returns the last results, in memory of their own."""

    def _check_one_state_per_copy(self, states: FloatArray) -> None:
        if len(states) != self.num_envs:
            raise InvalidArgument("states", f"must be one per copy, ({self.num_envs}, S)", np.shape(states))


def step_vec(venv: TaskVecEnv, actions: AnyArray) -> tuple[AnyArray, BoolArray, list[dict[str, Any]]]:
    """Steps `venv` and returns packed observations, dones and infos."""
    obs, _, dones, infos = venv.step(actions)
    return pack(venv.observation_space, obs), dones, infos
