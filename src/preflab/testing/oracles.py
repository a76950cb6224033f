"""Laws that every oracle keeps, as plain functions: `check_oracle(make, world)` for your own.

A law takes a factory `make(mdp, seed=…, beta=…, mistake_rate=…) -> Oracle` and a world: a small finite MDP with
segments from it. It raises `LawBroken` with the figures if it is broken. Worlds are random but named by a seed, so
a law that holds once holds always.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist
from typing import Protocol

import numpy as np
import numpy.typing as npt

from preflab import tabular
from preflab.interfaces import Oracle
from preflab.seeding import generator
from preflab.tabular import TabularMDP
from preflab.testing.laws import global_states, hold
from preflab.types import (
    AnyArray,
    Choice,
    FloatArray,
    IntArray,
    ScoredSegments,
    ScoredStore,
    ScoredTrajectory,
    Segments,
    Trajectory,
)

FACTOR_NAMES = ("one", "other")  # of every world; they sum to gold and hardly go together
FAMILY_WISE_RATE = 1e-3  # chance that a true oracle fails `law_counts_match` on a fresh seed, at most


class MakeOracle(Protocol):
    """Builds the oracle under test for an MDP, whose gold has the factors `FACTOR_NAMES`.

    `None` leaves β or the rate of mistakes to the oracle itself.
    """

    def __call__(
        self, mdp: TabularMDP, *, seed: int = 0, beta: float | None = None, mistake_rate: float | None = None
    ) -> Oracle:
        """Returns a fresh oracle."""
        ...


@dataclass(frozen=True, eq=False)
class World:
    """A finite MDP with segments of it, and pairs of different segments.

    Attributes:
        mdp: the dynamics and gold behind the segments; observations are state numbers, and so are simulator states (S = 1).
        pool: (N,) different segments, some of them padded after a true termination.
        first: (M,) rows of `pool`.
        second: (M,) rows of `pool`, none the same segment as in `first`.
    """

    mdp: TabularMDP
    pool: ScoredSegments
    first: IntArray
    second: IntArray

    def pairs(self, rows: AnyArray | slice = slice(None)) -> tuple[ScoredSegments, ScoredSegments]:
        """Returns both sides of the pairs in `rows`."""
        return self.pool[self.first[rows]], self.pool[self.second[rows]]


Law = Callable[[MakeOracle, World], None]


@cache
def random_world(seed: int = 0, *, is_deterministic: bool = False, length: int = 5, n_pairs: int = 80) -> World:
    """Returns a world of 7 states, 3 actions and one terminal, visited by random and by nearly optimal policies."""
    rng = generator(seed, "oracle world")
    mdp = _random_mdp(rng, is_deterministic)
    _, q = tabular.optimal_values(mdp)
    store = ScoredStore([_trajectory(mdp, q, epsilon, rng) for epsilon in (1.0, 0.3) for _ in range(25)])
    pool = store.gather(store.store.admissible(length))
    seen = np.concatenate([pool.segments.observations, pool.segments.actions, pool.segments.absorbing], axis=1)
    pool = pool[np.sort(np.unique(seen, axis=0, return_index=True)[1])]
    first = rng.integers(len(pool), size=n_pairs)
    second = (first + rng.integers(1, len(pool), size=n_pairs)) % len(pool)
    return World(mdp, pool, first, second)


def regolded(scored: ScoredSegments, mdp: TabularMDP) -> ScoredSegments:
    """Returns the same segments with the gold rewards and factors of `mdp`; 0 on absorbing steps."""
    states, actions, absorbing = scored.segments.observations, scored.segments.actions, scored.segments.absorbing
    gold, factors = _paid(mdp, states[:, :-1], actions, states[:, 1:])
    return replace(
        scored, gold_rewards=np.where(absorbing, 0.0, gold), factors=np.where(absorbing[..., None], 0.0, factors)
    )


def one_step_world(mdp: TabularMDP) -> tuple[ScoredSegments, FloatArray, IntArray]:
    """Returns each possible transition as a segment, with its P(s'|s, a), and its (s, a) as s · A + a; K each."""
    possible = (mdp.transitions > 0) & ~mdp.terminal[:, None, None]
    state, action, after = np.nonzero(possible)
    real = np.ones((len(state), 1), dtype=np.bool_)
    segments = Segments(np.stack([state, after], axis=1), action[:, None], real, ~real, mdp.terminal[after][:, None])
    sim_states = segments.observations[..., None].astype(np.float64)
    gold, factors = _paid(mdp, state, action, after)
    scored = ScoredSegments(segments, gold[:, None], factors[:, None], sim_states)
    return scored, mdp.transitions[possible], state * mdp.n_actions + action


def check_oracle(make: MakeOracle, world: World | None = None, laws: dict[str, Law] | None = None) -> None:
    """Checks every law of `ORACLE_LAWS` (or those given); raises `LawBroken` at the first one broken."""
    for law in (ORACLE_LAWS if laws is None else laws).values():
        law(make, random_world() if world is None else world)


def law_rows_are_probabilities(make: MakeOracle, world: World) -> None:
    """Rows are (M, 4), not negative, and sum to 1."""
    p = _probabilities(make(world.mdp), world)
    hold(p.shape == (len(world.first), 4), f"probabilities are {p.shape}, not ({len(world.first)}, 4)")
    hold(bool(np.isfinite(p).all() and (p >= 0).all()), "a probability is negative or not finite")
    worst = float(np.abs(p.sum(axis=1) - 1).max())
    hold(worst < 1e-12, f"a row of probabilities misses 1 by {worst:.2g}")


def law_swapping_mirrors(make: MakeOracle, world: World) -> None:
    """Swapping the sides swaps FIRST and SECOND and leaves TIE and SKIP."""
    oracle, (first, second) = make(world.mdp), world.pairs()
    context = oracle.context(np.arange(len(first)))
    swapped = oracle.probabilities(second, first, context)[:, [Choice.SECOND, Choice.FIRST, Choice.TIE, Choice.SKIP]]
    worst = float(np.abs(oracle.probabilities(first, second, context) - swapped).max())
    hold(worst < 1e-12, f"swapping the sides of a pair changes its probabilities by {worst:.2g}")


def law_batching_changes_nothing(make: MakeOracle, world: World) -> None:
    """Batch mates, order and batch sizes change no bit of probabilities or answers."""
    oracle, ids = make(world.mdp), 1000 + 7 * np.arange(len(world.first))
    batches = [np.arange(len(ids))[::-1], *np.array_split(np.arange(len(ids)), 7), *np.arange(8)[:, None]]
    p, choice = _asked(oracle, world, slice(None), ids)
    for rows in batches:
        p_alone, choice_alone = _asked(oracle, world, rows, ids[rows])
        rest = f"{len(rows)} pairs depend on their batch mates or order"
        hold(np.array_equal(p[rows], p_alone), f"probabilities of {rest}")
        hold(np.array_equal(choice[rows], choice_alone), f"answers to {rest}")


def law_seed_decides_answers(make: MakeOracle, world: World) -> None:
    """Two oracles of one seed answer alike, and of another seed otherwise."""
    ids = np.arange(len(world.first))
    one, again, other = (_asked(make(world.mdp, seed=seed), world, slice(None), ids)[1] for seed in (3, 3, 4))
    hold(np.array_equal(one, again), "two oracles of the same seed answer differently")
    hold(not np.array_equal(one, other), "oracles of different seeds give the same answers to every query")


def law_counts_match(make: MakeOracle, world: World) -> None:
    """Counts of answers match summed probabilities; a choice of probability 0 is never made.

    A chi-square statistic with one degree of freedom per cell (choice × tenth of P(FIRST)), with the exact variance
    Σ p (1 − p) of a sum of different coins; two-sided, Bonferroni over cells at `FAMILY_WISE_RATE`, cells of variance
    above 20 (where the normal limit holds), for the oracle as it is and with one mistake in five.
    """
    rows = np.tile(np.arange(len(world.first)), 60)
    cells: list[tuple[float, float, float]] = []
    for mistake_rate in (None, 0.2):
        p, choice = _asked(make(world.mdp, seed=11, mistake_rate=mistake_rate), world, rows, np.arange(len(rows)))
        for tenth in range(10):
            inside = np.minimum((10 * p[:, Choice.FIRST]).astype(int), 9) == tenth
            for option in Choice:
                p_option, count = p[inside, option], float((choice[inside] == option).sum())
                cells.append((count, float(p_option.sum()), float((p_option * (1 - p_option)).sum())))
    impossible = sum(count for count, expected, _ in cells if expected == 0)
    hold(impossible == 0, f"{impossible:.0f} answers were choices of probability 0")
    scores = [(count - expected) ** 2 / variance for count, expected, variance in cells if variance > 20]
    hold(len(scores) > 0, "no cell has enough answers to compare")
    limit = NormalDist().inv_cdf(1 - FAMILY_WISE_RATE / (2 * len(scores))) ** 2
    figures = f"chi-square {max(scores):.1f} in a cell, limit {limit:.1f}"
    hold(max(scores) < limit, f"counts of answers miss their summed probabilities: {figures}")


def law_mistakes_flip_at_their_rate(make: MakeOracle, world: World) -> None:
    """With mistakes ε, P(FIRST | strict) = (1 − ε) p + ε (1 − p), p without mistakes."""
    rate = 0.2
    clean, flawed = (_p_first(_probabilities(make(world.mdp, mistake_rate=r), world)) for r in (0.0, rate))
    worst = float(np.abs(flawed - ((1 - rate) * clean + rate * (1 - clean))).max())
    hold(worst < 1e-9, f"mistakes at rate {rate} miss their probability by {worst:.2g}")


def law_beta_has_its_limits(make: MakeOracle, world: World) -> None:
    """β = 0 guesses; β → ∞ always prefers the segment of higher value: of a population, each member is sure of its own."""
    guess = _p_first(_probabilities(make(world.mdp, beta=0.0, mistake_rate=0.0), world))
    worst = float(np.abs(guess - 0.5).max())
    hold(worst < 1e-9, f"with beta 0, P(first) misses 1/2 by {worst:.2g}")
    oracle = make(world.mdp, beta=1e9, mistake_rate=0.0)
    values = oracle.values(world.pool)
    gap = values[world.first] - values[world.second]
    p = _p_first(_probabilities(oracle, world))[np.abs(gap) > 1e-6]
    right = gap[np.abs(gap) > 1e-6] > 0 if oracle.n_annotators == 1 else p > 0.5
    worst = float(np.abs(p - right).max())
    hold(worst < 1e-9, f"with beta 1e9, the worse segment is still preferred with probability {worst:.2g}")


def law_identical_segments_are_even(make: MakeOracle, world: World) -> None:
    """A segment against itself: P(FIRST | strict) = ½."""
    oracle = make(world.mdp)
    p = oracle.probabilities(world.pool, world.pool, oracle.context(np.arange(len(world.pool))))
    worst = float(np.abs(p[:, Choice.FIRST] - p[:, Choice.SECOND]).max())
    hold(worst < 1e-12, f"of two identical segments one is preferred, by {worst:.2g}")


def law_absorbing_steps_count_nothing(make: MakeOracle, world: World) -> None:
    """Whatever gold stands on absorbing steps changes no bit."""
    absorbing = world.pool.segments.absorbing
    hold(bool(absorbing.any()), "the world has no absorbing steps, so this law says nothing")
    spoiled = replace(
        world.pool, gold_rewards=np.where(absorbing, 1e3, world.pool.gold_rewards),
        factors=np.where(absorbing[..., None], 1e3, world.pool.factors),
    )
    oracle = make(world.mdp)
    same = np.array_equal(oracle.values(world.pool), oracle.values(spoiled))
    same &= np.array_equal(_probabilities(oracle, world), _probabilities(oracle, replace(world, pool=spoiled)))
    hold(same, "gold on absorbing steps is judged")


def law_inputs_are_left_alone(make: MakeOracle, world: World) -> None:
    """No array given to the oracle is written to."""
    segments = world.pool.segments[np.arange(len(world.pool))]  # rows by number are a copy
    gold = np.where(segments.absorbing, 7.0, world.pool.gold_rewards)  # so that blanking padding in place shows
    states = None if world.pool.sim_states is None else world.pool.sim_states.copy()
    pool = ScoredSegments(segments, gold, world.pool.factors.copy(), states)
    names = ("observations", "actions", "valid", "absorbing", "terminated")
    arrays = [*(getattr(segments, name) for name in names), pool.gold_rewards, pool.factors]
    arrays += [] if states is None else [states]
    before = [array.copy() for array in arrays]
    _use(make(world.mdp), pool)
    is_same = all(np.array_equal(old, new) for old, new in zip(before, arrays, strict=True))
    hold(is_same, "the oracle writes to the segments it is given")


def law_global_generators_rest(make: MakeOracle, world: World) -> None:
    """No global generator (random, numpy, torch) moves."""
    before = global_states()
    _use(make(world.mdp), world.pool)
    moved = [name for name, state in global_states().items() if state != before[name]]
    hold(not moved, f"the oracle moves the global generator of {', '.join(moved)}")


def law_regret_ignores_shaping(make: MakeOracle, world: World) -> None:
    """Regret does not change when gold is shaped by a potential and V derived anew (Ng, Harada & Russell 1999)."""
    shaped = tabular.shaped(world.mdp, 3 * generator(0, "potential").standard_normal(world.mdp.n_states))
    change = make(shaped).values(regolded(world.pool, shaped)) - make(world.mdp).values(world.pool)
    worst = float(np.abs(change).max())
    hold(worst < 1e-9, f"potential shaping of gold changes a segment's value by {worst:.2g}")


def law_regret_is_advantage_in_the_mean(make: MakeOracle, world: World) -> None:
    """Over the next states of each (s, a), one step is worth Q(s, a) − V(s) in the mean: enumerated."""
    scored, p, pair = one_step_world(world.mdp)
    mean = np.bincount(pair, weights=p * make(world.mdp).values(scored), minlength=world.mdp.rewards[..., 0].size)
    v, q = tabular.optimal_values(world.mdp)
    advantage = np.where(world.mdp.terminal[:, None], 0.0, q - v[:, None]).reshape(-1)
    worst = float(np.abs(mean - advantage).max())
    hold(worst < 1e-9, f"the mean value of a step misses its advantage Q - V by {worst:.2g}")


def law_regret_is_summed_advantage_if_deterministic(make: MakeOracle, world: World) -> None:
    """Where transitions are deterministic, a segment is worth Σ_t Q(s_t, a_t) − V(s_t), uniformly weighted."""
    sure = random_world(1, is_deterministic=True)
    v, q = tabular.optimal_values(sure.mdp)
    states, actions = sure.pool.segments.observations[:, :-1], sure.pool.segments.actions
    advantages = np.where(sure.pool.segments.absorbing, 0.0, q[states, actions] - v[states]).sum(axis=1)
    worst = float(np.abs(make(sure.mdp).values(sure.pool) - advantages).max())
    hold(worst < 1e-9, f"a segment's value misses its summed advantages by {worst:.2g}")


ORACLE_LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        law_rows_are_probabilities, law_swapping_mirrors, law_batching_changes_nothing, law_seed_decides_answers,
        law_counts_match, law_mistakes_flip_at_their_rate, law_beta_has_its_limits, law_identical_segments_are_even,
        law_absorbing_steps_count_nothing, law_inputs_are_left_alone, law_global_generators_rest,
    )
}
REGRET_LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        law_regret_ignores_shaping, law_regret_is_advantage_in_the_mean,
        law_regret_is_summed_advantage_if_deterministic,
    )
}


