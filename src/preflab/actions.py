"""Uniform actions of a space: where an average over actions is taken."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np

from preflab.errors import InvalidArgument
from preflab.types import AnyArray, FloatArray


class UniformActions:
    """An `ActionSampler`: every action of a Discrete space once, or spread evenly over a bounded Box.

    Box actions are a Kronecker sequence of Roberts' generalized golden ratio, shifted by one uniform draw modulo 1 in each
    dimension: every single action is exactly uniform, and n of them cover the box more evenly than n independent ones
    (http://extremelearning.com.au/unreasonable-effectiveness-of-quasirandom-sequences/; Cranley & Patterson 1976).
    """

    def __init__(self, space: gym.Space[Any]) -> None:
        """Takes a Discrete or a bounded Box space; raises `InvalidArgument` for any other."""
        is_bounded = isinstance(space, gym.spaces.Box) and space.is_bounded()
        if not (isinstance(space, gym.spaces.Discrete) or is_bounded):
            raise InvalidArgument("space", "must be Discrete or a bounded Box", space)
        self.space = space

    def sample(self, n: int, rng: np.random.Generator) -> tuple[AnyArray, FloatArray]:
        """Returns (m, *act) actions, m = n or the number of discrete actions, and (m,) log weights, all 0."""
        if isinstance(self.space, gym.spaces.Discrete):
            actions: AnyArray = self.space.start + np.arange(self.space.n)
            return actions, np.zeros(len(actions))
        if not isinstance(self.space, gym.spaces.Box) or n < 1:
            raise InvalidArgument("n", "must be at least 1", n)
        low, high = (bound.astype(np.float64).reshape(-1) for bound in (self.space.low, self.space.high))
        places = (rng.random(len(low)) + np.arange(n)[:, None] * _steps(len(low))) % 1.0
        actions = (low + (high - low) * places).reshape(n, *self.space.shape)
        return actions.astype(self.space.dtype), np.zeros(n)


def _steps(n_dimensions: int) -> FloatArray:
    """Returns (d,) 1/φ, 1/φ², … with φ the root of x^(d+1) = x + 1 above 1."""
    root = 2.0
    for _ in range(64):
        root = (1.0 + root) ** (1.0 / (n_dimensions + 1))
    return np.array([math.pow(1.0 / root, i + 1) for i in range(n_dimensions)])
