"""Laws that every reward learner keeps, as plain functions: `check_reward_learner(make)` for your own.

A law takes a factory `make(observation_space, action_space, is_fixed_horizon) -> learner`, builds small data with known
answers and raises `LawBroken` with the figures otherwise. A factory should make small learners (8 to 32 hidden units,
one minibatch, some 60 steps at a step size near 0.03): laws fit a few dozen comparisons. Laws of the likelihood call
`learner.batch(comparisons, pool)` and `learner.loss(network, batch)`, network: (B, n) raw inputs → (K, B) rewards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from preflab import tabular
from preflab.interfaces import FitReport, LearnerContext, RewardLearner, RewardModel
from preflab.testing.laws import global_states, hold
from preflab.types import Choice, Comparisons, FloatArray, SegmentIndex, Trajectory, TrajectoryStore

Network = Callable[[torch.Tensor], torch.Tensor]
LENGTH = 6
BOX = gym.spaces.Box(-5.0, 5.0, (2,), np.float32)
ACT = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
GOAL = np.array([1.0, -0.5, 0.7])  # the linear reward behind the answers: on both observations and the action


class LikelihoodLearner(Protocol):
    """A learner with a public pure loss."""

    model: Any

    def batch(self, comparisons: Comparisons, pool: TrajectoryStore) -> Any:
        """Returns comparisons as the loss takes them, inputs raw."""
        ...

    def loss(self, params: Network, minibatch: Any) -> torch.Tensor:
        """Returns a scalar, pure in both arguments."""
        ...

    def fit(self, comparisons: Comparisons, context: LearnerContext, rng: np.random.Generator) -> FitReport:
        """Learns."""
        ...


Make = Callable[[gym.Space[Any], gym.Space[Any], bool], Any]


def check_reward_learner(make: Make, laws: dict[str, Callable[[Make], None]] | None = None) -> None:
    """Checks every law of `LAWS` (or those given); raises `LawBroken` at the first one broken."""
    for law in (LAWS if laws is None else laws).values():
        law(make)


def duplicate_counts_as_weight_two(make: Make) -> None:
    """A comparison given twice and one of weight 2 have the same loss."""
    learner, pool, data = _likelihood(make)
    twice = data[np.concatenate([[0], np.arange(len(data))])]
    weight = np.ones(len(data))
    weight[0] = 2.0
    heavier = _loss(learner, _with(data, weight=weight), pool)
    _equal(_loss(learner, twice, pool), heavier, "a duplicate and a weight of 2")


def order_does_not_matter(make: Make) -> None:
    """The loss of a batch does not depend on the order of its comparisons."""
    learner, pool, data = _likelihood(make)
    _equal(_loss(learner, data, pool), _loss(learner, data[np.arange(len(data))[::-1]], pool), "comparisons in reverse")


def swapping_sides_mirrors(make: Make) -> None:
    """Swapping both segments and the answer leaves the loss."""
    learner, pool, data = _likelihood(make)
    answers = _with(data, choice=np.array([1, 0, 2])[data.choice])
    swapped = replace(answers, first=data.second, second=data.first)
    _equal(_loss(learner, data, pool), _loss(learner, swapped, pool), "sides swapped")


def perfect_tie_teaches_nothing(make: Make) -> None:
    """At segments of equal score a tie has gradient 0: here all scores are 0 and would move differently."""
    learner, pool, data = _likelihood(make)
    ties = _with(data, choice=np.full(len(data), Choice.TIE))
    weights = torch.zeros((len(GOAL), 2), requires_grad=True)
    loss = learner.loss(lambda inputs: (inputs @ weights).T, learner.batch(ties, pool))
    (gradient,) = torch.autograd.grad(loss, weights)
    hold(float(gradient.abs().max()) < 1e-6, f"gradient {gradient.tolist()} at perfect ties")


def recovers_a_linear_reward(make: Make) -> None:
    """From 150 noiseless answers, learned and true score differences of fresh pairs have cosine ≥ 0.95."""
    pool, data = _box_data(seed=0, n=150)
    learner = make(BOX, ACT, True)
    learner.fit(data, _context(pool, True), np.random.default_rng(0))
    fresh, pairs = _box_data(seed=1, n=200)
    first, second = fresh.gather(pairs.first), fresh.gather(pairs.second)
    learned = learner.model.step_rewards(first).sum(1) - learner.model.step_rewards(second).sum(1)
    true = _true_scores(fresh, pairs.first) - _true_scores(fresh, pairs.second)
    cosine = float(learned @ true / np.sqrt((learned @ learned) * (true @ true)))
    hold(cosine >= 0.95, f"cosine {cosine:.3f} < 0.95 between learned and true score differences")


def same_generator_same_reward(make: Make) -> None:
    """Two learners given equal generators learn equal bits."""
    once, again = _fitted_rewards(make, 3), _fitted_rewards(make, 3)
    hold(np.array_equal(once, again), "equal generators gave different rewards")


def other_generator_other_reward(make: Make) -> None:
    """A learner draws from the generator that it is given."""
    one, other = _fitted_rewards(make, 3), _fitted_rewards(make, 4)
    hold(not np.array_equal(one, other), "different generators gave one reward")


def fit_leaves_its_input_alone(make: Make) -> None:
    """Comparisons and pool are the same after a fit."""
    pool, data = _box_data(seed=0, n=20)
    before = [array.copy() for array in (*data.arrays().values(), *pool.arrays().values())]
    make(BOX, ACT, True).fit(data, _context(pool, True), np.random.default_rng(0))
    after = [*data.arrays().values(), *pool.arrays().values()]
    hold(all(map(np.array_equal, before, after)), "fit changed its comparisons or pool")


def fit_moves_no_global_generator(make: Make) -> None:
    """Python's, numpy's and torch's global generators are where they were after a fit."""
    pool, data = _box_data(seed=0, n=20)
    before = global_states()
    make(BOX, ACT, True).fit(data, _context(pool, True), np.random.default_rng(0))
    moved = [name for name, state in global_states().items() if state != before[name]]
    hold(not moved, f"fit moved the global generator of {moved}")