def _asked(
    oracle: Oracle, world: World, rows: AnyArray | slice, ids: npt.ArrayLike
) -> tuple[FloatArray, npt.NDArray[np.int8]]:
    first, second = world.pairs(rows)
    context = oracle.context(ids)
    return oracle.probabilities(first, second, context), oracle.answer(first, second, context)


def _probabilities(oracle: Oracle, world: World) -> FloatArray:
    first, second = world.pairs()
    return oracle.probabilities(first, second, oracle.context(np.arange(len(first))))


def _p_first(p: FloatArray) -> FloatArray:
    strict = p[:, Choice.FIRST] + p[:, Choice.SECOND]
    return np.where(strict > 0, p[:, Choice.FIRST] / np.where(strict > 0, strict, 1.0), 0.5)


def _use(oracle: Oracle, pool: ScoredSegments) -> None:
    """Calls everything an oracle offers."""
    ids = np.arange(len(pool))
    other = pool[ids[::-1]]
    context = oracle.context(ids)
    oracle.begin_round({"round": 1.0})
    oracle.values(pool)
    oracle.probabilities(pool, other, context)
    oracle.marginal_probabilities(pool, other, ids)
    oracle.answer(pool, other, context)
    oracle.card()


def _random_mdp(rng: np.random.Generator, is_deterministic: bool) -> TabularMDP:
    n_states, n_actions = 7, 3
    transitions = rng.dirichlet(np.full(n_states, 0.5), size=(n_states, n_actions))
    if is_deterministic:
        transitions = np.eye(n_states)[rng.integers(n_states, size=(n_states, n_actions))]
    terminal = np.arange(n_states) == n_states - 1
    initial = np.where(terminal, 0.0, 1 / (n_states - 1))
    return TabularMDP(transitions, rng.standard_normal((n_states, n_actions, n_states)), 0.9, terminal, initial)


