"""Features of observations with images too small for the convolutions of SB3's own extractors."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from torch import nn

from preflab.observations import is_image, parts_of

SMALLEST = 36  # pixels a side that NatureCNN's kernels (8, 4, 3) with strides (4, 2, 1) need
_N_FEATURES = 256  # of an image, as in SB3's CombinedExtractor


class SmallImageExtractor(BaseFeaturesExtractor):
    """As SB3's CombinedExtractor, but with two 3 × 3 convolutions for an image below 36 pixels a side."""

    def __init__(self, observation_space: gym.Space[Any]) -> None:
        """Takes an image or a Dict, images with channels first."""
        parts = parts_of(observation_space)
        sizes = [_N_FEATURES if is_image(part) else get_flattened_obs_dim(part) for part in parts.values()]
        super().__init__(observation_space, features_dim=sum(sizes))
        self._keys = list(parts)
        self.extractors = nn.ModuleList(_convolutions(part) if is_image(part) else nn.Flatten() for part in parts.values())

    def forward(self, observations: Any) -> torch.Tensor:
        """Returns (N, features) for what SB3 has preprocessed, a tensor or a dict of them."""
        parts = [observations[key] if key else observations for key in self._keys]
        return torch.cat([extract(part) for extract, part in zip(self.extractors, parts, strict=True)], dim=1)


def _convolutions(space: gym.Space[Any]) -> nn.Module:
    channels, height, width = space.shape or ()
    if min(height, width) >= SMALLEST and isinstance(space, spaces.Box):
        return NatureCNN(space, features_dim=_N_FEATURES)
    half = -(-height // 2) * -(-width // 2)
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * half, _N_FEATURES), nn.ReLU(),
    )
