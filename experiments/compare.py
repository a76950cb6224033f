"""Compares runs: `python -m preflab.experiments.compare RUN RUN …` prints a table and writes a page with the curves.

Runs that differ only in their seed are one condition; conditions are compared on the seeds that they share.
"""

import argparse
import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from preflab.errors import InvalidArgument, PreflabError
from preflab.experiments.report.folder import read_run
from preflab.experiments.report.joint import Condition, group, text_table, write_joint_report


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Returns the run folders that `paths` name: each a run folder itself, or a folder that holds some.

    Raises:
        InvalidArgument: a path that neither is nor holds a run folder.
    """
    found: list[Path] = []
    for path in paths:
        here = (
            [path] if (path / "record.json").is_file() else sorted(item.parent for item in path.glob("*/record.json"))
        )
        if not here:
            raise InvalidArgument(
                "RUN", "must be a run folder (with record.json) or a folder that holds some", str(path)
            )
        found += [folder for folder in here if folder.resolve() not in {other.resolve() for other in found}]
    return found


def default_out(conditions: Sequence[Condition], runs: Sequence[Path]) -> Path:
    """Returns runs/compare-<what differs>-<hash of the run folders>.html: the same runs, the same page."""
    words = "-vs-".join(re.sub(r"[^a-z0-9]+", "-", condition.label.lower()).strip("-") for condition in conditions)
    digest = hashlib.blake2b("\n".join(str(run.resolve()) for run in runs).encode(), digest_size=3).hexdigest()
    return Path("runs") / f"compare-{words[:70].strip('-')}-{digest}.html"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m preflab.experiments.compare", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder, or a folder of run folders")
    parser.add_argument("--out", type=Path, help="the page to write (default: runs/compare-<what differs>.html)")
    given = parser.parse_args(arguments)
    try:
        runs = find_runs(given.runs)
        conditions = group([read_run(run) for run in runs])
        out = write_joint_report(runs, given.out or default_out(conditions, runs))
    except PreflabError as error:
        print(error, file=sys.stderr)
        return 2
    print(text_table(conditions))
    print(f"\n{out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
