"""What laws of every kind share: how one is broken, when one says nothing, and what must not move meanwhile."""

import random
from collections.abc import Callable, Mapping

import numpy as np
import torch


class LawBroken(AssertionError):
    """An environment, oracle, learner or agent broke a law; the message has the figures."""


class SaysNothing(Exception):
    """A law does not apply to what is tested; the message says why. `check_env` and `check_agent` return these."""


def hold(is_kept: bool, message: str) -> None:
    """Raises `LawBroken` with `message` unless the law is kept."""
    if not is_kept:
        raise LawBroken(message)


def checked(laws: Mapping[str, Callable[[], None]]) -> dict[str, str]:
    """Calls each law by name and returns those that say nothing, with the reason; `LawBroken` names the law first."""
    silent: dict[str, str] = {}
    for name, law in laws.items():
        try:
            law()
        except SaysNothing as reason:
            silent[name] = str(reason)
        except LawBroken as broken:
            raise LawBroken(f"{name}: {broken}") from broken
    return silent


def global_states() -> dict[str, object]:
    """Returns the states of Python's, NumPy's and torch's global generators, which no stage may move."""
    return {
        "random": random.getstate(), "numpy": [np.asarray(part).tobytes() for part in np.random.get_state()],
        "torch": torch.get_rng_state().numpy().tobytes(),
    }
