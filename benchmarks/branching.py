"""How far does a fitted critic judge as branching does? Rank correlation of both regrets, by the quality of who is judged.

    python benchmarks/branching.py env=mujoco-halfcheetah
    python benchmarks/branching.py env=mujoco-hopper form=terminating experts=runs/experts/out n=100

Segments of four policies (random, the untrained agent of the task's preset, middle, expert) are judged twice with weights
γ^t: V from the expert's critic, and V by following the expert from the restored ends. Intervals are 95 % percentile
bootstraps over trajectories, drawn within each quality: segments of one trajectory are no independent evidence.

    python benchmarks/branching.py env=mujoco-halfcheetah nudge=0.01

also follows the expert from states whose positions and velocities are off by Gaussian noise of that deviation, and prints the
rank correlation of both values: where it is low, V itself is so rough that no smooth critic can follow it. MuJoCo tasks only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from preflab import agents, envs, oracles
from preflab.envs.physics import N_GENERATOR_WORDS
from preflab.errors import PreflabError, UnknownName
from preflab.experiments.config import RunConfig, compose_run
from preflab.experts import FOLDER, Expert, load_expert
from preflab.interfaces import Policy
from preflab.seeding import generator, small_seed
from preflab.types import FloatArray, IntArray, ScoredSegments, ScoredStore, SegmentIndex

DEFAULTS = {
    "env": "", "form": "fixed", "experts": str(FOLDER), "n": "75", "trajectories": "25", "seed": "0", "tail": "0.01",
    "resamples": "2000", "nudge": "0",
}


@dataclass(frozen=True, eq=False)
class Judged:
    """Segments of all qualities, judged twice.

    Attributes:
        names: of the qualities.
        quality: (N,) who was judged, an index into `names`.
        trajectory: (N,) which of that policy's trajectories.
        branching: (N,) minus regret by branching.
        critic: (N,) minus regret by the critic.
        v_branching: (N,) V(s_0) by branching.
        v_critic: (N,) V(s_0) by the critic.
    """

    names: tuple[str, ...]
    quality: IntArray
    trajectory: IntArray
    branching: FloatArray
    critic: FloatArray
    v_branching: FloatArray
    v_critic: FloatArray


def policies(config: RunConfig, expert: Expert, venv: envs.TaskVecEnv) -> dict[str, Policy]:
    """Returns the four policies by name; the second is the agent as a run of the preset begins."""
    def make(n_envs: int, seed: int) -> envs.TaskVecEnv:
        return envs.make_vec(config.env.name, config.form, n_envs, seed)

    initial = agents.build(config.agent, make, seed=small_seed(config.seed, "agent"), device="cpu")
    return {"random": envs.RandomPolicy(venv.action_space), "initial": initial, "middle": expert.middle, "expert": expert.policy}


def segments(
    venv: envs.TaskVecEnv, policy: Policy, name: str, config: RunConfig, sizes: tuple[int, int]
) -> tuple[ScoredSegments, IntArray]:
    """Returns n segments with states at both ends, spread evenly over a policy's trajectories, and their trajectories (n,)."""
    n, n_trajectories = sizes
    rng = generator(config.seed, "benchmark", name)
    venv.seed(small_seed(config.seed, "benchmark", name))
    store = ScoredStore(envs.collect(venv, policy, n_trajectories, rng, keep_states=True))
    index = store.store.admissible(config.env.segment_length)
    rows: list[int] = []
    for i in range(n):
        mine = np.setdiff1d(np.flatnonzero(index.trajectory == i % n_trajectories), rows)
        rows += [int(rng.choice(mine))] if len(mine) else []
    chosen: SegmentIndex = index[np.array(rows)]
    return store.gather(chosen, states="ends"), chosen.trajectory


def judge(config: RunConfig, expert: Expert, value: envs.BranchedValue, sizes: tuple[int, int]) -> Judged:
    """Collects and judges."""
    venv = envs.make_vec(config.env.name, config.form, 5, config.seed)
    everyone = policies(config, expert, venv)
    by_branching, by_critic = oracles.BranchedRegret(value), oracles.Regret(expert.value, "realized", "discounted")
    parts = []
    for i, (name, policy) in enumerate(everyone.items()):
        scored, trajectory = segments(venv, policy, name, config, sizes)
        parts.append((
            np.full(len(scored), i), trajectory, by_branching.values(scored), by_critic.values(scored),
            value.values_of_states(scored.end_states()[:, 0]), expert.value.values(scored.segments.observations[:, 0]),
        ))
    venv.close()
    return Judged(tuple(everyone), *(np.concatenate(column) for column in zip(*parts, strict=True)))


