"""The environment that learners get: a task with hidden gold, a time limit, and a state to save."""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from preflab.envs.physics import N_GENERATOR_WORDS, generator_words, restore_generator
from preflab.envs.tasks import Task, task
from preflab.errors import InvalidArgument, Refused
from preflab.types import AnyArray, FloatArray, Trajectory

RENDER_SIZE = 240


@dataclass(frozen=True, slots=True, eq=False)
class Gold:
    """The gold reward of one step, for collectors only.

    Attributes:
        reward: in the task's units.
        factors: (F,) its parts, in the order of the task's `factor_names`.
    """

    reward: float
    factors: FloatArray


class HiddenGold(gym.Env[Any, Any]):
    """A task whose `step` pays 0.0 and whose infos are empty; a Gymnasium environment and a `Simulator`.

    Gold is read with `gold(env)`. With `reveal_gold=True` it is Gymnasium's ordinary task: the reward is gold, and
    `info` holds the factors as `reward_<name>`.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - Gymnasium declares it so

    def __init__(
        self, name: str, form: str = "fixed", *, reveal_gold: bool = False, render_mode: str | None = None
    ) -> None:
        """Makes the task called `name` in `form`.

        Raises:
            UnknownName: `name` or `form` is not known.
            Refused: the task has no such form.
            InvalidArgument: `render_mode` is neither None nor "rgb_array".
        """
        if render_mode not in (None, "rgb_array"):
            raise InvalidArgument("render_mode", "must be one that needs no window", render_mode, "None, 'rgb_array'")
        self.task: Task = task(name)
        self.form = self.task.checked_form(form)
        self.reveal_gold = reveal_gold
        self.render_mode = render_mode
        self.physics = self.task.physics(form)
        self.horizon = self.task.horizon(form)
        self.observation_space = self.physics.observation_space
        self.action_space = self.physics.action_space
        self.metadata = {**type(self).metadata, "render_fps": self.physics.frames_per_second}
        self._n_elapsed = 0
        self._gold: Gold | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Returns the first observation and an empty info; `options` are ignored."""
        obs = self.physics.reset(seed)
        self._np_random = self.physics.rng
        if seed is not None:
            self._np_random_seed = seed
        self._n_elapsed, self._gold = 0, None
        return obs, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Returns observation, 0.0, terminated, truncated, {}; if gold is revealed, reward and factors."""
        outcome = self.physics.step(action)
        self._n_elapsed += 1
        self._gold = Gold(outcome.reward, outcome.factors)
        truncated = outcome.truncated or self._n_elapsed >= self.horizon
        if not self.reveal_gold:
            return outcome.obs, 0.0, outcome.terminated, truncated, {}
        parts = zip(self.task.factor_names, outcome.factors, strict=True)
        info = {f"reward_{name}": float(part) for name, part in parts}
        return outcome.obs, outcome.reward, outcome.terminated, truncated, info

    def save_state(self) -> FloatArray:
        """Returns the full state, (S,): elapsed steps, generator words, physics with warm start and lagging fields."""
        return np.concatenate([[self._n_elapsed], generator_words(self.physics.rng), self.physics.save()])

    def restore_state(self, state: FloatArray, *, n_elapsed: int | None = None) -> AnyArray:
        """Restores a state of this or another environment of the same task and form; what follows repeats bit for bit.

        Args:
            state: (S,) from `save_state`.
            n_elapsed: steps to count as taken already, in place of the saved number; 0 gives a whole horizon from here.

        Returns:
            The observation in `state`.

        Raises:
            Refused: the task is a user's environment, whose state cannot be read.
        """
        words = self._checked(state)
        obs: AnyArray = self.physics.restore(words[1 + N_GENERATOR_WORDS :])
        restore_generator(self.physics.rng, words[1 : 1 + N_GENERATOR_WORDS])
        self._np_random = self.physics.rng
        self._n_elapsed = int(words[0]) if n_elapsed is None else n_elapsed
        self._gold = None
        return obs

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Returns a picture of the present state, (240, 240, 3), or None without render mode."""
        return None if self.render_mode is None else self.draw(RENDER_SIZE, RENDER_SIZE)

    def draw(self, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Returns a picture of the present state, (height, width, 3); the state stays as it is."""
        return self.physics.draw(width, height)

    def picture_of(
        self, state: FloatArray, trajectory: Trajectory, width: int, height: int
    ) -> npt.NDArray[np.uint8]:
        """Returns a picture of a saved state of `trajectory`, (height, width, 3); the present state may be lost.

        Raises:
            Refused: the task cannot be drawn, or does not repeat `trajectory`.
        """
        return self.physics.picture_of(self._checked(state)[1 + N_GENERATOR_WORDS :], trajectory, width, height)

    def _checked(self, state: FloatArray) -> FloatArray:
        words = np.asarray(state, dtype=np.float64)
        expected = (1 + N_GENERATOR_WORDS + self.physics.n_words,)
        if words.shape != expected:
            raise InvalidArgument("state", "must come from save_state of this task", words.shape, f"shape {expected}")
        return words

    def close(self) -> None:
        """Frees what rendering has taken."""
        self.physics.close()


def make(name: str, form: str = "fixed", *, reveal_gold: bool = False, render_mode: str | None = None) -> HiddenGold:
    """Returns the task called `name` in `form` with gold hidden; see `HiddenGold`."""
    return HiddenGold(name, form, reveal_gold=reveal_gold, render_mode=render_mode)


def hidden_gold(env: gym.Env[Any, Any]) -> HiddenGold:
    """Returns the `HiddenGold` inside any stack of wrappers."""
    inner = env.unwrapped
    if not isinstance(inner, HiddenGold):
        raise InvalidArgument("env", "must be made by preflab.envs.make", type(inner).__name__)
    return inner


def gold(env: gym.Env[Any, Any]) -> Gold:
    """Returns gold reward and factors of the last step of `env`, wrapped or not. For collectors only."""
    last = hidden_gold(env)._gold
    if last is None:
        raise Refused("there is no gold before the first step after a reset or a restored state; call step first")
    return last
