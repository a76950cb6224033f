"""From Stable-Baselines3's files to ours: the actor's layers and the frozen input normalizer, as safetensors."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from preflab.errors import InvalidArgument
from preflab.storage import save_tensors

Tensors = dict[str, torch.Tensor]


def input_statistics(normalizer: VecNormalize) -> RunningMeanStd:
    """Returns the running mean and variance of the observations; raises `InvalidArgument` for dict observations."""
    if isinstance(normalizer.obs_rms, dict):
        raise InvalidArgument("normalizer", "must be of array observations", sorted(normalizer.obs_rms))
    return normalizer.obs_rms


def policy_tensors(model: PPO, normalizer: VecNormalize) -> Tensors:
    """Returns the tensors of a `preflab.experts` policy that acts as `model` does behind `normalizer`."""
    layers = [*model.policy.mlp_extractor.policy_net, model.policy.action_net]
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    others = {type(layer) for layer in layers} - {nn.Linear, nn.Tanh}
    if others:
        raise InvalidArgument("model", "must be a tanh perceptron", sorted(kind.__name__ for kind in others))
    statistics = input_statistics(normalizer)
    mean, var = np.ravel(statistics.mean), np.ravel(statistics.var)
    tensors = {
        "normalizer.mean": torch.as_tensor(mean, dtype=torch.float64),
        "normalizer.var": torch.as_tensor(var, dtype=torch.float64),
        "normalizer.epsilon": torch.tensor(normalizer.epsilon, dtype=torch.float64),
        "normalizer.clip": torch.tensor(normalizer.clip_obs, dtype=torch.float64),
    }
    tensors |= {f"layers.{i}.weight": layer.weight.detach() for i, layer in enumerate(linear)}
    tensors |= {f"layers.{i}.bias": layer.bias.detach() for i, layer in enumerate(linear)}
    if isinstance(model.action_space, gym.spaces.Box):
        tensors |= {
            "log_std": model.policy.log_std.detach(),
            "low": torch.as_tensor(model.action_space.low), "high": torch.as_tensor(model.action_space.high),
        }
    return tensors


def convert(policy_zip: Path, normalizer_pickle: Path, out: Path) -> Tensors:
    """Writes `out` (safetensors) from an SB3 zip and a `VecNormalize` pickle, and returns its tensors.

    SB3's own pickle is unpickled: convert only files that you made yourself.
    """
    model = PPO.load(policy_zip, device="cpu")
    with normalizer_pickle.open("rb") as file:
        normalizer: Any = pickle.load(file)
    tensors = policy_tensors(model, normalizer)
    save_tensors(out, tensors)
    return tensors
