"""Shipped experts: a policy, a weaker policy beside it, and a value function fitted to the policy, loaded without SB3.

An expert belongs to one task and one form. Its files are `policy.safetensors`, `middle.safetensors`,
`critic.safetensors` and `card.json` in `data/experts/<task>-<form>/`; `preflab.experiments.experts` writes them.
Networks are perceptrons, tanh for policies, SiLU for critics, on inputs normalized as SB3's `VecNormalize` does it:
 clip((obs − mean) / √(var + ε), ±clip).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from preflab.errors import DamagedFile, InvalidArgument, Refused
from preflab.interfaces import Policy, ValueFunction
from preflab.storage import load_json, load_tensors
from preflab.tabular import TabularMDP, optimal_actions, optimal_values
from preflab.types import AnyArray, BoolArray, FloatArray

FOLDER = Path(__file__).parent / "data" / "experts"
FILES = ("policy.safetensors", "middle.safetensors", "critic.safetensors", "card.json")
Tensors = Mapping[str, torch.Tensor]
_CHUNK = 65_536
_T = TypeVar("_T")


class NormalizedMLP:
    """A frozen perceptron on normalized observations; numpy in, numpy out, without gradients.

    Tensors: `normalizer.{mean,var}` (n,), scalars `normalizer.{epsilon,clip}`, `layers.<i>.{weight,bias}` as in
    torch's Linear.
    """

    def __init__(self, tensors: Tensors, activation: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Takes the network from `tensors`; raises `InvalidArgument` if one is missing or their sizes do not fit."""
        try:
            self._mean = tensors["normalizer.mean"].double().numpy()
            self._scale = np.sqrt(tensors["normalizer.var"].double().numpy() + float(tensors["normalizer.epsilon"]))
            self._clip = float(tensors["normalizer.clip"])
            n_layers = sum(name.startswith("layers.") and name.endswith(".weight") for name in tensors)
            self._layers = [
                (tensors[f"layers.{i}.weight"].float(), tensors[f"layers.{i}.bias"].float()) for i in range(n_layers)
            ]
        except KeyError as error:
            raise InvalidArgument("tensors", f"must hold {error}", sorted(tensors)) from error
        sizes = [len(self._mean), *(weight.shape[0] for weight, _ in self._layers)]
        if [weight.shape[1] for weight, _ in self._layers] != sizes[:-1] or not self._layers:
            raise InvalidArgument("tensors", "must be layers that fit each other", sizes)
        self._activation = activation

    @property
    def n_inputs(self) -> int:
        """How many numbers one observation has."""
        return len(self._mean)

    def __call__(self, obs: AnyArray) -> npt.NDArray[np.float32]:
        """Returns (N, n_outputs) for observations (N, *obs)."""
        flat = np.asarray(obs).reshape(len(obs), math.prod(np.shape(obs)[1:]))
        if flat.shape[1] != self.n_inputs:
            raise InvalidArgument("obs", f"must be (N, {self.n_inputs}) when flattened", np.shape(obs))
        parts = [self._forward(flat[i : i + _CHUNK]) for i in range(0, max(1, len(flat)), _CHUNK)]
        return np.concatenate(parts)

    def _forward(self, flat: AnyArray) -> npt.NDArray[np.float32]:
        normalized = np.clip((flat - self._mean) / self._scale, -self._clip, self._clip)
        with torch.no_grad():
            hidden = torch.as_tensor(normalized, dtype=torch.float32)
            for i, (weight, bias) in enumerate(self._layers):
                hidden = nn.functional.linear(hidden, weight, bias)
                hidden = hidden if i == len(self._layers) - 1 else self._activation(hidden)
        return np.asarray(hidden.numpy(), dtype=np.float32)


