"""Networks that rooms share: an input encoder, a frozen input normalizer, and K perceptrons computed as one product."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from preflab.errors import InvalidArgument
from preflab.inputs import Inputs, vectors_of, with_vectors
from preflab.observations import is_image, parts_of
from preflab.types import AnyArray, FloatArray

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}
_IN_PLACE = {"tanh": torch.tanh_, "relu": torch.relu_}
BLOCK = 64  # see in_blocks
_LOOPED_FLOATS = 2**17  # see is_looped


def is_looped(n_members: int, n_rows: int, width: int, device: str) -> bool:
    """Returns whether members are computed one after another instead of in batched products: what measured faster.

    On a CPU one member's activations fit its cache where those of all do not; a loop's overhead counts where they are few
    (B · width below 2^17: one core, torch 2.13, widths 32 to 256, 1 to 5 members, 16 to 16,384 rows).

    >>> is_looped(5, 6400, 256, "cpu"), is_looped(5, 16, 256, "cpu"), is_looped(5, 6400, 256, "cuda")
    (True, False, False)
    """
    return device == "cpu" and n_members > 1 and n_rows * width >= _LOOPED_FLOATS


def encoded_size(space: gym.Space[Any]) -> int:
    """Returns how many numbers `encode` makes of one element of `space`."""
    if isinstance(space, gym.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gym.spaces.Dict):
        return sum(encoded_size(part) for part in space.spaces.values() if not is_image(part))
    if isinstance(space, gym.spaces.Box):
        return 0 if is_image(space) else math.prod(space.shape)
    raise InvalidArgument("space", "must be Box or Discrete, or a Dict of these", space)


def encode(space: gym.Space[Any], batch: AnyArray) -> torch.Tensor:
    """Returns (B, size) float32: a Box flattened, a Discrete one-hot, a Dict's parts in order; images are left out.

    Args:
        space: of one element.
        batch: (B, *element), structured for a Dict (see `preflab.observations`).
    """
    if isinstance(space, gym.spaces.Discrete):
        rows = torch.as_tensor(np.asarray(batch, dtype=np.int64).reshape(-1) - int(space.start))
        return nn.functional.one_hot(rows, int(space.n)).float()
    if isinstance(space, gym.spaces.Dict):
        vectors = [encode(part, batch[key]) for key, part in space.spaces.items() if not is_image(part)]
        return torch.cat(vectors, dim=1) if vectors else torch.zeros(len(batch), 0)
    if is_image(space):
        return torch.zeros(len(batch), 0)
    return torch.as_tensor(np.ascontiguousarray(batch, dtype=np.float32).reshape(len(batch), encoded_size(space)))


def number_columns(space: gym.Space[Any]) -> torch.Tensor:
    """Returns (size,) which columns of `encode` are numbers, and not one-hot."""
    parts = [part for part in parts_of(space).values() if not is_image(part)]
    columns = [torch.full((encoded_size(part),), not isinstance(part, gym.spaces.Discrete)) for part in parts]
    return torch.cat([torch.zeros(0, dtype=torch.bool), *columns])


class Normalizer(nn.Module):
    """Standardizes inputs with a mean and spread that are set once and saved with the network."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, size: int, clip: float = 10.0) -> None:
        """Starts as the identity on `size` inputs; outputs are clipped to ±`clip`."""
        super().__init__()
        self.clip = clip
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def set(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Freezes `mean` and `std`, (size,); a constant input keeps scale 1."""
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))

    def forward(self, inputs: Inputs) -> Inputs:
        """Returns inputs of the same shape, standardized; images are left as they are."""
        return with_vectors(inputs, ((vectors_of(inputs) - self.mean) / self.scale).clamp(-self.clip, self.clip))


class EnsembleModule(nn.Module):
    """K functions of the same inputs with one output each; the first axis of every parameter is the member."""

    n_members: int

    @property
    def n_weights(self) -> int:
        """Number of trained numbers in one member."""
        return sum(parameter.numel() for parameter in self.parameters()) // self.n_members


class EnsembleLinear(EnsembleModule):
    """K linear functions without a constant."""

    def __init__(self, n_members: int, n_inputs: int, spread: float, generator: torch.Generator | None = None) -> None:
        """Draws all weights from `generator`: normal, with standard deviation `spread`."""
        super().__init__()
        self.n_members = n_members
        self.weights = nn.Parameter(spread * torch.randn(n_members, n_inputs, generator=generator))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns (K, B) outputs for inputs (B, n)."""
        return self.weights @ inputs.T


class EnsembleMLP(EnsembleModule):
    """K multilayer perceptrons with one output each, computed as batched products."""

    def __init__(
        self, n_members: int, n_inputs: int, hidden: Sequence[int], activation: str = "tanh",
        generator: torch.Generator | None = None,
    ) -> None:
        """Draws all weights from `generator`: orthogonal per member, gain √2, last layer gain 1."""
        super().__init__()
        if activation not in ACTIVATIONS:
            raise InvalidArgument("activation", "is not known", activation, ", ".join(ACTIVATIONS))
        self.n_members, self.activation = n_members, activation
        sizes = [n_inputs, *hidden, 1]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            gain = 1.0 if i == len(hidden) else math.sqrt(2)
            members = [_orthogonal(fan_in, fan_out, gain, generator) for _ in range(n_members)]
            self.weights.append(nn.Parameter(torch.stack(members)))
            self.biases.append(nn.Parameter(torch.zeros(n_members, 1, fan_out)))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns (K, B) outputs for inputs (B, n) shared by all members, or (K, B, n) with a batch each."""
        widest = max(weight.shape[2] for weight in self.weights)
        if inputs.dim() == 2 and is_looped(self.n_members, len(inputs), widest, inputs.device.type):
            return self._looped(inputs)
        hidden = inputs.expand(self.n_members, *inputs.shape) if inputs.dim() == 2 else inputs
        act = _IN_PLACE[self.activation]  # autograd needs what an activation returns, not what it was given
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(self.layers()):
            hidden = torch.baddbmm(bias, hidden, weight)
            hidden = act(hidden) if i < last else hidden
        return hidden.squeeze(-1)

    def layers(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Returns the weights (K, fan_in, fan_out) and biases (K, 1, fan_out) that each layer computes with."""
        return list(zip(self.weights, self.biases, strict=True))

    def _looped(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns `forward` of (B, n) inputs, one member after another."""
        act = _IN_PLACE[self.activation]
        layers = [(weight.unbind(0), bias.unbind(0)) for weight, bias in self.layers()]
        outputs = []
        for k in range(self.n_members):
            hidden = inputs
            for weights, biases in layers[:-1]:
                hidden = act(torch.addmm(biases[k], hidden, weights[k]))
            outputs.append(torch.addmm(layers[-1][1][k], hidden, layers[-1][0][k]).squeeze(-1))
        return torch.stack(outputs)


def _orthogonal(fan_in: int, fan_out: int, gain: float, generator: torch.Generator | None) -> torch.Tensor:
    weight = torch.empty(fan_in, fan_out)
    nn.init.orthogonal_(weight, gain=gain, generator=generator)
    return weight


def in_blocks(function: Callable[..., AnyArray], *inputs: AnyArray) -> FloatArray:
    """Returns `function` of the inputs, (N,) of float64, called once on inputs padded to a multiple of `BLOCK` rows.

    A network's matrix products round differently for ragged row counts, so a segment's value would depend on its batch
    mates in the last bits (measured with torch 2.13 on CPU: nearly every row judged alone differs; none when padded).
    """
    n = len(inputs[0])
    if not n:
        return np.zeros(0)
    rows = np.minimum(np.arange(-(-n // BLOCK) * BLOCK), n - 1)
    padded = inputs if len(rows) == n else tuple(part[rows] for part in inputs)
    return np.asarray(function(*padded), dtype=np.float64)[:n]
