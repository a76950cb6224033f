"""The laws that oracles keep, one function each, and what an oracle claims before it is held against them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from preflab import tabular
from preflab.interfaces import AnswerContext, Oracle
from preflab.seeding import generator
from preflab.tabular import TabularMDP
from preflab.testing.elsewhere import call_elsewhere
from preflab.testing.laws import SaysNothing, global_states, hold
from preflab.testing.oracle_worlds import World, one_step_world, random_world, regolded
from preflab.types import AnyArray, Choice, FloatArray, ScoredSegments

FAMILY_WISE_RATE = 1e-3  # chance that a true oracle fails `law_counts_match` on a fresh seed, at most
ROUNDS = tuple({"round": float(r), "mean_return": (-3.0, 2.0, 5.0)[r], "mean_length": 12.0} for r in range(3))


MakeOracle = Callable[..., Oracle]
"""Builds the oracle under test: `make(mdp, *, seed, beta, mistake_rate)`, gold of `mdp` having the factors `FACTOR_NAMES`.

`beta` and `mistake_rate` are given where the tags claim them, and None leaves them to the oracle itself. A hierarchy's factory
also takes `pool`, the segments that its margins are fitted on.
"""


@dataclass(frozen=True)
class OracleTags:
    """What an oracle claims; laws about the rest say nothing of it.

    Attributes:
        p_first_if_same: P(FIRST | a strict answer) of a segment against itself; anything but ½ declares a bias for the order.
        takes_beta: the factory's `beta` is the oracle's inverse temperature.
        takes_mistakes: the factory's `mistake_rate` flips that share of strict answers, whatever is shown.
        has_order: segments are ordered by one value each, so that a sure human always prefers the higher.
        reads_observations: observations and actions are read; where not, they must not matter.
        reads_states: simulator states are read.
        regret: "uniform" or "discounted" if the human judges by regret against the optimum, else "".
        is_hierarchy: margins are fitted on a pool, and the factory takes that pool.
        tie_rate: share of ties among the pairs of the pool that the oracle was fitted to have; None: no claim.
        skip_rate: the same of skips.
        tolerance: by how much batch mates may change a probability: 0 for arithmetic, 1e-6 where a network scores.
    """

    p_first_if_same: float = 0.5
    takes_beta: bool = True
    takes_mistakes: bool = True
    has_order: bool = True
    reads_observations: bool = True
    reads_states: bool = False
    regret: str = ""
    is_hierarchy: bool = False
    tie_rate: float | None = None
    skip_rate: float | None = None
    tolerance: float = 0.0


@dataclass(frozen=True)
class OracleCase:
    """An oracle's factory, what it claims, and the world in which it is tried."""

    make: MakeOracle
    tags: OracleTags
    world: World

    def oracle(
        self, mdp: TabularMDP | None = None, *, seed: int = 0, beta: float | None = None, mistake_rate: float | None = None,
        **more: Any,
    ) -> Oracle:
        """Returns a fresh oracle, made with what its factory takes."""
        given: dict[str, Any] = {"seed": seed, **more}
        given |= {"beta": beta} if self.tags.takes_beta else {}
        given |= {"mistake_rate": mistake_rate} if self.tags.takes_mistakes else {}
        return self.make(self.world.mdp if mdp is None else mdp, **given)


Law = Callable[[OracleCase], None]


def law_rows_are_probabilities(case: OracleCase) -> None:
    """Rows are (M, 4), not negative, and sum to 1."""
    p = _probabilities(case.oracle(), case.world)
    hold(p.shape == (len(case.world.first), 4), f"probabilities are {p.shape}, not ({len(case.world.first)}, 4)")
    hold(bool(np.isfinite(p).all() and (p >= 0).all()), "a probability is negative or not finite")
    worst = float(np.abs(p.sum(axis=1) - 1).max())
    hold(worst < 1e-12, f"a row of probabilities misses 1 by {worst:.2g}")


def law_swapping_mirrors(case: OracleCase) -> None:
    """Swapping the sides swaps FIRST and SECOND and leaves TIE and SKIP, unless a bias is declared."""
    if case.tags.p_first_if_same != 0.5:
        raise SaysNothing(f"a bias is declared: P(FIRST | strict) of a segment against itself is {case.tags.p_first_if_same:.3g}")
    oracle, (first, second) = case.oracle(), case.world.pairs()
    context = oracle.context(np.arange(len(first)))
    swapped = oracle.probabilities(second, first, context)[:, [Choice.SECOND, Choice.FIRST, Choice.TIE, Choice.SKIP]]
    worst = float(np.abs(oracle.probabilities(first, second, context) - swapped).max())
    hold(worst < max(1e-12, case.tags.tolerance), f"swapping the sides of a pair changes its probabilities by {worst:.2g}")


