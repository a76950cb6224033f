"""Small finite worlds in which the laws of oracles are tried: random, but named by a seed, so what holds once holds always."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from preflab import tabular
from preflab.seeding import generator
from preflab.tabular import TabularMDP
from preflab.types import AnyArray, FloatArray, IntArray, ScoredSegments, ScoredStore, ScoredTrajectory, Segments, Trajectory

FACTOR_NAMES = ("one", "other")  # of every world; they sum to gold and hardly go together


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
