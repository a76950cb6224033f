"""Losses for answers that may be wrong, as closed forms: cDPO's optimum, rDPO's unbiasedness."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from preflab.errors import InvalidArgument
from preflab.rewards import BradleyTerryLearner, RewardSettings
from preflab.rewards.pairs import PairBatch, binary_nats, smoothed, unbiased, weighted_mean
from preflab.testing.worlds import ACT, BOX, box_world, random_answers, with_columns
from preflab.types import AnyArray, FloatArray


def pairs(p_first: list[float]) -> PairBatch:
    nothing = torch.zeros(2, len(p_first), 1)
    return PairBatch(torch.zeros(1, 1), nothing.long(), nothing, torch.tensor(p_first), torch.ones(len(p_first)))


def scores(difference: torch.Tensor) -> torch.Tensor:
    """Returns (1, 2, M) scores of these differences."""
    return torch.stack([difference, torch.zeros_like(difference)])[None]


def test_smoothed_answers_are_best_predicted_by_one_minus_epsilon_and_no_more() -> None:
    epsilon = 0.1
    h = torch.linspace(-8, 8, 16_001, dtype=torch.float64)
    nats = binary_nats(scores(h), smoothed(pairs([1.0] * len(h)), 2 * epsilon))[0]
    by_hand = -(1 - epsilon) * torch.nn.functional.logsigmoid(h) - epsilon * torch.nn.functional.logsigmoid(-h)
    torch.testing.assert_close(nats, by_hand, rtol=1e-6, atol=1e-6)
    assert float(h[nats.argmin()]) == pytest.approx(np.log((1 - epsilon) / epsilon), abs=1e-3)


def test_the_unbiased_loss_is_its_formula_and_leaves_ties_alone() -> None:
    epsilon, h = 0.2, torch.tensor([0.7, 0.7, 0.7])
    right, wrong = (-torch.nn.functional.logsigmoid(sign * h[0]) for sign in (1, -1))
    nats = binary_nats(scores(h), unbiased(pairs([1.0, 0.0, 0.5]), epsilon))[0]
    expected = torch.stack([
        ((1 - epsilon) * right - epsilon * wrong) / (1 - 2 * epsilon),
        ((1 - epsilon) * wrong - epsilon * right) / (1 - 2 * epsilon), (right + wrong) / 2,
    ])
    torch.testing.assert_close(nats, expected)


@pytest.mark.parametrize("epsilon", [0.05, 0.3, 0.45])
def test_over_all_patterns_of_flips_the_unbiased_loss_and_its_gradient_have_the_clean_mean(epsilon: float) -> None:
    pool, data = random_answers(box_world(), seed=0, n=5)
    clean = BradleyTerryLearner(BOX, ACT, RewardSettings())
    robust = BradleyTerryLearner(BOX, ACT, RewardSettings(robust="unbiased", flip_rate=epsilon))

    def loss_and_gradient(learner: BradleyTerryLearner, choice: AnyArray) -> FloatArray:
        slope = torch.tensor([0.4, -0.2, 0.9], dtype=torch.float64, requires_grad=True)
        batch = learner.batch(with_columns(data, choice=choice), pool)
        batch = replace(batch, inputs=torch.as_tensor(batch.inputs).double(), p_first=batch.p_first.double())
        loss = learner.loss(lambda inputs: (inputs @ slope)[None], batch)
        (gradient,) = torch.autograd.grad(loss, slope)
        return np.array([loss.item(), *gradient.tolist()])

    mean = np.zeros(4)
    for flips in product([False, True], repeat=5):
        chance = np.prod(np.where(flips, epsilon, 1 - epsilon))
        choice = np.where(flips, 1 - data.choice, data.choice).astype(np.int8)
        mean += chance * loss_and_gradient(robust, choice)
    np.testing.assert_allclose(mean, loss_and_gradient(clean, data.choice), rtol=1e-6)


def test_the_plain_loss_is_biased_by_flips() -> None:
    h = torch.tensor([1.3])
    right, wrong = (float(binary_nats(scores(h), pairs([p]))) for p in (1.0, 0.0))
    assert 0.7 * right + 0.3 * wrong > right + 0.3


def test_the_unbiased_loss_has_no_lower_bound() -> None:
    far = binary_nats(scores(torch.tensor([-200.0])), unbiased(pairs([0.0]), 0.3))
    assert float(far) < 0 or float(binary_nats(scores(torch.tensor([200.0])), unbiased(pairs([1.0]), 0.3))) < -50


def test_a_weighted_mean_is_one_and_0_without_weight() -> None:
    values = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    torch.testing.assert_close(weighted_mean(values, torch.tensor([[1.0, 3.0], [0.0, 0.0]])), torch.tensor([2.5, 0.0]))


def test_flip_rates_of_a_half_or_more_are_refused() -> None:
    for rate in (-0.1, 0.5):
        with pytest.raises(InvalidArgument, match="flip_rate"):
            RewardSettings(flip_rate=rate)
