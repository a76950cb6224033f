"""Settings of any Stable-Baselines3 algorithm, named by its import path: SAC, TQC, DQN, A2C, TRPO, TD3."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from preflab.agents.settings import ACTIVATIONS
from preflab.errors import InvalidArgument, UnknownName

_OURS = {  # arguments of SB3's constructors that preflab sets itself
    "self", "policy", "env", "policy_kwargs", "seed", "device", "tensorboard_log", "verbose", "stats_window_size",
    "_init_setup_model", "replay_buffer_class", "replay_buffer_kwargs", "optimize_memory_usage", "rollout_buffer_class",
    "rollout_buffer_kwargs", "action_noise", "learning_rate", "gamma",
}


@dataclass(frozen=True, slots=True)
class SB3Settings:
    """One algorithm of Stable-Baselines3, or of anything built like it.

    Attributes:
        path: import path of its class, such as "stable_baselines3.SAC" or "sb3_contrib.TQC".
        n_envs: environments stepped together.
        learning_rate: of its optimizers at the start of the run.
        learning_rate_final: fraction of `learning_rate` left at the end of the run; the decay is linear.
        gamma: discount, in (0, 1].
        hidden: widths of the hidden layers of every network.
        activation: "tanh" or "relu".
        reward_scale: factor on the proxy.
        normalize_obs: standardize Box observations with running statistics.
        max_buffer_size: transitions that a replay buffer keeps at most, in float32 (images in uint8); not used on-policy.
        action_noise: standard deviation of Gaussian noise on actions in ±1; needed by TD3 and DDPG to explore.
        report_every: env steps between two reports of an off-policy algorithm.
        policy_options: further arguments of the policy class, such as {"n_critics": 2}.
        options: further arguments of the algorithm's own, such as {"batch_size": 256}.
    """

    path: str
    n_envs: int = 1
    learning_rate: float = 3e-4
    learning_rate_final: float = 1.0
    gamma: float = 0.99
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    reward_scale: float = 1.0
    normalize_obs: bool = False
    max_buffer_size: int = 1_000_000
    action_noise: float = 0.0
    report_every: int = 1000
    policy_options: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks every field against its rule, and that the class takes every option."""
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for name in ("n_envs", "max_buffer_size", "report_every"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidArgument(name, "must be a whole number, at least 1", value)
        for name in ("learning_rate", "reward_scale"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InvalidArgument(name, "must be positive and finite", getattr(self, name))
        for name, low in (("gamma", False), ("learning_rate_final", True)):
            value = getattr(self, name)
            if not (0 <= value <= 1 if low else 0 < value <= 1):
                raise InvalidArgument(name, "must be in [0, 1]" if low else "must be in (0, 1]", value)
        if not 0 <= self.action_noise < float("inf"):
            raise InvalidArgument("action_noise", "must be at least 0 and finite", self.action_noise)
        if not isinstance(self.normalize_obs, bool):
            raise InvalidArgument("normalize_obs", "must be True or False", self.normalize_obs)
        if not self.hidden or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in self.hidden):
            raise InvalidArgument("hidden", "must be whole numbers, at least 1", self.hidden)
        if self.activation not in ACTIVATIONS:
            raise UnknownName("activation", self.activation, ACTIVATIONS)
        known = _parameters(self.algorithm)
        for name in self.options:
            if name not in known:
                raise UnknownName(f"settings of {self.path}", name, sorted(known))
        if self.action_noise and "action_noise" not in inspect.signature(self.algorithm).parameters:
            raise InvalidArgument("action_noise", f"must be 0 for {self.path}, which explores by itself", self.action_noise)

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> Self:
        """Returns the settings that `settings` names; what is none of ours is an option of the algorithm's own.

        >>> SB3Settings.from_mapping({"path": "stable_baselines3.SAC", "tau": 0.01}).options
        {'tau': 0.01}
        """
        own = {item.name for item in fields(cls)}
        if "path" not in settings:
            raise InvalidArgument("path", "is required", None, "stable_baselines3.SAC, sb3_contrib.TQC, …")
        options = {name: value for name, value in settings.items() if name not in own}
        given = {name: value for name, value in settings.items() if name in own}
        given["options"] = {**options, **dict(given.get("options", {}))}
        given["policy_options"] = dict(given.get("policy_options", {}))
        return cls(**given)

    @property
    def algorithm(self) -> type[BaseAlgorithm]:
        """The class that `path` names.

        Raises:
            InvalidArgument: there is no such class, or SB3's loops do not drive it.
        """
        valid = "stable_baselines3.SAC, sb3_contrib.TQC, your_package.YourAlgorithm"
        try:
            found = pkgutil.resolve_name(self.path)
        except (ImportError, AttributeError, ValueError) as error:
            raise InvalidArgument("path", "names no class that can be imported", self.path, valid) from error
        if not (isinstance(found, type) and issubclass(found, OnPolicyAlgorithm | OffPolicyAlgorithm)):
            raise InvalidArgument("path", "must be an on-policy or off-policy algorithm of Stable-Baselines3's", self.path, valid)
        return found

    def keywords(self) -> dict[str, Any]:
        """Returns the arguments of the class but for policy, env, seed and device."""
        widths = list(self.hidden)
        policy = {"net_arch": widths, "activation_fn": ACTIVATIONS[self.activation], **self.policy_options}
        return {"learning_rate": self.learning_rate, "gamma": self.gamma, "policy_kwargs": policy, **self.options}


def _parameters(algorithm: type[BaseAlgorithm]) -> set[str]:
    """Returns the names that a constructor takes and preflab leaves to its user."""
    return set(inspect.signature(algorithm).parameters) - _OURS
