"""`env=path/to/my.yaml`: a user's own environment, or own settings for one of ours, from a file of the user's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from preflab.errors import InvalidArgument

SUFFIXES = (".yaml", ".yml")


def is_file(value: str) -> bool:
    """Returns whether `env=value` names a file rather than a preset."""
    return value.endswith(SUFFIXES)


def resolved(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns `overrides` with each `env=file.yaml` replaced by a name that Hydra knows, and the form that such a file asks for.

    The form is an override to be put before the user's own: an environment of the user's has one form only.

    Raises:
        InvalidArgument: a file that is not there or holds no mapping.
    """
    given, form = [], []
    for override in overrides:
        key, _, value = override.partition("=")
        if key == "env" and is_file(value):
            node = read(Path(value))
            given.append(f"env={_stored(node)}")
            form = [f"form={'fixed' if node.get('never_terminates') else 'terminating'}"] if node.get("id") else []
        else:
            given.append(override)
            form = [] if key == "env" else form
    return given, form


def read(path: Path) -> dict[str, Any]:
    """Returns the settings in `path`, with the name of the file and the folder it lies in where they are not said."""
    if not path.is_file():
        raise InvalidArgument("env", "names a file that is not there", str(path), "a preset's name, or the path of a yaml file")
    try:
        found = OmegaConf.to_container(OmegaConf.load(path))
    except Exception as error:  # yaml's, OmegaConf's or the file system's
        raise InvalidArgument("env", f"names a file that cannot be read: {str(error).strip()}", str(path)) from error
    if not isinstance(found, dict):
        raise InvalidArgument("env", "names a file that holds no mapping", str(path), "id: Acrobot-v1, segment_length: 25, …")
    node: dict[str, Any] = {"name": path.stem, **{str(key): value for key, value in found.items()}}
    if isinstance(node.get("id"), str):
        # Resolved once, so that the run's config.yaml is enough to resume it from anywhere.
        node["path"] = str((path.parent / str(node.get("path") or ".")).resolve())
    return node


def _stored(node: Mapping[str, Any]) -> str:
    """Puts `node` where Hydra finds it, under a name that its content decides, and returns the name."""
    content = OmegaConf.create(dict(node))
    name = f"own_{hashlib.blake2b(OmegaConf.to_yaml(content).encode(), digest_size=8).hexdigest()}"
    ConfigStore.instance().store(group="env", name=name, node=content)
    return name
