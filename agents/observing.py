"""What Stable-Baselines3 does with a kind of observation: which policy reads it, and what of it is standardized.

Vectors are standardized with running statistics as SB3's VecNormalize does, one a key in a Dict. Images never are: SB3 divides
them by 255, and brings channels to the front itself (VecTransposeImage).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.torch_layers import CombinedExtractor, NatureCNN
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, VecTransposeImage

from preflab.agents import actor
from preflab.agents.extractors import SMALLEST, SmallImageExtractor
from preflab.errors import InvalidArgument
from preflab.observations import check, image_shape, is_channels_first, is_image, parts_of
from preflab.types import AnyArray

Statistics = dict[str, RunningMeanStd]  # by key; a space that is no Dict has the one key ""


def check_observations(space: gym.Space[Any]) -> None:
    """Raises InvalidArgument unless an agent can read `space`: float Boxes, images, Discretes from 0, or a Dict of these."""
    name = "observation space"
    check(space, name)
    images = {key: part for key, part in parts_of(space).items() if is_image(part)}
    for key, part in parts_of(space).items():
        if key not in images:
            actor.check_space(f"{name}[{key!r}]" if key else name, part)
    if len({is_channels_first(part) for part in images.values()}) > 1:
        shapes = {key: part.shape for key, part in images.items()}
        raise InvalidArgument(name, "must have all its images channels first, or all channels last", shapes)


def normalized_keys(space: gym.Space[Any]) -> list[str]:
    """Returns the keys of `space` that are standardized: its float Boxes; [""] for a Box that is no image."""
    return [key for key, part in parts_of(space).items() if isinstance(part, spaces.Box) and not is_image(part)]


def new_statistics(space: gym.Space[Any]) -> Statistics:
    """Returns statistics of nothing yet, for each part that is standardized; one empty entry "" where there is no Dict."""
    if isinstance(space, spaces.Dict):
        return {key: RunningMeanStd(shape=space[key].shape or ()) for key in normalized_keys(space)}
    return {"": RunningMeanStd(shape=() if is_image(space) else space.shape or ())}


def normalized(env: VecEnv, statistics: Statistics) -> VecNormalize:
    """Returns `env` in SB3's VecNormalize, which reads and moves `statistics` themselves.

    Channels come to the front under it: SB3 would transpose above it, and its replay buffers store what lies under it.
    """
    if any(_is_channels_last(part) for part in parts_of(env.observation_space).values()):
        env = VecTransposeImage(env)
    is_dict = isinstance(env.observation_space, spaces.Dict)
    made = VecNormalize(
        env, norm_reward=False, clip_obs=actor.CLIP_OBS, epsilon=actor.EPSILON,
        norm_obs_keys=list(statistics) if is_dict else None,
    )
    vars(made)["obs_rms"] = statistics if is_dict else statistics[""]
    return made


def frozen(statistics: Statistics, space: gym.Space[Any]) -> Mapping[str, actor.Normalizer]:
    """Returns the present standardization of each part of `space` that is standardized."""
    return {key: actor.Normalizer.frozen(statistics[key]) for key in normalized_keys(space)}


def policy_name(space: gym.Space[Any]) -> str:
    """Returns SB3's name of the policy that reads `space`."""
    if isinstance(space, spaces.Dict):
        return "MultiInputPolicy"
    return "CnnPolicy" if is_image(space) else "MlpPolicy"


def policy_space(space: gym.Space[Any]) -> gym.Space[Any]:
    """Returns `space` as SB3's policy sees it: images with channels first."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: policy_space(part) for key, part in space.spaces.items()})
    if isinstance(space, spaces.Box) and _is_channels_last(space):
        return VecTransposeImage.transpose_space(space)
    return space


def as_stored(space: gym.Space[Any], obs: AnyArray) -> AnyArray:
    """Returns (…, *obs) of one part `space` of what is shown as SB3 stores it: an image with channels first."""
    return np.moveaxis(obs, -1, -3) if _is_channels_last(space) else obs


def as_shown(space: gym.Space[Any], obs: AnyArray) -> AnyArray:
    """Returns (…, *obs) of one part `space` of what is shown, from what SB3 stores of it; the inverse of `as_stored`."""
    return np.ascontiguousarray(np.moveaxis(obs, -3, -1)) if _is_channels_last(space) else obs


def extractor_settings(space: gym.Space[Any]) -> dict[str, Any]:
    """Returns the `policy_kwargs` that name SB3's own extractor for `space`, or ours if an image is too small for it."""
    images = [image_shape(part) for part in parts_of(space).values() if is_image(part)]
    if any(min(height, width) < SMALLEST for _, height, width in images):
        return {"features_extractor_class": SmallImageExtractor}
    if isinstance(space, spaces.Dict):
        return {"features_extractor_class": CombinedExtractor}
    return {"features_extractor_class": NatureCNN} if images else {}


def tensor_names(statistics: Statistics) -> dict[str, tuple[str, str]]:
    """Returns the names under which statistics are saved: {name: (key, "mean" | "var" | "count")}."""
    return {
        f"normalizer.{key}.{part}" if key else f"normalizer.{part}": (key, part)
        for key in statistics for part in ("mean", "var", "count")
    }


def load_statistics(statistics: Statistics, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Fills `statistics` from arrays by name."""
    for name, (key, part) in tensor_names(statistics).items():
        value = arrays[name]
        setattr(statistics[key], part, float(value) if part == "count" else np.array(value))


def _is_channels_last(space: gym.Space[Any]) -> bool:
    return is_image(space) and not is_channels_first(space)
