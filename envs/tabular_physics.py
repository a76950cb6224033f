"""Any `TabularMDP` as physics: states are the observations, transitions are drawn from its arrays."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.utils import seeding

from preflab.envs.physics import Outcome, Physics
from preflab.errors import InvalidArgument
from preflab.tabular import TabularMDP
from preflab.types import FloatArray

Picture = Callable[[int, int, int], npt.NDArray[np.uint8]]


class TabularPhysics(Physics):
    """A finite MDP; terminates where `mdp.terminal` says so (nowhere in the fixed-horizon form)."""

    frames_per_second = 5
    n_words = 1

    def __init__(self, mdp: TabularMDP, factors: FloatArray, picture: Picture) -> None:
        """Plays `mdp`.

        Args:
            mdp: S states, A actions.
            factors: (S, A, S, F) parts of `mdp.rewards`.
            picture: draws (state, width, height).
        """
        self._mdp, self._factors, self._picture = mdp, factors, picture
        self._cumulative = np.cumsum(mdp.transitions, axis=-1)
        self._initial = np.cumsum(mdp.initial)
        self._rng: np.random.Generator | None = None
        self._state = 0
        self.observation_space = gym.spaces.Discrete(mdp.n_states)
        self.action_space = gym.spaces.Discrete(mdp.n_actions)

    @property
    def rng(self) -> np.random.Generator:
        """The generator of the task inside."""
        if self._rng is None:
            self._rng, _ = seeding.np_random()
        return self._rng

    def reset(self, seed: int | None) -> Any:
        """Draws a first state."""
        if seed is not None:
            self._rng, _ = seeding.np_random(seed)
        self._state = self._draw(self._initial)
        return np.int64(self._state)

    def step(self, action: Any) -> Outcome:
        """Moves one step."""
        chosen, before = int(action), self._state
        if not 0 <= chosen < self._mdp.n_actions:
            raise InvalidArgument("action", "must be one of the task's actions", chosen, f"0…{self._mdp.n_actions - 1}")
        after = self._draw(self._cumulative[before, chosen])
        self._state = after
        return Outcome(
            np.int64(after), float(self._mdp.rewards[before, chosen, after]),
            self._factors[before, chosen, after].copy(), bool(self._mdp.terminal[after]),
        )

    def save(self) -> FloatArray:
        """Returns the state, (n_words,)."""
        return np.array([self._state], dtype=np.float64)

    def restore(self, words: FloatArray) -> Any:
        """Restores a saved state and returns the observation there."""
        self._state = int(words[0])
        return np.int64(self._state)

    def draw(self, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Returns a picture of the present state, (height, width, 3)."""
        return self._picture(self._state, width, height)

    def _draw(self, cumulative: FloatArray) -> int:
        """Draws from cumulative probabilities; scaling by the last one guards against its rounding below 1."""
        return int(np.searchsorted(cumulative, self.rng.random() * cumulative[-1], side="right"))
