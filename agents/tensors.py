"""An agent's state as named tensors: networks, optimizers, observation statistics, counters. No pickle."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from preflab.agents.observing import Statistics, load_statistics, tensor_names
from preflab.errors import InvalidArgument

Tensors = dict[str, torch.Tensor]


def tensor(value: Any) -> torch.Tensor:
    """Returns a float64 CPU copy of `value`."""
    return torch.tensor(np.asarray(value, dtype=np.float64))


def dump(model: BaseAlgorithm, statistics: Statistics, n_env_steps: int) -> Tensors:
    """Returns CPU copies of everything by name.

    "policy.*"; "variable.*", such as SAC's log_ent_coef; "optimizer.<name>.<i>.*", the moments of the i-th parameter,
    missing until the first step; "normalizer.mean|var|count" (float64; "normalizer.<key>.mean|…" for a Dict);
    "n_env_steps" and "n_updates".
    """
    named = {f"policy.{name}": _copy(value) for name, value in model.policy.state_dict().items()}
    named |= {f"variable.{name}": _copy(variable) for name, variable in _variables(model).items()}
    for name, optimizer in optimizers(model).items():
        for i, moments in optimizer.state_dict()["state"].items():
            named |= {f"optimizer.{name}.{i}.{part}": _copy(torch.as_tensor(value)) for part, value in moments.items()}
    named |= {name: tensor(getattr(statistics[key], part)) for name, (key, part) in tensor_names(statistics).items()}
    return named | {"n_env_steps": torch.tensor(n_env_steps), "n_updates": torch.tensor(model._n_updates)}


def load(state: Mapping[str, torch.Tensor], model: BaseAlgorithm, statistics: Statistics) -> int:
    """Fills `model` and `statistics` from what `dump` returned; returns the env steps.

    Raises:
        InvalidArgument: a tensor is missing, unknown or of another shape. `model` may then be partly filled.
    """
    weights, variables = model.policy.state_dict(), _variables(model)
    expected: dict[str, tuple[int, ...]] = {f"policy.{name}": tuple(value.shape) for name, value in weights.items()}
    expected |= {f"variable.{name}": tuple(value.shape) for name, value in variables.items()}
    names = tensor_names(statistics)
    expected |= {name: np.shape(getattr(statistics[key], part)) for name, (key, part) in names.items()}
    expected |= {"n_env_steps": (), "n_updates": ()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    moments = {name: _moments(state, name) for name in optimizers(model)}
    for name, optimizer in optimizers(model).items():
        parts = {part for each in moments[name].values() for part in each}
        for i, parameter in enumerate(_parameters(optimizer)):
            for part in parts if i in moments[name] else ():
                at = f"optimizer.{name}.{i}.{part}"
                expected[at] = () if found.get(at) == () else tuple(parameter.shape)
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            rule = f"must have shape {expected[name]}" if name in expected else "is not a tensor of this agent"
            raise InvalidArgument(f"state[{name!r}]", rule, found.get(name), ", ".join(expected))
    model.policy.load_state_dict({name: state[f"policy.{name}"] for name in weights})
    with torch.no_grad():
        for name, variable in variables.items():
            variable.copy_(state[f"variable.{name}"])
    for name, optimizer in optimizers(model).items():
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": moments[name], "param_groups": groups})
    load_statistics(statistics, {name: state[name].numpy() for name in names})
    model._n_updates = int(state["n_updates"])
    return int(state["n_env_steps"])


def optimizers(model: BaseAlgorithm) -> dict[str, torch.optim.Optimizer]:
    """Returns a model's optimizers by what they train: "policy", or "actor", "critic" and "ent_coef"."""
    names = [name for name in model._get_torch_save_params()[0] if name.endswith("optimizer")]
    return {name.removesuffix("optimizer").rstrip("._"): _attribute(model, name) for name in names}


def copy_model(source: BaseAlgorithm, target: BaseAlgorithm) -> None:
    """Gives `target` the networks, variables, optimizer moments and update count of `source`."""
    target.policy.load_state_dict(source.policy.state_dict())
    with torch.no_grad():
        for name, variable in _variables(target).items():
            variable.copy_(_variables(source)[name])
    for name, optimizer in optimizers(target).items():
        optimizer.load_state_dict(optimizers(source)[name].state_dict())
    target._n_updates = source._n_updates


def _moments(state: Mapping[str, torch.Tensor], name: str) -> dict[int, dict[str, torch.Tensor]]:
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        if key.startswith(f"optimizer.{name}."):
            number, part = key.removeprefix(f"optimizer.{name}.").split(".", 1)
            moments.setdefault(int(number), {})[part] = value.clone()
    return moments


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _variables(model: BaseAlgorithm) -> dict[str, torch.Tensor]:
    return {name: _attribute(model, name) for name in model._get_torch_save_params()[1]}


def _attribute(model: BaseAlgorithm, path: str) -> Any:
    found: Any = model
    for name in path.split("."):
        found = getattr(found, name)
    return found


def _copy(value: torch.Tensor) -> torch.Tensor:
    return value.detach().cpu().clone()
