"""Returns and ranks: hand-computed figures, the invariances that ERC has and lacks, and what overoptimization does to ranks."""

import numpy as np
import pytest
from scipy import stats

from preflab.errors import InvalidArgument
from preflab.rewards.distances import episode_return_distance, episode_returns, rank_correlations
from preflab.rewards.distances.episodes import rank_correlation
from preflab.types import FloatArray, IntArray, Transitions

N_EPISODES, LENGTH, GAMMA = 60, 12, 0.9
EPISODES: IntArray = np.repeat(np.arange(N_EPISODES), LENGTH)


def test_returns_are_discounted_from_each_episodes_own_start() -> None:
    found = episode_returns([1, 2, 4, 8, 16], np.array([7, 7, 7, 9, 9]), 0.5)
    np.testing.assert_allclose(found, [1 + 1 + 1, 8 + 8])
    with pytest.raises(InvalidArgument, match="together and in order"):
        episode_returns([1, 2, 3], np.array([0, 1, 0]))


def test_the_distance_of_returns_is_pearsons_with_its_interval(rng: np.random.Generator) -> None:
    x = rng.normal(size=200)
    y = 0.8 * x + 0.6 * rng.normal(size=200)
    found = episode_return_distance(x, y, rng)
    assert found.value == pytest.approx(np.sqrt((1 - np.corrcoef(x, y)[0, 1]) / 2))
    assert found.low < np.sqrt((1 - 0.8) / 2) < found.high and found.high - found.low < 0.1
    assert episode_return_distance(x, 3 * x + 1, rng).high < 1e-7
    assert episode_return_distance(x, -x, rng).low == pytest.approx(1)
    assert np.isnan(episode_return_distance(x, np.ones(200), rng).value)


def test_shaping_is_neutral_for_returns_only_from_one_start_to_an_end_of_no_potential(rng: np.random.Generator) -> None:
    rewards = rng.normal(size=(N_EPISODES, LENGTH))
    potential = 5 * rng.normal(size=(N_EPISODES, LENGTH + 1))
    gold = episode_returns(rewards.reshape(-1), EPISODES, GAMMA)

    def distance(phi: FloatArray) -> float:
        shaped = rewards + GAMMA * phi[:, 1:] - phi[:, :-1]
        return episode_return_distance(gold, episode_returns(shaped.reshape(-1), EPISODES, GAMMA), rng, 10).value

    fixed = potential.copy()
    fixed[:, 0], fixed[:, -1] = 2.0, 0.0
    assert distance(fixed) < 1e-7
    assert distance(potential) > 0.4  # the number that breaks ERC: gold itself, shaped, from starts of different potential


def test_ranks_are_spearmans_and_blind_to_any_rising_function(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, N_EPISODES * LENGTH))
    found = rank_correlation(x, x + y, EPISODES, rng)
    assert found.value == pytest.approx(stats.spearmanr(x, x + y).statistic)
    assert found.low < found.value < found.high
    assert rank_correlation(x, np.exp(x), EPISODES, rng).low == pytest.approx(1)
    assert np.isnan(rank_correlation(x, np.zeros_like(x), EPISODES, rng, 5).value)


def test_intervals_are_over_trajectories_and_not_over_steps(rng: np.random.Generator) -> None:
    # Every episode repeats one step, so that there are 60 steps and not 720: an interval over steps would be √12 narrower.
    x, y = np.repeat(rng.normal(size=(2, N_EPISODES)), LENGTH, axis=1)
    by_episode = rank_correlation(x, y, EPISODES, rng)
    by_step = rank_correlation(x, y, np.arange(len(x)), rng)
    assert by_episode.high - by_episode.low > 2.5 * (by_step.high - by_step.low)


def test_a_proxy_that_was_right_where_it_was_learned_may_be_wrong_where_it_led(rng: np.random.Generator) -> None:
    def steps(center: float) -> Transitions:
        obs = center + rng.normal(size=(N_EPISODES * LENGTH, 1))
        return Transitions(obs, obs, obs, np.zeros(len(obs), np.bool_))

    def gold(each: Transitions) -> FloatArray:
        return np.asarray(-np.abs(each.obs[:, 0] - 3))

    before, after = (steps(0.0), EPISODES), (steps(6.0), EPISODES)
    found = rank_correlations(gold, lambda each: np.asarray(each.obs[:, 0]), before, after, rng, 50)
    assert found.reference.low > 0.95 and found.optimized.high < -0.95
