"""What a policy network says of a batch: actions, and the KL divergence between two policies. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import (
    CategoricalDistribution,
    DiagGaussianDistribution,
    StateDependentNoiseDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.running_mean_std import RunningMeanStd

from preflab.errors import InvalidArgument, Refused
from preflab.observations import is_image, parts_of, unpack
from preflab.types import AnyArray, FloatArray

CLIP_OBS = 10.0  # VecNormalize's own default
EPSILON = 1e-8  # VecNormalize's own default
_MOST_IMAGES = 1024  # read at once: bounds memory


@dataclass(frozen=True, slots=True, eq=False)
class Normalizer:
    """Frozen statistics of observations, applied exactly as SB3's VecNormalize does.

    Attributes:
        mean: (*obs) in the observations' units.
        var: (*obs) in their squares.
    """

    mean: FloatArray
    var: FloatArray

    @classmethod
    def frozen(cls, statistics: RunningMeanStd) -> "Normalizer":
        """Returns the present values of `statistics` (SB3 replaces those arrays, it never writes into them)."""
        return cls(statistics.mean, statistics.var)

    def __call__(self, obs: AnyArray) -> npt.NDArray[np.float32]:
        """Returns (N, *obs): clip((obs − mean) / √(var + ε), ±10)."""
        scaled = (obs - self.mean) / np.sqrt(self.var + EPSILON)
        return np.clip(scaled, -CLIP_OBS, CLIP_OBS).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Gaussian:
    """A diagonal Gaussian: `mean` (N, A) and `log_std`, (A,) or (N, A), unclipped.

    In the actions' units; or, if `is_squashed`, before the tanh that SAC puts on it, whose output is then stretched
    from ±1 to the bounds of the action space.
    """

    mean: npt.NDArray[np.float32]
    log_std: npt.NDArray[np.float32]
    is_squashed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Categorical:
    """A distribution over A actions: normalized log probabilities `log_p` (N, A)."""

    log_p: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Deterministic:
    """One action per observation, (N, A) in ±1: TD3's and DDPG's actor without their exploration noise."""

    action: npt.NDArray[np.float32]


Outputs = Gaussian | Categorical | Deterministic


def check_space(name: str, space: gym.Space[Any]) -> None:
    """Raises InvalidArgument unless `space` is a non-image Box or a Discrete that starts at 0."""
    if isinstance(space, spaces.Discrete):
        if int(space.start) != 0:
            raise InvalidArgument(name, "must be a Discrete that starts at 0", space)
    elif not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise InvalidArgument(name, "must be a floating-point Box or a Discrete", space)


def outputs(
    policy: BasePolicy, normalizers: Mapping[str, Normalizer], obs: AnyArray, exploration: float = 0.0
) -> Outputs:
    """Returns the action distributions of `policy` at raw (N, *obs), structured for a Dict space.

    Args:
        policy: an SB3 policy: actor-critic (PPO, A2C, TRPO), SAC's or TQC's, TD3's or DDPG's, DQN's or QR-DQN's.
        normalizers: of the parts of an observation that are standardized, by key; "" is an observation that is no Dict.
        obs: as `preflab.observations` packs them.
        exploration: ε of the ε-greedy policies (DQN, QR-DQN); not used by others.

    Raises:
        InvalidArgument: `obs` is not a batch of the policy's observations, or the policy is of another kind.
    """
    raw, space = np.asarray(obs), policy.observation_space
    _check_batch(raw, space)
    size = _MOST_IMAGES if any(map(is_image, parts_of(space).values())) else max(1, len(raw))
    parts = [_outputs(policy, normalizers, raw[first : first + size], exploration) for first in range(0, max(1, len(raw)), size)]
    return parts[0] if len(parts) == 1 else _joined(parts)


def _outputs(policy: BasePolicy, normalizers: Mapping[str, Normalizer], raw: AnyArray, exploration: float) -> Outputs:
    shown: Any = raw
    if raw.dtype.names is not None:
        shown = {key: normalizers[key](part) if key in normalizers else part for key, part in unpack(raw).items()}
    elif normalizers:
        shown = normalizers[""](raw)
    with torch.no_grad():
        batch: Any = policy.obs_to_tensor(shown)[0]
        if isinstance(policy, ActorCriticPolicy):
            return _of_actor_critic(policy, batch)
        actor: Any = getattr(policy, "actor", None)
        if hasattr(actor, "get_action_dist_params"):
            mean, log_std, latent = actor.get_action_dist_params(batch)
            if latent:  # gSDE: the spread depends on the state
                log_std = actor.action_dist.proba_distribution(mean, log_std, **latent).distribution.stddev.log()
            return Gaussian(mean.cpu().numpy(), log_std.cpu().numpy(), is_squashed=True)
        if actor is not None and hasattr(actor, "mu"):
            return Deterministic(actor(batch).cpu().numpy())
        values = _action_values(policy, batch)
        if values is not None:
            return _epsilon_greedy(values, exploration)
    raise InvalidArgument("policy", "must be actor-critic, SAC's, TQC's, TD3's, DDPG's, DQN's or QR-DQN's", type(policy).__name__)


def _joined(parts: list[Outputs]) -> Outputs:
    """Returns the distributions of consecutive batches as those of one."""
    gaussian = [part for part in parts if isinstance(part, Gaussian)]
    if gaussian:
        log_std = gaussian[0].log_std
        joined = log_std if log_std.ndim == 1 else np.concatenate([part.log_std for part in gaussian])
        return Gaussian(np.concatenate([part.mean for part in gaussian]), joined, gaussian[0].is_squashed)
    if isinstance(parts[0], Deterministic):
        return Deterministic(np.concatenate([part.action for part in parts if isinstance(part, Deterministic)]))
    return Categorical(np.concatenate([part.log_p for part in parts if isinstance(part, Categorical)]))


def _check_batch(raw: AnyArray, space: gym.Space[Any]) -> None:
    if isinstance(space, spaces.Dict):
        if raw.dtype.names is None or set(raw.dtype.names) != set(space.spaces) or raw.ndim != 1:
            rule = "must be a structured (N,), as preflab.observations.pack makes it"
            raise InvalidArgument("obs", rule, (raw.dtype.names, raw.shape), ", ".join(space.spaces))
        return
    shape = tuple(space.shape or ())
    known = {shape} if not is_image(space) else {shape, (*shape[1:], shape[0])}  # SB3 moves channels to the front itself
    if raw.ndim != len(shape) + 1 or raw.shape[1:] not in known:
        raise InvalidArgument("obs", f"must be (N, *obs) with obs of shape {shape}", raw.shape)


def choose(distribution: Outputs, space: gym.Space[Any], rng: np.random.Generator | None) -> AnyArray:
    """Returns (N, *act) actions: the mode if `rng` is None, else sampled; a Box's are clipped to its bounds."""
    if isinstance(distribution, Categorical):
        if rng is None:
            return np.asarray(distribution.log_p.argmax(-1))
        cumulative = np.cumsum(np.exp(distribution.log_p.astype(np.float64)), axis=-1)
        draws = rng.random((len(cumulative), 1)) * cumulative[:, -1:]
        return np.asarray((cumulative <= draws).sum(-1).clip(max=cumulative.shape[1] - 1))
    shape = space.shape or ()
    if isinstance(distribution, Deterministic):
        return _stretched(distribution.action.reshape(-1, *shape), space)
    actions: AnyArray = distribution.mean
    if rng is not None:
        actions = actions + np.exp(distribution.log_std) * rng.standard_normal(actions.shape, dtype=np.float32)
    actions = actions.reshape(len(actions), *shape)
    if distribution.is_squashed:
        return _stretched(torch.tanh(torch.as_tensor(actions)).numpy(), space)
    return np.clip(actions, space.low, space.high) if isinstance(space, spaces.Box) else actions


