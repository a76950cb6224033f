"""A small environment that writes down all that happens in it, and proxies that write down all that they are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from preflab.types import AnyArray, Transitions

LOW, HIGH = -0.5, 2.0  # neither symmetric nor of width 2: actions in any other unit than the environment's show
OBS = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
BOX = gym.spaces.Box(LOW, HIGH, (1,), np.float32)
CHOICE = gym.spaces.Discrete(2)
LENGTHS = (3, 5)


@dataclass
class Tape:
    """What happened in all environments that write on it, and how they lie.

    Attributes:
        pays: the environments' own reward: "nothing", "noise" or "nan".
        tells: their infos: "nothing", "noise" or "nan".
        rows: (obs, action, next_obs, terminated, truncated) of each step.
    """

    pays: str = "nothing"
    tells: str = "nothing"
    rows: list[tuple[Any, ...]] = field(default_factory=list)

    def make_vec(self, is_discrete: bool) -> Callable[[int, int], VecEnv]:
        """Returns what builds `n_envs` seeded environments that write here."""

        def make(n_envs: int, seed: int) -> VecEnv:
            venv = DummyVecEnv([lambda: TapedEnv(self, is_discrete) for _ in range(n_envs)])
            venv.seed(seed)
            return venv

        return make

    @property
    def n_episodes(self) -> int:
        """Episodes that ended."""
        return sum(row[3] or row[4] for row in self.rows)

    def found(self, obs: AnyArray) -> list[tuple[Any, ...]]:
        """Returns the steps that began at `obs`; observations are drawn from a continuum, so there is one or none."""
        return self._index().get(obs.tobytes(), [])

    def _index(self) -> dict[bytes, list[tuple[Any, ...]]]:
        if getattr(self, "_n_indexed", -1) != len(self.rows):
            self._by_obs: dict[bytes, list[tuple[Any, ...]]] = {}
            for row in self.rows:
                self._by_obs.setdefault(row[0].tobytes(), []).append(row)
            self._n_indexed = len(self.rows)
        return self._by_obs


class TapedEnv(gym.Env[Any, Any]):
    """Shows two random numbers, never the same twice. Half of the episodes terminate, half are cut, after 3 or 5 steps."""

    observation_space = OBS

    def __init__(self, tape: Tape, is_discrete: bool) -> None:
        """Writes on `tape`."""
        self.tape = tape
        self.action_space: gym.Space[Any] = CHOICE if is_discrete else BOX
        self._obs: npt.NDArray[np.float32] = np.zeros(2, np.float32)
        self._n_left, self._is_cut = 0, False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Draws length and kind of the episode."""
        super().reset(seed=seed)
        self._n_left = LENGTHS[int(self.np_random.integers(2))]
        self._is_cut = bool(self.np_random.integers(2))
        self._obs = self._drawn()
        return self._obs.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Draws the next observation; the action does nothing but be written down."""
        before, self._obs, self._n_left = self._obs, self._drawn(), self._n_left - 1
        is_over = self._n_left == 0
        terminated, truncated = is_over and not self._is_cut, is_over and self._is_cut
        self.tape.rows.append((before, np.array(action), self._obs.copy(), terminated, truncated))
        # Noise is made of what is shown, so that the generator runs alike whatever the environment pays.
        lies = {"nothing": 0.0, "noise": float(100 * before[0] - 30 * np.sum(action)), "nan": np.nan}
        told = lies[self.tape.tells]
        info = {"reward_run": told, "is_success": told, "episode": {"r": told, "l": told, "t": told}}
        return self._obs.copy(), lies[self.tape.pays], terminated, truncated, {} if self.tape.tells == "nothing" else info

    def _drawn(self) -> npt.NDArray[np.float32]:
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)


@dataclass
class Source:
    """A proxy that keeps copies of the transitions it was asked about.

    Attributes:
        pay: (transitions) -> (B,) rewards.
        breaks_at: the call, from 1, whose answer `broken` replaces; None never breaks.
        broken: (rewards) -> an answer that no agent may take.
    """

    pay: Callable[[Transitions], AnyArray]
    breaks_at: int | None = None
    broken: Callable[[AnyArray], AnyArray] = lambda rewards: rewards
    asked: list[Transitions] = field(default_factory=list)

    def __call__(self, transitions: Transitions) -> npt.NDArray[np.float32]:
        """Returns (B,) float32 rewards."""
        parts = (transitions.obs, transitions.actions, transitions.next_obs, transitions.terminated)
        self.asked.append(Transitions(*(np.array(part) for part in parts)))
        rewards = np.asarray(self.pay(self.asked[-1]), dtype=np.float32)
        return self.broken(rewards) if self.breaks_at == len(self.asked) else rewards

    def rows(self) -> Transitions:
        """Returns all transitions asked about, one call after the other."""
        names = ("obs", "actions", "next_obs", "terminated")
        return Transitions(*(np.concatenate([getattr(batch, name) for batch in self.asked]) for name in names))


def likes_high_actions(transitions: Transitions) -> AnyArray:
    """Pays an action by how far above the middle of its space it is, −1 to 1."""
    actions = transitions.actions.reshape(len(transitions), -1)[:, 0].astype(np.float64)
    is_choice = transitions.actions.ndim == 1
    return 2 * actions - 1 if is_choice else (2 * actions - LOW - HIGH) / (HIGH - LOW)


def likes_low_actions(transitions: Transitions) -> AnyArray:
    """Pays the opposite of `likes_high_actions`."""
    return -likes_high_actions(transitions)


def likes_matches(transitions: Transitions) -> AnyArray:
    """Pays high actions where the first number shown is high; a little for the next observation and an end too."""
    wanted = likes_high_actions(transitions) * transitions.obs[:, 0]
    return np.asarray(wanted + 0.1 * transitions.next_obs[:, 1] - 0.2 * transitions.terminated)