def law_batching_changes_nothing(case: OracleCase) -> None:
    """Given who answers, batch mates, order and batch sizes change no bit of probabilities or answers."""
    oracle, ids = case.oracle(), 1000 + 7 * np.arange(len(case.world.first))
    batches = [np.arange(len(ids))[::-1], *np.array_split(np.arange(len(ids)), 7), *np.arange(8)[:, None]]
    p, choice = _asked(oracle, case.world, slice(None), ids)
    for rows in batches:
        p_alone, choice_alone = _asked(oracle, case.world, rows, ids[rows])
        rest = f"{len(rows)} pairs depend on their batch mates or order"
        worst = float(np.abs(p[rows] - p_alone).max())
        hold(worst <= case.tags.tolerance, f"probabilities of {rest}, by {worst:.2g}")
        hold(case.tags.tolerance > 0 or np.array_equal(choice[rows], choice_alone), f"answers to {rest}")


def law_seed_decides_answers(case: OracleCase) -> None:
    """Two oracles of one seed answer alike, and of another seed otherwise, where there is anything to draw."""
    ids = np.arange(len(case.world.first))
    (p, one), (_, again), (_, other) = (_asked(case.oracle(seed=seed), case.world, slice(None), ids) for seed in (3, 3, 4))
    hold(np.array_equal(one, again), "two oracles of the same seed answer differently")
    n_open = int((p.max(axis=1) < 0.99).sum())
    hold(n_open < 10 or not np.array_equal(one, other), "oracles of different seeds give the same answers to every query")


def law_answers_are_the_same_elsewhere(case: OracleCase) -> None:
    """The same seed gives the same answers in another process, where strings have other hashes."""
    here = _answers(case.make, case.tags, 5)
    there = call_elsewhere(_answers, case.make, case.tags, 5)
    hold(np.array_equal(here, there), f"{int((here != there).sum())} of {len(here)} answers are others in another process")


def law_counts_match(case: OracleCase) -> None:
    """Counts of answers match summed probabilities, in every round; a choice of probability 0 is never made.

    A chi-square statistic with one degree of freedom per cell (round × choice × tenth of P(FIRST)), with the exact variance
    Σ p (1 − p) of a sum of different coins; two-sided, Bonferroni over cells at `FAMILY_WISE_RATE`, cells of variance
    above 20 (where the normal limit holds), for the oracle as it is and with one mistake in five.
    """
    n, world = len(case.world.first), case.world
    rows = np.tile(np.arange(n), 20)
    cells: list[tuple[float, float, float]] = []
    for mistake_rate in (None, 0.2) if case.tags.takes_mistakes else (None,):
        oracle = case.oracle(seed=11, mistake_rate=mistake_rate)
        for i, stats in enumerate(ROUNDS):
            oracle.begin_round(stats)
            p, choice = _asked(oracle, world, rows, i * len(rows) + np.arange(len(rows)))
            for tenth in range(10):
                inside = np.minimum((10 * p[:, Choice.FIRST]).astype(int), 9) == tenth
                for option in Choice:
                    p_option, count = p[inside, option], float((choice[inside] == option).sum())
                    cells.append((count, float(p_option.sum()), float((p_option * (1 - p_option)).sum())))
    impossible = sum(count for count, expected, _ in cells if expected == 0)
    hold(impossible == 0, f"{impossible:.0f} answers were choices of probability 0")
    scores = [(count - expected) ** 2 / variance for count, expected, variance in cells if variance > 20]
    if scores:
        limit = NormalDist().inv_cdf(1 - FAMILY_WISE_RATE / (2 * len(scores))) ** 2
        figures = f"chi-square {max(scores):.1f} in a cell, limit {limit:.1f}"
        hold(max(scores) < limit, f"counts of answers miss their summed probabilities: {figures}")


def law_rounds_alike_are_answered_alike(case: OracleCase) -> None:
    """Two rounds of the same statistics have the same probabilities, given the same context: nothing adds up."""
    oracle = case.oracle()
    found = []
    for r in (0.0, 1.0, 2.0):
        oracle.begin_round({**ROUNDS[2], "round": r})
        found.append(_probabilities(oracle, case.world))
    worst = max(float(np.abs(found[0] - later).max()) for later in found[1:])
    hold(worst < 1e-12, f"a later round of the same statistics is answered otherwise, by {worst:.2g}")


