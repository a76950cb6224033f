"""Knox et al. 2022: under answers by regret, a learner that knows it needs fewer of them."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preflab import tabular

BENCHMARK: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "knox_regret.py"))


def test_a_grid_is_an_mdp_whose_reward_is_linear_in_its_features() -> None:
    for seed in range(8):
        grid = BENCHMARK["random_grid"](seed)
        mdp, features = grid.mdp, grid.features
        assert set(np.unique(features)) <= {0.0, 1.0} and not features[mdp.terminal].any()
        assert 1 <= mdp.terminal.sum() < mdp.n_states - 1
        weights, *_ = np.linalg.lstsq(features.reshape(-1, 5), mdp.rewards[..., 0].reshape(-1), rcond=None)
        np.testing.assert_allclose(features @ weights, mdp.rewards[..., 0], atol=1e-9)
        assert BENCHMARK["scaled_return"](grid, mdp.rewards[..., 0]) == pytest.approx(1.0)


def test_answers_follow_the_judge_and_equal_values_are_ties() -> None:
    grid = BENCHMARK["random_grid"](4)
    pool = BENCHMARK["random_segments"](grid, 400, np.random.default_rng(0))
    v, q = tabular.optimal_values(grid.mdp)
    by_judge = {}
    for judge in ("regret", "partial return"):
        data = BENCHMARK["answers"](grid, pool, judge, False, np.random.default_rng(0))
        by_judge[judge] = data.choice
        value = []
        for side in (data.first, data.second):
            sums = []
            for i in side.trajectory:
                one = pool[int(i)]
                states, actions, after = one.observations[:-1], one.actions, one.observations[1:]
                steps = q[states, actions] - v[states] if judge == "regret" else grid.mdp.rewards[states, actions, after]
                sums.append(round(float(steps.sum()), 2))
            value.append(np.array(sums))
        assert np.array_equal(data.choice, np.select([value[0] > value[1], value[0] < value[1]], [0, 1], 2))
    assert not np.array_equal(by_judge["regret"], by_judge["partial return"])


@pytest.mark.slow
def test_answers_by_regret_are_worth_more_to_a_learner_of_regret() -> None:
    """At 100 answers on 24 grids: + 0.29 of near-optimal grids [0.10, 0.49] on grids 100 to 123; here 0.1 on other ones."""
    seeds = range(24)
    matched = {
        judge: (BENCHMARK["scores"](judge, judge, 100, seeds, False) >= BENCHMARK["NEAR_OPTIMAL"]).mean()
        for judge in ("regret", "partial return")
    }
    assert matched["regret"] >= matched["partial return"] + 0.1
