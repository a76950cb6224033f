"""Small tasks and vectorized environments that agents are tested on."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from preflab.agents import PPOSettings
from preflab.types import Transitions

MakeEnv = Callable[[], gym.Env[Any, Any]]
MakeVec = Callable[[int, int], VecEnv]


class Recorder(VecEnvWrapper):
    """Keeps the inner rewards of each step, and gives them out as a reward source does."""

    name = "recorded"

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.kept: list[npt.NDArray[np.float32]] = []

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        obs, rewards, dones, infos = self.venv.step_wait()
        self.kept.append(rewards.copy())
        return obs, rewards, dones, infos

    def take(self, transitions: Transitions) -> npt.NDArray[np.float32]:
        rewards = np.concatenate(self.kept)
        self.kept.clear()
        return rewards


class OwnReward:
    """A reward source that gives the env's own reward: `wrap` every env, the last one is read."""

    name, scores_only_new = "the env's own reward", True

    def wrap(self, venv: VecEnv) -> VecEnv:
        self._recorder = Recorder(venv)
        return self._recorder

    def __call__(self, transitions: Transitions) -> npt.NDArray[np.float32]:
        return self._recorder.take(transitions)


class Poison(VecEnvWrapper):
    """Replaces rewards, and everything in info that SB3 does not need, by NaN."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        obs, rewards, dones, infos = self.venv.step_wait()
        episode = {"r": np.nan, "l": np.nan, "t": np.nan}
        poisoned = [{**info, "reward_run": np.nan, "episode": episode} for info in infos]
        return obs, np.full_like(rewards, np.nan), dones, poisoned


class Counter(gym.Env[npt.NDArray[np.float32], npt.NDArray[np.float32]]):
    """Shows (episode, step). Every episode has 3 steps; even ones terminate, odd ones are cut."""

    observation_space = gym.spaces.Box(-100.0, 100.0, (2,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self) -> None:
        self.episode, self.steps = -1, 0

    def _obs(self) -> npt.NDArray[np.float32]:
        return np.array([self.episode, self.steps], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.episode, self.steps = self.episode + 1, 0
        return self._obs(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        is_over, is_even = self.steps == 3, self.episode % 2 == 0
        return self._obs(), 7.0, is_over and is_even, is_over and not is_even, {}


class Ring(gym.Env[np.int64, np.int64]):
    """Five discrete states in a ring, two actions, cut after 7 steps."""

    observation_space = gym.spaces.Discrete(5)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.steps = int(self.np_random.integers(5)), 0
        return self.place, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place, self.steps = (self.place + (1 if action else -1)) % 5, self.steps + 1
        return self.place, float(self.place == 0), False, self.steps == 7, {}


class Flicker(gym.Env[Any, Any]):
    """Shows what it draws, in a buffer that it `reuses`. Every episode has `n_steps`; even ones terminate, odd ones are cut."""

    def __init__(self, space: gym.Space[Any], n_actions: int = 0, n_steps: int = 5, reuses: bool = True) -> None:
        self.observation_space, self.episode, self.n_steps, self.reuses = space, -1, n_steps, reuses
        self.action_space = gym.spaces.Discrete(n_actions) if n_actions else gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._buffer = {key: np.zeros(part.shape or (), part.dtype) for key, part in self._parts().items()}

    def _parts(self) -> dict[str, gym.Space[Any]]:
        space = self.observation_space
        return dict(space.spaces) if isinstance(space, gym.spaces.Dict) else {"": space}

    def _obs(self) -> Any:
        for key, part in self._parts().items():
            is_image, shape = part.dtype == np.uint8, part.shape or ()
            drawn = self.np_random.integers(256, size=shape) if is_image else self.np_random.normal(5, 3, size=shape)
            self._buffer[key][...] = drawn % 3 if isinstance(part, gym.spaces.Discrete) else drawn
        shown = self._buffer if self.reuses else {key: part.copy() for key, part in self._buffer.items()}
        return shown if isinstance(self.observation_space, gym.spaces.Dict) else shown[""]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.steps = self.episode + 1, 0
        return self._obs(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        is_over, is_even = self.steps == self.n_steps, self.episode % 2 == 0
        return self._obs(), float(np.ravel(action)[0]), is_over and is_even, is_over and not is_even, {}


TASKS: dict[str, MakeEnv] = {
    "pendulum": lambda: TimeLimit(gym.make("Pendulum-v1").unwrapped, 10),
    "cartpole": lambda: gym.make("CartPole-v1"),
    "counter": Counter,
    "ring": Ring,
}


class Tasks:
    """What the tests take from here, by attribute: helper modules cannot be imported from tests."""

    own_reward, poison, envs = OwnReward, Poison, TASKS

    def make_vec(self, task: str, wrapper: Callable[[VecEnv], VecEnv] = lambda venv: venv) -> MakeVec:
        def make(n_envs: int, seed: int) -> VecEnv:
            venv = wrapper(DummyVecEnv([TASKS[task]] * n_envs))
            venv.seed(seed)
            return venv

        return make

    def vec_showing(
        self, space: gym.Space[Any], wrapper: Callable[[VecEnv], VecEnv] = lambda venv: venv, **changes: Any
    ) -> MakeVec:
        def make(n_envs: int, seed: int) -> VecEnv:
            venv = wrapper(DummyVecEnv([lambda: Flicker(space, **changes)] * n_envs))
            venv.seed(seed)
            return venv

        return make

    def settings(self, **changes: Any) -> PPOSettings:
        small: dict[str, Any] = {
            "n_envs": 2, "n_steps": 16, "batch_size": 16, "n_epochs": 2, "hidden": (16, 16), "target_kl": None,
            "learning_rate": 3e-3, "normalize_obs": False,
        }
        return PPOSettings(**(small | changes))


@pytest.fixture
def tasks() -> Tasks:
    return Tasks()
