"""What a task is made of: `Physics` moves a state and pays gold; time limit and hiding lie around it."""

import abc
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from preflab.types import AnyArray, FloatArray, Trajectory

N_GENERATOR_WORDS = 10


class Outcome(NamedTuple):
    """What one step did.

    Attributes:
        obs: (*obs) observation after the step.
        reward: gold reward of the step, in the task's units.
        factors: (F,) parts of the reward, in the order of the task's `factor_names`.
        terminated: the step reached a true terminal state; always False in the fixed-horizon form.
        truncated: the task cut the episode here by a limit of its own, before the horizon.
    """

    obs: Any
    reward: float
    factors: FloatArray
    terminated: bool
    truncated: bool = False


class Physics(abc.ABC):
    """The bare dynamics of one form of one task, without a time limit; `n_words` numbers make its state.

    Attributes:
        observation_space: of one observation.
        action_space: of one action.
        frames_per_second: at which steps look natural.
        n_words: numbers that `save` returns.
        is_replayed: states only name an episode by its seed and a step in it, so that `restore` refuses, and a state is
            reached again by taking the episode's actions from its start (`picture_of`).
    """

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    frames_per_second: int = 30
    n_words: int
    is_replayed: bool = False

    @property
    @abc.abstractmethod
    def rng(self) -> np.random.Generator:
        """The generator that draws first states (and, in stochastic tasks, transitions)."""

    @abc.abstractmethod
    def reset(self, seed: int | None) -> Any:
        """Draws a first state and returns its observation; a seed restarts the generator as Gymnasium does."""

    @abc.abstractmethod
    def step(self, action: Any) -> Outcome:
        """Moves one step."""

    @abc.abstractmethod
    def save(self) -> FloatArray:
        """Returns everything but the generator that the next observations and rewards depend on, (s,)."""

    @abc.abstractmethod
    def restore(self, words: FloatArray) -> Any:
        """Restores what `save` returned, and returns the observation there."""

    @abc.abstractmethod
    def draw(self, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Returns a picture of the present state, (height, width, 3); changes nothing."""

    def picture_of(self, words: FloatArray, trajectory: Trajectory, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Returns a picture of a state of `trajectory`, (height, width, 3); `words` are what `save` returned there."""
        self.restore(words)
        return self.draw(width, height)

    def close(self) -> None:  # noqa: B027
        """Frees what drawing has taken."""


def generator_words(rng: np.random.Generator) -> FloatArray:
    """Returns the state of a PCG64 generator as ten 32-bit words, each exact in float64."""
    state = rng.bit_generator.state
    words = [(state["state"][name] >> shift) & 0xFFFFFFFF for name in ("state", "inc") for shift in (0, 32, 64, 96)]
    return np.array([*words, state["has_uint32"], state["uinteger"]], dtype=np.float64)


def restore_generator(rng: np.random.Generator, words: AnyArray) -> None:
    """Sets `rng` to the state that `generator_words` returned."""
    numbers = [int(word) for word in words]
    whole = [sum(numbers[first + i] << 32 * i for i in range(4)) for first in (0, 4)]
    rng.bit_generator.state = {
        "bit_generator": "PCG64", "state": {"state": whole[0], "inc": whole[1]},
        "has_uint32": numbers[8], "uinteger": numbers[9],
    }
