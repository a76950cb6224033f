"""Features of observations in which a potential is linear."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from preflab.errors import Refused
from preflab.types import AnyArray, FloatArray

Features: TypeAlias = Callable[[AnyArray], FloatArray]  # (N, *obs) → (N, P)
_SPREAD = 1e-8  # of a number that never changes: it is left as it is
_PROBES = 500


class FourierFeatures:
    """1, the standardized observation, and √(2/n) cos(ω·x + b): random Fourier features of a Gaussian kernel.

    Rahimi & Recht 2007 (https://papers.nips.cc/paper/3182-random-features-for-large-scale-kernel-machines). ω ~ N(0, 1/ℓ²), ℓ the
    median distance of standardized observations; the constant lets a constant shift be removed.
    """

    def __init__(self, obs: AnyArray, n: int, rng: np.random.Generator, width: float = 1.0) -> None:
        """Draws `n` frequencies for observations like (N, d) `obs`; `width` multiplies ℓ."""
        flat = _vectors(obs)
        self._mean, spread = flat.mean(0), flat.std(0)
        self._scale = np.where(spread > _SPREAD, spread, 1.0)
        probes = self._standardized(flat[rng.integers(len(flat), size=2 * _PROBES)])
        apart = np.linalg.norm(probes[:_PROBES] - probes[_PROBES:], axis=1)
        length = width * max(float(np.median(apart)), _SPREAD)
        self._frequencies = rng.normal(size=(flat.shape[1], n)) / length
        self._phases = rng.uniform(0, 2 * np.pi, n)

    def __call__(self, obs: AnyArray) -> FloatArray:
        """Returns (N, 1 + d + n) features of (N, d) observations."""
        x = self._standardized(_vectors(obs))
        waves = np.sqrt(2 / max(1, len(self._phases))) * np.cos(x @ self._frequencies + self._phases)
        return np.concatenate([np.ones((len(x), 1)), x, waves], axis=1)

    def _standardized(self, flat: FloatArray) -> FloatArray:
        return np.asarray((flat - self._mean) / self._scale)


def one_hot(n_states: int) -> Features:
    """Returns 1 and an indicator of each state of a finite task, (N, 1 + S): any potential is linear in them."""
    table = np.concatenate([np.ones((n_states, 1)), np.eye(n_states)], axis=1)
    return lambda obs: table[np.asarray(obs, np.int64).reshape(-1)]


def _vectors(obs: AnyArray) -> FloatArray:
    if obs.ndim != 2 or obs.dtype.names is not None:
        raise Refused(
            f"Fourier features are of vectors, (N, d), and observations are {obs.shape} of {obs.dtype}: hand over your own features"
        )
    return obs.astype(np.float64)
