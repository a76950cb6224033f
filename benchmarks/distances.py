"""Which distance between rewards foretells regret? Correlations on random finite MDPs, beside those published for STARC.

    python benchmarks/distances.py                      # the published protocol, 49,152 pairs: minutes on one core
    python benchmarks/distances.py --mdps 12 --pairs 8  # a taste of it
    python benchmarks/distances.py --figure docs/distances.svg

Skalse et al. 2024, section 5 (https://arxiv.org/abs/2309.15257) and its released code: 32 states, 4 actions, γ .95; transition
logits N(0, 1), those up to 1 set to −20; the first state uniform. Rewards N(0, 1) at each (s, a, s'); 20 % sparse (only entries
above 3 stay), 70 % scaled by U(0, 10), 30 % shifted by U(0, 10), 50 % shaped by a potential N(0, 1) · U(0, 10) + U(0, 1). R₁ is
compared with 16 steps on the way to R₂. Regret is the mean of both directions, each divided by what is between the best and the
worst policy. What differs: policies are exact where the released code evaluates and optimizes approximately, canonical forms are
closed forms, the split of 3,072 reward pairs (96 MDPs × 32) is ours, a sparse reward with nothing left is drawn again, and seeds
are our own, from 100 on.

Said before these seeds were run. Correlations are Pearson's with regret, intervals resample MDPs, claims are at 1 − 0.05/3 each:
1. VAL − DARD > 0 in 2-2 (norm-metric). Contradicted if the interval lies below 0. Published: .856 and .782.
2. |DARD − EPIC| < .05 in 2-2. Contradicted if the interval lies outside of ±.05. Published: .782 and .778.
3. EPIC − none > .1 in 2-2. Contradicted if the interval lies below .1. Published: .778 and .618.
An interval that does neither is undecided. Counted without a claim: in how many of the 42 norm-metric pairs VAL is at least EPIC
(published: 40). The figures themselves are expected above the published ones, whose regret is noisy.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preflab.rewards.distances import CANONICAL, NORMS, mutual_regret, norm, shaped_by
from preflab.rewards.distances.resampling import group_weights
from preflab.tabular import Dynamics
from preflab.types import FloatArray

N_STATES, N_ACTIONS, GAMMA, N_STEPS = 32, 4, 0.95, 16
NORMALIZATIONS = (*NORMS, "none")
PUBLISHED = {
    "val_potential-1-w1": 0.876, "val-1-w1": 0.873, "val-1-1": 0.873, "val-1-2": 0.870, "dard-1-w1": 0.861, "val-2-inf": 0.858,
    "val-2-2": 0.856, "val_potential-w2-w2": 0.845, "dard-w2-w2": 0.831, "epic-w1-w1": 0.830, "epic-1-1": 0.814,
    "val_potential-2-2": 0.782, "dard-2-2": 0.782, "minimal_potential-2-2": 0.778, "epic-2-2": 0.778, "none-2-w2": 0.633,
    "none-2-2": 0.618,
}
ALSO = ("minimal-2-2", "minimal_weighted-w2-w2")
CLAIMS = (  # what, minuend, subtrahend, above which margin, within which margin
    ("VAL − DARD > 0", "val-2-2", "dard-2-2", 0.0, None), ("|DARD − EPIC| < .05", "dard-2-2", "epic-2-2", None, 0.05),
    ("EPIC − none > .1", "epic-2-2", "none-2-2", 0.1, None),
)


@dataclass(frozen=True, eq=False)
class Pairs:
    """N compared pairs of rewards in each of M MDPs.

    Attributes:
        regret: (M, N).
        distance: (M, N) by "canonical-normalization-metric".
    """

    regret: FloatArray
    distance: dict[str, FloatArray]


def random_dynamics(rng: np.random.Generator) -> Dynamics:
    """Returns a random MDP whose actions lead to about five states each, and to any other with a chance of about 1e-10."""
    logits = rng.normal(size=(N_STATES, N_ACTIONS, N_STATES))
    chance = np.exp(np.where(logits > 1, logits, -20.0))
    transitions = chance / chance.sum(-1, keepdims=True)
    return Dynamics(transitions, GAMMA, np.zeros(N_STATES, np.bool_), np.full(N_STATES, 1 / N_STATES))


def random_reward(rng: np.random.Generator) -> FloatArray:
    """Returns a random reward (S, A, S)."""
    reward = rng.normal(size=(N_STATES, N_ACTIONS, N_STATES))
    if rng.random() < 0.2:
        while not (reward > 3).any():
            reward = rng.normal(size=reward.shape)
        reward = np.where(reward > 3, reward, 0.0)
    if rng.random() < 0.7:
        reward = reward * rng.uniform(0, 10)
    if rng.random() < 0.3:
        reward = reward + rng.uniform(0, 10)
    if rng.random() < 0.5:
        reward = shaped_by(reward, rng.normal(size=N_STATES) * rng.uniform(0, 10) + rng.uniform(), GAMMA)
    return reward


def compared(seed: int, n_pairs: int, settings: list[str], n_steps: int = N_STEPS) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Returns regret (N,) and each distance (N,) of the pairs of MDP number `seed`, N = n_pairs · n_steps."""
    rng = np.random.default_rng(seed)
    dynamics = random_dynamics(rng)
    ends = np.array([[random_reward(rng) for _ in range(n_pairs)] for _ in range(2)])
    share = np.arange(1, n_steps + 1)[:, None, None, None, None] / n_steps
    regret = mutual_regret(ends[0], ends[0] + share * (ends[1] - ends[0]), dynamics)
    found: dict[str, FloatArray] = {}
    for canonical in dict.fromkeys(name.split("-")[0] for name in settings):
        first, last = CANONICAL[canonical](ends, dynamics)
        way = first + share * (last - first)  # canonical forms are linear, so those on the way need no more of them
        for normalization in NORMALIZATIONS:
            metrics = [name.split("-")[2] for name in settings if name.startswith(f"{canonical}-{normalization}-")]
            if metrics:
                apart = _standardized(first, normalization, dynamics) - _standardized(way, normalization, dynamics)
                for metric in metrics:
                    found[f"{canonical}-{normalization}-{metric}"] = norm(apart, metric, dynamics.transitions).reshape(-1)
    return regret.reshape(-1), found


