"""Random generators by name: every part of a run derives its own from (seed, names), never from a shared stream.

Two parts with different names have independent streams, so adding a draw in one place changes no other place, and a
resumed run re-derives exactly the generators that a run never killed would have had.
"""

import hashlib

import numpy as np
import numpy.typing as npt
import torch

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def key(seed: int, *names: object) -> int:
    """Returns a 64-bit key for (seed, names), the same in every process and on every platform.

    >>> key(0, "oracle") == key(0, "oracle"), key(0, "oracle") == key(1, "oracle")
    (True, False)
    """
    text = "\x1f".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(seed: int, *names: object) -> np.random.Generator:
    """Returns the numpy generator that belongs to (seed, names)."""
    return np.random.Generator(np.random.PCG64(key(seed, *names)))


def torch_generator(seed: int, *names: object) -> torch.Generator:
    """Returns the CPU torch generator that belongs to (seed, names)."""
    made = torch.Generator(device="cpu")
    made.manual_seed(key(seed, *names) >> 1)
    return made


def small_seed(seed: int, *names: object) -> int:
    """Returns a 31-bit seed for libraries that only take those (Gymnasium, Stable-Baselines3)."""
    return key(seed, *names) >> 33


def counter_uniforms(stream: int, counters: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Returns one uniform in [0, 1) per counter, pure in (stream, counter): order and batching cannot matter.

    SplitMix64's finalizer applied twice to the mixed pair (Steele, Lea & Flood 2014, "Fast splittable pseudorandom
    number generators", https://doi.org/10.1145/2714064.2660195).

    Args:
        stream: 64-bit key, from `key`.
        counters: (M,) non-negative integers.
    """
    with np.errstate(over="ignore"):
        bits = np.asarray(counters).astype(np.uint64) * _GOLDEN
        bits = _mix(_mix(bits + np.uint64(stream & 0xFFFFFFFFFFFFFFFF)) + _GOLDEN)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    bits = (bits ^ (bits >> np.uint64(30))) * _MIX_1
    bits = (bits ^ (bits >> np.uint64(27))) * _MIX_2
    return np.asarray(bits ^ (bits >> np.uint64(31)), dtype=np.uint64)