class GaussianPolicy:
    """A Gaussian around a tanh network, clipped to the task's bounds; deterministic actions are the clipped mean."""

    def __init__(self, tensors: Tensors) -> None:
        """Takes a network (see `NormalizedMLP`) and `log_std`, `low`, `high`, (A,) each."""
        self._network = NormalizedMLP(tensors, torch.tanh)
        try:
            self._std = tensors["log_std"].double().exp().numpy()
            self._low, self._high = tensors["low"].numpy(), tensors["high"].numpy()
        except KeyError as error:
            raise InvalidArgument("tensors", "must hold log_std, low and high", sorted(tensors)) from error

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> npt.NDArray[np.float32]:
        """Returns (N, A) actions within the bounds for (N, *obs)."""
        mean = self._network(obs)
        if rng is not None:
            mean = (mean + self._std * rng.standard_normal(mean.shape)).astype(np.float32)
        return np.asarray(np.clip(mean, self._low, self._high), dtype=np.float32)


class CategoricalPolicy:
    """A softmax over a tanh network's outputs; deterministic actions are the most likely ones."""

    def __init__(self, tensors: Tensors) -> None:
        """Takes a network whose outputs are one logit per action (see `NormalizedMLP`)."""
        self._network = NormalizedMLP(tensors, torch.tanh)

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> npt.NDArray[np.int64]:
        """Returns (N,) actions, counted from 0, for (N, *obs)."""
        logits = self._network(obs).astype(np.float64)
        if rng is not None:  # Gumbel-max: one draw a logit
            logits = logits + rng.gumbel(size=logits.shape)
        return np.asarray(logits.argmax(-1), dtype=np.int64)


class Critic:
    """A value function: `output.mean` + `output.scale` · SiLU network, under discount `gamma`, in units of gold."""

    def __init__(self, tensors: Tensors) -> None:
        """Takes a network with one output (see `NormalizedMLP`) and scalars `output.mean`, `output.scale`, `gamma`."""
        self._network = NormalizedMLP(tensors, nn.functional.silu)
        self._mean, self._scale = float(tensors["output.mean"]), float(tensors["output.scale"])
        self.gamma = float(tensors["gamma"])

    def values(self, obs: AnyArray) -> FloatArray:
        """Returns V(s), (N,), for (N, *obs); the caller sets V of terminals to 0."""
        return self._mean + self._scale * self._network(obs)[:, 0].astype(np.float64)


class TabularExpert:
    """The optimal policy of a finite MDP with its exact V* and Q*; observations are state numbers."""

    def __init__(self, mdp: TabularMDP) -> None:
        """Solves `mdp` by policy iteration."""
        self.gamma = mdp.gamma
        self._v, self._q = optimal_values(mdp)
        self._optimal: BoolArray = optimal_actions(self._q)

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> npt.NDArray[np.int64]:
        """Returns (N,) optimal actions: the first one of each state, or with `rng` a uniform one of them."""
        optimal = self._optimal[_state_numbers(obs)]
        if rng is None:
            return np.asarray(optimal.argmax(-1), dtype=np.int64)
        return np.asarray(np.where(optimal, rng.random(optimal.shape), -1.0).argmax(-1), dtype=np.int64)

    def values(self, obs: AnyArray) -> FloatArray:
        """Returns V*(s), (N,); 0 in terminals."""
        return self._v[_state_numbers(obs)]

    def action_values(self, obs: AnyArray, actions: AnyArray) -> FloatArray:
        """Returns Q*(s, a), (N,); 0 in terminals."""
        return self._q[_state_numbers(obs), np.asarray(actions, dtype=np.int64).reshape(-1)]


class EpsilonRandom:
    """A policy for discrete actions that acts uniformly at random on a share of its steps."""

    def __init__(self, policy: Policy, n_actions: int, epsilon: float) -> None:
        """Follows `policy` but with probability `epsilon` takes one of `n_actions`; deterministic calls never do."""
        if not 0 <= epsilon <= 1:
            raise InvalidArgument("epsilon", "must be in [0, 1]", epsilon)
        self._policy, self._n_actions, self._epsilon = policy, n_actions, epsilon

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        """Returns (N,) actions."""
        actions = self._policy.act(obs, rng)
        if rng is None:
            return actions
        is_random = rng.random(len(actions)) < self._epsilon
        return np.where(is_random, rng.integers(self._n_actions, size=len(actions)), actions)


