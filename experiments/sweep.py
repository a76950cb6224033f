"""One run a seed, each in its own process, and one joint report."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from preflab.errors import InvalidArgument, Refused
from preflab.experiments import report
from preflab.experiments.config import compose_run
from preflab.experiments.run import new_folder
from preflab.experiments.stages import check


def sweep(overrides: Sequence[str], seeds: Sequence[int]) -> Path:
    """Runs every seed, `jobs` at once, and returns the joint report; a seed that fails is named after the others are done."""
    jobs = int(next((item.split("=", 1)[1] for item in overrides if item.startswith("jobs=")), 1))
    if jobs < 1:
        raise InvalidArgument("jobs", "must be at least 1", jobs)
    plain = [item for item in overrides if not item.startswith("jobs=")]
    config, _ = compose_run([*plain, f"seed={seeds[0]}"])
    check(config)
    waiting, failed = list(seeds), []
    running: dict[int, subprocess.Popen[bytes]] = {}
    folders: dict[int, Path] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            seed = waiting.pop(0)
            folders[seed] = _reserve([*plain, f"seed={seed}"])
            running[seed] = _start([*plain, f"seed={seed}"], folders[seed])
        for seed, process in list(running.items()):
            if process.poll() is not None:
                del running[seed]
                if process.returncode:
                    failed.append(seed)
        time.sleep(0.1)
    if failed:
        kept = ", ".join(str(folders[seed]) for seed in failed)
        raise Refused(f"seeds {failed} failed; continue each with resume=<folder>: {kept}")
    done = [folders[seed] for seed in seeds]
    return report.write_joint_report(done, done[0].parent / f"{config.name.rsplit('-s', 1)[0]}-s{seeds[0]}..{seeds[-1]}.html")


def _reserve(overrides: Sequence[str]) -> Path:
    """Returns the new folder of a run, which holds its config so that it can be started as a resumed one."""
    from preflab.experiments.run import save_config

    config, tree = compose_run(overrides)
    folder = new_folder(config)
    save_config(folder, tree, overrides)
    return folder


def _start(overrides: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """Starts a seed as the resumption of a run that has not begun: the same code path as after a kill."""
    return subprocess.Popen([sys.executable, "-m", "preflab.experiments", f"resume={folder}"])
