"""Any registered Gymnasium environment as physics: a user's own, with its ordinary reward as gold.

Its full state cannot be read, so an episode is named by the seed it was reset with, and pictures are drawn by a second copy
that takes the same actions from the same seed.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.utils import seeding
from PIL import Image

from preflab import observations
from preflab.envs.physics import Outcome, Physics
from preflab.errors import InvalidArgument, PreflabError, Refused
from preflab.types import AnyArray, FloatArray, Trajectory

_NO_LIMIT = -1  # Gymnasium's way to say: without the TimeLimit wrapper


@dataclass(frozen=True)
class EnvSource:
    """How a registered environment is made.

    Attributes:
        id: as Gymnasium knows it, "CartPole-v1", or "module:Id-v0" to import the module that registers it first.
        kwargs: of its constructor.
        wrappers: to put around it, innermost first: "module:Class" such as "gymnasium.wrappers:FlattenObservation", or
            {"module:Class": {keyword: value}}.
        path: folder in which modules are looked for besides Python's own path, or None.
    """

    id: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    wrappers: tuple[str | Mapping[str, Any], ...] = ()
    path: str | None = None

    def make(self, render_mode: str | None = None) -> gym.Env[Any, Any]:
        """Returns a new copy, without a time limit.

        Raises:
            InvalidArgument: no such id or wrapper, or a module that cannot be imported.
            Refused: the environment raises an error of its own while it is made; the sentence quotes it.
        """
        if self.path is not None and self.path not in sys.path:
            sys.path.append(self.path)
        extra = {} if render_mode is None else {"render_mode": render_mode}
        try:
            env = gym.make(self.id, _NO_LIMIT, disable_env_checker=True, **{**self.kwargs, **extra})
        except (ModuleNotFoundError, gym.error.UnregisteredEnv) as error:
            where = f" (looked in {self.path} too)" if self.path else ""
            valid = "an id that is registered once Python has imported gymnasium, or module:Id to import a module first"
            raise InvalidArgument("env.id", f"cannot be found: {error}{where}", self.id, valid) from error
        except Exception as error:  # whatever a user's constructor raises
            raise Refused(f"{self.id} could not be made with kwargs {dict(self.kwargs)}: {_said(error)}") from error
        for wrapper in self.wrappers:
            env = _wrapped(env, wrapper)
        return env

    def max_episode_steps(self, env: gym.Env[Any, Any]) -> int | None:
        """Returns the time limit that `env`, a copy of this, is registered with; None without one."""
        spec = env.unwrapped.spec
        registered = None if spec is None else gym.registry.get(spec.id)
        return None if registered is None else registered.max_episode_steps


class GymnasiumPhysics(Physics):
    """A registered environment; every episode is reset with a seed of its own, and its last words name it.

    Observations and actions are copied, since an environment may reuse its buffers.
    """

    is_replayed = True
    n_words = 2

    def __init__(self, source: EnvSource, factor_names: Sequence[str], form: str, *, horizon: int) -> None:
        """Makes the environment.

        Args:
            source: what to make.
            factor_names: keys of its infos that are gold's parts; ("reward",) is the reward itself.
            form: "fixed" refuses an episode that ends before `horizon`.
            horizon: steps of an episode.
        """
        self._source, self._factors, self._form, self._horizon = source, tuple(factor_names), form, horizon
        self._env = source.make()
        self._raw_space = self._env.observation_space
        self.observation_space = observations.presented(self._raw_space)
        self.action_space = self._env.action_space
        self.frames_per_second = int(self._env.metadata.get("render_fps") or 30)
        self._rng: np.random.Generator | None = None
        self._episode_seed = 0
        self._actions: list[Any] = []
        self._camera: _Camera | None = None

    @property
    def rng(self) -> np.random.Generator:
        """The generator that draws the seed of each episode."""
        if self._rng is None:
            self._rng, _ = seeding.np_random()
        return self._rng

    def reset(self, seed: int | None) -> Any:
        """Draws a first state."""
        if seed is not None:
            self._rng, _ = seeding.np_random(seed)
        self._episode_seed = int(self.rng.integers(2**31))
        self._actions = []
        obs, _ = self._env.reset(seed=self._episode_seed)
        return observations.kept(self._raw_space, obs)

    def step(self, action: Any) -> Outcome:
        """Moves one step; refuses an end that the form does not have, and infos without the factors."""
        self._actions.append(_copied(action, self.action_space))
        obs, reward, terminated, truncated, info = self._env.step(_copied(action, self.action_space))
        ended = "terminated" if terminated else "was cut by a limit of its own" if truncated else ""
        if ended and self._form == "fixed" and len(self._actions) < self._horizon:
            raise Refused(
                f"{self._source.id} {ended} after {len(self._actions)} of {self._horizon} steps, although its yaml says "
                "never_terminates: true; without it the environment has the form terminating"
            )
        terminates = bool(terminated) and self._form == "terminating"
        return Outcome(
            observations.kept(self._raw_space, obs), float(reward), self._parts(float(reward), info), terminates,
            bool(truncated) and not terminates,
        )

    def save(self) -> FloatArray:
        """Returns the seed of the episode and the steps taken since, (2,): what the state is replayed from."""
        return np.array([self._episode_seed, len(self._actions)], dtype=np.float64)

    def restore(self, words: FloatArray) -> Any:
        """Refuses: the state of an environment that is not ours cannot be set."""
        raise Refused(
            f"the state of {self._source.id} cannot be saved and restored, because only the environment itself knows it: "
            "continuations from a state (branching) need one of preflab's own tasks"
        )

    def draw(self, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Returns a picture of the present state, (height, width, 3), drawn by a copy that takes the same actions."""
        return _fitted(self._replayed(self._episode_seed, self._actions)[1], width, height)

    def picture_of(self, words: FloatArray, trajectory: Trajectory, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Returns a picture of a state of `trajectory`, (height, width, 3).

        Raises:
            Refused: the environment does not repeat the trajectory from its seed, or cannot be drawn.
        """
        n_steps = int(words[1])
        obs, frame = self._replayed(int(words[0]), list(trajectory.actions[:n_steps]))
        if not _equal(observations.pack(self.observation_space, obs), trajectory.observations[n_steps]):
            raise Refused(
                f"{self._source.id} does not repeat an episode from its seed and actions, so what happened cannot be drawn; "
                "an environment that draws all its randomness from self.np_random does"
            )
        return _fitted(frame, width, height)

    def close(self) -> None:
        """Closes the environment and the copy that draws."""
        self._env.close()
        if self._camera is not None:
            self._camera.env.close()
            self._camera = None

    def _parts(self, reward: float, info: Mapping[str, Any]) -> FloatArray:
        try:
            return np.array([reward if name == "reward" else info[name] for name in self._factors], dtype=np.float64)
        except KeyError as error:
            valid = f"{', '.join(map(str, info)) or 'none'}, or reward for the reward itself"
            raise InvalidArgument("env.factors", "must be keys of the info of every step", error.args[0], valid) from error

    def _replayed(self, seed: int, actions: Sequence[Any]) -> tuple[Any, AnyArray]:
        """Returns observation and picture after `actions` from the reset with `seed`."""
        try:
            with _screenless():
                if self._camera is None:
                    self._camera = _Camera(self._source, self._raw_space)
                return self._camera.after(seed, actions)
        except PreflabError:
            raise
        except Exception as error:  # a picture must not end a run, whatever a user's environment raises
            raise Refused(f"{self._source.id} could not be drawn: {_said(error)}") from error


class _Camera:
    """A second copy of an environment that draws, and goes on from where it is if it can."""

    def __init__(self, source: EnvSource, space: gym.Space[Any]) -> None:
        probe = source.make()
        modes = list(probe.metadata.get("render_modes") or [])
        probe.close()
        if "rgb_array" not in modes:
            raise Refused(f"{source.id} has no pictures: its render modes are {modes or 'none'}, without rgb_array")
        self.env, self._space = source.make("rgb_array"), space
        self._seed: int | None = None
        self._taken: list[Any] = []
        self._obs: Any = None

    def after(self, seed: int, actions: Sequence[Any]) -> tuple[Any, AnyArray]:
        """Returns observation and picture after `actions` from the reset with `seed`."""
        n_taken = len(self._taken)
        is_ahead = n_taken > len(actions) or not all(map(np.array_equal, self._taken, actions[:n_taken]))
        if self._seed != seed or is_ahead:
            self._obs, _ = self.env.reset(seed=seed)
            self._seed, self._taken = seed, []
        for action in actions[len(self._taken) :]:
            self._obs = self.env.step(_copied(action, self.env.action_space))[0]
            self._taken.append(action)
        frame = np.asarray(self.env.render())
        if frame.ndim != 3 or frame.shape[2] != 3:
            raise InvalidArgument("render()", "must return (height, width, 3)", frame.shape)
        return observations.kept(self._space, self._obs), frame.astype(np.uint8)


@contextlib.contextmanager
def _screenless() -> Iterator[None]:
    """Lets pygame and MuJoCo, which many environments draw with, do so without a screen, unless the user has said how."""
    has_screen = {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    wanted = {} if has_screen else {"SDL_VIDEODRIVER": "dummy", "MUJOCO_GL": "egl"}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _wrapped(env: gym.Env[Any, Any], wrapper: str | Mapping[str, Any]) -> gym.Env[Any, Any]:
    """Returns `env` inside a wrapper given as "module:Class" or {"module:Class": {keyword: value}}."""
    name, keywords = next(iter(wrapper.items())) if isinstance(wrapper, Mapping) else (wrapper, None)
    module, _, attribute = str(name).partition(":")
    try:
        found: Callable[..., gym.Env[Any, Any]] = getattr(importlib.import_module(f"{module}"), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        valid = "gymnasium.wrappers:FlattenObservation, or {gymnasium.wrappers:FrameStackObservation: {stack_size: 4}}"
        raise InvalidArgument("env.wrappers", f"cannot be found: {error}", wrapper, valid) from error
    try:
        return found(env, **dict(keywords or {}))
    except Exception as error:  # whatever a wrapper's constructor raises
        raise Refused(f"the wrapper {name} could not be put around {env}: {_said(error)}") from error


def _copied(action: Any, space: gym.Space[Any]) -> Any:
    """Returns an action that the environment may change."""
    return np.int64(action) if isinstance(space, gym.spaces.Discrete) else np.array(action)


def _equal(first: AnyArray, second: AnyArray) -> bool:
    """Tells whether two observations are the same, nan being like nan."""
    return np.asarray(first).tobytes() == np.asarray(second).tobytes()


def _fitted(frame: AnyArray, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Returns `frame` scaled to fit into (height, width), centered on the color of its corner."""
    scale = min(width / frame.shape[1], height / frame.shape[0])
    size = max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale))
    way = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    canvas = np.full((height, width, 3), frame[0, 0], dtype=np.uint8)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    canvas[top : top + size[1], left : left + size[0]] = np.asarray(Image.fromarray(frame).resize(size, way))
    return canvas


def _said(error: Exception) -> str:
    """Returns an error's kind and first line."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
