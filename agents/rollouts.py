"""What is told of training, piece by piece, in units of the proxy."""

import numpy as np
import numpy.typing as npt

from preflab.types import BoolArray


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
