"""Laws that every reward learner keeps, as plain functions: `check_reward_learner(make)` for your own.

A law takes a factory `make(observation_space, action_space, is_fixed_horizon) -> learner`, builds small data with known
answers and raises `LawBroken` with the figures otherwise. A factory should make small learners (8 to 32 hidden units,
one minibatch, some 60 steps at a step size near 0.03): laws fit a few dozen comparisons. Laws of the likelihood call
`learner.batch(comparisons, pool)` and `learner.loss(network, batch)`, network: (B, n) raw inputs → (K, B) rewards.

`LAWS` are for a learner that takes the human's score of a segment for a sum of rewards, `REGRET_LAWS` for one that takes it
for regret. A learner that refuses Box spaces is shown a finite task; what it `needs` (dynamics, an action sampler, a value
function) it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch

from preflab import tabular
from preflab.errors import Refused
from preflab.interfaces import FitReport, LearnerContext, RewardModel
from preflab.testing.laws import global_states, hold
from preflab.testing.worlds import (
    ACT,
    BOX,
    GOAL,
    LENGTH,
    N_ACTIONS,
    N_STATES,
    Nothing,
    World,
    best_actions,
    both_answers,
    box_world,
    expected_answers,
    finite_extras,
    finite_world,
    learned_mdp,
    leaving_mdp,
    minus_regret,
    random_answers,
    random_pairs,
    shifted,
    true_scores,
    with_columns,
)
from preflab.types import Choice, Comparisons, FloatArray, TrajectoryStore

Network = Callable[[torch.Tensor], torch.Tensor]


class LikelihoodLearner(Protocol):
    """A learner with a public pure loss."""

    model: Any

    def provide(self, extras: dict[str, Any]) -> None:
        """Takes what the learner needs."""
        ...

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
    heavier = _loss(learner, with_columns(data, weight=weight), pool)
    _equal(_loss(learner, twice, pool), heavier, "a duplicate and a weight of 2")


def order_does_not_matter(make: Make) -> None:
    """The loss of a batch does not depend on the order of its comparisons."""
    learner, pool, data = _likelihood(make)
    _equal(_loss(learner, data, pool), _loss(learner, data[np.arange(len(data))[::-1]], pool), "comparisons in reverse")


def swapping_sides_mirrors(make: Make) -> None:
    """Swapping both segments and the answer leaves the loss."""
    learner, pool, data = _likelihood(make)
    answers = with_columns(data, choice=np.array([1, 0, 2])[data.choice])
    swapped = replace(answers, first=data.second, second=data.first)
    _equal(_loss(learner, data, pool), _loss(learner, swapped, pool), "sides swapped")


def perfect_tie_teaches_nothing(make: Make) -> None:
    """At segments of equal score a tie has gradient 0: here all scores are 0 and would move differently."""
    learner, pool, data = _likelihood(make)
    learner.provide({"value": Nothing()})  # an expert's value would make unequal what a learner thinks equal
    ties = with_columns(data, choice=np.full(len(data), Choice.TIE))
    batch = learner.batch(ties, pool)
    weights = torch.zeros((batch.inputs.shape[1], 2), requires_grad=True)
    loss = learner.loss(lambda inputs: (inputs @ weights).T, batch)
    (gradient,) = torch.autograd.grad(loss, weights)
    hold(float(gradient.abs().max()) < 1e-6, f"gradient {gradient.tolist()} at perfect ties")


def recovers_a_linear_reward(make: Make) -> None:
    """From 150 noiseless answers, learned and true score differences of fresh pairs have cosine ≥ 0.95."""
    learner, world = _made(make, True)
    pool, data = random_answers(world, seed=0, n=150)
    learner.fit(data, _context(pool, True, world.extras), np.random.default_rng(0))
    fresh, pairs = random_answers(world, seed=1, n=200)
    first, second = fresh.gather(pairs.first), fresh.gather(pairs.second)
    learned = learner.model.step_rewards(first).sum(1) - learner.model.step_rewards(second).sum(1)
    true = true_scores(world, fresh, pairs.first) - true_scores(world, fresh, pairs.second)
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
    learner, world = _made(make, True)
    pool, data = random_answers(world, seed=0, n=20)
    before = [array.copy() for array in (*data.arrays().values(), *pool.arrays().values())]
    learner.fit(data, _context(pool, True, world.extras), np.random.default_rng(0))
    after = [*data.arrays().values(), *pool.arrays().values()]
    hold(all(map(np.array_equal, before, after)), "fit changed its comparisons or pool")


def fit_moves_no_global_generator(make: Make) -> None:
    """Python's, numpy's and torch's global generators are where they were after a fit."""
    learner, world = _made(make, True)
    pool, data = random_answers(world, seed=0, n=20)
    before = global_states()
    learner.fit(data, _context(pool, True, world.extras), np.random.default_rng(0))
    moved = [name for name, state in global_states().items() if state != before[name]]
    hold(not moved, f"fit moved the global generator of {moved}")


