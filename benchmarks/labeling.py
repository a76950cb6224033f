"""How fast pairs are labeled on a pool of 2,000 segments and 20,000 pairs, each segment judged once, all of it timed.

Run by itself: PYTHONPATH=benchmarks python benchmarks/labeling.py
"""

from __future__ import annotations

import time

import numpy as np
import torch
from measuring import Row, Speed, alone, compared, imitation

from preflab.experts import load_expert
from preflab.interfaces import Judgment
from preflab.oracles import Boltzmann, ComposedOracle, PartialReturn, Regret, label
from preflab.types import ScoredStore, ScoredTrajectory, Trajectory

N_OBS, N_ACT, LENGTH, T = 17, 6, 50, 1000  # HalfCheetah's


def work(judgment: Judgment, n_segments: int, n_pairs: int) -> Speed:
    """Returns what labels `n_pairs` among `n_segments` random segments: gathers, judges, answers."""
    rng = np.random.default_rng(0)
    store = ScoredStore([
        ScoredTrajectory(
            Trajectory(
                rng.normal(size=(T + 1, N_OBS)).astype(np.float32), rng.uniform(-1, 1, (T, N_ACT)).astype(np.float32), False
            ), rng.normal(size=T), rng.normal(size=(T, 2)),
        ) for _ in range(20)
    ])
    every = store.store.admissible(LENGTH)
    pool = every[rng.choice(len(every), n_segments, replace=False)]
    first, second = (pool[rng.integers(n_segments, size=n_pairs)] for _ in range(2))
    oracle, ids = ComposedOracle(judgment, Boltzmann(1.0), seed=0, name="bench"), np.arange(n_pairs)

    def run() -> float:
        started = time.perf_counter()
        label(oracle, store, first, second, ids)
        return n_pairs / (time.perf_counter() - started)

    return run


def main(is_smoke: bool = False) -> list[Row]:
    """Returns the rows of item 3."""
    torch.set_num_threads(1)
    n_segments, n_pairs = (200, 2_000) if is_smoke else (2_000, 20_000)
    n_turns = 1 if is_smoke else 7
    value = load_expert("mujoco-halfcheetah", "fixed").value
    plain = work(PartialReturn(), n_segments, n_pairs)
    rows = [
        alone(f"label by partial return, {n_segments:,} segments, {n_pairs:,} pairs", plain, 3 * n_turns, "pairs/s", "≥ 2,000,000"),
        alone(
            "label by critic regret, two-ended (weights γ^t)", work(Regret(value, weighting="discounted"), n_segments, n_pairs),
            n_turns, "pairs/s", "≥ 50,000",
        ),
        alone("label by critic regret, per step", work(Regret(value), n_segments, n_pairs), n_turns, "pairs/s", "≥ 5,000"),
    ]
    line = "label by partial return, beside imitation's SyntheticGatherer on 2,000 pairs of fragments"
    with imitation(is_smoke) as peer:
        if isinstance(peer, str):
            rows.append(Row(line, plain(), None, None, None, None, "pairs/s", "", peer))
        else:
            asked = f"label {N_OBS} {N_ACT} {LENGTH} 2000"
            rows.append(compared(line, plain, lambda: float(peer.ask(asked)), n_turns, "pairs/s"))
    return rows


if __name__ == "__main__":
    for found in main():
        print(found, found.met)
