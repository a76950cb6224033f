"""Observations of every kind are one array a batch: packed, unpacked, indexed, joined, stored, and copied where it matters."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first

from preflab import storage
from preflab.errors import InvalidArgument
from preflab.observations import (
    check,
    dtype_of,
    image_shape,
    is_channels_first,
    is_image,
    kept,
    pack,
    parts_of,
    presented,
    shape_of,
    unpack,
)
from preflab.types import SegmentIndex, Trajectory, TrajectoryStore

# Seven pixels a side: numbers behind such an image do not start at a multiple of their size.
IMAGE = gym.spaces.Box(0, 255, (7, 7, 3), np.uint8)
MIXED = gym.spaces.Dict({"camera": IMAGE, "place": gym.spaces.Box(-1, 1, (2, 2), np.float64), "door": gym.spaces.Discrete(3)})


def batch(n: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "camera": rng.integers(256, size=(n, 7, 7, 3), dtype=np.uint8), "door": rng.integers(3, size=n),
        "place": rng.uniform(-1, 1, (n, 2, 2)).astype(np.float32),
    }


def test_a_dicts_batch_packs_into_one_array_and_unpacks_into_the_same_parts() -> None:
    obs = batch(5)
    packed = pack(MIXED, obs)
    assert packed.shape == (5,) and packed.dtype == dtype_of(MIXED) and shape_of(MIXED) == ()
    parts = unpack(packed)
    assert all(np.array_equal(parts[key], obs[key]) and parts[key].flags.c_contiguous for key in obs)
    assert pack(MIXED, packed) is packed
    obs["camera"][:] = 0
    assert packed["camera"].any()  # a copy


@pytest.mark.parametrize("leading", [(), (4,), (2, 3)], ids=str)
def test_leading_axes_are_kept(leading: tuple[int, ...]) -> None:
    flat = batch(int(np.prod(leading, dtype=int)))
    obs = {key: array.reshape((*leading, *array.shape[1:])) for key, array in flat.items()}
    packed = pack(MIXED, obs)
    assert packed.shape == leading and packed["place"].shape == (*leading, 2, 2)


def test_a_packed_batch_is_indexed_joined_and_reshaped_like_any_array() -> None:
    packed = pack(MIXED, batch(6))
    assert np.array_equal(np.concatenate([packed[:2], packed[2:]]), packed)
    assert np.array_equal(np.stack([packed[i] for i in range(6)]), packed)
    assert np.array_equal(packed.reshape(2, 3)[:, 1:].reshape(-1)["door"], packed["door"][[1, 2, 4, 5]])
    assert np.array_equal(packed[np.array([True, False] * 3)]["camera"], packed["camera"][::2])


def test_a_store_of_structured_observations_gathers_pads_and_survives_its_file(tmp_path: Path) -> None:
    first, second = pack(MIXED, batch(4, 1)), pack(MIXED, batch(3, 2))
    store = TrajectoryStore([
        Trajectory(first, np.zeros((3, 1), np.float32), True), Trajectory(second, np.ones((2, 1), np.float32), False),
    ])
    segments = store.gather(SegmentIndex(np.array([0, 1]), np.array([1, 0]), 2))
    assert segments.observations.shape == (2, 3)
    assert np.array_equal(segments.observations[0], first[1:]) and np.array_equal(segments.observations[1], second)
    padded = store.gather(SegmentIndex(np.array([0]), np.array([2]), 3))
    assert np.array_equal(padded.observations[0, 2:], first[[3, 3]])
    assert np.array_equal(padded.transitions().next_obs, first[[3, 3, 3]])
    storage.save_arrays(tmp_path / "store.npz", store.arrays())
    again = TrajectoryStore.from_arrays(storage.load_arrays(tmp_path / "store.npz"))
    assert again.observations.dtype == store.observations.dtype and np.array_equal(again.observations, store.observations)


SPACES = [
    IMAGE, gym.spaces.Box(0, 255, (3, 64, 64), np.uint8), gym.spaces.Box(0, 255, (64, 48, 4), np.uint8),
    gym.spaces.Box(0, 254, (8, 8, 3), np.uint8), gym.spaces.Box(0, 255, (8, 8), np.uint8), gym.spaces.Discrete(4),
    gym.spaces.Box(0, 255, (8, 8, 3), np.float32), gym.spaces.Box(0, 1, (8, 8, 1), np.uint8),
]


@pytest.mark.parametrize("space", SPACES, ids=[f"{i}" for i in range(len(SPACES))])
def test_an_image_is_what_sb3_takes_for_one(space: Any) -> None:
    assert is_image(space) == is_image_space(space)
    if is_image(space):
        assert is_channels_first(space) == is_image_space_channels_first(space)
    assert dtype_of(space) == (np.uint8 if is_image(space) else np.int64 if isinstance(space, gym.spaces.Discrete) else np.float32)


def test_channels_height_and_width_of_either_layout() -> None:
    assert image_shape(gym.spaces.Box(0, 255, (48, 64, 3), np.uint8)) == (3, 48, 64)
    assert image_shape(gym.spaces.Box(0, 255, (3, 48, 64), np.uint8)) == (3, 48, 64)


def test_flat_observations_stay_as_they_were() -> None:
    box = gym.spaces.Box(-1, 1, (3,), np.float64)
    assert pack(box, np.zeros((2, 3))).dtype == np.float32 and shape_of(box) == (3,)
    assert pack(gym.spaces.Discrete(4), [1, 2]).dtype == np.int64
    assert list(parts_of(box)) == [""] and list(parts_of(MIXED)) == ["camera", "door", "place"]


def test_what_is_shown_to_learner_and_agent_has_vectors_of_float32_and_is_a_copy() -> None:
    wide = gym.spaces.Dict({
        "camera": IMAGE, "count": gym.spaces.Box(0, 9, (2,), np.int32), "far": gym.spaces.Box(-1e300, 1e300, (1,), np.float64),
    })
    shown = presented(wide)
    assert isinstance(shown, gym.spaces.Dict)
    assert [part.dtype for part in shown.spaces.values()] == [np.uint8, np.float32, np.float32]
    assert np.isinf(shown["far"].high).all()  # type: ignore[attr-defined]
    buffer: dict[str, Any] = {"camera": np.zeros((7, 7, 3), np.uint8), "count": np.array([3, 4], np.int32), "far": np.zeros(1)}
    copied = kept(wide, buffer)
    buffer["camera"][:], buffer["count"][:] = 9, 9
    assert not copied["camera"].any() and copied["count"].tolist() == [3.0, 4.0] and shown.contains(copied)
    flat = gym.spaces.Box(-1, 1, (2,), np.float32)
    assert presented(flat) is flat


@pytest.mark.parametrize(("space", "said"), [
    (gym.spaces.Tuple([gym.spaces.Discrete(2), gym.spaces.Discrete(3)]), r"must not be nested \(Tuple\).*FlattenObservation"),
    (gym.spaces.Dict({"a": gym.spaces.Dict({"b": gym.spaces.Discrete(2)})}), r"\['a'\] must not be nested \(a Dict inside\)"),
    (gym.spaces.Text(5), "is not supported.*a Box, a Discrete, or a Dict of these"),
    (gym.spaces.MultiBinary(3), "is not supported"),
    (gym.spaces.Dict({}), "at least one key"),
], ids=["tuple", "dict in dict", "text", "multi-binary", "empty"])
def test_other_spaces_are_refused_with_what_to_do(space: Any, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        check(space)


def test_observations_of_another_space_are_refused_by_key() -> None:
    obs = batch(2)
    with pytest.raises(InvalidArgument, match="camera, door, place"):
        pack(MIXED, {"camera": obs["camera"]})
    with pytest.raises(InvalidArgument, match=r"obs\['place'\]"):
        pack(MIXED, {**obs, "place": np.zeros((2, 3))})
    with pytest.raises(InvalidArgument, match="same leading axes"):
        pack(MIXED, {**obs, "door": np.zeros(3)})
    with pytest.raises(InvalidArgument, match="structured"):
        unpack(np.zeros(3))
