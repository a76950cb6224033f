"""Reads what a run left in its folder; what is missing or damaged is named instead of raised."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from preflab.errors import DamagedFile, InvalidArgument
from preflab.storage import Arrays, load_arrays, load_json

FILM_SHAPES = {
    "gold": 3,
    "proxy": 3,
    "gold_sum": 2,
    "proxy_sum": 2,
    "p_oracle": 1,
    "p_model": 1,
    "choice": 1,
    "round": 1,
    "is_wrong": 1,
}


@dataclass(frozen=True, slots=True, eq=False)
class RunFolder:
    """What a run left behind, as plain values.

    Attributes:
        path: the run's folder.
        record: the flat row of the run; any key may be missing.
        history: one measurement a round, the initial one first.
        card: the oracle's card.
        calibration: {predicted, observed, count}, each (bins,), of held-out answers; empty if missing.
        film: arrays of the asked pairs that are shown, or None.
        warnings: sentences, or None if the loop wrote none.
        config: text of config.yaml.
        missing: one sentence for each file that is absent, damaged or of another shape.
    """

    path: Path
    record: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...]
    card: Mapping[str, Any]
    calibration: Mapping[str, list[float]]
    film: Arrays | None
    warnings: list[str] | None
    config: str
    missing: tuple[str, ...]

    @property
    def has_video(self) -> bool:
        """Whether video.mp4 lies in the folder."""
        return (self.path / "video.mp4").is_file()


def read_run(path: Path) -> RunFolder:
    """Reads the run folder at `path`.

    Raises:
        InvalidArgument: there is no record.json in it, so no run ended here.
        DamagedFile: record.json cannot be read.
    """
    path = Path(path)
    if not (path / "record.json").is_file():
        raise InvalidArgument(
            "run folder", "must hold the record.json of a run that ended", str(path), "runs/<date>/<name>"
        )
    missing: list[str] = []
    record = load_json(path / "record.json")
    if not isinstance(record, dict):
        raise DamagedFile(path / "record.json", "not a mapping")
    history = [row for row in _json(path, "history.json", list, missing) if isinstance(row, dict)]
    calibration = _calibration(_json(path, "calibration.json", dict, missing), missing)
    card = _json(path, "card.json", dict, missing)
    stored = _json(path, "warnings.json", list, missing) if (path / "warnings.json").is_file() else None
    warnings = None if stored is None else [str(item) for item in stored]
    return RunFolder(
        path,
        record,
        tuple(history),
        card,
        calibration,
        _film(path, missing),
        warnings,
        _config(path, missing),
        tuple(missing),
    )


def number(row: Mapping[str, Any], key: str) -> float | None:
    """Returns row[key] as a finite float, or None if it is missing, null or no number."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return None
    return float(value) if np.isfinite(value) else None


def find_number(tree: object, *keys: str) -> float | None:
    """Returns the first number under one of `keys`, tried in order, at any depth of a mapping (nearest level first)."""
    for key in keys:
        level = [tree]
        while level:
            mappings = [item for item in level if isinstance(item, Mapping)]
            for mapping in mappings:
                if (found := number(mapping, key)) is not None:
                    return found
            level = [value for mapping in mappings for value in mapping.values()]
    return None


def _json(path: Path, name: str, kind: type, missing: list[str]) -> Any:
    try:
        value = load_json(path / name)
    except FileNotFoundError:
        missing.append(f"{name} is not in the run folder")
        return kind()
    except (DamagedFile, OSError) as error:
        missing.append(str(error))
        return kind()
    if not isinstance(value, kind):
        missing.append(f"{name} holds no {kind.__name__}")
        return kind()
    return value


def _config(path: Path, missing: list[str]) -> str:
    try:
        return (path / "config.yaml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        missing.append("config.yaml is not in the run folder")
        return ""


def _calibration(value: dict[str, Any], missing: list[str]) -> dict[str, list[float]]:
    if not value:
        return {}
    columns = [value.get(name) for name in ("predicted", "observed", "count")]
    if not all(isinstance(column, list) for column in columns) or len({len(column or []) for column in columns}) != 1:
        missing.append("calibration.json must hold predicted, observed and count of equal length")
        return {}
    rows = [[row[0], row[1], row[2]] for row in zip(*(column or [] for column in columns), strict=True)]
    kept = [row for row in rows if all(isinstance(item, int | float) for item in row) and row[2] > 0]
    return {name: [float(row[i]) for row in kept] for i, name in enumerate(("predicted", "observed", "count"))}


def _film(path: Path, missing: list[str]) -> Arrays | None:
    if not (path / "film.npz").is_file():
        return None  # no GL library is no fault of the run's; the report says what to install
    try:
        film = load_arrays(path / "film.npz")
    except (DamagedFile, OSError, zipfile.BadZipFile) as error:
        missing.append(str(error))
        return None
    frames = film.get("frames")
    if frames is None or frames.ndim != 6 or frames.shape[1] != 2 or frames.shape[5] != 3 or frames.dtype != np.uint8:
        missing.append("film.npz must hold frames (P, 2, S, H, W, 3) uint8")
        return None
    pairs, _, shown = frames.shape[:3]
    for name, dimensions in FILM_SHAPES.items():
        wanted = (pairs, 2, shown)[:dimensions]
        if name in film and film[name].shape != wanted:
            missing.append(f"{name} of film.npz must be {wanted}, it is {film[name].shape}")
            del film[name]
    return film if pairs else None
