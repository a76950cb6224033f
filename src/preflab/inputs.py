"""What a network is given of B steps: a tensor of numbers, or numbers with images beside them.

Images stay uint8 until the network reads a minibatch of them: as floats they would take four times the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
import torch

from preflab.errors import InvalidArgument
from preflab.observations import image_shape, is_channels_first, is_image, parts_of
from preflab.types import AnyArray, IntArray

_MOST_ROWS = 16_384  # in one forward pass: bounds memory at K · 16,384 · widest layer floats
_MOST_PIXELS = 4_194_304  # the same where there are images: their first layer has about as many numbers as they have


@dataclass(frozen=True, slots=True, eq=False)
class StepInputs:
    """Inputs of B steps of which some are images.

    Attributes:
        vectors: (B, n) float32, n may be 0.
        images: one (B, channels, height, width) uint8 for each image of a step.
    """

    vectors: torch.Tensor
    images: tuple[torch.Tensor, ...]

    def __post_init__(self) -> None:
        for image in self.images:
            if image.dim() != 4 or image.dtype != torch.uint8 or len(image) != len(self.vectors):
                rule = f"must be ({len(self.vectors)}, channels, height, width) uint8"
                raise InvalidArgument("images", rule, (tuple(image.shape), image.dtype))

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: torch.Tensor | slice) -> StepInputs:
        return StepInputs(self.vectors[rows], tuple(image[rows] for image in self.images))


Inputs: TypeAlias = torch.Tensor | StepInputs


class LazyInputs:
    """Inputs of B steps that are too many to keep: made when they are read, and forgotten."""

    def __init__(self, n_rows: int, make: Callable[[IntArray], Inputs], most_rows: int = _MOST_ROWS) -> None:
        """Takes what makes (b, n) inputs of rows (b,), of which never more than `most_rows` are read in one part."""
        self._n_rows, self._make, self.most_rows = n_rows, make, most_rows

    def __len__(self) -> int:
        return self._n_rows

    def __getitem__(self, rows: torch.Tensor | slice) -> Inputs:
        numbers = np.arange(self._n_rows)[rows] if isinstance(rows, slice) else rows.numpy()
        return self._make(numbers.astype(np.int64))

    def then(self, function: Callable[[Inputs], Inputs]) -> LazyInputs:
        """Returns these inputs with `function` applied whenever they are read."""
        return LazyInputs(self._n_rows, lambda rows: function(self._make(rows)), self.most_rows)


def in_memory(inputs: Inputs | LazyInputs) -> Inputs:
    """Returns `inputs` in memory."""
    return inputs[:] if isinstance(inputs, LazyInputs) else inputs


def vectors_of(inputs: Inputs) -> torch.Tensor:
    """Returns the numbers of `inputs`, (B, n)."""
    return inputs.vectors if isinstance(inputs, StepInputs) else inputs


def with_vectors(inputs: Inputs, vectors: torch.Tensor) -> Inputs:
    """Returns `inputs` with other numbers and the same images."""
    return StepInputs(vectors, inputs.images) if isinstance(inputs, StepInputs) else vectors


def in_parts(inputs: Inputs | LazyInputs) -> Iterable[Inputs]:
    """Returns `inputs` in order, in parts that one forward pass takes: 16,384 rows, or 4 million pixels."""
    if isinstance(inputs, LazyInputs):
        size = inputs.most_rows
        return (inputs[first : first + size] for first in range(0, max(1, len(inputs)), size))
    if not isinstance(inputs, StepInputs):
        return torch.split(inputs, _MOST_ROWS)
    rows = rows_of(sum(image[0].numel() for image in inputs.images if len(image)))
    return [inputs[first : first + rows] for first in range(0, max(1, len(inputs)), rows)]


def rows_of(n_pixels: int) -> int:
    """Returns how many steps, each with so many pixels, one forward pass takes."""
    return max(1, min(_MOST_ROWS, _MOST_PIXELS // max(1, n_pixels)))


def image_shapes(space: gym.Space[Any]) -> list[tuple[int, int, int]]:
    """Returns (channels, height, width) of each image in `space`, in order; none for vectors and Discretes."""
    return [image_shape(part) for part in parts_of(space).values() if is_image(part)]


def encode_images(space: gym.Space[Any], batch: AnyArray) -> tuple[torch.Tensor, ...]:
    """Returns each image of (B, *element) as (B, channels, height, width) uint8; what `preflab.networks.encode` leaves out."""
    images = []
    for key, part in parts_of(space).items():
        if is_image(part):
            pixels = torch.as_tensor(np.ascontiguousarray(batch[key] if key else batch, dtype=np.uint8))
            images.append(pixels if is_channels_first(part) else pixels.permute(0, 3, 1, 2))
    return tuple(images)
