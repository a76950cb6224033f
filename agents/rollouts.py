"""What is told of training, rollout by rollout, in units of the proxy."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from preflab.types import BoolArray


@dataclass(frozen=True, slots=True)
class RolloutInfo:
    """One rollout and its update are done.

    Attributes:
        i_rollout: rollouts done in this call of `train`, from 1.
        n_rollouts: rollouts that this call will do.
        n_env_steps: steps of this call so far, over all environments.
        n_env_steps_total: steps the agent has trained since it was new.
        scalars: "rollout/proxy_reward" (mean per step), "rollout/proxy_return" and "rollout/episode_length" (means over
            episodes that ended in this rollout; missing if none did), and SB3's "train/*" of the update.
    """

    i_rollout: int
    n_rollouts: int
    n_env_steps: int
    n_env_steps_total: int
    scalars: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What one call of `train` did.

    Attributes:
        n_env_steps: steps taken, over all environments.
        n_rollouts: whole rollouts, each followed by an update.
        n_episodes: episodes that ended.
        is_stopped: `on_rollout` returned False before all rollouts were done.
        seconds: wall time of the call; of it
        seconds_env: spent in the environments,
        seconds_reward: in the reward source, and
        seconds_callback: in `on_rollout`; the rest is the agent's own.
        scalars: figures of the last rollout by name.
    """

    n_env_steps: int
    n_rollouts: int
    n_episodes: int
    is_stopped: bool
    seconds: float
    seconds_env: float
    seconds_reward: float
    seconds_callback: float
    scalars: Mapping[str, float] = field(default_factory=dict)

    @property
    def seconds_agent(self) -> float:
        """Wall time of acting and updating."""
        return self.seconds - self.seconds_env - self.seconds_reward - self.seconds_callback


class EpisodeCounter:
    """Follows the return and length of every environment's episode across rollouts."""

    def __init__(self, n_envs: int) -> None:
        """Starts with fresh episodes in all `n_envs`."""
        self.n_episodes = 0
        self._returns = np.zeros(n_envs)
        self._lengths = np.zeros(n_envs, dtype=np.int64)

    def scalars(self, rewards: npt.NDArray[np.float32], dones: BoolArray) -> dict[str, float]:
        """Returns the figures of a rollout with (n_steps, n_envs) `rewards` and episode ends `dones`."""
        returns: list[float] = []
        lengths: list[int] = []
        for step_rewards, step_dones in zip(rewards, dones, strict=True):
            self._returns += step_rewards
            self._lengths += 1
            returns.extend(self._returns[step_dones])
            lengths.extend(self._lengths[step_dones])
            self._returns[step_dones] = 0.0
            self._lengths[step_dones] = 0
        self.n_episodes += len(returns)
        figures = {"rollout/proxy_reward": float(np.mean(rewards, dtype=np.float64))}
        if returns:
            figures["rollout/proxy_return"] = float(np.mean(returns))
            figures["rollout/episode_length"] = float(np.mean(lengths))
        return figures
