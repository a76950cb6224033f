"""A MuJoCo task vectorized natively: physics in one call on threads, observations and gold on arrays."""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from preflab.envs.native import NativeCopies
from preflab.envs.task_vec_env import TaskVecEnv
from preflab.errors import Refused
from preflab.types import AnyArray, FloatArray

_SHARED = ("render_mode", "spec", "metadata", "task", "form", "horizon", "reveal_gold", "observation_space", "action_space")


class NativeVecEnv(TaskVecEnv):
    """`NativeCopies` with time limits, automatic resets and hidden gold: bit for bit what one environment per copy does."""

    def __init__(self, name: str, form: str, n_envs: int, n_threads: int, *, reveal_gold: bool = False) -> None:
        """Makes `n_envs` copies of the task, not yet seeded; raises `Refused` where there is no native form."""
        self._describe(name, form, n_envs, n_threads)
        self._copies = NativeCopies(name, form, n_envs, self.n_threads)
        self._template = self._copies.template
        self._template.reveal_gold = self._reveals = reveal_gold
        space = self._template.observation_space
        super().__init__(n_envs, space, self._template.action_space)
        self.metadata = self._template.metadata
        self._horizon = self._template.horizon
        self._keys = [f"reward_{each}" for each in self.task.factor_names]
        self._actions: AnyArray = np.zeros(0)
        self._obs = np.zeros((n_envs, *(space.shape or ())), dtype=space.dtype)
        self._rewards: npt.NDArray[np.float32] = np.zeros(n_envs, dtype=np.float32)
        self._dones = np.zeros(n_envs, dtype=np.bool_)
        self._infos: list[dict[str, Any]] = [{} for _ in range(n_envs)]

    def reset(self) -> AnyArray:
        """Resets every copy, with the seeds that `seed` has set, and returns the observations (n, o)."""
        for i, seed in enumerate(self._seeds):
            self._obs[i] = self._copies.reset(i, seed)
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return self._obs.copy()

    def step_async(self, actions: AnyArray) -> None:
        """Takes the actions (n, nu) of the next step."""
        self._actions = np.asarray(actions)

    def save_states(self) -> FloatArray:
        """Returns the full state of every copy, (n, S)."""
        return self._copies.save()

    def restore_states(self, states: FloatArray, *, n_elapsed: int | None = None) -> AnyArray:
        """Restores one state per copy, (n, S), and returns the observations there, (n, o)."""
        self._check_one_state_per_copy(states)
        self._obs[:] = self._copies.restore(states, n_elapsed=n_elapsed)
        return self._obs.copy()

    def _step_copies(self) -> None:
        rows = np.flatnonzero(~self.is_idle) if self.is_idle.any() else None
        which: Any = slice(None) if rows is None else rows
        obs, gold, terminated, factors = self._copies.step(self._actions[which], rows)
        truncated = self._copies.n_elapsed[which] >= self._horizon
        self._obs[which], self.last_gold[which], self.last_factors[which] = obs, gold, factors
        is_over = self._dones[which] = terminated | truncated
        stepped = range(self.num_envs) if rows is None else rows.tolist()
        self._note_infos(stepped, (truncated & ~terminated).tolist(), factors)
        if self._reveals:
            self._rewards[which] = gold
        for i, over in zip(stepped, is_over.tolist(), strict=True):
            if over:
                self._end_episode(i)

    def _note_infos(self, rows: Sequence[int], is_cut: list[bool], factors: FloatArray) -> None:
        for i, cut, parts in zip(rows, is_cut, factors.tolist(), strict=True):
            info: dict[str, Any] = dict(zip(self._keys, parts, strict=True)) if self._reveals else {}
            info["TimeLimit.truncated"] = cut
            self._infos[i] = info

    def _end_episode(self, i: int) -> None:
        self._infos[i]["terminal_observation"] = self._obs[i].copy()
        if self.keep_terminal_states:
            self.terminal_states[i] = self._copies.save(np.array([i]))[0]
        self._obs[i] = self._copies.reset(i)

    def _seen(self) -> VecEnvStepReturn:
        return self._obs.copy(), self._rewards.copy(), self._dones.copy(), [dict(info) for info in self._infos]

    def close(self) -> None:
        """Frees what the copies have taken."""
        self._copies.close()

    def get_images(self) -> Sequence[npt.NDArray[np.uint8] | None]:
        """Returns None for each copy: pictures are drawn from saved states (`render_states`)."""
        return [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Returns an attribute that all copies share."""
        if attr_name not in _SHARED:
            raise AttributeError(f"{attr_name}: native copies are no environments and share only {', '.join(_SHARED)}; "
                                 "make_vec(…, native=False) has one environment per copy")
        return [getattr(self._template, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> NoReturn:
        """Refuses: there is no environment per copy."""
        raise Refused(f"{attr_name} cannot be set: native copies are no environments; make_vec(…, native=False) has them")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> NoReturn:
        """Refuses: there is no environment per copy."""
        raise Refused(f"{method_name} cannot be called: native copies are no environments; make_vec(…, native=False) has them")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Returns False for each copy."""
        return [False] * len(list(self._get_indices(indices)))
