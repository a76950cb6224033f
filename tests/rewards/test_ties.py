"""Ties as a third answer: closed forms, gradients, and that both formulas find their own tie parameter."""

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from preflab.errors import InvalidArgument
from preflab.interfaces import LearnerContext
from preflab.rewards import BradleyTerryLearner, RewardSettings, TabularLearner, TieLearner, build
from preflab.rewards.ties import FORMULAS, davidson, initial_tie, rao_kupper, tie_of
from preflab.testing.worlds import ACT, BOX, LENGTH, box_world, random_answers, true_scores, with_columns
from preflab.types import Choice, Comparisons, TrajectoryStore

pytestmark = pytest.mark.filterwarnings("ignore::preflab.rewards.FewComparisonsWarning")
SETTINGS = RewardSettings(
    n_members=2, hidden=(8,), learning_rate=0.02, weight_decay=0.0, batch_size=256, n_epochs=300, max_steps=300, data="shared",
    early_stopping=False, likelihood="davidson",
)
KINDS = ("rao_kupper", "davidson")


def tied(kind: str, n: int, tie: float, seed: int = 0) -> tuple[TrajectoryStore, Comparisons]:
    """Returns n answers drawn from a formula at the true scores."""
    pool, data = random_answers(box_world(), seed=0, n=n)
    difference = torch.as_tensor(true_scores(box_world(), pool, data.first) - true_scores(box_world(), pool, data.second))
    shares = FORMULAS[kind](difference, torch.tensor([tie], dtype=torch.float64)).exp().numpy().cumsum(1)
    choice = (np.random.default_rng(seed).random(n)[:, None] > shares[:, :2]).sum(1).astype(np.int8)
    return pool, with_columns(data, choice=choice)


def test_rao_kupper_is_its_formula() -> None:
    # θ = 3 (η = ln 3), odds 2: P(F) = 2 / (2 + 3), P(S) = 1 / (6 + 1), ties the rest, (θ² − 1) P(F) P(S) = 8 · 2/5 · 1/7
    raw = torch.tensor([np.log(np.expm1(np.log(3.0)))])
    first, second, tie = rao_kupper(torch.tensor([np.log(2.0)]), raw).exp()[0].tolist()
    assert (first, second, tie) == (pytest.approx(2 / 5), pytest.approx(1 / 7), pytest.approx(16 / 35))


def test_davidson_is_its_formula() -> None:
    # ν = 0.5, odds 4: 2 : ½ : ½
    shares = davidson(torch.tensor([np.log(4.0)]), torch.tensor([np.log(0.5)])).exp()[0]
    assert shares.tolist() == pytest.approx([2 / 3, 1 / 6, 1 / 6])


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_sum_to_one_mirror_and_become_bradley_terry_without_ties(kind: str) -> None:
    difference, tie = torch.linspace(-30, 30, 61, dtype=torch.float64), torch.tensor([0.4], dtype=torch.float64)
    logs = FORMULAS[kind](difference, tie)
    torch.testing.assert_close(logs.exp().sum(1), torch.ones(61, dtype=torch.float64))
    torch.testing.assert_close(logs, logs.flip(0)[:, [1, 0, 2]])
    without = FORMULAS[kind](difference, torch.full_like(tie, -40.0))
    torch.testing.assert_close(without[:, 0], torch.nn.functional.logsigmoid(difference))


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_ties_equal_pairs_as_often_as_asked(kind: str) -> None:
    for share in (0.05, 0.3, 0.8):
        start = torch.tensor([initial_tie(kind, share)], dtype=torch.float64)
        assert float(FORMULAS[kind](torch.zeros(1, dtype=torch.float64), start)[0, 2].exp()) == pytest.approx(share)
    assert np.isfinite([initial_tie(kind, 0.0), initial_tie(kind, 1.0)]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_minus_the_log_probability_and_its_gradients_are_those_of_finite_differences(kind: str) -> None:
    pool, data = random_answers(box_world(), seed=0, n=6)
    data = with_columns(data, choice=np.array([0, 1, 2, 2, 0, 1]), weight=np.arange(1.0, 7.0))
    learner = TieLearner(BOX, ACT, replace(SETTINGS, likelihood=kind, label_smoothing=0.2))
    batch = learner.batch(data, pool)
    target = torch.tensor([0.9, 0.1, 0.5, 0.5, 0.9, 0.1], dtype=torch.float64)
    batch = replace(batch, inputs=torch.as_tensor(batch.inputs).double(), real=batch.real.double(), weight=batch.weight.double(),
                    p_first=batch.p_first.double())

    class Linear(torch.nn.Module):
        def __init__(self, slope: torch.Tensor, tie: torch.Tensor) -> None:
            super().__init__()
            self.slope, self.tie = torch.nn.Parameter(slope), torch.nn.Parameter(tie)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return (inputs @ self.slope)[None]

    point = torch.tensor([0.4, -0.2, 0.9, 0.3], dtype=torch.float64)
    params = Linear(point[:3], point[3:].reshape(1, 1))
    loss = learner.loss(params, batch)
    scores = learner.scores(params, batch)[0].detach()
    logs = FORMULAS[kind](scores[0] - scores[1], point[3:])
    strict = target * logs[:, 0] + (1 - target) * logs[:, 1]
    by_hand = -torch.where(target == 0.5, logs[:, 2], strict)
    assert loss.item() == pytest.approx(float(by_hand @ torch.arange(1.0, 7.0, dtype=torch.float64)) / 21)
    gradient = torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, [params.slope, params.tie])])
    for i, step in enumerate(torch.eye(4, dtype=torch.float64) * 1e-6):
        ends = [learner.loss(Linear(p[:3], p[3:].reshape(1, 1)), batch).item() for p in (point + step, point - step)]
        assert gradient[i].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_finds_the_tie_parameter_that_answers_were_drawn_with(kind: str) -> None:
    true = initial_tie(kind, 0.4)
    pool, data = tied(kind, 4000, true)
    learner: Any = TieLearner(BOX, ACT, replace(SETTINGS, likelihood=kind))
    report = learner.fit(data, LearnerContext(pool, pool.admissible(LENGTH), True), np.random.default_rng(0))
    # the tie rate of equal pairs has a standard error of some 0.02 here
    assert report.scalars["tie_rate_if_equal"] == pytest.approx(0.4, abs=0.06)
    first, second = pool.gather(data.first), pool.gather(data.second)
    shares = learner.model.probabilities(first, second)
    np.testing.assert_allclose(shares.sum(1), 1)
    assert shares[:, 2].mean() == pytest.approx((data.choice == Choice.TIE).mean(), abs=0.03)
    strict = shares[:, :2] / shares[:, :2].sum(1, keepdims=True)
    np.testing.assert_allclose(learner.model.prob_first(first, second), strict[:, 0], atol=0.01)


