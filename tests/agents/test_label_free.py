from typing import Any

import numpy as np
import pytest

from preflab.agents import PPOAgent
from preflab.agents.label_free import StateEntropyReward
from preflab.errors import InvalidArgument
from preflab.types import AnyArray, Transitions


def moves(states: AnyArray) -> Transitions:
    return Transitions(states, np.zeros((len(states), 1)), states, np.zeros(len(states), dtype=bool))


def test_the_reward_is_the_log_of_one_plus_the_distance_to_the_kth_neighbor_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    batches = [rng.standard_normal((n, 3)) * [1.0, 5.0, 0.0] for n in (7, 1, 20)]
    source = StateEntropyReward(np.random.default_rng(1), k=3, capacity=100)
    known = np.zeros((0, 3))
    for batch in batches:
        known = np.concatenate([known, batch])
        spread = np.where(known.std(0) > 1e-8, known.std(0), 1.0)
        apart = np.linalg.norm((batch[:, None] - known[None]) / spread, axis=-1)
        expected = np.log1p(np.sort(apart, axis=1)[:, 3])  # the 0-th is the state itself
        np.testing.assert_allclose(source(moves(batch)), expected, rtol=1e-5, atol=1e-7)


def test_beyond_its_capacity_it_keeps_a_uniform_sample_of_all_states_so_far() -> None:
    n, capacity, kept = 400, 40, np.zeros(400)
    for seed in range(300):
        source = StateEntropyReward(np.random.default_rng(seed), k=2, capacity=capacity)
        for first in range(0, n, 50):
            source(moves(np.arange(first, first + 50, dtype=np.float64)[:, None]))
        assert len(source._kept) == capacity
        kept[source._kept[:, 0].astype(int)] += 1
    expected = 300 * capacity / n
    # chi-square with about 400 degrees of freedom (a sample without replacement has less): 3.3 of its deviations
    assert ((kept - expected) ** 2 / expected).sum() < 400 + 3.3 * np.sqrt(800)


def test_states_far_from_the_others_are_paid_more_and_a_repeated_one_nothing() -> None:
    crowd = np.random.default_rng(0).standard_normal((200, 2))
    rewards = StateEntropyReward(np.random.default_rng(0))(moves(np.concatenate([crowd, [[30.0, 30.0]]])))
    assert rewards.argmax() == 200
    assert StateEntropyReward(np.random.default_rng(0))(moves(np.ones((50, 2)))).max() == 0.0


@pytest.mark.parametrize(("k", "capacity"), [(0, 10), (6, 10)])
def test_a_neighbor_that_cannot_be_there_is_refused(k: int, capacity: int) -> None:
    with pytest.raises(InvalidArgument, match="k, capacity"):
        StateEntropyReward(np.random.default_rng(0), k, capacity)


def test_resetting_ppos_critic_keeps_what_acts(tasks: Any) -> None:
    agent = PPOAgent(tasks.make_vec("pendulum"), tasks.settings(normalize_obs=True), seed=0)
    agent.train(64, StateEntropyReward(np.random.default_rng(0)), seed=1, steps_done=0, steps_total=64)
    obs, before = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32), agent.state()
    acted = agent.act(obs)
    agent.reset_critic(3)
    np.testing.assert_array_equal(acted, agent.act(obs))
    after = agent.state()
    changed = {name for name in before if name not in after or not np.array_equal(before[name], after[name])}
    assert {name for name in changed if name.startswith("policy.")} == {
        f"policy.mlp_extractor.value_net.{i}.{part}" for i in (0, 2) for part in ("weight", "bias")
    } | {"policy.value_net.weight", "policy.value_net.bias"}
