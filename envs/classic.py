"""Gymnasium's classic control tasks: pendulum, cart-pole and the continuous mountain car."""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from preflab.envs import drawing
from preflab.envs.physics import Outcome, Physics
from preflab.types import FloatArray


class ClassicPhysics(Physics):
    """What the three share: Gymnasium's environment inside, its state as float64 words."""

    def __init__(self, gymnasium_id: str, form: str) -> None:
        """Makes Gymnasium's environment without its time limit."""
        self._env: Any = gym.make(gymnasium_id, disable_env_checker=True).unwrapped
        self._is_fixed = form == "fixed"
        self.observation_space = self._env.observation_space
        self.action_space = self._env.action_space
        self.frames_per_second = int(self._env.metadata["render_fps"])

    @property
    def rng(self) -> np.random.Generator:
        """The generator of the task inside."""
        generator: np.random.Generator = self._env.np_random
        return generator

    def reset(self, seed: int | None) -> Any:
        """Draws a first state."""
        return self._env.reset(seed=seed)[0]


class PendulumPhysics(ClassicPhysics):
    """Pendulum-v1; it never terminates. Factors: −angle², −0.1 · velocity², −0.001 · torque², all before the step."""

    def __init__(self, form: str) -> None:
        """Makes the pendulum."""
        super().__init__("Pendulum-v1", form)
        self.n_words = 2

    def step(self, action: Any) -> Outcome:
        """Moves one step."""
        angle, velocity = self._env.state
        torque = np.clip(action, -self._env.max_torque, self._env.max_torque)[0]
        wrapped = ((angle + np.pi) % (2 * np.pi)) - np.pi
        factors = np.array([-(wrapped**2), -0.1 * velocity**2, -0.001 * (torque**2)], dtype=np.float64)
        obs, reward, _, _, _ = self._env.step(action)
        return Outcome(obs, float(reward), factors, False)

    def save(self) -> FloatArray:
        """Returns the state, (n_words,)."""
        return np.array(self._env.state, dtype=np.float64)

    def restore(self, words: FloatArray) -> Any:
        """Restores a saved state and returns the observation there."""
        self._env.state = np.array(words, dtype=np.float64)
        self._env.last_u = None
        return self._env._get_obs()

    def draw(self, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Returns a picture of the present state, (height, width, 3)."""
        return drawing.pendulum(float(self._env.state[0]), width, height)


class CartPolePhysics(ClassicPhysics):
    """CartPole-v1. Fixed-horizon form: 1 while within the standard bounds, else 0, and the physics goes on."""

    def __init__(self, form: str) -> None:
        """Makes the cart-pole; without terminations positions are unbounded, and the observation space says so."""
        super().__init__("CartPole-v1", form)
        self.n_words = 5
        if self._is_fixed:
            self.observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)

    def step(self, action: Any) -> Outcome:
        """Moves one step."""
        if self._is_fixed:
            self._env.steps_beyond_terminated = None  # else Gymnasium warns that stepping on is undefined
        obs, reward, terminated, _, _ = self._env.step(action)
        if self._is_fixed:
            reward, terminated = float(not terminated), False
        return Outcome(obs, float(reward), np.array([reward], dtype=np.float64), bool(terminated))

    def save(self) -> FloatArray:
        """Returns the state, (n_words,)."""
        beyond = self._env.steps_beyond_terminated
        return np.array([*self._env.state, -1 if beyond is None else beyond], dtype=np.float64)

    def restore(self, words: FloatArray) -> Any:
        """Restores a saved state and returns the observation there."""
        self._env.state = np.array(words[:4], dtype=np.float64)
        self._env.steps_beyond_terminated = None if words[4] < 0 else int(words[4])
        return np.array(self._env.state, dtype=np.float32)

    def draw(self, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Returns a picture of the present state, (height, width, 3)."""
        return drawing.cart_pole(float(self._env.state[0]), float(self._env.state[2]), width, height)


class MountainCarPhysics(ClassicPhysics):
    """MountainCarContinuous-v0. Fixed-horizon form: the car parks at the goal, is paid 100 once, and 0 ever after."""

    def __init__(self, form: str) -> None:
        """Makes the mountain car."""
        super().__init__("MountainCarContinuous-v0", form)
        self.n_words = 4
        self._is_parked = False

    def reset(self, seed: int | None) -> Any:
        """Draws a first state."""
        self._is_parked = False
        return super().reset(seed)

    def step(self, action: Any) -> Outcome:
        """Moves one step."""
        if self._is_parked:
            return Outcome(np.array(self._env.state, dtype=np.float32), 0.0, np.zeros(2), False)
        obs, reward, terminated, _, _ = self._env.step(action)
        factors = np.array([100.0 if terminated else 0.0, -float(action[0]) ** 2 * 0.1])
        self._is_parked = self._is_fixed and bool(terminated)
        return Outcome(obs.copy(), float(reward), factors, bool(terminated) and not self._is_fixed)

    def save(self) -> FloatArray:
        """Returns the state, (n_words,)."""
        # Gymnasium's state is float64 after a reset and float32 after a step, and computes in whichever it is.
        is_single = self._env.state.dtype == np.float32
        return np.array([*self._env.state, is_single, self._is_parked], dtype=np.float64)

    def restore(self, words: FloatArray) -> Any:
        """Restores a saved state and returns the observation there."""
        self._env.state = np.array(words[:2], dtype=np.float32 if words[2] else np.float64)
        self._is_parked = bool(words[3])
        return np.array(self._env.state, dtype=np.float32)

    def draw(self, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Returns a picture of the present state, (height, width, 3)."""
        return drawing.mountain_car(float(self._env.state[0]), self._env.goal_position, width, height)
