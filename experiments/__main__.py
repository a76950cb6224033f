"""`python -m preflab.experiments env=pendulum oracle=regret seed=0..4`: one run, or one a seed and a joint report."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from preflab.errors import PreflabError, UnknownName
from preflab.experiments.config import CONTROLS, GROUPS, compose_run, describe, names, seeds

USAGE = """usage: python -m preflab.experiments [GROUP=NAME | KEY=VALUE ...]

Runs preference learning once, from nothing to a report, or once a seed (seed=0..4) with a joint report.

  env, oracle, reward, agent, budget, strategy   which of each (below)
  env=path/to/my.yaml       an environment of your own (docs/extending.md)
  form=fixed|terminating    the task without terminations, or its standard form
  seed=0 | seed=0..4        one run, or a sweep; jobs=2 runs two seeds at once
  device=auto|cpu|cuda      where networks live
  resume=RUN                continue a run's folder exactly
  out=runs  video=true      where runs go; whether pictures are made
  GROUP.KEY=VALUE           any setting, such as reward.n_members=5 (docs/configuration.md)

  --list GROUP|all          each name with one line and its source
  --help                    this page
"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit status: 2 for what was refused."""
    try:
        if not arguments or arguments[0] in ("--help", "-h"):
            print(USAGE, end="")
            print("\n".join(f"\n{group}: {', '.join(names(group))}" for group in GROUPS))
            return 0 if arguments else 2
        if arguments[0] == "--list":
            print(listing(arguments[1] if len(arguments) > 1 else "all"))
            return 0
        return _run(list(arguments))
    except PreflabError as error:
        print(f"preflab: {error}", file=sys.stderr)
        return 2


def listing(group: str) -> str:
    """Returns each name of `group` (or of all) with one line and its source."""
    groups = GROUPS if group == "all" else (group,)
    if group != "all" and group not in GROUPS:
        raise UnknownName("--list", group, [*GROUPS, "all"])
    lines = []
    for each in groups:
        lines.append(f"{each}:")
        for name in names(each):
            description, source = describe(each, name)
            control = " (control)" if each == "reward" and name in CONTROLS else ""
            lines.append(f"  {name:<26}{description}{control}\n  {'':<26}{source}")
    return "\n".join(lines)


def _run(arguments: list[str]) -> int:
    # Imported late, so that --help and --list answer at once.
    from preflab.experiments.run import run
    from preflab.experiments.sweep import sweep

    warnings.showwarning = _said_once()
    resume = [argument.split("=", 1)[1] for argument in arguments if argument.startswith("resume=")]
    if resume and resume[-1] not in ("", "null"):
        # make passes its defaults along; a resumed run is configured by its own folder.
        print(_summary(run(resume=Path(resume[-1])).folder))
        return 0
    given = [argument for argument in arguments if not argument.startswith("resume=")]
    chosen = seeds(next((item.split("=", 1)[1] for item in reversed(given) if item.startswith("seed=")), 0))
    plain = [item for item in given if not item.startswith("seed=")]
    if len(chosen) == 1:
        print(_summary(run([*plain, f"seed={chosen[0]}"]).folder))
        return 0
    compose_run([item for item in plain if not item.startswith("jobs=")])  # refuse before any seed starts
    print(f"joint report: {sweep(plain, chosen)}")
    return 0


def _said_once() -> Callable[..., None]:
    """Returns what shows a kind of warning once, as a sentence and not as a line of source."""
    said: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if category.__name__ not in said:
            said.add(category.__name__)
            print(f"note: {message}", file=sys.stderr)

    return show


def _summary(folder: Path) -> str:
    from preflab.experiments.run import Run

    row = Run(folder).record
    score = "none (no baseline)" if row.get("score") is None else f"{row['score']:.2f}"
    return (
        f"gold return {row['gold_return_initial']:.1f} -> {row['gold_return_final']:.1f}, score {score}, "
        f"{row['n_queries']} queries, {row['n_env_steps']:,} env steps, {row['wall_seconds']:.0f} s\n"
        f"report: {folder / 'report.html'}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