def kl(current: Outputs, reference: Outputs) -> FloatArray:
    """Returns (N,) KL(current ‖ reference) in nats, summed over action dimensions.

    Gaussian: Σ_a ½ [exp(2d) − 1 − 2d + ((μ − μ') / σ')²] with d = ln σ − ln σ'; squashing both by tanh changes nothing,
    a bijection keeps KL. Categorical: Σ_a p ln(p / p'), where rounding below 0 is set to 0. Equal distributions give
    exactly 0.

    Raises:
        InvalidArgument: the two are of different kinds.
        Refused: a policy is deterministic.
    """
    if isinstance(current, Deterministic) or isinstance(reference, Deterministic):
        raise Refused("KL between deterministic policies (TD3, DDPG) is 0 or infinite; use a stochastic agent: ppo, sac or tqc")
    if isinstance(current, Gaussian) and isinstance(reference, Gaussian):
        if current.is_squashed != reference.is_squashed:
            raise InvalidArgument("reference", "must be squashed as the current policy is", reference.is_squashed)
        log_std, other_log_std = current.log_std.astype(np.float64), reference.log_std.astype(np.float64)
        ratio = log_std - other_log_std
        shift = (current.mean.astype(np.float64) - reference.mean) * np.exp(-other_log_std)
        each = 0.5 * (np.expm1(2 * ratio) - 2 * ratio + shift**2)
    elif isinstance(current, Categorical) and isinstance(reference, Categorical):
        log_p, other_log_p = current.log_p.astype(np.float64), reference.log_p.astype(np.float64)
        each = np.exp(log_p) * (log_p - other_log_p)
    else:
        raise InvalidArgument("reference", "must be a distribution of the same kind", type(reference).__name__)
    return np.asarray(np.maximum(each.sum(-1), 0.0))


