"""preflab: a laboratory for learning from feedback in control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from preflab.experiments.run import Run

__version__ = "0.1.0"


def run(overrides: Sequence[str] = (), **choices: Any) -> Run:
    """Runs the whole loop once: `preflab.run(env="pendulum", oracle="regret", budget="smoke")`.

    Takes what the command line takes, by name, and `overrides` such as ["reward.n_members=5"], or `resume=folder` alone;
    see `preflab.experiments.run.run`.
    """
    from preflab.experiments.run import run as run_once

    return run_once(overrides, **choices)
