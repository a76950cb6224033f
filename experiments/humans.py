"""Every preset's human on one task, without a run around it: whom the figures of docs/oracles.md and benchmarks/oracles.py ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from preflab import envs
from preflab.experiments.config import RunConfig, compose_run
from preflab.experiments.stages import (
    CALIBRATION_SEED,
    branched_value,
    build_oracle,
    calibration_pool,
    check,
    find_expert,
)
from preflab.oracles import ComposedOracle, Population, needs_sim_states
from preflab.oracles.labeling import member_values
from preflab.types import FloatArray, ScoredStore, SegmentIndex

N_ENVS = 10  # as a run collects


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A preset's human and the pool that calibrated it.

    Attributes:
        config: what the preset and the env's yaml say.
        oracle: fresh, seed 0.
        store: the trajectories of the pool.
        index: (N,) segments of it that calibrated.
    """

    config: RunConfig
    oracle: ComposedOracle | Population
    store: ScoredStore
    index: SegmentIndex

    def values(self) -> list[FloatArray]:
        """Returns (N,) or (N, D) judged values of the pool's segments, an array a member."""
        return member_values(self.oracle, self.store, self.index)

    def stats(self) -> dict[str, float]:
        """Returns what a round's beginning tells an oracle, with the pool's mean return and length for the newest ones."""
        first = np.concatenate([[0], np.cumsum(self.store.store.lengths)])[:-1]
        returns = np.add.reduceat(self.store.gold_rewards, first)
        return {"round": 0.0, "mean_return": float(returns.mean()), "mean_length": float(self.store.store.lengths.mean())}


class Humans:
    """The humans of one task: pools are collected once, as a run collects them."""

    def __init__(self, env: str, budget: str = "smoke", plugged: Mapping[str, Sequence[str]] | None = None) -> None:
        """Takes the env's and the budget's names, and further overrides for presets that need a file or a function of yours."""
        self._words = [f"env={env}", f"budget={budget}"]
        self._plugged = dict(plugged or {})
        self._pools: dict[bool, tuple[ScoredStore, SegmentIndex]] = {}

    def of(self, name: str, *overrides: str) -> Calibrated:
        """Returns the human of the preset `name`, a new one each time."""
        config, _ = compose_run([*self._words, f"oracle={name}", *self._plugged.get(name, ()), *overrides])
        check(config)
        expert = find_expert(config)
        is_branched = needs_sim_states(config.oracle_name, config.oracle)
        if is_branched not in self._pools:
            venv = envs.make_vec(config.env.name, config.form, min(config.budget.n_eval_episodes, N_ENVS), CALIBRATION_SEED)
            self._pools[is_branched] = calibration_pool(config, venv, expert)
            venv.close()
        store, index = self._pools[is_branched]
        oracle = build_oracle(config, store.gather(index, states="ends"), expert, branched_value(config, expert))
        return Calibrated(config, oracle, store, index)
