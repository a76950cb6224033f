"""`python -m preflab.experiments.experts env=pendulum form=fixed` trains an expert on gold and fits its critic."""

from __future__ import annotations

import sys
from pathlib import Path

from preflab.errors import InvalidArgument, PreflabError, UnknownName
from preflab.experiments.experts.making import Effort, make_expert
from preflab.experiments.experts.presets import PRESETS
from preflab.experts import FOLDER

_KEYS = {
    "env": "task (required)", "form": "fixed (default) or terminating", "steps": "environment steps of training",
    "out": "folder of finished experts", "work": "folder of checkpoints (an interrupted training goes on from them)",
    "seed": "0", "episodes": "episodes that measure the expert (100)", "threads": "threads that step MuJoCo (1)",
}


def usage() -> str:
    """Returns what may be said on the command line."""
    keys = "\n".join(f"  {name + '=…':12} {text}" for name, text in _KEYS.items())
    known = "\n".join(f"  {task} ({form}): {row.steps:,} steps, {row.source}" for (task, form), row in PRESETS.items())
    return f"{__doc__}\n\n{keys}\n\nexperts that can be trained:\n{known}"


def parse(words: list[str]) -> dict[str, str]:
    """Returns key=value words (leading dashes allowed) as a dict; raises `UnknownName` or `InvalidArgument`."""
    values = {}
    for word in words:
        name, separator, value = word.lstrip("-").partition("=")
        if not separator:
            raise InvalidArgument("arguments", "must be key=value", word, ", ".join(f"{key}=…" for key in _KEYS))
        if name not in _KEYS:
            raise UnknownName("argument", name, _KEYS)
        values[name] = value
    if "env" not in values:
        raise InvalidArgument("env", "is required", None, ", ".join(sorted({task for task, _ in PRESETS})))
    return values


def number(values: dict[str, str], name: str, default: int | None) -> int | None:
    """Returns a positive whole number, as 200000 or 2e5."""
    if name not in values:
        return default
    try:
        parsed = int(float(values[name]))
    except ValueError:
        parsed = -1
    if parsed < (0 if name == "seed" else 1):
        raise InvalidArgument(name, "must be a positive whole number", values[name], "200000 or 2e5")
    return parsed


def main(words: list[str]) -> int:
    """Does what the command line says; returns the exit status."""
    if not words or {"-h", "--help"} & set(words):
        print(usage())
        return 0
    try:
        values = parse(words)
        effort = Effort(
            n_episodes=number(values, "episodes", 100) or 100, n_threads=number(values, "threads", 1) or 1,
            seed=number(values, "seed", 0) or 0,
        )
        make_expert(
            values["env"], values.get("form", "fixed"), steps=number(values, "steps", None),
            work=Path(values.get("work", "runs/experts")), out=Path(values.get("out", str(FOLDER))), effort=effort,
        )
    except PreflabError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