def loaded_state_is_the_same_reward(make: Make) -> None:
    """`state` → `load_state` in a new learner gives equal bits of rewards and probabilities."""
    for is_fixed_horizon in (True, False):
        pool, data = _box_data(seed=0, n=20)
        learner, other = make(BOX, ACT, is_fixed_horizon), make(BOX, ACT, is_fixed_horizon)
        learner.fit(data, _context(pool, is_fixed_horizon), np.random.default_rng(0))
        other.load_state(learner.state())
        first, second = pool.gather(data.first), pool.gather(data.second)
        for name, values in (
            ("step_rewards", [one.model.step_rewards(first) for one in (learner, other)]),
            ("rewards", [one.model.rewards(first.transitions()) for one in (learner, other)]),
            ("prob_first", [one.model.prob_first(first, second) for one in (learner, other)]),
        ):
            hold(np.array_equal(*values), f"{name} differ after state → load_state")


def absorbing_steps_pay_nothing(make: Make) -> None:
    """In the terminating form, absorbing steps have reward exactly 0, and real steps have another."""
    pool, data = _box_data(seed=0, n=20, n_terminated=10)
    learner = make(BOX, ACT, False)
    learner.fit(data, _context(pool, False), np.random.default_rng(0))
    segments = pool.gather(pool.admissible(LENGTH))
    rewards = learner.model.step_rewards(segments)
    hold(bool(segments.absorbing.any()), "the law's data have no absorbing step")
    worst = float(np.abs(rewards[segments.absorbing]).max())
    hold(worst == 0.0, f"an absorbing step pays {worst}")
    hold(bool((rewards[segments.valid] != 0).any()), "no real step pays anything")


