"""How cost grows: with comparisons, segment length, members, environments and factors — seconds and memory, and the exponent.

    PYTHONPATH=benchmarks python benchmarks/growth.py

Each series multiplies one size and keeps the rest. Its exponent is the slope of log cost over log size between the two largest
sizes: 1 is linear. Fixed costs make it smaller, never larger.
"""

from __future__ import annotations

import time
import tracemalloc
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fitting import data, settings_of
from measuring import Row

from preflab import envs
from preflab.oracles import Boltzmann, ComposedOracle, PartialReturn, WeightedFactors, label
from preflab.rewards import BradleyTerryLearner, FewComparisonsWarning, RewardSettings
from preflab.rewards.pairs import distinct_steps
from preflab.types import ScoredStore, ScoredTrajectory, Trajectory, TrajectoryStore

FOLDER = Path(__file__).parent
WORST = "≤ 1.15"  # linear, with what a timing is uncertain by


@dataclass(frozen=True)
class Series:
    """Costs over sizes.

    Attributes:
        name: what was done.
        axis: what was multiplied.
        sizes: of it.
        costs: one a size, in `unit`.
        unit: "s" or "MB".
    """

    name: str
    axis: str
    sizes: tuple[int, ...]
    costs: tuple[float, ...]
    unit: str

    @property
    def exponent(self) -> float:
        """Returns the slope between the two largest sizes.

        >>> round(Series("x", "n", (10, 100, 1000), (1.0, 2.0, 20.0), "s").exponent, 3)
        1.0
        """
        sizes, costs = np.log(self.sizes[-2:]), np.log(np.maximum(self.costs[-2:], 1e-9))
        return float((costs[1] - costs[0]) / (sizes[1] - sizes[0]))


def series(
    name: str, axis: str, sizes: Sequence[int], set_up: Callable[[int], Callable[[], object]], n_times: int = 3
) -> list[Series]:
    """Returns best seconds of `n_times` and the peak memory that numpy allocates on the way, over sizes."""
    seconds, megabytes = [], []
    set_up(sizes[0])()  # what is paid once a process is no cost of the smallest size
    for size in sizes:
        work = set_up(size)
        found = []
        for _ in range(n_times):
            started = time.perf_counter()
            work()
            found.append(time.perf_counter() - started)
        tracemalloc.start()
        work()
        megabytes.append(tracemalloc.get_traced_memory()[1] / 2**20)
        tracemalloc.stop()
        seconds.append(min(found))
    return [Series(name, axis, tuple(sizes), tuple(seconds), "s"), Series(name, axis, tuple(sizes), tuple(megabytes), "MB")]


def labeling(n_pairs: int, length: int = 50, n_factors: int = 2) -> Callable[[], object]:
    """Returns what labels pairs of segments that are mostly different ones; by factors where these are many."""
    rng, n_steps = np.random.default_rng(0), 1000
    store = ScoredStore([
        ScoredTrajectory(
            Trajectory(np.zeros((n_steps + 1, 1), np.float32), np.zeros((n_steps, 1), np.float32), False), rng.normal(size=n_steps),
            rng.normal(size=(n_steps, n_factors)),
        ) for _ in range(50)
    ])
    every = store.store.admissible(length)
    first, second = (every[rng.integers(len(every), size=n_pairs)] for _ in range(2))
    names = [f"f{i}" for i in range(n_factors)]
    judgment = PartialReturn() if n_factors == 2 else WeightedFactors(dict.fromkeys(names, 1.0), names)
    oracle = ComposedOracle(judgment, Boltzmann(1.0), seed=0, name="growth")
    return lambda: label(oracle, store, first, second, np.arange(n_pairs))


def preparing(n_pairs: int, length: int = 10) -> Callable[[], object]:
    """Returns what finds the distinct steps of comparisons: what a fit does once, whatever its gradient steps are."""
    rng = np.random.default_rng(0)
    pool = TrajectoryStore([Trajectory(np.zeros((1001, 1), np.float32), np.zeros((1000, 1), np.float32), False)] * 100)
    every = pool.admissible(length)
    first, second = (every[rng.integers(len(every), size=n_pairs)] for _ in range(2))
    answers = data(3, 1, length, 8)[0][np.zeros(n_pairs, np.int64)]
    object.__setattr__(answers, "first", first)
    object.__setattr__(answers, "second", second)
    return lambda: distinct_steps(answers, pool)


