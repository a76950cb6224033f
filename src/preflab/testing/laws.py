"""What laws of every kind share: how one is broken, and what must not move meanwhile."""

import random

import numpy as np
import torch


class LawBroken(AssertionError):
    """An oracle or a learner broke a law; the message has the figures."""


def hold(is_kept: bool, message: str) -> None:
    """Raises `LawBroken` with `message` unless the law is kept."""
    if not is_kept:
        raise LawBroken(message)


def global_states() -> dict[str, object]:
    """Returns the states of Python's, NumPy's and torch's global generators, which no stage may move."""
    return {
        "random": random.getstate(), "numpy": [np.asarray(part).tobytes() for part in np.random.get_state()],
        "torch": torch.get_rng_state().numpy().tobytes(),
    }
