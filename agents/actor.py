"""What a policy network says of a batch: actions, and the KL divergence between two policies. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution, DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.running_mean_std import RunningMeanStd

from preflab.errors import InvalidArgument
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
    """A diagonal Gaussian: `mean` (N, A) and `log_std` (A,), unclipped, in the actions' units."""

    mean: npt.NDArray[np.float32]
    log_std: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Categorical:
    """A distribution over A actions: normalized log probabilities `log_p` (N, A)."""

    log_p: npt.NDArray[np.float32]


def check_space(name: str, space: gym.Space[Any]) -> None:
    """Raises InvalidArgument unless `space` is a non-image Box or a Discrete that starts at 0."""
    if isinstance(space, spaces.Discrete):
        if int(space.start) != 0:
            raise InvalidArgument(name, "must be a Discrete that starts at 0", space)
    elif not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise InvalidArgument(name, "must be a floating-point Box or a Discrete", space)


def outputs(
    policy: ActorCriticPolicy, normalizers: Mapping[str, Normalizer], obs: AnyArray
) -> Gaussian | Categorical:
    """Returns the action distributions of `policy` at raw (N, *obs), structured for a Dict space.

    Args:
        policy: SB3's.
        normalizers: of the parts of an observation that are standardized, by key; "" is an observation that is no Dict.
        obs: as `preflab.observations` packs them.

    Raises:
        InvalidArgument: `obs` is not a batch of the policy's observations.
    """
    raw, space = np.asarray(obs), policy.observation_space
    _check_batch(raw, space)
    size = _MOST_IMAGES if any(map(is_image, parts_of(space).values())) else max(1, len(raw))
    parts = [_outputs(policy, normalizers, raw[first : first + size]) for first in range(0, max(1, len(raw)), size)]
    if len(parts) == 1:
        return parts[0]
    gaussian = [part for part in parts if isinstance(part, Gaussian)]
    if gaussian:
        return Gaussian(np.concatenate([part.mean for part in gaussian]), gaussian[0].log_std)
    return Categorical(np.concatenate([part.log_p for part in parts if isinstance(part, Categorical)]))


def _outputs(
    policy: ActorCriticPolicy, normalizers: Mapping[str, Normalizer], raw: AnyArray
) -> Gaussian | Categorical:
    shown: Any = raw
    if raw.dtype.names is not None:
        shown = {key: normalizers[key](part) if key in normalizers else part for key, part in unpack(raw).items()}
    elif normalizers:
        shown = normalizers[""](raw)
    with torch.no_grad():
        distribution = policy.get_distribution(policy.obs_to_tensor(shown)[0])
        if isinstance(distribution, DiagGaussianDistribution):
            return Gaussian(distribution.distribution.mean.cpu().numpy(), policy.log_std.cpu().numpy().copy())
        if isinstance(distribution, CategoricalDistribution):
            return Categorical(distribution.distribution.logits.cpu().numpy())
    raise InvalidArgument("policy", "must be Gaussian or Categorical", type(distribution).__name__)


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


def choose(distribution: Gaussian | Categorical, space: gym.Space[Any], rng: np.random.Generator | None) -> AnyArray:
    """Returns (N, *act) actions: the mode if `rng` is None, else sampled; a Box's are clipped to its bounds."""
    if isinstance(distribution, Categorical):
        if rng is None:
            return np.asarray(distribution.log_p.argmax(-1))
        cumulative = np.cumsum(np.exp(distribution.log_p.astype(np.float64)), axis=-1)
        draws = rng.random((len(cumulative), 1)) * cumulative[:, -1:]
        return np.asarray((cumulative <= draws).sum(-1).clip(max=cumulative.shape[1] - 1))
    actions: AnyArray = distribution.mean
    if rng is not None:
        actions = actions + np.exp(distribution.log_std) * rng.standard_normal(actions.shape, dtype=np.float32)
    actions = actions.reshape(len(actions), *(space.shape or ()))
    return np.clip(actions, space.low, space.high) if isinstance(space, spaces.Box) else actions


def kl(current: Gaussian | Categorical, reference: Gaussian | Categorical) -> FloatArray:
    """Returns (N,) KL(current ‖ reference) in nats, summed over action dimensions.

    Gaussian: Σ_a ½ [exp(2d) − 1 − 2d + ((μ − μ') / σ')²] with d = ln σ − ln σ'. Categorical: Σ_a p ln(p / p'), where
    rounding below 0 is set to 0. Equal distributions give exactly 0.
    """
    if isinstance(current, Gaussian) and isinstance(reference, Gaussian):
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