def run(seeds: range, n_pairs: int, settings: list[str], n_steps: int = N_STEPS) -> Pairs:
    """Returns the pairs of all MDPs `seeds`."""
    parts = [compared(seed, n_pairs, settings, n_steps) for seed in seeds]
    return Pairs(np.stack([part[0] for part in parts]), {name: np.stack([part[1][name] for part in parts]) for name in settings})


def correlations(pairs: Pairs, name: str, weights: FloatArray) -> FloatArray:
    """Returns (W,) Pearson correlations of a distance with regret, each MDP counted as often as (W, M) `weights` say."""
    x, y = pairs.distance[name], pairs.regret
    n, sx, sy, sxx, syy, sxy = (
        weights @ each.sum(1) for each in (np.ones_like(x), x, y, x * x, y * y, x * y)
    )
    return np.asarray((sxy - sx * sy / n) / np.sqrt((sxx - sx**2 / n) * (syy - sy**2 / n)))


def interval(values: FloatArray, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the percentile interval of resampled (W,) values."""
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def verdict(low: float, high: float, above: float | None, within: float | None) -> str:
    """Returns supports, contradicts or undecided of an interval."""
    if within is not None:
        is_in, is_out = -within < low and high < within, low > within or high < -within
    else:
        margin = 0.0 if above is None else above
        is_in, is_out = low > margin, high < margin
    return "supports" if is_in else "contradicts" if is_out else "undecided"


def all_settings() -> list[str]:
    """Returns the published settings, and VAL, DARD, EPIC and none in each of 42 pairs of normalization and metric."""
    grid = itertools.product(("val", "dard", "epic", "none"), NORMALIZATIONS, NORMS)
    return list(dict.fromkeys([*PUBLISHED, *ALSO, *("-".join(each) for each in grid)]))


def report(pairs: Pairs, n_resamples: int, seed: int) -> dict[str, tuple[float, float, float]]:
    """Prints correlations beside the published ones, and the claims; returns estimate and interval of what it printed."""
    n_mdps = len(pairs.regret)
    once, often = np.ones((1, n_mdps)), group_weights(n_mdps, n_resamples, np.random.default_rng(seed))
    of = {name: (float(correlations(pairs, name, once)[0]), correlations(pairs, name, often)) for name in pairs.distance}
    shown = {name: (of[name][0], *interval(of[name][1])) for name in (*PUBLISHED, *ALSO)}
    print("| canonical-norm-metric | published | here, 95 % over MDPs |\n|---|---|---|")
    for name, (value, low, high) in shown.items():
        published = f"{PUBLISHED[name]:.3f}" if name in PUBLISHED else ""
        print(f"| {name} | {published} | {value:.3f} [{low:.3f}, {high:.3f}] |")
    for claim, more, less, above, within in CLAIMS:
        gap = of[more][1] - of[less][1]
        low, high = interval(gap, 1 - 0.05 / len(CLAIMS))
        print(f"{claim}: {of[more][0] - of[less][0]:+.3f} [{low:+.3f}, {high:+.3f}]: {verdict(low, high, above, within)}")
    grid = list(itertools.product(NORMALIZATIONS, NORMS))
    n_better = sum(of[f"val-{n}-{m}"][0] >= of[f"epic-{n}-{m}"][0] for n, m in grid)
    means = [np.mean([of[f"{name}-{n}-{m}"][0] for n, m in grid if n != "none"]) for name in ("val", "dard", "epic", "none")]
    print(f"VAL at least EPIC in {n_better} of {len(grid)} (published: 40)")
    figures = "VAL {:.3f} (published .797), DARD {:.3f}, EPIC {:.3f} (published .615), none {:.3f}".format(*means)
    print(f"mean over normalized: {figures}")
    return shown


def draw(shown: dict[str, tuple[float, float, float]], path: Path) -> None:
    """Draws the correlations beside the published ones."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "preflab"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 5), layout="constrained")
    names = list(shown)[::-1]
    for row, name in enumerate(names):
        value, low, high = shown[name]
        axes.plot([low, high], [row, row], color="tab:blue")
        axes.plot(value, row, "o", color="tab:blue", label="here, 95 % over MDPs" if row == 0 else None)
        if name in PUBLISHED:
            axes.plot(PUBLISHED[name], row, "x", color="tab:orange", label="published" if row == len(names) - 1 else None)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("correlation of distance with regret")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower left")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Runs the protocol and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mdps", type=int, default=96)
    parser.add_argument("--pairs", type=int, default=32, help="pairs of rewards in each")
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--figure", type=Path, help="where to draw the correlations")
    given = parser.parse_args()
    started = time.perf_counter()
    pairs = run(range(given.first_seed, given.first_seed + given.mdps), given.pairs, all_settings())
    shown = report(pairs, given.resamples, given.first_seed)
    print(f"{pairs.regret.size:,} pairs in {given.mdps} MDPs, {time.perf_counter() - started:.0f} s")
    if given.figure:
        draw(shown, given.figure)


def _standardized(forms: FloatArray, normalization: str, dynamics: Dynamics) -> FloatArray:
    if normalization == "none":
        return forms
    return np.asarray(forms / norm(forms, normalization, dynamics.transitions)[..., None, None, None])


if __name__ == "__main__":
    main()