def padding_identifies_the_constant(make: Make) -> None:
    """Rewards r and r + c are as likely on unpadded pairs and not on padded ones, so that a fitted reward plans right.

    The fitted part is a terminating MDP in which the best policy stays, and leaves under r + c for some c < 0: unpadded
    pairs could not tell them apart. Answers are exact in expectation (both to each pair, weighted by probability).
    """
    learner, pool, data = _likelihood(make)
    _equal(_loss(learner, data, pool), _loss(learner, data, pool, shift=0.4), "r and r + 0.4 on unpadded pairs")
    padded_pool, padded = _box_data(seed=0, n=12, n_terminated=10, is_padded=True)
    change = abs(_loss(learner, padded, padded_pool) - _loss(learner, padded, padded_pool, shift=0.4))
    hold(change > 1e-3, f"r and r + 0.4 have the same loss up to {change:.1e} on padded pairs: padding must pay 0")
    mdp, store = leaving_mdp()
    tabular_learner = make(gym.spaces.Discrete(mdp.n_states), gym.spaces.Discrete(mdp.n_actions), False)
    tabular_learner.fit(expected_answers(mdp, store), _context(store, False, 4), np.random.default_rng(0))
    learned = learned_mdp(mdp, tabular_learner.model)
    best = best_actions(mdp)
    hold(np.array_equal(best_actions(learned), best), f"fitted {learned.rewards[:-1, :, 0].tolist()} plans otherwise")
    largest = float(np.abs(learned.rewards).max())
    plans = [best_actions(shifted(learned, -share * largest)) for share in (0.25, 0.5, 1.0)]
    hold(not all(np.array_equal(plan, best) for plan in plans), "no shift changes the plan, so the law shows nothing")


def nothing_shifts_the_reward(make: Make) -> None:
    """In the terminating form, proxy scores are a positive combination of the members' log odds, without a constant.

    For pairs with different numbers of real steps any shift by c would add c times that difference.
    """
    pool, data = _box_data(seed=0, n=40, n_terminated=10, is_padded=True)
    learner = make(BOX, ACT, False)
    learner.fit(data, _context(pool, False), np.random.default_rng(0))
    model: RewardModel = learner.model
    first, second = pool.gather(data.first), pool.gather(data.second)
    p_first = model.member_prob_first(first, second)
    log_odds = np.log(p_first) - np.log1p(-p_first)
    for name, steps in (
        ("step_rewards", [model.step_rewards(side) for side in (first, second)]),
        ("rewards", [
            np.where(side.absorbing, 0, model.rewards(side.transitions()).reshape(side.absorbing.shape))
            for side in (first, second)
        ]),
    ):
        proxy = steps[0].sum(1) - steps[1].sum(1)
        share, *_ = np.linalg.lstsq(log_odds.T, proxy, rcond=None)
        rest = float(np.abs(share @ log_odds - proxy).max() / np.abs(proxy).max())
        hold(rest < 1e-3, f"{name}: {rest:.1%} of the proxy's scores are not the likelihood's")
        hold(bool((share > 0).all()), f"{name}: members enter the proxy with {share.tolist()}")


LIKELIHOOD_LAWS: dict[str, Callable[[Make], None]] = {
    law.__name__: law for law in (
        duplicate_counts_as_weight_two, order_does_not_matter, swapping_sides_mirrors, perfect_tie_teaches_nothing,
        recovers_a_linear_reward, other_generator_other_reward, padding_identifies_the_constant,
    )
}
MODEL_LAWS: dict[str, Callable[[Make], None]] = {
    law.__name__: law for law in (
        same_generator_same_reward, fit_leaves_its_input_alone, fit_moves_no_global_generator,
        loaded_state_is_the_same_reward, absorbing_steps_pay_nothing,
    )
}
LAWS = LIKELIHOOD_LAWS | MODEL_LAWS | {nothing_shifts_the_reward.__name__: nothing_shifts_the_reward}