def fitting(n_pairs: int, length: int = 50, n_members: int = 1) -> Callable[[], object]:
    """Returns what trains once on every comparison."""
    answers, context, obs, act = data(17, 6, length, n_pairs)
    settings: RewardSettings = settings_of(n_members, 64, 64, 1)
    return lambda: BradleyTerryLearner(obs, act, settings).fit(answers, context, np.random.default_rng(0))


def stepping(n_envs: int) -> Callable[[], object]:
    """Returns what takes 200 steps of `n_envs` environments."""
    venv = envs.make_vec("pendulum", "fixed", n_envs, 0)
    venv.reset()
    actions = np.zeros((n_envs, *(venv.action_space.shape or ())), np.float32)

    def work() -> None:
        for _ in range(200):
            venv.step(actions)

    return work


def stored(n_trajectories: int) -> tuple[float, float]:
    """Returns (bytes a pool holds for each observation, bytes of one observation): once, or a little more for bookkeeping."""
    one = Trajectory(np.zeros((1001, 17), np.float32), np.zeros((1000, 6), np.float32), False)
    store = TrajectoryStore([one] * n_trajectories)
    held = sum(array.nbytes for array in store.arrays().values()) - store.actions.nbytes
    return held / (1001 * n_trajectories), float(17 * 4)


def every_series(is_smoke: bool) -> list[Series]:
    """Returns all series."""
    most = 4 if is_smoke else 7
    found = series("labeling", "comparisons", [10**i for i in range(2, most)], labeling)
    found += series("finding distinct steps", "comparisons", [10**i for i in range(2, most)], preparing)
    found += series("one epoch of fitting", "comparisons", [100, 200] if is_smoke else [100, 1_000, 10_000], fitting, 1)
    lengths = [10, 20] if is_smoke else [10, 20, 50, 100, 200]
    n = 100 if is_smoke else 500
    found += series("one epoch of fitting", "segment length", lengths, lambda length: fitting(n, length), 2)
    found += series("labeling", "segment length", lengths, lambda length: labeling(20 * n, length))
    found += series("one epoch of fitting", "members", [1, 2] if is_smoke else [1, 2, 4, 8], lambda k: fitting(n, 50, k), 2)
    found += series("labeling", "factors", [4, 8] if is_smoke else [4, 8, 16, 32, 64], lambda f: labeling(20 * n, 50, f))
    found += series("200 steps of Pendulum", "environments", [1, 2] if is_smoke else [1, 4, 16, 64], stepping, 2)
    return found


def plot(found: list[Series], path: Path) -> None:
    """Draws cost over size, one panel an axis, with a line of slope 1 for the eye."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    axes_of = list(dict.fromkeys(item.axis for item in found))
    figure, grid = plt.subplots(2, len(axes_of), figsize=(3.2 * len(axes_of), 5.6), squeeze=False)
    for column, axis in enumerate(axes_of):
        for row, unit in enumerate(("s", "MB")):
            panel = grid[row][column]
            for item in (item for item in found if item.axis == axis and item.unit == unit):
                panel.loglog(item.sizes, item.costs, "o-", label=f"{item.name} ({item.exponent:.2f})")
            sizes = np.array(next(item.sizes for item in found if item.axis == axis))
            top = max(item.costs[-1] for item in found if item.axis == axis and item.unit == unit)
            panel.loglog(sizes, top * sizes / sizes[-1], "k:", linewidth=0.8)
            panel.set_xticks(sizes, [f"{size:,}" if size < 10_000 else f"1e{np.log10(size):.0f}" for size in sizes], minor=False)
            panel.xaxis.set_minor_formatter(NullFormatter())
            panel.set_xlabel(axis)
            panel.set_ylabel("seconds" if unit == "s" else "peak MB allocated")
            panel.legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def main(is_smoke: bool = False, folder: Path = FOLDER) -> list[Row]:
    """Returns the exponents, and draws `growth.svg` into `folder`."""
    warnings.simplefilter("ignore", FewComparisonsWarning)
    torch.set_num_threads(1)
    found = every_series(is_smoke)
    plot(found, folder / "growth.svg")
    rows = []
    for item in found:
        of = "time" if item.unit == "s" else "memory"
        line = f"{of} of {item.name} with {item.axis}, {item.sizes[0]:,} to {item.sizes[-1]:,}: exponent"
        rows.append(Row(line, item.costs[-1], None, item.exponent, None, None, f"{item.unit} at the largest", WORST))
    held, one = stored(4)
    line = "memory a pool holds for an observation, over the observation's own bytes"
    rows.append(Row(line, held, one, held / one, None, None, "bytes", "≤ 1.01"))
    return rows


if __name__ == "__main__":
    for row in main():
        print(row, row.met)