def log_prob(distribution: Outputs, actions: AnyArray) -> FloatArray:
    """Returns (N,) log densities (nats) of unclipped (N, A) actions, or of (N,) discrete ones; not of squashed ones."""
    if isinstance(distribution, Categorical):
        rows = np.arange(len(actions))
        return np.asarray(distribution.log_p[rows, np.asarray(actions, dtype=np.int64).reshape(-1)], dtype=np.float64)
    if not isinstance(distribution, Gaussian) or distribution.is_squashed:
        raise InvalidArgument("distribution", "must be Categorical or an unsquashed Gaussian", type(distribution).__name__)
    log_std = distribution.log_std.astype(np.float64)
    flat = np.asarray(actions, dtype=np.float64).reshape(distribution.mean.shape)
    scaled = (flat - distribution.mean) * np.exp(-log_std)
    return np.asarray((-0.5 * scaled**2 - log_std - 0.5 * np.log(2 * np.pi)).sum(-1))


def _of_actor_critic(policy: ActorCriticPolicy, batch: Any) -> Outputs:
    distribution = policy.get_distribution(batch)
    if isinstance(distribution, DiagGaussianDistribution):
        return Gaussian(distribution.distribution.mean.cpu().numpy(), policy.log_std.cpu().numpy().copy())
    if isinstance(distribution, CategoricalDistribution):
        return Categorical(distribution.distribution.logits.cpu().numpy())
    if isinstance(distribution, StateDependentNoiseDistribution):
        normal = distribution.distribution
        is_squashed = distribution.bijector is not None
        return Gaussian(normal.mean.cpu().numpy(), normal.stddev.log().cpu().numpy(), is_squashed)
    raise InvalidArgument("policy", "must be Gaussian or Categorical", type(distribution).__name__)


def _action_values(policy: Any, batch: Any) -> torch.Tensor | None:
    """Returns (N, A) values of DQN's or QR-DQN's network, or None if the policy has neither."""
    if hasattr(policy, "q_net"):
        values: torch.Tensor = policy.q_net(batch)
        return values
    if hasattr(policy, "quantile_net"):
        quantiles: torch.Tensor = policy.quantile_net(batch)
        return quantiles.mean(1)
    return None


def _epsilon_greedy(values: torch.Tensor, epsilon: float) -> Categorical:
    p = torch.full_like(values, epsilon / values.shape[1])
    p.scatter_(1, values.argmax(1, keepdim=True), 1 - epsilon + epsilon / values.shape[1])
    return Categorical(p.clamp_min(torch.finfo(p.dtype).tiny).log().cpu().numpy())


def _stretched(scaled: AnyArray, space: gym.Space[Any]) -> AnyArray:
    """Returns actions in ±1 stretched to the bounds of a Box, as SB3 does it."""
    if not isinstance(space, spaces.Box):
        raise InvalidArgument("space", "must be a Box", space)
    return np.asarray(space.low + (0.5 * (scaled + 1.0) * (space.high - space.low)), dtype=space.dtype)
