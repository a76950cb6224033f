"""The same call in another process: what depends on hashes, object ids or import order shows there."""

from __future__ import annotations

import atexit
import importlib.util
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from typing import Any, BinaryIO

import cloudpickle

_SERVE = "from preflab.testing.elsewhere import serve; serve()"


def call_elsewhere(function: Callable[..., Any], *arguments: Any) -> Any:
    """Returns what `function` returns in a process of its own, with other hashes of strings; raises what it raises there.

    The process starts with the first call (some seconds) and lives as long as this one. What is not importable there, such as
    a class of a test module, goes along by value.
    """
    for item in (function, *arguments):
        _carry(item)
    child = _child()
    assert child.stdin is not None and child.stdout is not None
    _send(child.stdin, cloudpickle.dumps((function, arguments)))
    is_fine, found = pickle.loads(_receive(child.stdout))
    if not is_fine:
        raise RuntimeError(f"in another process: {found}")
    return found


def serve() -> None:
    """Answers calls from standard input until it closes."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not be taken for an answer
    while header := sys.stdin.buffer.read(8):
        payload = sys.stdin.buffer.read(struct.unpack("<Q", header)[0])
        try:
            function, arguments = pickle.loads(payload)
            answer = True, function(*arguments)
        except Exception as error:
            answer = False, f"{type(error).__name__}: {error}"
        _send(answers, cloudpickle.dumps(answer))


def _carry(item: Any) -> None:
    """Has the module of `item` pickled by value where the other process could not import it; of a partial, its parts'."""
    if isinstance(item, partial):
        for part in (item.func, *item.args, *item.keywords.values()):
            _carry(part)
    name = getattr(item, "__module__", None) or type(item).__module__
    module = sys.modules.get(name)
    if module is None or name.split(".")[0] == "preflab" or name == "__main__":
        return
    try:
        is_importable = importlib.util.find_spec(name) is not None and name in sys.stdlib_module_names
    except (ImportError, ValueError):
        is_importable = False
    if not is_importable:
        cloudpickle.register_pickle_by_value(module)


@cache
def _child() -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "PYTHONHASHSEED": "1789", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1",
    }
    child = subprocess.Popen([sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    atexit.register(_stop, child)
    return child


def _stop(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    child.wait(10)


def _send(stream: Any, payload: bytes) -> None:
    stream.write(struct.pack("<Q", len(payload)) + payload)
    stream.flush()


def _receive(stream: BinaryIO | Any) -> bytes:
    header = stream.read(8)
    if len(header) < 8:
        raise RuntimeError("the other process has ended; what it said is on standard error")
    return bytes(stream.read(struct.unpack("<Q", header)[0]))
