"""An agent's state as named tensors: policy, Adam, observation statistics, counters."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy

from preflab.agents.observing import Statistics, load_statistics, tensor_names
from preflab.errors import InvalidArgument


def tensor(value: Any) -> torch.Tensor:
    """Returns a float64 CPU copy of `value`."""
    return torch.tensor(np.asarray(value, dtype=np.float64))


def dump(
    policy: ActorCriticPolicy, statistics: Statistics, n_env_steps: int, n_updates: int
) -> dict[str, torch.Tensor]:
    """Returns CPU copies of everything by name; Adam's moments are missing until its first step."""
    named = {f"policy.{name}": value.detach().cpu().clone() for name, value in policy.state_dict().items()}
    for i, moments in policy.optimizer.state_dict()["state"].items():
        named |= {f"optimizer.{i}.{name}": value.detach().cpu().clone() for name, value in moments.items()}
    named |= {name: tensor(getattr(statistics[key], part)) for name, (key, part) in tensor_names(statistics).items()}
    return named | {"n_env_steps": torch.tensor(n_env_steps), "n_updates": torch.tensor(n_updates)}


def load(state: Mapping[str, torch.Tensor], policy: ActorCriticPolicy, statistics: Statistics) -> tuple[int, int]:
    """Fills `policy` (with its optimizer) and `statistics` from what `dump` returned; returns the two counters.

    Raises:
        InvalidArgument: a tensor is missing, unknown or of another shape. `policy` may then be partly filled.
    """
    weights = policy.state_dict()
    expected: dict[str, tuple[int, ...]] = {f"policy.{name}": tuple(value.shape) for name, value in weights.items()}
    names = tensor_names(statistics)
    expected |= {name: np.shape(getattr(statistics[key], part)) for name, (key, part) in names.items()}
    expected |= {"n_env_steps": (), "n_updates": ()}
    if any(name.startswith("optimizer.") for name in state):
        for row, parameter in enumerate(policy.parameters()):
            shape = tuple(parameter.shape)
            expected |= {f"optimizer.{row}.{part}": shape for part in ("exp_avg", "exp_avg_sq")}
            expected[f"optimizer.{row}.step"] = ()
    for name in sorted(expected.keys() | state.keys()):
        found = tuple(state[name].shape) if name in state else None
        if found is None or found != expected.get(name):
            rule = f"must have shape {expected[name]}" if name in expected else "is not a tensor of this agent"
            raise InvalidArgument(f"state[{name!r}]", rule, found, ", ".join(expected))
    policy.load_state_dict({name: state[f"policy.{name}"] for name in weights})
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in state.items():
        if name.startswith("optimizer."):
            _, number, part = name.split(".")
            moments.setdefault(int(number), {})[part] = value.clone()
    groups = policy.optimizer.state_dict()["param_groups"]
    policy.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    load_statistics(statistics, {name: state[name].numpy() for name in names})
    return int(state["n_env_steps"]), int(state["n_updates"])