@dataclass(frozen=True, slots=True, eq=False)
class Expert:
    """What a simulated human who knows the task can do and knows.

    Attributes:
        task: the only task it belongs to.
        form: the only form of it, "fixed" or "terminating".
        policy: the expert; its deterministic actions are what `value` values.
        middle: a weaker policy, for calibration on mixtures of random, middle and expert.
        value: V of the deterministic expert in units of gold, under the expert's own discount, without a time limit.
        card: how it was trained, what it earns, how well its critic fits, and its gap to the best return known.
    """

    task: str
    form: str
    policy: Policy
    middle: Policy
    value: ValueFunction
    card: dict[str, Any]

    def checked(self, task: str, form: str) -> Self:
        """Returns itself; raises `Refused` by name if asked about another task or form than its own."""
        if (task, form) != (self.task, self.form):
            raise Refused(
                f"the expert of {self.task} (form={self.form}) cannot judge {task} (form={form}): its value "
                f"function is about other episodes; use the expert of that task and form, or `make experts ENV={task}`"
            )
        return self


def load_expert(task: str, form: str, *, folder: Path | None = None) -> Expert:
    """Loads the expert of `task` in `form` from `folder` (default: those shipped with preflab).

    Raises:
        Refused: there is none; the message names those there are and the command that trains one.
        DamagedFile: one of its files cannot be read.
    """
    base = FOLDER if folder is None else Path(folder)
    home = base / f"{task}-{form}"
    if not all((home / name).is_file() for name in FILES):
        have = ", ".join(f"{name} ({of})" for name, of in shipped_experts(folder=base)) or "none"
        raise Refused(
            f"there is no expert for {task} (form={form}) in {base}; there are: {have}; train one with "
            f"`make experts ENV={task}" + ("`" if form == "fixed" else f" ARGS=form={form}`")
        )
    card = load_json(home / "card.json")
    if (card.get("task"), card.get("form")) != (task, form):
        raise DamagedFile(home / "card.json", f"it is the card of {card.get('task')} (form={card.get('form')})")
    return Expert(
        task, form, policy=_policy(home / "policy.safetensors"), middle=_policy(home / "middle.safetensors"),
        value=_built(Critic, home / "critic.safetensors"), card=card,
    )


def tabular_expert(task: str, form: str, mdp: TabularMDP) -> Expert:
    """Returns the exact expert of a finite task: optimal policy, V*, Q*; its middle is random on half the steps."""
    exact = TabularExpert(mdp)
    card = {
        "task": task, "form": form, "gamma": mdp.gamma, "how": "exact: policy iteration on the task's own arrays",
        "expert_return": {"discounted_from_initial": float(mdp.initial @ exact.values(np.arange(mdp.n_states)))},
        "gap": {"return": 0.0, "per_step": 0.0, "reference": "exact"},
    }
    return Expert(task, form, exact, EpsilonRandom(exact, mdp.n_actions, 0.5), exact, card)


def shipped_experts(*, folder: Path | None = None) -> list[tuple[str, str]]:
    """Returns the (task, form) of every complete expert in `folder` (default: those shipped), sorted."""
    base = FOLDER if folder is None else Path(folder)
    homes = sorted(base.iterdir()) if base.is_dir() else []
    names = [home.name.rpartition("-") for home in homes if all((home / name).is_file() for name in FILES)]
    return [(task, form) for task, _, form in names]


def policy_from(tensors: Tensors) -> GaussianPolicy | CategoricalPolicy:
    """Returns the policy stored in `tensors`: Gaussian if they hold a `log_std`, else categorical."""
    return GaussianPolicy(tensors) if "log_std" in tensors else CategoricalPolicy(tensors)


def _policy(path: Path) -> Policy:
    return _built(policy_from, path)


def _built(build: Callable[[Tensors], _T], path: Path) -> _T:
    try:
        return build(load_tensors(path))
    except (InvalidArgument, KeyError) as error:
        raise DamagedFile(path, error) from error


def _state_numbers(obs: AnyArray) -> npt.NDArray[np.int64]:
    return np.asarray(obs, dtype=np.int64).reshape(-1)