def leaving_mdp() -> tuple[tabular.TabularMDP, TrajectoryStore]:
    """Returns a terminating MDP and trajectories of a random policy there.

    In each of two rooms: stay for 0.6 or 0.5, change for 0.2 less, or leave for 2. At γ = 0.9 staying in room 0 is
    worth 6 and leaving 2; under r − 0.5 staying is worth 1 and leaving 1.5.
    """
    transitions, rewards = np.zeros((3, 3, 3)), np.zeros((3, 3, 3))
    for room, pay in ((0, 0.6), (1, 0.5)):
        for action, (target, reward) in enumerate(((room, pay), (1 - room, pay - 0.2), (2, 2.0))):
            transitions[room, action, target] = 1.0
            rewards[room, action, :] = reward
    transitions[2, :, 2] = 1.0
    mdp = tabular.TabularMDP(transitions, rewards, 0.9, np.array([False, False, True]), np.array([0.5, 0.5, 0.0]))
    rng, trajectories = np.random.default_rng(0), []
    for _ in range(60):
        states, actions = [int(rng.integers(2))], list[int]()
        while states[-1] != 2 and len(actions) < 8:
            actions.append(int(rng.choice(3, p=[0.4, 0.3, 0.3])))
            states.append(int(transitions[states[-1], actions[-1]].argmax()))
        trajectories.append(Trajectory(np.array(states), np.array(actions), states[-1] == 2))
    return mdp, TrajectoryStore([one for one in trajectories if one.terminated or len(one) >= 4])


def expected_answers(mdp: tabular.TabularMDP, store: TrajectoryStore, n: int = 150, length: int = 4) -> Comparisons:
    """Returns both answers to n pairs of segments, weighted by their probability under Bradley-Terry on the MDP."""
    segments, rng = store.admissible(length), np.random.default_rng(1)
    first, second = (segments[rng.integers(len(segments), size=n)] for _ in range(2))
    scores = []
    for side in (first, second):
        taken = store.gather(side)
        pay = mdp.rewards[taken.observations[:, :-1], taken.actions, taken.observations[:, 1:]]
        scores.append(np.where(taken.absorbing, 0.0, pay).sum(1))
    p_first = 1 / (1 + np.exp(scores[1] - scores[0]))
    both = _comparisons(first, second, np.full(n, Choice.FIRST)), _comparisons(first, second, np.full(n, Choice.SECOND))
    return _with(both[0], weight=p_first).extended(_with(both[1], weight=1 - p_first))


def learned_mdp(mdp: tabular.TabularMDP, model: RewardModel) -> tabular.TabularMDP:
    """Returns `mdp` with the model's reward of each state and action (of their likeliest next state)."""
    states, actions = (grid.reshape(-1) for grid in np.mgrid[: mdp.n_states, : mdp.n_actions])
    following = mdp.transitions.argmax(-1)[states, actions]
    store = TrajectoryStore([
        Trajectory(np.array([s, t]), np.array([a]), bool(mdp.terminal[t]))
        for s, a, t in zip(states, actions, following, strict=True)
    ])
    single = SegmentIndex(np.arange(len(states)), np.zeros(len(states), np.int64), 1)
    pay = model.step_rewards(store.gather(single)).reshape(mdp.n_states, mdp.n_actions, 1)
    rewards = np.broadcast_to(pay, mdp.rewards.shape).astype(np.float64)
    return tabular.TabularMDP(mdp.transitions, rewards, mdp.gamma, mdp.terminal, mdp.initial)


def shifted(mdp: tabular.TabularMDP, shift: float) -> tabular.TabularMDP:
    """Returns `mdp` with `shift` added to each step's reward."""
    return tabular.TabularMDP(mdp.transitions, mdp.rewards + shift, mdp.gamma, mdp.terminal, mdp.initial)


