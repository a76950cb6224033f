"""K networks that see images: a small convolutional encoder for each image, then the perceptrons of `EnsembleMLP`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from preflab.errors import InvalidArgument
from preflab.inputs import StepInputs
from preflab.networks import ACTIVATIONS, EnsembleMLP, EnsembleModule

FILTERS = (8, 16, 16, 16)  # of the layers, as many as are needed
_FINEST, _COARSEST = 16, 4  # sides of the maps after the first and after the last layer


def convolutions(height: int, width: int) -> list[tuple[int, int, int]]:
    """Returns (filters, kernel, stride) of each layer for images of this size; a kernel is padded by half its width.

    The first layer brings the shorter side down to 16 at once, which is where convolutions are dear; each further one
    halves it until it is at most 4. Between the four layers of the reward of Christiano et al. 2017, appendix A.2
    (https://arxiv.org/abs/1706.03741), and what a CPU fits in minutes: a 64 × 64 × 3 image costs 260,000 products.

    >>> convolutions(64, 64), convolutions(7, 7)
    ([(8, 5, 4), (16, 3, 2), (16, 3, 2)], [(8, 3, 1), (16, 3, 2)])
    """
    side = min(height, width)
    stride = -(-side // _FINEST)
    layers = [(FILTERS[0], stride + 1 + stride % 2, stride)]
    side = -(-side // stride)
    while side > _COARSEST:
        layers.append((FILTERS[len(layers)], 3, 2))
        side = -(-side // 2)
    return layers


class EnsembleImageEncoder(nn.Module):
    """K convolutional encoders of one image each, computed as grouped convolutions."""

    def __init__(
        self, n_members: int, shape: tuple[int, int, int], activation: str = "relu",
        generator: torch.Generator | None = None,
    ) -> None:
        """Draws all weights from `generator`, orthogonal per member with gain √2, for images (channels, height, width)."""
        super().__init__()
        if activation not in ACTIVATIONS:
            raise InvalidArgument("activation", "is not known", activation, ", ".join(ACTIVATIONS))
        self.n_members, self.activation = n_members, activation
        channels, height, width = shape
        self.strides: list[int] = []
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for filters, kernel, stride in convolutions(height, width):
            members = torch.empty(n_members, filters, channels * kernel**2)
            for member in members:
                nn.init.orthogonal_(member, gain=math.sqrt(2), generator=generator)
            self.weights.append(nn.Parameter(members.reshape(n_members, filters, channels, kernel, kernel)))
            self.biases.append(nn.Parameter(torch.zeros(n_members, filters)))
            self.strides.append(stride)
            channels, height, width = filters, -(-height // stride), -(-width // stride)
        self.n_features = channels * height * width

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns (K, B, n_features) for images (B, channels, height, width) uint8, shared by all members."""
        # On a CPU grouped convolutions are four times faster where channels are stored last.
        hidden = images.contiguous(memory_format=torch.channels_last).float().mul_(1 / 255).sub_(0.5)
        act = ACTIVATIONS[self.activation]
        for i, (weight, bias, stride) in enumerate(zip(self.weights, self.biases, self.strides, strict=True)):
            # Members lie side by side as channels: the first layer reads one image for all, the others each its own group.
            groups = self.n_members if i else 1
            kernels = weight.flatten(0, 1)
            hidden = act(nn.functional.conv2d(
                hidden, kernels, bias.flatten(), stride=stride, padding=kernels.shape[-1] // 2, groups=groups,
            ))
        return hidden.reshape(len(images), self.n_members, self.n_features).transpose(0, 1)


class EnsembleCNN(EnsembleModule):
    """K networks with one output each: an encoder for each image, and a perceptron on its features and the vectors."""

    def __init__(
        self, n_members: int, n_vectors: int, shapes: Sequence[tuple[int, int, int]], hidden: Sequence[int],
        activation: str = "relu", generator: torch.Generator | None = None,
    ) -> None:
        """Draws all weights from `generator`.

        Args:
            n_members: K.
            n_vectors: numbers of a step beside its images.
            shapes: (channels, height, width) of each image.
            hidden: widths of the perceptrons' hidden layers.
            activation: "tanh" or "relu", of convolutions and perceptrons alike.
            generator: torch's own, or None for the global one.
        """
        super().__init__()
        self.n_members = n_members
        encoders = [EnsembleImageEncoder(n_members, shape, activation, generator) for shape in shapes]
        self.encoders = nn.ModuleList(encoders)
        n_features = sum(encoder.n_features for encoder in encoders)
        self.head = EnsembleMLP(n_members, n_features + n_vectors, hidden, activation, generator)

    def forward(self, inputs: StepInputs) -> torch.Tensor:
        """Returns (K, B) outputs for the inputs of B steps, shared by all members."""
        features = [encoder(image) for encoder, image in zip(self.encoders, inputs.images, strict=True)]
        features.append(inputs.vectors.expand(self.n_members, *inputs.vectors.shape))
        return torch.as_tensor(self.head(torch.cat(features, dim=-1)))


def ensemble_network(
    n_members: int, n_vectors: int, shapes: Sequence[tuple[int, int, int]], hidden: Sequence[int], activation: str,
    generator: torch.Generator | None = None,
) -> EnsembleModule:
    """Returns perceptrons where there are no images, and networks with convolutions where there are."""
    if not shapes:
        return EnsembleMLP(n_members, n_vectors, hidden, activation, generator)
    return EnsembleCNN(n_members, n_vectors, shapes, hidden, activation, generator)