def loaded_state_is_the_same_reward(make: Make) -> None:
    """`state` → `load_state` in a new learner gives equal bits of rewards and probabilities."""
    for is_fixed_horizon in (True, False):
        (learner, world), (other, _) = _made(make, is_fixed_horizon), _made(make, is_fixed_horizon)
        pool, data = random_answers(world, seed=0, n=20)
        learner.fit(data, _context(pool, is_fixed_horizon, world.extras), np.random.default_rng(0))
        other.provide(world.extras)
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
    learner, world = _made(make, False)
    pool, data = random_answers(world, seed=0, n=20, n_terminated=10)
    learner.fit(data, _context(pool, False, world.extras), np.random.default_rng(0))
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
    padded_pool, padded = random_answers(_made(make, False)[1], seed=0, n=12, n_terminated=10, is_padded=True)
    change = abs(_loss(learner, padded, padded_pool) - _loss(learner, padded, padded_pool, shift=0.4))
    hold(change > 1e-3, f"r and r + 0.4 have the same loss up to {change:.1e} on padded pairs: padding must pay 0")
    mdp, store = leaving_mdp()
    tabular_learner = make(gym.spaces.Discrete(mdp.n_states), gym.spaces.Discrete(mdp.n_actions), False)
    extras = finite_extras(mdp)
    tabular_learner.fit(expected_answers(mdp, store), _context(store, False, extras, 4), np.random.default_rng(0))
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
    learner, world = _made(make, False)
    pool, data = random_answers(world, seed=0, n=40, n_terminated=10, is_padded=True)
    learner.fit(data, _context(pool, False, world.extras), np.random.default_rng(0))
    model: RewardModel = learner.model
    first, second = pool.gather(data.first), pool.gather(data.second)
    log_odds = np.log(model.member_prob_first(first, second)) - np.log(model.member_prob_first(second, first))
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


def recovers_a_regret(make: Make) -> None:
    """From exact answers about regret, learned and true differences of regret have cosine ≥ 0.95."""
    mdp, store, learner = _fitted_to_regret(make)
    first, second = random_pairs(store)
    p_first = learner.model.prob_first(store.gather(first), store.gather(second))
    log_odds = np.log(p_first) - np.log1p(-p_first)
    true = minus_regret(mdp, store.gather(first)) - minus_regret(mdp, store.gather(second))
    cosine = float(log_odds @ true / np.sqrt((log_odds @ log_odds) * (true @ true)))
    hold(cosine >= 0.95, f"cosine {cosine:.3f} < 0.95 between learned and true differences of regret")


def plans_as_the_human_does(make: Make) -> None:
    """In a terminating task, the best policies of a reward learned from exact answers about regret are the human's."""
    mdp, _, learner = _fitted_to_regret(make)
    learned, best = learned_mdp(mdp, learner.model), best_actions(mdp)
    hold(np.array_equal(best_actions(learned), best), f"fitted {learned.rewards[:-1, :, 0].tolist()} plans otherwise")


REGRET_LAWS: dict[str, Callable[[Make], None]] = {
    name: law for name, law in LAWS.items()
    if name not in ("recovers_a_linear_reward", "padding_identifies_the_constant", "nothing_shifts_the_reward")
} | {law.__name__: law for law in (recovers_a_regret, plans_as_the_human_does)}


def _fitted_to_regret(make: Make) -> tuple[tabular.TabularMDP, TrajectoryStore, Any]:
    """Returns the task that may be left, its trajectories and a learner fitted to exact answers about regret there."""
    mdp, store = leaving_mdp()
    learner = make(gym.spaces.Discrete(mdp.n_states), gym.spaces.Discrete(mdp.n_actions), False)
    first, second = random_pairs(store)
    answers = both_answers(first, second, minus_regret(mdp, store.gather(first)) - minus_regret(mdp, store.gather(second)))
    learner.fit(answers, _context(store, False, finite_extras(mdp), 4), np.random.default_rng(0))
    return mdp, store, learner


def _made(make: Make, is_fixed_horizon: bool) -> tuple[Any, World]:
    """Returns a learner and where to try it: among boxes, or in a finite task if it refuses them."""
    try:
        return make(BOX, ACT, is_fixed_horizon), box_world()
    except Refused:
        spaces = gym.spaces.Discrete(N_STATES), gym.spaces.Discrete(N_ACTIONS)
        return make(*spaces, is_fixed_horizon), finite_world()


def _likelihood(make: Make) -> tuple[LikelihoodLearner, TrajectoryStore, Comparisons]:
    """Returns an unfitted learner and twelve strict answers about unpadded pairs, some of them wrong."""
    learner, world = _made(make, False)
    pool, data = random_answers(world, seed=0, n=12)
    choice = data.choice.copy()
    choice[::4] = 1 - choice[::4]
    learner.provide(world.extras)
    return learner, pool, with_columns(data, choice=choice)


def _loss(learner: LikelihoodLearner, data: Comparisons, pool: TrajectoryStore, shift: float = 0.0) -> float:
    """Returns the loss of a two-member linear reward plus `shift`."""
    batch = learner.batch(data, pool)
    slopes = np.resize(GOAL, batch.inputs.shape[1])
    weights = torch.tensor(slopes[:, None] * [[1.0, 0.3]], dtype=torch.float32)
    return float(learner.loss(lambda inputs: (inputs @ weights + shift).T, batch))


def _context(
    pool: TrajectoryStore, is_fixed_horizon: bool, extras: dict[str, Any], length: int = LENGTH
) -> LearnerContext:
    return LearnerContext(pool, pool.admissible(length), is_fixed_horizon, extras)


def _fitted_rewards(make: Make, seed: int) -> FloatArray:
    learner, world = _made(make, True)
    pool, data = random_answers(world, seed=0, n=20)
    learner.fit(data, _context(pool, True, world.extras), np.random.default_rng(seed))
    return np.asarray(learner.model.step_rewards(pool.gather(data.first)))


def _equal(a: float, b: float, what: str) -> None:
    hold(abs(a - b) <= 1e-5 * max(1.0, abs(a)), f"{what}: losses {a:.6f} and {b:.6f} should be equal")
