"""Settings of SB3's PPO, validated once."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self

from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from preflab.errors import InvalidArgument, UnknownName

ACTIVATIONS: Mapping[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


@dataclass(frozen=True, slots=True)
class PPOSettings:
    """PPO (Schulman et al. 2017, https://arxiv.org/abs/1707.06347) as SB3 computes it.

    Defaults are the recipe that trained Humanoid-v5 to an episode return of 4,753 in 2M steps on one core (16 minutes);
    γ, λ, the clip range and the coefficients are SB3 2.9's own.

    Attributes:
        n_envs: environments stepped together.
        n_steps: steps of each environment per rollout; a rollout is n_steps · n_envs transitions.
        batch_size: transitions per gradient step; must divide a rollout.
        n_epochs: passes over a rollout.
        learning_rate: Adam's step size at the start of the run.
        learning_rate_final: fraction of `learning_rate` left at the end of the run; the decay is linear.
        gamma: discount, in (0, 1].
        gae_lambda: λ of generalized advantage estimation, in [0, 1].
        clip_range: half-width of the probability-ratio clip.
        ent_coef: weight of the entropy bonus.
        vf_coef: weight of the value loss.
        max_grad_norm: gradients are scaled down to this norm.
        target_kl: a rollout's update stops at 1.5 times this KL (nats); None never stops.
        hidden: widths of the hidden layers, of the actor and of the critic alike.
        activation: "tanh" or "relu".
        log_std_init: initial log standard deviation of Gaussian actions, in the actions' units.
        reward_scale: factor on the proxy. A proxy of spread 1 a step has returns near 1 / (1 − γ); then the value loss
            fills `max_grad_norm` and leaves the actor gradients below Adam's ε, so returns of a few units learn faster.
        normalize_obs: standardize Box observations (in a Dict: each) with running statistics; Discrete ones are always
            one-hot, images always divided by 255.
    """

    n_envs: int = 16
    n_steps: int = 512
    batch_size: int = 512
    n_epochs: int = 5
    learning_rate: float = 2.5e-4
    learning_rate_final: float = 1.0
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    target_kl: float | None = 0.03
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "tanh"
    log_std_init: float = -1.0
    reward_scale: float = 1.0
    normalize_obs: bool = True

    def __post_init__(self) -> None:
        """Checks every field against its rule; `hidden` becomes a tuple."""
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for name in ("n_envs", "n_steps", "n_epochs"):
            self._check(name, "must be a whole number, at least 1", _is_count(getattr(self, name)))
        self._check("n_steps", "must be at least 2 if n_envs is 1", self.rollout_size > 1)
        is_batch = _is_count(self.batch_size) and self.batch_size > 1
        self._check("batch_size", "must be a whole number, at least 2", is_batch)
        if self.rollout_size % self.batch_size:
            near = _divisors_near(self.rollout_size, self.batch_size)
            self._check("batch_size", f"must divide n_steps · n_envs = {self.rollout_size}", False, near)
        for name in ("learning_rate", "clip_range", "max_grad_norm", "target_kl", "reward_scale"):
            is_off = name == "target_kl" and self.target_kl is None
            self._check(name, "must be positive and finite", is_off or _is_in(getattr(self, name), 0.0, math.inf, True))
        for name in ("ent_coef", "vf_coef"):
            self._check(name, "must be at least 0 and finite", _is_in(getattr(self, name), 0.0, math.inf))
        for name in ("learning_rate_final", "gae_lambda"):
            self._check(name, "must be in [0, 1]", _is_in(getattr(self, name), 0.0, 1.0))
        self._check("gamma", "must be in (0, 1]", _is_in(self.gamma, 0.0, 1.0, is_open=True))
        self._check("log_std_init", "must be finite", _is_in(self.log_std_init, -math.inf, math.inf))
        self._check("hidden", "must be whole numbers, at least 1", all(_is_count(width) for width in self.hidden))
        self._check("normalize_obs", "must be True or False", isinstance(self.normalize_obs, bool))
        if self.activation not in ACTIVATIONS:
            raise UnknownName("activation", self.activation, ACTIVATIONS)

    def _check(self, name: str, rule: str, is_kept: bool, valid: str = "") -> None:
        if not is_kept:
            raise InvalidArgument(name, rule, getattr(self, name), valid)

    @property
    def rollout_size(self) -> int:
        """Transitions in one rollout, n_steps · n_envs."""
        return self.n_steps * self.n_envs

    @property
    def algorithm(self) -> type[PPO]:
        """SB3's class."""
        return PPO

    def keywords(self) -> dict[str, Any]:
        """Returns the arguments of SB3's class but for policy, env, seed and device."""
        shared = (
            "learning_rate", "n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "clip_range", "ent_coef",
            "vf_coef", "max_grad_norm", "target_kl",
        )
        hidden = list(self.hidden)
        policy = {
            "net_arch": {"pi": hidden, "vf": list(hidden)}, "activation_fn": ACTIVATIONS[self.activation],
            "log_std_init": self.log_std_init,
        }
        return {**{name: getattr(self, name) for name in shared}, "policy_kwargs": policy}

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> Self:
        """Returns the settings that `settings` names, defaults elsewhere; an unknown name is refused."""
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise UnknownName("agent settings", name, known)
        return cls(**settings)


class AgentSettings(Protocol):
    """What every agent's settings say."""

    @property
    def n_envs(self) -> int:
        """Environments stepped together."""
        ...

    @property
    def learning_rate(self) -> float:
        """At the start of the run."""
        ...

    @property
    def learning_rate_final(self) -> float:
        """Fraction of it left at the end of the run."""
        ...

    @property
    def reward_scale(self) -> float:
        """Factor on the proxy."""
        ...

    @property
    def normalize_obs(self) -> bool:
        """Whether Box observations are standardized with running statistics."""
        ...

    @property
    def algorithm(self) -> type[BaseAlgorithm]:
        """SB3's class."""
        ...

    def keywords(self) -> dict[str, Any]:
        """Returns the arguments of that class but for policy, env, seed and device."""
        ...


class Decay:
    """Learning rate that decays linearly over the whole run, whatever part of it a call of SB3's `learn` covers."""

    def __init__(self, settings: AgentSettings, steps: Callable[[], int], steps_total: int) -> None:
        """Reads the run's steps so far from `steps`."""
        self.settings, self.steps, self.steps_total = settings, steps, steps_total

    def progress(self) -> float:
        """Returns the share of the run that is left, from 1 to 0."""
        return max(0.0, 1.0 - self.steps() / self.steps_total)

    def __call__(self, progress_remaining: float) -> float:
        """Returns lr · (f + (1 − f) · max(0, 1 − steps / total)), f = `learning_rate_final`; the argument is unused."""
        final, remaining = self.settings.learning_rate_final, self.progress()
        return self.settings.learning_rate * (final + (1.0 - final) * remaining)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_in(value: object, low: float, high: float, is_open: bool = False) -> bool:
    """Tells whether `value` is a finite number in [low, high], or in (low, high] if `is_open`."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return False
    return (low < value if is_open else low <= value) and value <= high


def _divisors_near(size: int, wanted: int) -> str:
    divisors = [divisor for divisor in range(2, size + 1) if size % divisor == 0]
    return ", ".join(map(str, sorted(sorted(divisors, key=lambda divisor: abs(divisor - wanted))[:4])))
