"""A vectorized environment that only has spaces: enough to build one of SB3's algorithms, and to save it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import gymnasium as gym
from stable_baselines3.common.vec_env import VecEnv

from preflab.errors import Refused


class Nowhere(VecEnv):
    """Spaces of `n_envs` environments that cannot be stepped."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any], n_envs: int) -> None:
        """Takes the spaces of one environment."""
        super().__init__(n_envs, observation_space, action_space)

    def reset(self) -> NoReturn:
        """Refuses."""
        raise Refused("these environments only have spaces; nothing can be done in them")

    def step_async(self, actions: Any) -> NoReturn:
        """Refuses."""
        self.reset()

    def step_wait(self) -> NoReturn:
        """Refuses."""
        self.reset()

    def close(self) -> None:
        """Does nothing: there is nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Returns None for each environment."""
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Does nothing."""

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Returns None for each environment."""
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> Sequence[bool]:  # type: ignore[override]
        """Returns False for each environment."""
        return [False] * self.num_envs
