"""Preferences in a circle: what Bradley-Terry cannot fit and the general preference model can, and the reward it becomes."""

import itertools
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from preflab.errors import InvalidArgument, Refused
from preflab.interfaces import LearnerContext
from preflab.rewards import (
    BradleyTerryLearner,
    GeneralPreferenceLearner,
    GeneralPreferenceModel,
    RewardAgainst,
    RewardSettings,
    build,
    metrics,
    weight_averaged,
)
from preflab.rewards.general_preference import log_odds
from preflab.testing.worlds import comparisons_of
from preflab.types import Comparisons, SegmentIndex, Trajectory, TrajectoryStore

pytestmark = pytest.mark.filterwarnings("ignore::preflab.rewards.FewComparisonsWarning")
OBS = gym.spaces.Box(-5.0, 5.0, (2,), np.float32)
ACT = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
LENGTH = 5
SETTINGS = RewardSettings(
    n_members=2, hidden=(16,), learning_rate=0.01, weight_decay=0.0, batch_size=128, n_epochs=200, max_steps=300, data="shared",
    early_stopping=False, likelihood="general",
)
CORNERS = np.array([[np.cos(a), np.sin(a)] for a in np.pi * np.array([0.5, 7 / 6, 11 / 6])])


def behaviors(n: int, seed: int) -> tuple[TrajectoryStore, Any]:
    """Returns n trajectories that stay near one of three corners, and which."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(3, size=n)
    store = TrajectoryStore([
        Trajectory(CORNERS[k] + rng.normal(0, 0.2, (9, 2)), rng.uniform(-1, 1, (8, 1)), False) for k in corner
    ])
    return store, corner


def circle(n: int, seed: int) -> tuple[TrajectoryStore, Comparisons]:
    """Returns n noiseless answers under 0 ≻ 1 ≻ 2 ≻ 0, between different behaviors, each pair of them as often."""
    store, corner = behaviors(90, seed)
    rng = np.random.default_rng(seed + 50)
    first = rng.integers(90, size=20 * n)
    second = rng.integers(90, size=20 * n)
    step = (corner[second] - corner[first]) % 3
    chosen = np.concatenate([np.flatnonzero((step == d) & (corner[first] == k))[: n // 6] for d in (1, 2) for k in range(3)])
    chosen = rng.permutation(chosen)
    starts = rng.integers(4, size=(2, len(chosen)))
    one, other = (SegmentIndex(who[chosen], starts[i], LENGTH) for i, who in enumerate((first, second)))
    return store, comparisons_of(one, other, np.where(step[chosen] == 1, 0, 1))


def fitted(make: Any, settings: RewardSettings, is_fixed_horizon: bool = True) -> Any:
    pool, data = circle(600, 0)
    learner = make(OBS, ACT, settings, is_fixed_horizon)
    learner.fit(data, LearnerContext(pool, pool.admissible(LENGTH), is_fixed_horizon), np.random.default_rng(0))
    return learner


def test_on_a_noiseless_circle_the_general_model_is_right_and_bradley_terry_knows_nothing() -> None:
    fresh, asked = circle(600, 1)
    p_first = metrics.predicted(fitted(GeneralPreferenceLearner, SETTINGS).model, fresh, asked)
    assert metrics.accuracy(p_first, asked.choice) >= 0.99
    plain = replace(SETTINGS, likelihood="partial_return", weight_decay=1.0)
    p_first = metrics.predicted(fitted(BradleyTerryLearner, plain).model, fresh, asked)
    assert metrics.log_loss(p_first, asked.choice) == pytest.approx(np.log(2), abs=0.01)
    assert metrics.accuracy(p_first, asked.choice) <= 2 / 3 + 0.02


def test_log_odds_are_antisymmetric_turn_planes_and_hold_bradley_terry() -> None:
    v, w = torch.randn(2, 50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(log_odds(v, w), -log_odds(w, v))
    assert torch.equal(log_odds(v, v), torch.zeros(50, dtype=torch.float64))
    turn = torch.as_tensor(np.kron(np.eye(3), [[0.0, 1.0], [-1.0, 0.0]]))
    torch.testing.assert_close(log_odds(v, w), ((v @ turn) * w).sum(1) / 0.1)
    r = torch.tensor([1.7, -0.4])
    assert float(log_odds(torch.tensor([r[0], 1.0]), torch.tensor([r[1], 1.0]))) == pytest.approx(float(r[0] - r[1]) / 0.1)


def test_the_loss_is_that_of_the_log_odds_of_summed_embeddings_with_gradients_of_finite_differences() -> None:
    pool, data = circle(12, 0)
    learner = GeneralPreferenceLearner(OBS, ACT, SETTINGS)
    batch = learner.batch(data, pool)
    batch = replace(batch, inputs=torch.as_tensor(batch.inputs).double(), real=batch.real.double())
    weights = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)

    def loss(weights: torch.Tensor) -> torch.Tensor:
        return learner.loss(lambda inputs: (inputs @ weights)[None], batch)

    steps = [pool.gather(side) for side in (data.first, data.second)]
    sums = [
        torch.as_tensor(np.concatenate([s.observations[:, :-1], s.actions], -1)).double().sum(1) @ weights.detach() for s in steps
    ]
    sign = torch.tensor(np.where(data.choice == 0, 1.0, -1.0))
    by_hand = -torch.nn.functional.logsigmoid(sign * log_odds(*sums)).mean()
    assert loss(weights).item() == pytest.approx(float(by_hand))
    (gradient,) = torch.autograd.grad(loss(weights), weights)
    for i in range(12):
        step = torch.zeros(12, dtype=torch.float64)
        step[i] = 1e-6
        ends = [loss(weights.detach() + sign_ * step.reshape(3, 4)).item() for sign_ in (1, -1)]
        assert gradient.reshape(-1)[i].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-6)


def test_a_margin_is_taken_off_the_log_odds() -> None:
    pool, data = circle(60, 0)
    learner = GeneralPreferenceLearner(OBS, ACT, replace(SETTINGS, robust="margin"))
    network = learner._fresh(torch.Generator().manual_seed(0))
    batch, margin = learner.batch(data, pool), torch.linspace(-1, 2, len(data))
    plain = learner.scores(network, batch)
    offered = learner.scores(network, replace(batch, offset=torch.stack([-margin / 2, margin / 2])))
    torch.testing.assert_close(offered[:, 0] - offered[:, 1], plain[:, 0] - plain[:, 1] - margin)


def test_against_one_behavior_the_reward_is_for_what_beats_it_and_sums_to_mean_log_odds() -> None:
    model = fitted(GeneralPreferenceLearner, SETTINGS).model.preferences
    assert isinstance(model, GeneralPreferenceModel)
    store, corner = behaviors(60, 3)
    segments = store.gather(SegmentIndex(np.arange(60), np.zeros(60, np.int64), LENGTH))
    for loser in range(3):
        opponents = segments[np.flatnonzero(corner == loser)]
        reward = RewardAgainst(model, opponents, is_fixed_horizon=True)
        reward.anchor(segments)
        means = [reward.step_rewards(segments)[corner == k].mean() for k in range(3)]
        assert int(np.argmax(means)) == (loser - 1) % 3 and int(np.argmin(means)) == (loser + 1) % 3
        odds = log_odds(model.embeddings(segments)[:, :, None], model.embeddings(opponents)[:, None]).mean(2)
        np.testing.assert_allclose(reward.member_scores(segments), odds.numpy(), rtol=1e-3, atol=1e-2)


def test_predictions_go_in_a_circle_whatever_the_opponents_and_the_reward_does_not() -> None:
    learned = fitted(GeneralPreferenceLearner, SETTINGS).model
    store, corner = behaviors(60, 4)
    at = [int(np.flatnonzero(corner == k)[0]) for k in (0, 1, 2, 0)]
    one = [store.gather(SegmentIndex(np.array([i]), np.array([0]), LENGTH)) for i in at]
    assert all(learned.prob_first(a, b)[0] > 0.9 for a, b in itertools.pairwise(one))


def test_a_restored_model_keeps_its_opponents_and_a_later_fit_takes_those_of_its_own_context() -> None:
    learner = fitted(GeneralPreferenceLearner, SETTINGS)
    restored = build("ensemble", SETTINGS, OBS, ACT)
    assert isinstance(restored, GeneralPreferenceLearner)
    restored.load_state(learner.state())
    pool, data = circle(60, 0)
    segments = pool.gather(data.first)
    assert np.array_equal(restored.model.step_rewards(segments), learner.model.step_rewards(segments))
    before = learner.model.opponents
    of_one = pool.admissible(LENGTH)[:4]
    learner.fit(data, LearnerContext(pool, of_one, True), np.random.default_rng(1))
    torch.testing.assert_close(learner.model.opponents, learner.model.preferences.embeddings(pool.gather(of_one)).mean(1))
    assert not torch.equal(before, learner.model.opponents)


def test_weights_are_averaged_by_the_learner_and_not_beside_opponents_embedded_by_others() -> None:
    trunk = replace(SETTINGS, diversity="trunk", data="bootstrap", max_steps=5, trunk_steps=5)
    pool, _ = circle(600, 0)
    anchor = pool.gather(pool.admissible(LENGTH))
    with pytest.raises(Refused, match=r"against opponents.*average_weights=true"):
        weight_averaged(fitted(GeneralPreferenceLearner, trunk).model, anchor)
    assert fitted(GeneralPreferenceLearner, replace(trunk, average_weights=True)).model.n_members == 1


def test_what_cannot_be_is_refused_by_name() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"n_planes": 0}, "n_planes"), ({"offset_pinning": 0.1}, "general"), ({"diversity": "features"}, "seed"),
    ]
    for arguments, match in cases:
        with pytest.raises(InvalidArgument, match=match):
            replace(SETTINGS, **arguments)
    pictures: Any = gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)
    pool, data = circle(12, 0)
    with pytest.raises(Refused, match="read numbers, not images"):
        GeneralPreferenceLearner(pictures, ACT, SETTINGS)._fresh(torch.Generator())
    model = fitted(GeneralPreferenceLearner, replace(SETTINGS, max_steps=1)).model.preferences
    with pytest.raises(InvalidArgument, match="opponents must be at least one"):
        RewardAgainst(model, pool.gather(data.first)[:0], is_fixed_horizon=True)
