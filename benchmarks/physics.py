"""How fast are eight copies of a MuJoCo task, native, beside SB3's DummyVecEnv and Gymnasium's SyncVectorEnv of eight?

    python benchmarks/physics.py
    python benchmarks/physics.py tasks=mujoco-humanoid threads=1,2,4 steps=1000 repeats=9

Each figure is paired: peer, ours, peer again, one right after the other with the same random actions, and the ratio is ours
over the mean of both; the median over repeats is printed with its range. Everybody is paid, counts time and resets by
itself, as training does: ours is `make_vec(…, reveal_gold=True)`, the peers are `gymnasium.make(id)` as it comes (time limit,
order and passive checks), without Monitor. Every process but this one should be quiet: the load average is printed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv

from preflab import envs
from preflab.errors import InvalidArgument, PreflabError, UnknownName
from preflab.types import AnyArray

DEFAULTS = {
    "tasks": "mujoco-halfcheetah,mujoco-humanoid,mujoco-hopper", "threads": "1,2", "peers": "DummyVecEnv,SyncVectorEnv",
    "envs": "8", "steps": "400", "repeats": "7", "seed": "0",
}
Step = Callable[[AnyArray], Any]
Row = dict[str, str | float]


@dataclass(frozen=True)
class Effort:
    """How much is measured: `n_envs` copies, `n_steps` of all of them a block, `n_repeats` of peer-ours-peer."""

    n_envs: int
    n_steps: int
    n_repeats: int
    seed: int


def gymnasium_id(name: str) -> str:
    """Returns the Gymnasium id of one of preflab's MuJoCo tasks."""
    return envs.task(name).source.split()[1].rstrip(",")


def ours(name: str, n_threads: int, effort: Effort) -> Step:
    """Returns the step of reset native copies that pay gold."""
    form = envs.task(name).forms[-1]  # the terminating one, which is Gymnasium's, or the only one
    venv = envs.make_vec(name, form, effort.n_envs, effort.seed, n_threads, reveal_gold=True)
    venv.reset()
    return venv.step


def peer(kind: str, name: str, effort: Effort) -> Step:
    """Returns the step of a reset peer."""
    makers = [lambda: gym.make(gymnasium_id(name))] * effort.n_envs
    if kind == "DummyVecEnv":
        dummy = DummyVecEnv(makers)
        dummy.seed(effort.seed)
        dummy.reset()
        return dummy.step
    sync = gym.vector.SyncVectorEnv(makers)
    sync.reset(seed=effort.seed)
    return sync.step


def speed(step: Step, actions: AnyArray) -> float:
    """Returns environment steps a second over `actions`, (T, n, nu)."""
    started = time.perf_counter()
    for each in actions:
        step(each)
    n_steps, n_envs = actions.shape[:2]
    return float(n_steps * n_envs / (time.perf_counter() - started))


def compared(name: str, kind: str, n_threads: int, effort: Effort) -> Row:
    """Returns one line: medians of both speeds, the median ratio and its range."""
    mine, other = ours(name, n_threads, effort), peer(kind, name, effort)
    space = envs.make(name).action_space
    assert isinstance(space, gym.spaces.Box)
    rng = np.random.default_rng(effort.seed)
    figures = []
    for repeat in range(-1, effort.n_repeats):  # the first warms up
        drawn = rng.uniform(space.low, space.high, (effort.n_steps, effort.n_envs, *space.shape)).astype(np.float32)
        before, between, after = speed(other, drawn), speed(mine, drawn), speed(other, drawn)
        if repeat >= 0:
            figures.append((between, (before + after) / 2))
    array = np.array(figures)
    ratios = array[:, 0] / array[:, 1]
    n, threads = effort.n_envs, f"{n_threads} thread{'s' if n_threads > 1 else ''}"
    return {
        "line": f"{gymnasium_id(name)} x {n}, {threads}, beside {kind}({n})", "ours": float(np.median(array[:, 0])),
        "peer": float(np.median(array[:, 1])), "ratio": float(np.median(ratios)), "low": float(ratios.min()),
        "high": float(ratios.max()), "unit": "env steps/s",
    }


def rows(words: Sequence[str] = ()) -> list[Row]:
    """Returns one row per task, peer and number of threads, measured as `words` (name=value) say.

    Raises:
        UnknownName: a name is none of `DEFAULTS`, a task or a peer is not known.
        InvalidArgument: a number is not one, or less than 1.
    """
    given = dict(DEFAULTS)
    for word in words:
        name, _, said = word.partition("=")
        if name not in given:
            raise UnknownName("argument", name, given)
        given[name] = said
    peers, tasks = given["peers"].split(","), given["tasks"].split(",")
    known = [name for name in envs.TASKS if name.startswith("mujoco-")]
    for said, valid in (*((each, known) for each in tasks), *((each, ["DummyVecEnv", "SyncVectorEnv"]) for each in peers)):
        if said not in valid:
            raise UnknownName("argument", said, valid)
    n_envs, n_steps, n_repeats = (_number(name, given[name]) for name in ("envs", "steps", "repeats"))
    effort = Effort(n_envs, n_steps, n_repeats, int(given["seed"]))
    threads = [_number("threads", each) for each in given["threads"].split(",")]
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)  # Gymnasium's old model files: remarks would go into ./MUJOCO_LOG.TXT
    try:
        return [compared(name, kind, n, effort) for name in tasks for kind in peers for n in threads]
    finally:
        mujoco.set_mju_user_warning(before)


def _number(name: str, said: str) -> int:
    if not said.isdecimal() or int(said) < 1:
        raise InvalidArgument(name, "must be a whole number, at least 1", said)
    return int(said)


def main(words: Sequence[str] = ()) -> int:
    """Prints what `rows` returns, and how busy the machine was; returns the exit status."""
    print(_load("before"))
    try:
        found = rows(words)
    except PreflabError as error:
        print(f"{__doc__}\n{error}", file=sys.stderr)
        return 2
    width = max(len(str(row["line"])) for row in found)
    print(f"{'':{width}}{'ours':>9}{'peer':>9}  ratio (range)      {found[0]['unit']}")
    for row in found:
        ratio = f"{row['ratio']:.2f} ({row['low']:.2f}-{row['high']:.2f})"
        print(f"{row['line']:{width}}{row['ours']:>9.0f}{row['peer']:>9.0f}  {ratio}")
    print(_load("after"))
    return 0


def _load(when: str) -> str:
    return f"load average {when}: {', '.join(f'{each:.2f}' for each in os.getloadavg())} on {os.cpu_count()} cores"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
