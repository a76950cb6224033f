"""Observations of every supported kind as one array a batch, so that indexing, joining and storing them stay the same.

| space | a batch of N |
|---|---|
| Box | (N, *shape) float32; an image (see `is_image`) stays uint8 |
| Discrete | (N,) int64 |
| Dict of these | (N,) structured: one field a key, in the space's order, of the key's own shape and type |

A structured array is a numpy array like any other (https://numpy.org/doc/stable/user/basics.rec.html): it is indexed,
concatenated, reshaped and written to an npz without pickle as a whole, and `array["key"]` is a view of one part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from preflab.errors import InvalidArgument
from preflab.types import AnyArray

Parts = dict[str, gym.Space[Any]]
_SUPPORTED = "a Box, a Discrete, or a Dict of these"
_REMEDY = "wrap the environment so that it shows one of these, as gymnasium.wrappers.FlattenObservation does"


def is_image(space: gym.Space[Any]) -> bool:
    """Returns whether `space` is an image by SB3's rule: a uint8 Box of rank 3 from 0 to 255.

    >>> is_image(gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)), is_image(gym.spaces.Box(0, 1, (64, 64, 3), np.float32))
    (True, False)
    """
    return (
        isinstance(space, gym.spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8
        and bool((space.low == 0).all() and (space.high == 255).all())
    )


def is_channels_first(space: gym.Space[Any]) -> bool:
    """Returns whether an image space is (channels, height, width), by SB3's rule: channels are the smallest dimension."""
    return int(np.argmin(space.shape or ())) == 0


def image_shape(space: gym.Space[Any]) -> tuple[int, int, int]:
    """Returns (channels, height, width) of an image space.

    >>> image_shape(gym.spaces.Box(0, 255, (48, 64, 3), np.uint8))
    (3, 48, 64)
    """
    first, second, third = space.shape or ()
    return (first, second, third) if is_channels_first(space) else (third, first, second)


def parts_of(space: gym.Space[Any]) -> Parts:
    """Returns the spaces that `space` is made of by key, in order; one that is no Dict is its own part, called ""."""
    return dict(space.spaces) if isinstance(space, gym.spaces.Dict) else {"": space}


def check(space: gym.Space[Any], name: str = "observation space") -> None:
    """Raises InvalidArgument, in a sentence that says what to do instead, unless observations of `space` are supported."""
    for key, part in parts_of(space).items():
        where = f"{name}[{key!r}]" if isinstance(space, gym.spaces.Dict) else name
        if isinstance(space, gym.spaces.Dict) and (not isinstance(key, str) or not key):
            raise InvalidArgument(name, "must have names as keys", key, "one or more letters")
        if isinstance(part, gym.spaces.Dict | gym.spaces.Tuple):
            kind = "a Dict inside" if where != name else type(part).__name__
            raise InvalidArgument(where, f"must not be nested ({kind})", part, f"{_SUPPORTED}; {_REMEDY}")
        if not isinstance(part, gym.spaces.Box | gym.spaces.Discrete):
            raise InvalidArgument(where, "is not supported", part, f"{_SUPPORTED}; {_REMEDY}")
    if isinstance(space, gym.spaces.Dict) and not len(space.spaces):
        raise InvalidArgument(name, "must have at least one key", space)


def dtype_of(space: gym.Space[Any]) -> np.dtype[Any]:
    """Returns the type in which observations are kept: float32, uint8 (image), int64 (Discrete), or one field a key.

    >>> dtype_of(gym.spaces.Dict({"door": gym.spaces.Discrete(2), "state": gym.spaces.Box(-1, 1, (5,))}))
    dtype([('door', '<i8'), ('state', '<f4', (5,))])
    """
    check(space)
    if isinstance(space, gym.spaces.Dict):
        return np.dtype([(key, dtype_of(part), part.shape or ()) for key, part in space.spaces.items()])
    if isinstance(space, gym.spaces.Discrete):
        return np.dtype(np.int64)
    return np.dtype(np.uint8 if is_image(space) else np.float32)


