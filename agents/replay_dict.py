"""The replay buffer of `preflab.agents.replay` for Dict observations, over SB3's own for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.buffers import DictReplayBuffer

from preflab.agents.observing import as_shown, as_stored
from preflab.agents.replay import OBSERVATIONS, ProxyReplayBuffer
from preflab.observations import pack, parts_of
from preflab.types import AnyArray


class ProxyDictReplayBuffer(ProxyReplayBuffer, DictReplayBuffer):
    """One array a key; sources get them in one structured array, images in the environment's own order of channels."""

    def _put_final(self, next_obs: Any, i: int, final_obs: Any) -> None:
        """Puts the final observation of environment `i`, as shown, into what is to be stored."""
        for key, part in parts_of(self.shown_space).items():
            next_obs[key][i] = as_stored(part, np.asarray(final_obs[key]))

    def _shown(self, stored: Any, rows: AnyArray) -> AnyArray:
        """Returns (R · n_envs,) structured observations of `rows`."""
        size = len(rows) * self.n_envs
        shown = {
            key: as_shown(part, stored[key][rows].reshape(size, *(self.observation_space[key].shape or ())))
            for key, part in parts_of(self.shown_space).items()
        }
        return pack(self.shown_space, shown)

    def _arrays(self) -> dict[str, AnyArray]:
        """Returns what is stored by name: "observations.<key>", "next_observations.<key>" and the others."""
        arrays: dict[str, Any] = super()._arrays()
        stored = {f"{name}.{key}": array for name in OBSERVATIONS for key, array in arrays.pop(name).items()}
        return stored | arrays