def law_mistakes_flip_at_their_rate(case: OracleCase) -> None:
    """With mistakes ε, P(FIRST | strict) = (1 − ε) p + ε (1 − p), p without mistakes; ties and skips stay."""
    if not case.tags.takes_mistakes:
        raise SaysNothing("no rate of mistakes is claimed")
    if case.tags.p_first_if_same != 0.5:
        raise SaysNothing("with a bias for the order, mistakes are made before it")
    rate = 0.2
    fresh = replace(case.oracle().context(np.arange(len(case.world.first))), n_answered=np.zeros(len(case.world.first), np.int64))
    clean, flawed = (_probabilities(case.oracle(mistake_rate=r), case.world, fresh) for r in (0.0, rate))
    p, q = clean[:, Choice.FIRST], clean[:, Choice.SECOND]
    worst = float(np.abs(flawed[:, Choice.FIRST] - ((1 - rate) * p + rate * q)).max())
    worst = max(worst, float(np.abs(flawed[:, [Choice.TIE, Choice.SKIP]] - clean[:, [Choice.TIE, Choice.SKIP]]).max()))
    hold(worst < 1e-9, f"mistakes at rate {rate} miss their probability by {worst:.2g}")


def law_fitted_rates_are_met(case: OracleCase) -> None:
    """Ties and skips that were fitted to a nominal rate have it, on the pairs of the pool that they were fitted on."""
    claims = {Choice.TIE: case.tags.tie_rate, Choice.SKIP: case.tags.skip_rate}
    if all(rate is None for rate in claims.values()):
        raise SaysNothing("no rate of ties or skips is claimed")
    pool = case.world.pool
    first, second = np.triu_indices(len(pool), k=1)
    oracle = case.oracle()
    p = oracle.probabilities(pool[first], pool[second], AnswerContext.fresh(len(first)))
    for option, rate in claims.items():
        found = float(p[:, option].mean())
        hold(rate is None or abs(found - rate) < 0.02, f"the share of {option.name} is {found:.3f} where {rate} was claimed")


def law_beta_has_its_limits(case: OracleCase) -> None:
    """β = 0 guesses; β → ∞ always prefers the segment of higher value: of a population, each member is sure of its own."""
    if not case.tags.takes_beta:
        raise SaysNothing("no inverse temperature is claimed")
    if case.tags.p_first_if_same != 0.5:
        raise SaysNothing("with a bias for the order, a human who guesses does not guess evenly")
    world = case.world
    fresh = replace(case.oracle().context(np.arange(len(world.first))), n_answered=np.zeros(len(world.first), np.int64))
    guess = _strict(_probabilities(case.oracle(beta=0.0, mistake_rate=0.0), world, fresh))
    worst = float(np.abs(guess[np.isfinite(guess)] - 0.5).max(initial=0.0))
    hold(worst < 1e-9, f"with beta 0, P(first) misses 1/2 by {worst:.2g}")
    oracle = case.oracle(beta=1e9, mistake_rate=0.0)
    p = _strict(_probabilities(oracle, world, fresh))
    is_judged = np.isfinite(p)
    right = p > 0.5
    if case.tags.has_order and oracle.n_annotators == 1:
        values = oracle.values(world.pool)
        gap = values[world.first] - values[world.second]
        is_judged &= np.abs(gap) > 1e-6
        right = gap > 0
    worst = float(np.abs(p - right)[is_judged].max(initial=0.0))
    hold(worst < 1e-9, f"with beta 1e9, the worse segment is still preferred with probability {worst:.2g}")


def law_identical_segments_are_even(case: OracleCase) -> None:
    """A segment against itself: P(FIRST | strict) = ½, or the bias that is declared."""
    oracle, pool = case.oracle(), case.world.pool
    p = _strict(oracle.probabilities(pool, pool, AnswerContext.fresh(len(pool))))
    worst = float(np.abs(p[np.isfinite(p)] - case.tags.p_first_if_same).max(initial=0.0))
    said = f"P(FIRST | strict) misses {case.tags.p_first_if_same:.3g} by {worst:.2g}"
    hold(worst < 1e-12, f"of two identical segments one is preferred: {said}")