def interval(
    judged: Judged, statistic: Callable[[IntArray], float], n_resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Returns the 95 % percentile bootstrap interval of `statistic(rows)` over trajectories within qualities."""
    clusters = [
        [np.flatnonzero((judged.quality == quality) & (judged.trajectory == one)) for one in
         np.unique(judged.trajectory[judged.quality == quality])]
        for quality in range(len(judged.names))
    ]
    found = []
    for _ in range(n_resamples):
        rows = [group[i] for group in clusters for i in rng.integers(len(group), size=len(group))]
        found.append(statistic(np.concatenate(rows)))
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


def table(judged: Judged, n_resamples: int, seed: int) -> str:
    """Returns the figures, one row a quality and one over all."""
    lines = [f"{'quality':10}{'n':>5}  {'Spearman of regret, 95 %':28}{'V(s_0)':>8}{'sd regret':>11}{'rms differ':>11}"]
    everything = [*range(len(judged.names)), None]
    for quality in everything:
        def kept(rows: IntArray, quality: int | None = quality) -> IntArray:
            return rows if quality is None else rows[judged.quality[rows] == quality]

        def correlation(rows: IntArray, kept: Callable[[IntArray], IntArray] = kept) -> float:
            return spearman(judged.branching[kept(rows)], judged.critic[kept(rows)])

        rows = kept(np.arange(len(judged.quality)))
        low, high = interval(judged, correlation, n_resamples, generator(seed, "bootstrap", quality))
        differ = float(np.sqrt(np.mean((judged.branching[rows] - judged.critic[rows]) ** 2)))
        name = "all" if quality is None else judged.names[quality]
        figures = f"{spearman(judged.branching[rows], judged.critic[rows]):.3f}  [{low:.3f}, {high:.3f}]"
        v = spearman(judged.v_branching[rows], judged.v_critic[rows])
        lines.append(f"{name:10}{len(rows):>5}  {figures:28}{v:>8.3f}{judged.branching[rows].std():>11.2f}{differ:>11.2f}")
    return "\n".join(lines)


def roughness(config: RunConfig, expert: Expert, value: envs.BranchedValue, sizes: tuple[int, int], nudge: float) -> str:
    """Returns, by quality, the rank correlation of V at the segments' first states with V at states off by `nudge`."""
    venv, rng = envs.make_vec(config.env.name, config.form, 5, config.seed), generator(config.seed, "nudge")
    env = envs.make(config.env.name, config.form)
    model: Any = env.physics.env.model  # type: ignore[attr-defined]  # of MuJoCo
    first = 2 + N_GENERATOR_WORDS  # after elapsed steps, the generator and the time
    moved = slice(first, first + model.nq + model.nv)
    lines = [f"V at a state beside V at one off by {nudge:g}, Spearman:"]
    for name, policy in policies(config, expert, venv).items():
        states = segments(venv, policy, name, config, sizes)[0].end_states()[:, 0]
        beside = states.copy()
        beside[:, moved] += nudge * rng.standard_normal(beside[:, moved].shape)
        lines.append(f"{name:10}{spearman(value.values_of_states(states), value.values_of_states(beside)):>8.3f}")
    venv.close()
    env.close()
    return "\n".join(lines)


def spearman(first: FloatArray, second: FloatArray) -> float:
    """Returns Spearman's rank correlation; nan if either is constant."""
    is_flat = np.ptp(first) == 0 or np.ptp(second) == 0
    return float("nan") if is_flat else float(stats.spearmanr(first, second).statistic)


def main(words: Sequence[str]) -> int:
    """Does what the command line says; returns the exit status."""
    torch.set_num_threads(1)
    given = dict(DEFAULTS)
    try:
        for word in words:
            name, _, said = word.partition("=")
            if name not in given:
                raise UnknownName("argument", name, given)
            given[name] = said
        config, _ = compose_run([f"env={given['env']}", f"form={given['form']}", f"seed={given['seed']}"])
        expert = load_expert(config.env.name, config.form, folder=Path(given["experts"]))
    except PreflabError as error:
        print(f"{__doc__}\n{error}", file=sys.stderr)
        return 2
    settings = envs.BranchSettings(expert.value.gamma, float(given["tail"]))
    value = envs.branched_value(config.env.name, config.form, expert.policy, settings)
    started = time.perf_counter()
    judged = judge(config, expert, value, (int(given["n"]), int(given["trajectories"])))
    seconds = time.perf_counter() - started
    print(f"{config.env.name} ({config.form}), segments of {config.env.segment_length} steps, γ = {value.gamma:g}")
    print(table(judged, int(given["resamples"]), config.seed))
    print(f"{value.n_env_steps:,} env steps of branching, {settings.n_steps} a branch; {seconds:.0f} s with collecting")
    if float(given["nudge"]) > 0:
        sizes = int(given["n"]), int(given["trajectories"])
        print(roughness(config, expert, value, sizes, float(given["nudge"])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
