"""Files are whole or absent, come back as they were, and are named when they do not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from preflab import storage
from preflab.errors import DamagedFile, InvalidArgument, NotFitted, PreflabError, Refused, UnknownName


class Interruption(Exception):
    """Stands for whatever ends a write halfway."""


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    storage.save_json(path, {"round": 1})

    def half(temporary: Path) -> None:
        temporary.write_text('{"round":', encoding="utf-8")
        assert storage.load_json(path) == {"round": 1}  # while it is being written, readers see the old one
        raise Interruption

    with pytest.raises(Interruption):
        storage.write_atomically(path, half)
    assert storage.load_json(path) == {"round": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


def test_an_interrupted_directory_never_appears(tmp_path: Path) -> None:
    def half(temporary: Path) -> None:
        (temporary / "policy").write_text("half", encoding="utf-8")
        raise Interruption

    with pytest.raises(Interruption):
        storage.write_directory_atomically(tmp_path / "checkpoint", half)
    assert not list(tmp_path.iterdir())

    storage.write_directory_atomically(
        tmp_path / "checkpoint", lambda temporary: storage.save_text(temporary / "policy", "whole")
    )
    assert (tmp_path / "checkpoint" / "policy").read_text(encoding="utf-8") == "whole"
    assert len(list(tmp_path.iterdir())) == 1


def test_json_comes_back_as_plain_values(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "record.json"
    storage.save_json(
        path,
        {
            "count": np.int64(3), "rate": np.float32(0.5), "row": np.array([1.0, np.nan]), "where": Path("a/b"),
            "infinite": float("inf"), "pair": (1, True), "nothing": None, 7: "seven", "ß": "≥",
        },
    )
    assert storage.load_json(path) == {
        "count": 3, "rate": 0.5, "row": [1.0, None], "where": "a/b", "infinite": None, "pair": [1, True],
        "nothing": None, "7": "seven", "ß": "≥",
    }


@pytest.mark.parametrize("name", ["arrays.npz", "arrays"])
def test_arrays_come_back_bit_for_bit_with_their_types(tmp_path: Path, name: str) -> None:
    kept = {"x": np.array([1.5, np.nan, -0.0]), "n": np.array([1, 2], np.int8), "none": np.zeros((0, 3), np.float32)}
    storage.save_arrays(tmp_path / name, kept)
    found = storage.load_arrays(tmp_path / name)
    assert {key: (value.dtype, value.shape, value.tobytes()) for key, value in found.items()} == {
        key: (value.dtype, value.shape, value.tobytes()) for key, value in kept.items()
    }
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_objects_that_would_need_pickle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        storage.save_arrays(tmp_path / "arrays.npz", {"x": np.array([object()])})
    assert not list(tmp_path.iterdir())


def test_tensors_come_back_bit_for_bit_even_where_they_shared_memory(tmp_path: Path) -> None:
    base = torch.arange(6.0).reshape(2, 3)
    storage.save_tensors(tmp_path / "x.safetensors", {"base": base, "turned": base.T}, {"round": "1"})
    found = storage.load_tensors(tmp_path / "x.safetensors")
    assert torch.equal(found["base"], base)
    assert torch.equal(found["turned"], base.T)


def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path) -> None:
    json, npz, tensors = tmp_path / "a.json", tmp_path / "a.npz", tmp_path / "a.safetensors"
    storage.save_json(json, {"round": [1, 2, 3]})
    storage.save_arrays(npz, {"x": np.arange(100.0)})
    storage.save_tensors(tensors, {"x": torch.arange(100.0)})
    for path, load in ((json, storage.load_json), (npz, storage.load_arrays), (tensors, storage.load_tensors)):
        whole = path.read_bytes()
        for n_bytes in (0, 5, len(whole) // 2, len(whole) - 1 - (path is json)):
            path.write_bytes(whole[:n_bytes])
            with pytest.raises(DamagedFile, match=path.name):
                load(path)
            assert path.read_bytes() == whole[:n_bytes]
        path.write_bytes(b"\xff" + whole[1:])
        with pytest.raises(DamagedFile, match=path.name):
            load(path)


def test_a_flipped_bit_in_an_array_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    storage.save_arrays(path, {"x": np.arange(1000.0)})
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(DamagedFile, match=r"a\.npz"):
        storage.load_arrays(path)


@pytest.mark.parametrize("load", [storage.load_json, storage.load_arrays, storage.load_tensors])
def test_a_missing_file_is_missing_and_not_damaged(tmp_path: Path, load: object) -> None:
    assert callable(load)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere")


def test_an_error_names_argument_rule_value_and_what_is_valid() -> None:
    error = InvalidArgument("gamma", "must be in [0, 1)", 1.0, "0.99")
    assert str(error) == "gamma must be in [0, 1), got 1.0; valid: 0.99"
    assert isinstance(error, ValueError)


def test_an_unknown_name_gets_the_nearest_and_then_the_whole_list() -> None:
    error = UnknownName("oracle", "regrets", ["noisy", "regret", "partial_return"])
    assert "did you mean regret?" in str(error)
    assert str(error).endswith("all of them: noisy, partial_return, regret")
    assert "did you mean" not in str(UnknownName("oracle", "zzz", ["noisy", "regret"]))


def test_every_error_of_ours_can_be_caught_as_one() -> None:
    for kind in (InvalidArgument, UnknownName, Refused, DamagedFile, NotFitted):
        assert issubclass(kind, PreflabError)