def law_absorbing_steps_count_nothing(case: OracleCase) -> None:
    """Whatever gold and factors stand on absorbing steps changes no bit."""
    world = case.world
    absorbing = world.pool.segments.absorbing
    hold(bool(absorbing.any()), "the world has no absorbing steps, so this law says nothing")
    spoiled = replace(
        world.pool, gold_rewards=np.where(absorbing, 1e3, world.pool.gold_rewards),
        factors=np.where(absorbing[..., None], 1e3, world.pool.factors),
    )
    oracle = case.oracle()
    same = np.array_equal(oracle.values(world.pool), oracle.values(spoiled))
    same &= np.array_equal(_probabilities(oracle, world), _probabilities(oracle, replace(world, pool=spoiled)))
    hold(same, "gold on absorbing steps is judged")


def law_only_what_is_declared_is_read(case: OracleCase) -> None:
    """Beside gold and factors, nothing is read that is not declared: other observations, actions or states change no bit."""
    world, tags = case.world, case.tags
    if tags.reads_observations and tags.reads_states:
        raise SaysNothing("everything is declared to be read")
    segments, states = world.pool.segments, world.pool.sim_states
    if not tags.reads_observations:
        segments = replace(segments, observations=(segments.observations + 3) % 6, actions=(segments.actions + 1) % 3)
    if not tags.reads_states and states is not None:
        states = np.full_like(states, np.nan)
    other = replace(world, pool=replace(world.pool, segments=segments, sim_states=states))
    oracle = case.oracle()
    same = np.array_equal(_probabilities(oracle, world), _probabilities(oracle, other))
    hold(same, "an array is read that was not declared: observations, actions or simulator states")


def law_inputs_are_left_alone(case: OracleCase) -> None:
    """No array given to the oracle is written to."""
    world = case.world
    segments = world.pool.segments[np.arange(len(world.pool))]  # rows by number are a copy
    gold = np.where(segments.absorbing, 7.0, world.pool.gold_rewards)  # so that blanking padding in place shows
    states = None if world.pool.sim_states is None else world.pool.sim_states.copy()
    pool = ScoredSegments(segments, gold, world.pool.factors.copy(), states)
    names = ("observations", "actions", "valid", "absorbing", "terminated")
    arrays = [*(getattr(segments, name) for name in names), pool.gold_rewards, pool.factors]
    arrays += [] if states is None else [states]
    before = [array.copy() for array in arrays]
    _use(case.oracle(), pool)
    is_same = all(np.array_equal(old, new) for old, new in zip(before, arrays, strict=True))
    hold(is_same, "the oracle writes to the segments it is given")


def law_global_generators_rest(case: OracleCase) -> None:
    """No global generator (random, numpy, torch) moves."""
    before = global_states()
    _use(case.oracle(), case.world.pool)
    moved = [name for name, state in global_states().items() if state != before[name]]
    hold(not moved, f"the oracle moves the global generator of {', '.join(moved)}")


def law_regret_ignores_shaping(case: OracleCase) -> None:
    """Regret does not change when gold is shaped by a potential and V derived anew (Ng, Harada & Russell 1999)."""
    _only_regret(case)
    world = case.world
    shaped = tabular.shaped(world.mdp, 3 * generator(0, "potential").standard_normal(world.mdp.n_states))
    change = case.oracle(shaped).values(regolded(world.pool, shaped)) - case.oracle().values(world.pool)
    worst = float(np.abs(change).max())
    hold(worst < 1e-9, f"potential shaping of gold changes a segment's value by {worst:.2g}")


def law_regret_is_advantage_in_the_mean(case: OracleCase) -> None:
    """Over the next states of each (s, a), one step is worth Q(s, a) − V(s) in the mean: enumerated."""
    _only_regret(case)
    mdp = case.world.mdp
    scored, p, pair = one_step_world(mdp)
    mean = np.bincount(pair, weights=p * case.oracle().values(scored), minlength=mdp.rewards[..., 0].size)
    v, q = tabular.optimal_values(mdp)
    advantage = np.where(mdp.terminal[:, None], 0.0, q - v[:, None]).reshape(-1)
    worst = float(np.abs(mean - advantage).max())
    hold(worst < 1e-9, f"the mean value of a step misses its advantage Q - V by {worst:.2g}")


def law_regret_is_summed_advantage_if_deterministic(case: OracleCase) -> None:
    """Where transitions are deterministic, a segment is worth Σ_t w_t [Q(s_t, a_t) − V(s_t)], w_t = 1 or γ^t."""
    _only_regret(case)
    sure = random_world(1, is_deterministic=True)
    v, q = tabular.optimal_values(sure.mdp)
    states, actions = sure.pool.segments.observations[:, :-1], sure.pool.segments.actions
    weights = (sure.mdp.gamma if case.tags.regret == "discounted" else 1.0) ** np.arange(actions.shape[1])
    advantages = (weights * np.where(sure.pool.segments.absorbing, 0.0, q[states, actions] - v[states])).sum(axis=1)
    worst = float(np.abs(case.oracle(sure.mdp).values(sure.pool) - advantages).max())
    hold(worst < 1e-9, f"a segment's value misses its summed advantages by {worst:.2g}")