def _trajectory(mdp: TabularMDP, q: FloatArray, epsilon: float, rng: np.random.Generator) -> ScoredTrajectory:
    """Returns one trajectory of at most 12 steps; acts at random with probability `epsilon`, else optimally."""
    states = [int(rng.choice(mdp.n_states, p=mdp.initial))]
    actions: list[int] = []
    while len(actions) < 12 and not mdp.terminal[states[-1]]:
        best = int(q[states[-1]].argmax())
        actions.append(int(rng.integers(mdp.n_actions)) if rng.random() < epsilon else best)
        states.append(int(rng.choice(mdp.n_states, p=mdp.transitions[states[-1], actions[-1]])))
    path, acts = np.array(states), np.array(actions)
    gold, factors = _paid(mdp, path[:-1], acts, path[1:])
    trajectory = Trajectory(path, acts, bool(mdp.terminal[path[-1]]))
    return ScoredTrajectory(trajectory, gold, factors, path[:, None].astype(np.float64))


def _paid(mdp: TabularMDP, states: IntArray, actions: IntArray, after: IntArray) -> tuple[FloatArray, FloatArray]:
    """Returns gold and its two factors, (..., 2): half of it each, plus and minus a number of the transition's own."""
    gold = mdp.rewards[states, actions, after]
    own = generator(0, "factors").standard_normal(mdp.rewards.shape)[states, actions, after]
    return gold, np.stack([0.5 * gold + own, 0.5 * gold - own], axis=-1)
