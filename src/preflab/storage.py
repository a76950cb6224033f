"""Files of ours: json, npz and safetensors, written to a temporary name and renamed: nothing is ever half-written."""

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from preflab.errors import DamagedFile
from preflab.types import TrajectoryStore

Arrays = dict[str, npt.NDArray[Any]]


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write(temporary)` and renames the result to `path`; on any error `path` stays as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        write(temporary)
        temporary.chmod(0o666 & ~_umask())  # safetensors writes files that nobody else may read
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def write_directory_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write(temporary directory)` and renames it to `path`, which must not exist."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir(parents=True)
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_json(path: Path, value: object) -> None:
    """Writes `value` as indented json; non-finite numbers become null."""
    text = json.dumps(_jsonable(value), indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: _write_text(temporary, text))


def load_json(path: Path) -> Any:
    """Reads json; a damaged file is named."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DamagedFile(path, error) from error


def save_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8."""
    write_atomically(path, lambda temporary: _write_text(temporary, text))


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], *, compressed: bool = True) -> None:
    """Writes named arrays as an npz without pickle."""
    save = np.savez_compressed if compressed else np.savez

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # a name without .npz would be given one
            save(file, allow_pickle=False, **dict(arrays))

    write_atomically(path, write)


def load_arrays(path: Path) -> Arrays:
    """Reads an npz written by `save_arrays`; a damaged file is named."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise
    except Exception as error:
        raise DamagedFile(path, error) from error


def save_store(folder: Path, store: TrajectoryStore) -> None:
    """Writes a store's arrays as one npy file each into `folder`, which must not exist."""
    def write(temporary: Path) -> None:
        for name, array in store.arrays().items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)

    write_directory_atomically(folder, write)


def open_store(folder: Path) -> TrajectoryStore:
    """Returns the store that `save_store` wrote, its observations and actions left on disk and read where they are gathered."""
    try:
        arrays = {name: np.load(folder / f"{name}.npy", "r", allow_pickle=False) for name in TrajectoryStore().arrays()}
    except FileNotFoundError:
        raise
    except Exception as error:
        raise DamagedFile(folder, error) from error
    return TrajectoryStore.from_arrays(arrays)


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes named tensors as safetensors."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_atomically(path, lambda temporary: save_file(plain, temporary, dict(metadata or {})))


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Reads safetensors; a damaged file is named."""
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DamagedFile(path, error) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _jsonable(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _jsonable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, np.ndarray):
        return _jsonable(value.tolist())
    if isinstance(value, np.generic):
        return _jsonable(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value