def best_actions(mdp: tabular.TabularMDP) -> npt.NDArray[np.int64]:
    """Returns the best action of each state that is not terminal."""
    return tabular.greedy(tabular.optimal_values(mdp)[1])[~mdp.terminal]


def _likelihood(make: Make) -> tuple[LikelihoodLearner, TrajectoryStore, Comparisons]:
    """Returns an unfitted learner and twelve strict answers about unpadded pairs, some of them wrong."""
    pool, data = _box_data(seed=0, n=12)
    choice = data.choice.copy()
    choice[::4] = 1 - choice[::4]
    return make(BOX, ACT, False), pool, _with(data, choice=choice)


def _loss(learner: LikelihoodLearner, data: Comparisons, pool: TrajectoryStore, shift: float = 0.0) -> float:
    """Returns the loss of a two-member linear reward plus `shift`."""
    weights = torch.tensor(GOAL[:, None] * [[1.0, 0.3]], dtype=torch.float32)
    return float(learner.loss(lambda inputs: (inputs @ weights + shift).T, learner.batch(data, pool)))


def _box_data(seed: int, n: int, n_terminated: int = 0, is_padded: bool = False) -> tuple[TrajectoryStore, Comparisons]:
    """Returns 20 random trajectories and n noiseless answers; `is_padded` pairs a padded with an unpadded segment."""
    rng = np.random.default_rng(seed)
    store = TrajectoryStore([
        Trajectory(rng.normal(size=(21, 2)), rng.uniform(-1, 1, (20, 1)), i < n_terminated) for i in range(20)
    ])
    segments = store.admissible(LENGTH)
    is_short = segments.start > 20 - LENGTH
    sides = [segments[np.flatnonzero(is_short)], segments[np.flatnonzero(~is_short)]]
    if not is_padded:
        sides = [sides[1], sides[1]]
    first, second = (side[rng.integers(len(side), size=n)] for side in sides)
    swap = np.arange(n) % 2 == 1 if is_padded else np.zeros(n, bool)
    first, second = (
        SegmentIndex(np.where(swap, b.trajectory, a.trajectory), np.where(swap, b.start, a.start), LENGTH)
        for a, b in ((first, second), (second, first))
    )
    difference = _true_scores(store, first) - _true_scores(store, second)
    return store, _comparisons(first, second, np.where(difference > 0, Choice.FIRST, Choice.SECOND))


def _true_scores(store: TrajectoryStore, index: SegmentIndex) -> FloatArray:
    segments = store.gather(index)
    steps = np.concatenate([segments.observations[:, :-1], segments.actions], axis=-1) @ GOAL + 0.3
    return np.asarray(np.where(segments.absorbing, 0.0, steps).sum(1))


def _comparisons(first: SegmentIndex, second: SegmentIndex, choice: npt.NDArray[Any]) -> Comparisons:
    zero = np.zeros(len(first), np.int64)
    return Comparisons(first, second, choice.astype(np.int8), zero, zero, np.ones(len(first)), np.arange(len(first)))


def _with(data: Comparisons, **changed: npt.NDArray[Any]) -> Comparisons:
    columns = {name: getattr(data, name) for name in ("choice", "annotator", "round", "weight", "query_id")}
    return Comparisons(data.first, data.second, **(columns | changed))


def _context(pool: TrajectoryStore, is_fixed_horizon: bool, length: int = LENGTH) -> LearnerContext:
    return LearnerContext(pool, pool.admissible(length), is_fixed_horizon)


def _fitted_rewards(make: Make, seed: int) -> FloatArray:
    pool, data = _box_data(seed=0, n=20)
    learner: RewardLearner = make(BOX, ACT, True)
    learner.fit(data, _context(pool, True), np.random.default_rng(seed))
    return learner.model.step_rewards(pool.gather(data.first))


def _equal(a: float, b: float, what: str) -> None:
    hold(abs(a - b) <= 1e-5 * max(1.0, abs(a)), f"{what}: losses {a:.6f} and {b:.6f} should be equal")
