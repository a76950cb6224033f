"""PEBBLE's label-free start: explore where few states have been, before anyone is asked.

Lee et al. 2021, https://arxiv.org/abs/2106.05091, section 4.1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from preflab.errors import InvalidArgument
from preflab.observations import unpack
from preflab.types import AnyArray, BoolArray, FloatArray, Transitions

_CHUNK = 1024  # states compared at once: 40 MB of distances


class StateEntropyReward:
    """Pays log(1 + distance of the reached state to its k-th nearest neighbor among all states so far).

    A particle estimate of the entropy of the visited states (Singh et al. 2003): PEBBLE writes the log of the distance, its
    code pays the distance over its running spread; 1 + keeps a repeated state at 0 instead of −∞ (Seo et al. 2021,
    https://arxiv.org/abs/2102.09430). Every dimension is divided by its spread over the states so far. A `RewardSource`.
    """

    name = "state entropy"
    scores_only_new = True  # what was new then is not scored again

    def __init__(self, rng: np.random.Generator, k: int = 5, capacity: int = 5000) -> None:
        """Measures distances to the `k`-th neighbor (PEBBLE: 5) among a uniform sample of at most `capacity` states.

        Raises:
            InvalidArgument: `k` is below 1, or `capacity` below 2 k.
        """
        if not 1 <= k <= capacity // 2:
            raise InvalidArgument("k, capacity", "must be at least 1, and capacity at least 2 k", (k, capacity))
        self.k, self.capacity = k, capacity
        self._rng = rng
        self._kept: FloatArray = np.zeros((0, 0))
        self._keys: FloatArray = np.zeros(0)

    def __call__(self, transitions: Transitions) -> npt.NDArray[np.float32]:
        """Returns (B,) rewards of the reached states, which count as visited from then on."""
        states = _flat(transitions.next_obs)
        is_kept = self._remember(states)
        spread = self._kept.std(0)
        scale = np.where(spread > 1e-8, spread, 1.0)
        # A kept state is its own nearest neighbor, so that its k-th other one comes one place later.
        place = np.minimum(self.k - 1 + is_kept, len(self._kept) - 1)
        return np.log1p(_nearest(states / scale, self._kept / scale, place)).astype(np.float32)

    def _remember(self, states: FloatArray) -> BoolArray:
        """Adds states to a uniform sample, without replacement, of all so far; returns which of them are in it.

        Every state draws one key when it is met; the sample is the states of the smallest keys.
        """
        keys = np.concatenate([self._keys, self._rng.random(len(states))])
        kept = np.concatenate([self._kept, states]) if len(self._kept) else states
        is_in = np.ones(len(keys), dtype=np.bool_)
        if len(keys) > self.capacity:
            is_in[np.argpartition(keys, self.capacity)[self.capacity :]] = False
        self._keys, self._kept = keys[is_in], kept[is_in]
        return is_in[-len(states) :]


def _flat(obs: AnyArray) -> FloatArray:
    """Returns (B, D) numbers of observations; of structured ones (Dict spaces), every part's."""
    parts = [obs] if obs.dtype.names is None else list(unpack(obs).values())
    return np.concatenate([part.reshape(len(obs), -1) for part in parts], axis=1).astype(np.float64)


def _nearest(states: FloatArray, among: FloatArray, place: AnyArray) -> FloatArray:
    """Returns (B,) distance of each state to the `place`-th nearest (from 0) of the (K, D) states `among`."""
    squares = (among**2).sum(1)
    found = []
    for first in range(0, len(states), _CHUNK):
        part, places = states[first : first + _CHUNK], place[first : first + _CHUNK]
        distances = (part**2).sum(1)[:, None] + squares - 2 * part @ among.T
        kth = np.partition(distances, np.unique(places), axis=1)[np.arange(len(part)), places]
        found.append(np.sqrt(np.maximum(kth, 0.0)))
    return np.concatenate(found)