def test_davidson_keeps_the_odds_of_strict_answers_and_rao_kupper_makes_them_surer() -> None:
    pool, data = random_answers(box_world(), seed=0, n=30)
    sides = pool.gather(data.first), pool.gather(data.second)
    for kind in KINDS:
        learner = build("ensemble", replace(SETTINGS, likelihood=kind, max_steps=20), BOX, ACT)
        assert isinstance(learner, TieLearner)
        learner.fit(tied(kind, 200, 1.0)[1], LearnerContext(pool, pool.admissible(LENGTH), True), np.random.default_rng(0))
        scores = [learner.model.member_scores(side) for side in sides]
        plain = 1 / (1 + np.exp(scores[1] - scores[0]))
        surer = np.abs(learner.model.member_prob_first(*sides) - 0.5) - np.abs(plain - 0.5)
        assert (np.abs(surer).max() < 1e-6) if kind == "davidson" else (surer.min() > -1e-9 and surer.max() > 1e-3)


def test_ties_teach_more_when_they_are_believed_to_be_ties() -> None:
    """Accuracy of held-out differences from answers of which 60 % are ties: a tie says close, and how close."""
    pool, data = tied("davidson", 3000, initial_tie("davidson", 0.85))
    assert 0.5 < (data.choice == Choice.TIE).mean() < 0.8
    context, scales = LearnerContext(pool, pool.admissible(LENGTH), True), {}
    true = true_scores(box_world(), pool, data.first) - true_scores(box_world(), pool, data.second)
    for kind, make in (("davidson", TieLearner), ("partial_return", BradleyTerryLearner)):
        learner = make(BOX, ACT, replace(SETTINGS, likelihood=kind))
        learner.fit(data, context, np.random.default_rng(0))
        gap = np.subtract(*(learner.model.member_scores(pool.gather(side)).mean(0) for side in (data.first, data.second)))
        scales[kind] = float(gap @ true / (true @ true))
    assert scales["davidson"] == pytest.approx(1, abs=0.15)  # the scale of the human's scores is found
    assert scales["partial_return"] < 0.7  # half a victory each draws it to 0


def test_a_restored_learner_knows_its_tie_parameter_and_goes_on_from_it() -> None:
    pool, data = tied("rao_kupper", 100, 1.0)
    context = LearnerContext(pool, pool.admissible(LENGTH), True)
    settings = replace(SETTINGS, likelihood="rao_kupper", max_steps=30, warm_start=True)
    learner, restored = TieLearner(BOX, ACT, settings), TieLearner(BOX, ACT, settings)
    learner.fit(data, context, np.random.default_rng(0))
    restored.load_state(learner.state())
    assert torch.equal(tie_of(learner.model.network), tie_of(restored.model.network))
    for one in (learner, restored):
        one.fit(data, context, np.random.default_rng(1))
    assert torch.equal(tie_of(learner.model.network), tie_of(restored.model.network))
    assert tie_of(learner.model.network).std() > 0  # each member has its own


def test_a_table_has_no_tie_parameter() -> None:
    states: Any = gym.spaces.Discrete(3)
    with pytest.raises(InvalidArgument, match="likelihood must be one that tables are fitted by"):
        TabularLearner(states, states, SETTINGS)