def law_a_hierarchy_knows_no_scale(case: OracleCase) -> None:
    """Margins fitted anew after a factor is multiplied by 1,024 leave every bit as it was."""
    if not case.tags.is_hierarchy:
        raise SaysNothing("it is no hierarchy")
    world, scaled = case.world, _scaled(case.world)
    one = _probabilities(case.oracle(pool=world.pool), world)
    other = _probabilities(case.oracle(pool=scaled.pool), scaled)
    n = int((one != other).any(axis=1).sum())
    hold(n == 0, f"a factor in other units, and margins fitted anew, change the answer to {n} of {len(one)} pairs")


def law_a_hierarchy_keeps_its_margins(case: OracleCase) -> None:
    """Margins are frozen: a factor multiplied by 1,024 after they were fitted changes answers."""
    if not case.tags.is_hierarchy:
        raise SaysNothing("it is no hierarchy")
    oracle = case.oracle(pool=case.world.pool)
    same = np.array_equal(_probabilities(oracle, case.world), _probabilities(oracle, _scaled(case.world)))
    hold(not same, "margins follow the segments that are shown, instead of the pool they were fitted on")


LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        law_rows_are_probabilities, law_swapping_mirrors, law_batching_changes_nothing, law_seed_decides_answers,
        law_answers_are_the_same_elsewhere, law_counts_match, law_rounds_alike_are_answered_alike, law_mistakes_flip_at_their_rate,
        law_fitted_rates_are_met, law_beta_has_its_limits, law_identical_segments_are_even, law_absorbing_steps_count_nothing,
        law_only_what_is_declared_is_read, law_inputs_are_left_alone, law_global_generators_rest, law_regret_ignores_shaping,
        law_regret_is_advantage_in_the_mean, law_regret_is_summed_advantage_if_deterministic, law_a_hierarchy_knows_no_scale,
        law_a_hierarchy_keeps_its_margins,
    )
}


def _only_regret(case: OracleCase) -> None:
    if not case.tags.regret:
        raise SaysNothing("it does not judge by regret")


def _scaled(world: World) -> World:
    factors = world.pool.factors * np.array([1024.0, *np.ones(world.pool.factors.shape[-1] - 1)])
    return replace(world, pool=replace(world.pool, factors=factors))


def _answers(make: MakeOracle, tags: OracleTags, seed: int) -> npt.NDArray[np.int8]:
    """Returns the answers of a fresh oracle to all pairs of the default world."""
    world = random_world()
    return _asked(OracleCase(make, tags, world).oracle(seed=seed), world, slice(None), np.arange(len(world.first)))[1]


def _asked(
    oracle: Oracle, world: World, rows: AnyArray | slice, ids: npt.ArrayLike
) -> tuple[FloatArray, npt.NDArray[np.int8]]:
    first, second = world.pairs(rows)
    context = oracle.context(ids)
    return oracle.probabilities(first, second, context), oracle.answer(first, second, context)


def _probabilities(oracle: Oracle, world: World, context: AnswerContext | None = None) -> FloatArray:
    first, second = world.pairs()
    return oracle.probabilities(first, second, oracle.context(np.arange(len(first))) if context is None else context)


def _strict(p: FloatArray) -> FloatArray:
    """Returns (M,) P(FIRST | FIRST or SECOND); nan where no strict answer is given."""
    strict = p[:, Choice.FIRST] + p[:, Choice.SECOND]
    return np.asarray(np.where(strict > 1e-9, p[:, Choice.FIRST] / np.where(strict > 1e-9, strict, 1.0), np.nan))


def _use(oracle: Oracle, pool: ScoredSegments) -> None:
    """Calls everything an oracle offers."""
    ids = np.arange(len(pool))
    other = pool[ids[::-1]]
    context = oracle.context(ids)
    oracle.begin_round(ROUNDS[1])
    oracle.values(pool)
    oracle.probabilities(pool, other, context)
    oracle.marginal_probabilities(pool, other, ids)
    oracle.answer(pool, other, context)
    oracle.for_evaluation()
    oracle.card()