def shape_of(space: gym.Space[Any]) -> tuple[int, ...]:
    """Returns the shape that one observation has in an array of `dtype_of(space)`: () for a Dict."""
    return () if isinstance(space, gym.spaces.Dict) else tuple(space.shape or ())


def pack(space: gym.Space[Any], obs: Any) -> AnyArray:
    """Returns observations in one array of `dtype_of(space)`; a Dict's are always copied, others if their type differs.

    Args:
        space: of one observation.
        obs: one observation or a batch with any leading axes, (…, *obs): a mapping of such arrays for a Dict. What is
            packed already is returned as it is.

    Raises:
        InvalidArgument: `obs` is not of `space`.
    """
    dtype = dtype_of(space)
    if not isinstance(space, gym.spaces.Dict):
        return np.asarray(obs, dtype=dtype)
    if isinstance(obs, np.ndarray) and obs.dtype == dtype:
        return obs
    if not isinstance(obs, Mapping) or set(obs) != set(space.spaces):
        found = sorted(map(str, obs)) if isinstance(obs, Mapping) else type(obs).__name__
        raise InvalidArgument("obs", "must be a mapping with the space's keys", found, ", ".join(space.spaces))
    arrays = {key: np.asarray(obs[key]) for key in space.spaces}
    leading = {key: _leading(key, array, space[key]) for key, array in arrays.items()}
    if len(set(leading.values())) != 1:
        raise InvalidArgument("obs", "must have the same leading axes under each key", leading)
    packed = np.empty(next(iter(leading.values())), dtype=dtype)
    for key, array in arrays.items():
        packed[key] = array
    return packed


def unpack(array: AnyArray) -> dict[str, AnyArray]:
    """Returns the parts of a structured array (…,) by key, (…, *part) each, contiguous; the inverse of `pack`."""
    if array.dtype.names is None:
        raise InvalidArgument("array", "must be structured, as pack makes it of a Dict's observations", array.dtype)
    return {name: np.ascontiguousarray(array[name]) for name in array.dtype.names}


def for_policy(space: gym.Space[Any], obs: AnyArray) -> Any:
    """Returns a batch as SB3 takes it: the array itself, or a dict of arrays for a Dict space."""
    return unpack(obs) if isinstance(space, gym.spaces.Dict) else obs


def presented(space: gym.Space[Any]) -> gym.Space[Any]:
    """Returns `space` as it is shown to learner and agent: its vectors as float32 Boxes, in which they are kept.

    Raises:
        InvalidArgument: observations of `space` are not supported.
    """
    check(space)
    if isinstance(space, gym.spaces.Dict):
        return gym.spaces.Dict({key: presented(part) for key, part in space.spaces.items()})
    if isinstance(space, gym.spaces.Box) and space.dtype != np.float32 and not is_image(space):
        with np.errstate(over="ignore"):  # a bound beyond float32 is none
            low, high = space.low.astype(np.float32), space.high.astype(np.float32)
        return gym.spaces.Box(low, high, space.shape, np.float32)
    return space


def kept(space: gym.Space[Any], obs: Any) -> Any:
    """Returns a copy of one observation in the types of `presented(space)`: an environment may reuse its buffers."""
    if isinstance(space, gym.spaces.Dict):
        return {key: kept(part, obs[key]) for key, part in space.spaces.items()}
    if isinstance(space, gym.spaces.Discrete):
        return np.int64(obs)
    copied: npt.NDArray[Any] = np.array(obs, dtype=dtype_of(space))
    return copied


def _leading(key: str, array: AnyArray, part: gym.Space[Any]) -> tuple[int, ...]:
    """Returns the leading axes of a batch of `part`."""
    shape = tuple(part.shape or ())
    n_leading = array.ndim - len(shape)
    if n_leading < 0 or array.shape[n_leading:] != shape:
        raise InvalidArgument(f"obs[{key!r}]", f"must be (…, *obs) with obs of shape {shape}", array.shape)
    return tuple(array.shape[:n_leading])
