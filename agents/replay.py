"""Replay buffers whose rewards are a proxy's: scored in batches just before they are sampled, and again after every fit.

SB3 fills them as its own; what it stores as reward is 0, since the env under it pays nothing. Nothing of SB3 is modified:
its algorithms take a buffer's class as an argument. Dict observations: `preflab.agents.replay_dict`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize

from preflab.agents.generators import preserved_generators
from preflab.agents.observing import as_shown, as_stored
from preflab.agents.proxy import FINAL_OBS, score
from preflab.errors import InvalidArgument
from preflab.interfaces import RewardSource
from preflab.observations import is_image, parts_of
from preflab.types import AnyArray, Transitions

OBSERVATIONS = ("observations", "next_observations")
_OTHERS = ("actions", "rewards", "dones", "timeouts")
_CHUNK = 100_000  # transitions scored at once, which bounds memory
_IMAGE_BYTES = 2**27  # of images scored at once

OnSamples = Callable[[Any], Any]  # of SB3's ReplayBufferSamples or DictReplayBufferSamples


class ProxyReplayBuffer(ReplayBuffer):
    """SB3's replay buffer in float32 (images in uint8), whose rewards a source gives.

    Attributes:
        n_pending: newest rows that are not scored yet. A row holds one step of every environment.
        reward_seconds: time spent in the source.
        on_samples: changes every batch just before the algorithm gets it (a KL penalty), or None.
    """

    def __init__(
        self, buffer_size: int, observation_space: spaces.Space[Any], *args: Any, shown_space: spaces.Space[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Takes SB3's arguments; float64 observations are kept as float32, which is what networks get.

        Args:
            buffer_size: transitions, of all environments together.
            observation_space: of what is stored: images with channels first.
            args: SB3's.
            shown_space: of what the environment shows, which the source is given; None: what is stored.
            kwargs: SB3's.
        """
        super().__init__(buffer_size, _single(observation_space), *args, **kwargs)
        self.shown_space = observation_space if shown_space is None else shown_space
        self.n_pending = 0
        self.reward_seconds = 0.0
        self.on_samples: OnSamples | None = None
        self._source: RewardSource | None = None
        self._scale = np.float32(1.0)
        self._unscale: Callable[[AnyArray], AnyArray] | None = None

    @property
    def n_rows(self) -> int:
        """Rows filled so far."""
        return self.buffer_size if self.full else self.pos

    def use(self, source: RewardSource, scale: float, unscale: Callable[[AnyArray], AnyArray] | None) -> None:
        """Takes rewards from `source` from now on, in every row, the old ones too.

        Args:
            source: the proxy. One that has `scores_only_new` (a tape of what was just paid) leaves old rows as they are.
            scale: factor on its scores.
            unscale: turns stored actions, in ±1, into those that the env was given; None for discrete ones.
        """
        self._source, self._scale, self._unscale = source, np.float32(scale), unscale
        if not getattr(source, "scores_only_new", False):
            self.n_pending = self.n_rows

    def add(self, obs: Any, next_obs: Any, action: Any, reward: Any, done: Any, infos: list[dict[str, Any]]) -> None:
        """Stores one step of every environment, (n_envs, *obs) or dicts of them, to be scored before the next sample.

        SB3 stores an episode's final observation after VecNormalize clipped it and undid itself; here the one shown is.
        """
        for i in np.flatnonzero(done):
            if FINAL_OBS in infos[i]:
                self._put_final(next_obs, int(i), infos[i][FINAL_OBS])
        super().add(obs, next_obs, action, reward, done, infos)
        self.n_pending = min(self.n_pending + 1, self.buffer_size)

    def _put_final(self, next_obs: Any, i: int, final_obs: Any) -> None:
        """Puts the final observation of environment `i`, as shown, into what is to be stored."""
        next_obs[i] = as_stored(self.shown_space, np.asarray(final_obs))

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> Any:
        """Scores what is pending and returns a batch as SB3 draws it, (Dict)ReplayBufferSamples."""
        self.score_pending()
        samples = super().sample(batch_size, env)
        return samples if self.on_samples is None else self.on_samples(samples)

    def score_pending(self) -> None:
        """Scores the rows that are not scored yet, oldest first; raises `InvalidArgument` if a score is not finite."""
        if self._source is None:
            raise InvalidArgument("source", "must be set before rewards are needed", None, "call use(source, …) first")
        started = time.perf_counter()
        n_rows = max(1, _n_at_once(self.shown_space) // self.n_envs)
        while self.n_pending:
            rows = (self.pos - self.n_pending + np.arange(min(self.n_pending, n_rows))) % self.buffer_size
            with preserved_generators():
                scores = score(self._source, self.transitions(rows))
            self.rewards[rows] = self._scale * scores.reshape(len(rows), self.n_envs)
            self.n_pending -= len(rows)
        self.reward_seconds += time.perf_counter() - started

    def transitions(self, rows: AnyArray) -> Transitions:
        """Returns the (R · n_envs) transitions of `rows`, (R,), in (row, env) order, as the env was given them."""
        size = len(rows) * self.n_envs
        actions = self.actions[rows].reshape(size, *(self.action_space.shape or ()))
        return Transitions(
            self._shown(self.observations, rows),
            actions if self._unscale is None else self._unscale(actions),
            self._shown(self.next_observations, rows),
            (self.dones[rows] * (1 - self.timeouts[rows])).reshape(size) > 0.5,
        )

    def _shown(self, stored: Any, rows: AnyArray) -> AnyArray:
        """Returns (R · n_envs, *obs) of `rows` of stored observations, as the environment showed them."""
        shape = self.observation_space.shape or ()
        return as_shown(self.shown_space, stored[rows].reshape(len(rows) * self.n_envs, *shape))

    def _arrays(self) -> dict[str, AnyArray]:
        """Returns what is stored, (buffer_size, n_envs, …) each, by the name it has in a state."""
        return {name: getattr(self, name) for name in (*OBSERVATIONS, *_OTHERS)}

    def last_rewards(self, n_rows: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Returns (n_rows, n_envs) scores (without the scale) and episode ends of the newest rows."""
        rows = (self.pos - n_rows + np.arange(n_rows)) % self.buffer_size
        return np.asarray(self.rewards[rows] / self._scale, dtype=np.float32), self.dones[rows] > 0.5

    def cut(self) -> None:
        """Marks the newest step of every environment as cut: the next one stored belongs to another episode."""
        if self.n_rows:
            last = self.pos - 1
            self.timeouts[last] = np.maximum(self.timeouts[last], 1 - self.dones[last])

    def dump(self) -> dict[str, torch.Tensor]:
        """Returns copies of the filled rows, oldest first, by name."""
        order = (self.pos + np.arange(self.n_rows)) % self.buffer_size if self.full else np.arange(self.pos)
        return {f"buffer.{name}": torch.as_tensor(array[order]) for name, array in self._arrays().items()}

    def fill(self, state: Mapping[str, torch.Tensor]) -> None:
        """Stores what `dump` returned; nothing if it names no buffer.

        Raises:
            InvalidArgument: an array is missing or of another shape, or there are more rows than fit.
        """
        if not any(name.startswith("buffer.") for name in state):
            return
        n_rows = len(state.get("buffer.rewards", ()))
        for name, own in self._arrays().items():
            given = state.get(f"buffer.{name}")
            found = None if given is None else tuple(given.shape)
            if given is None or n_rows > self.buffer_size or found != (n_rows, *own.shape[1:]):
                rule = f"must have shape (rows, …) = (≤ {self.buffer_size}, {', '.join(map(str, own.shape[1:]))})"
                raise InvalidArgument(f"state['buffer.{name}']", rule, found)
            own[:n_rows] = given.numpy()
        self.full, self.pos = n_rows == self.buffer_size, n_rows % self.buffer_size


class ProxyNStepReplayBuffer(ProxyReplayBuffer, NStepReplayBuffer):
    """The same over SB3's n-step returns, which are summed from the stored rewards at every sample."""


def _single(space: spaces.Space[Any]) -> spaces.Space[Any]:
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _single(part) for key, part in space.spaces.items()})
    if isinstance(space, spaces.Box) and space.dtype == np.float64:
        with np.errstate(over="ignore"):
            return spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)
    return space


def _n_at_once(space: spaces.Space[Any]) -> int:
    """Returns the number of transitions to score at once."""
    n_bytes = sum(int(np.prod(part.shape or ())) for part in parts_of(space).values() if is_image(part))
    return min(_CHUNK, max(1, _IMAGE_BYTES // n_bytes)) if n_bytes else _CHUNK
