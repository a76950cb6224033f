"""Answers that may be wrong: EM over annotators, RIME's filter, cross-fitted votes, minimum-norm weights."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from preflab.errors import InvalidArgument
from preflab.interfaces import FitReport, LearnerContext
from preflab.rewards import BradleyTerryLearner, RewardSettings, metrics
from preflab.rewards.filtering import Filter, divergences, threshold
from preflab.rewards.minimum_norm import MinimumNorm, last_weights, min_norm_weights
from preflab.rewards.pairs import PairBatch, binary_nats
from preflab.rewards.reliability import Reliability, reliabilities, trusts
from preflab.rewards.trust import Trust, fair_differences, given_probabilities
from preflab.rewards.votes import believed, flipped, halves, strengths
from preflab.testing.worlds import ACT, BOX, LENGTH, box_world, comparisons_of, random_answers, true_scores, with_columns
from preflab.types import Comparisons, FloatArray, TrajectoryStore

pytestmark = pytest.mark.filterwarnings("ignore::preflab.rewards.FewComparisonsWarning")
SETTINGS = RewardSettings(
    n_members=2, hidden=(8,), learning_rate=0.02, weight_decay=0.0, batch_size=256, n_epochs=200, max_steps=200,
)


def answers(n: int, seed: int, reliability: tuple[float, ...], scale: float) -> tuple[TrajectoryStore, Comparisons, FloatArray]:
    """Returns answers of Bradley-Terry humans, each of whom is turned around with a chance of its own; and true differences."""
    pool, data = random_answers(box_world(), seed=seed, n=n)
    true = scale * (true_scores(box_world(), pool, data.first) - true_scores(box_world(), pool, data.second))
    rng = np.random.default_rng(seed + 100)
    is_first = rng.random(n) < 1 / (1 + np.exp(-true.clip(-50, 50)))
    annotator = rng.integers(len(reliability), size=n)
    is_wrong = rng.random(n) > np.array(reliability)[annotator]
    return pool, with_columns(data, choice=np.where(is_first != is_wrong, 0, 1), annotator=annotator), true


def fitted(pool: TrajectoryStore, data: Comparisons, settings: RewardSettings) -> tuple[Any, FitReport]:
    learner = BradleyTerryLearner(BOX, ACT, settings)
    report = learner.fit(data, LearnerContext(pool, pool.admissible(LENGTH), True), np.random.default_rng(0))
    return learner.model, report


def pairs(p_first: list[float], weight: torch.Tensor | None = None, annotator: list[int] | None = None) -> PairBatch:
    nothing = torch.zeros(2, len(p_first), 1)
    weight = torch.ones(len(p_first)) if weight is None else weight
    who = None if annotator is None else torch.tensor(annotator)
    return PairBatch(torch.zeros(1, 1), nothing.long(), nothing, torch.tensor(p_first), weight, annotator=who)


def test_only_members_that_did_not_train_on_an_answer_are_heard_about_it() -> None:
    differences = torch.tensor([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0], [-1.0, 0.0, 2.0]])
    weight = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 2.0]])
    assert fair_differences(differences, pairs([1.0] * 3, weight)).tolist() == [0.0, 6.0, 4.0]
    assert fair_differences(differences, pairs([1.0] * 3)).tolist() == pytest.approx([5 / 3, 8 / 3, 4.0])


def test_an_answer_is_believed_by_bayes_rule() -> None:
    # 0.8 · 0.9 / (0.8 · 0.9 + 0.2 · 0.1) and 0.5 · 0.6 / (0.5 · 0.6 + 0.5 · 0.4)
    assert trusts(torch.tensor([0.8, 0.5]), torch.tensor([0.9, 0.6])).tolist() == pytest.approx([72 / 74, 0.6])


def test_reliabilities_are_the_most_likely_ones_under_the_mixture() -> None:
    rng = np.random.default_rng(0)
    p, annotator, weight = rng.uniform(0.02, 0.98, 400), rng.integers(2, size=400), rng.uniform(0.5, 2, 400)
    grid = np.linspace(0.001, 0.999, 999)
    found = reliabilities(torch.tensor(p), torch.tensor(annotator), torch.tensor(weight), 3)
    for k in range(2):
        own = annotator == k
        likelihood = (weight[own] * np.log(p[own] * grid[:, None] + (1 - p[own]) * (1 - grid[:, None]))).sum(1)
        assert float(found[k]) == pytest.approx(grid[likelihood.argmax()], abs=0.01)
    assert float(found[2]) == pytest.approx(0.8)  # who answered nothing


@pytest.mark.parametrize("seed", range(5))
def test_em_recovers_how_reliable_annotators_are(seed: int) -> None:
    pool, data, true = answers(6000, seed, (0.97, 0.80, 0.60), scale=4.0)
    model, report = fitted(pool, data, replace(SETTINGS, robust="reliability"))
    found = [report.scalars[f"reliability_{k}"] for k in range(3)]
    np.testing.assert_allclose(found, (0.97, 0.80, 0.60), atol=0.05)
    right = metrics.accuracy(metrics.predicted(model, pool, data), np.where(true > 0, 0, 1))
    assert right > 0.96


def test_em_gives_back_some_of_the_scale_that_wrong_answers_take_from_bradley_terry() -> None:
    pool, data, true = answers(3000, 7, (0.75,), scale=1.0)
    slopes = {}
    for robust in ("none", "reliability"):
        model, _ = fitted(pool, data, replace(SETTINGS, robust=robust))
        gap = np.subtract(*(model.member_scores(pool.gather(side)).mean(0) for side in (data.first, data.second)))
        slopes[robust] = float(gap @ true / (true @ true))
    assert slopes["none"] < 0.3
    assert 2 * slopes["none"] < slopes["reliability"] < 1.2


def test_em_does_not_turn_everybody_around_after_a_reward_that_knows_nothing_yet() -> None:
    trust = Reliability(pairs([1.0, 1.0, 0.0, 0.0], annotator=[0, 0, 1, 1]), torch.ones(4))
    trust.look(torch.tensor([[-3.0, -2.0, -2.0, -3.0]]), 0.1)  # too early
    assert trust.eta.tolist() == pytest.approx([1.0, 1.0], abs=1e-3) and trust.data is trust.given
    trust.look(torch.tensor([[-3.0, -2.0, 2.0, 3.0]]), 0.5)  # all would be wrong
    assert trust.eta.tolist() == pytest.approx([1.0, 1.0], abs=1e-3) and trust.data is trust.given
    trust.look(torch.tensor([[3.0, 2.0, 2.0, -3.0]]), 0.5)
    assert trust.eta[0] > 0.9 and trust.data is not trust.given


def test_a_short_fit_by_em_learns_the_reward_and_not_its_opposite() -> None:
    for seed in range(3):
        pool, data, true = answers(60, seed, (0.9, 0.9, 0.9), scale=20.0)
        settings = RewardSettings(n_members=3, max_steps=40, robust="reliability")
        model, report = fitted(pool, data, settings)
        assert ((metrics.predicted(model, pool, data) > 0.5) == (true > 0)).mean() > 0.6
        assert min(report.scalars[f"reliability_{k}"] for k in range(3)) > 0.3


def test_early_stopping_judges_by_the_chance_of_the_answer_as_given() -> None:
    trust = Reliability(pairs([1.0, 0.0, 0.5], annotator=[4, 9, 4]), torch.ones(3))
    trust.eta = torch.tensor([0.9, 0.6])
    p = torch.tensor([0.7, 0.2])
    nats = trust.judged(-torch.log(torch.cat([p, torch.tensor([0.5])]))[None], trust.given)
    assert nats[0].exp().reciprocal().tolist() == pytest.approx([0.7 * 0.9 + 0.3 * 0.1, 0.2 * 0.6 + 0.8 * 0.4, 0.5])


def test_rimes_threshold_and_divergences_are_their_formulas() -> None:
    assert threshold(0.5, 0.1, 1.0) == pytest.approx(-math.log(0.5) + 0.25 + 0.1)
    assert threshold(2.0, 50.0, 0.0) == pytest.approx(-math.log(2) + 1 + 3)
    found = divergences(torch.tensor([1.0, 1.0, 1.0]), pairs([1.0, 0.0, 0.5]))
    p = 1 / (1 + math.exp(-1))
    even = 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p))
    assert found.tolist() == pytest.approx([-math.log(p), -math.log(1 - p), even])


def test_rime_keeps_what_is_likely_turns_what_is_absurd_and_waits_at_first() -> None:
    batch = pairs([1.0] * 98 + [0.0, 0.0])
    difference = torch.cat([torch.full((98,), 4.0), torch.tensor([2.5, 9.0])])[None]  # the last two speak against the reward
    trust = Filter(batch)
    trust.look(difference, 0.2)
    assert trust.data is batch
    trust.look(difference, 0.9)
    trust.look(difference, 1.0)
    assert trust.data.weight.tolist() == [1.0] * 98 + [0.0, 1.0]
    assert trust.data.p_first.tolist() == [1.0] * 98 + [0.0, 1.0]
    assert trust.scalars() == {"kept_share": pytest.approx(0.98), "turned_share": pytest.approx(0.01)}


def test_rime_turns_an_answer_however_absurd_it_is() -> None:
    trust = Filter(pairs([1.0, 1.0, 1.0]))
    trust.look(torch.tensor([[3.0, 2.0, -200.0]]), 0.5)  # σ(−200) is 0 in single precision, its logarithm is not
    assert trust.is_kept.tolist() == [True, True, False] and trust.is_turned.tolist() == [False, False, True]


def test_rime_keeps_few_wrong_answers() -> None:
    pool, data, true = answers(1500, 3, (0.75,), scale=20.0)
    learner = BradleyTerryLearner(BOX, ACT, replace(SETTINGS, robust="filter", early_stopping=False))
    seen: list[Any] = []

    class Watched(BradleyTerryLearner):
        def _trust(self, *arguments: Any) -> Any:
            seen.append(super()._trust(*arguments))
            return seen[-1]

    learner.__class__ = Watched
    report = learner.fit(data, LearnerContext(pool, pool.admissible(LENGTH), True), np.random.default_rng(0))
    is_wrong = (data.choice == 0) != (true > 0)
    kept = seen[0].is_kept.numpy()
    assert is_wrong[kept].mean() < 0.7 * is_wrong.mean() and is_wrong[~kept].mean() > 0.8
    assert 0.5 < report.scalars["kept_share"] < 0.9


def test_half_of_the_members_are_trained_on_each_comparison() -> None:
    for n_members in (2, 3, 5):
        assert set(halves(n_members, 200, torch.Generator().manual_seed(0)).sum(0).tolist()) == {-(-n_members // 2)}


def test_strengths_are_votes_of_those_not_trained_signed_by_the_answer() -> None:
    batch = pairs([1.0, 0.0, 0.5])
    trained: list[torch.Tensor] = []

    def train(part: PairBatch) -> Any:
        trained.append(part.weight)

    found = strengths(batch, 2, 3, torch.Generator().manual_seed(0), train, lambda _: torch.tensor([[2.0] * 3, [5.0] * 3]))
    votes = sum((torch.tensor([[2.0], [5.0]]) * (weight == 0)).sum(0) for weight in trained) / 3
    torch.testing.assert_close(found, votes * torch.tensor([1.0, -1.0, 0.0]))


def test_the_weakest_contradicted_answers_are_turned_and_margins_are_taken_off_differences() -> None:
    batch, strength = pairs([1.0, 0.0, 1.0, 0.0, 0.5]), torch.tensor([-3.0, -1.0, 2.0, 4.0, 0.0])
    assert flipped(strength, batch, 0.25).tolist() == [True, False, False, False, False]
    assert flipped(strength, batch, 1.0).tolist() == [True, True, False, False, False]
    meant = believed(batch, strength, 0.25, has_margin=True)
    assert meant.p_first.tolist() == [0.0, 0.0, 1.0, 0.0, 0.5]
    assert meant.offset is not None
    scores = torch.randn(1, 2, 5, generator=torch.Generator().manual_seed(0))
    nats = binary_nats(scores + meant.offset, meant)[0]
    toward_chosen = (scores[0, 0] - scores[0, 1]) * torch.tensor([-1.0, -1.0, 1.0, -1.0, 0.0])
    margins = torch.tensor([3.0, -1.0, 2.0, 4.0, 0.0])
    torch.testing.assert_close(nats[:4], -torch.nn.functional.logsigmoid(toward_chosen - margins)[:4])
    assert believed(batch, strength, 0.0, has_margin=False).p_first.tolist() == batch.p_first.tolist()


def test_votes_find_wrong_answers_and_networks_trained_on_all_of_them_do_not() -> None:
    pool, data, true = answers(100, 5, (0.8,), scale=20.0)
    is_wrong = (data.choice == 0) != (true > 0)
    settings = replace(SETTINGS, n_members=4, hidden=(64, 64), data="shared", early_stopping=False, learning_rate=0.01)
    learner = BradleyTerryLearner(BOX, ACT, settings)
    batch = learner.data(data, LearnerContext(pool, pool.admissible(LENGTH), True), pool.gather(pool.admissible(LENGTH)),
                         np.random.default_rng(0))

    def train(part: PairBatch) -> Any:
        network = learner._fresh(torch.Generator().manual_seed(1))
        for _ in learner._descend(network, Trust(part), 300, torch.Generator().manual_seed(2)):
            pass
        return network

    fair = strengths(batch, 4, 2, torch.Generator().manual_seed(0), train, lambda network: learner._differences(network, batch))
    by_heart = (2 * batch.p_first - 1) * learner._differences(train(batch), batch).mean(0)
    assert (fair.numpy()[is_wrong] < 0).mean() > 0.6
    assert (by_heart.numpy()[is_wrong] < 0).mean() < 0.1
    turned = believed(batch, fair, 0.2, has_margin=False).p_first.numpy()
    assert np.mean((turned == 1) != (true > 0)) < is_wrong.mean()


@pytest.mark.parametrize("robust", ["flip", "margin", "flip_margin", "filter", "min_norm", "reliability"])
def test_each_way_fits_repeats_and_can_be_restored(robust: str) -> None:
    pool, data, _ = answers(60, 1, (0.9, 0.7), scale=5.0)
    data = with_columns(data, choice=np.where(np.arange(60) % 10 == 0, 2, data.choice), annotator=4 + 5 * data.annotator)
    settings = replace(SETTINGS, n_members=3, robust=robust, max_steps=30)
    (model, report), (again, _) = fitted(pool, data, settings), fitted(pool, data, settings)
    segments = pool.gather(data.first)
    assert np.array_equal(model.step_rewards(segments), again.step_rewards(segments))
    assert report.train_accuracy > 0.5


def test_the_shortest_vector_of_two_gradients_is_the_closed_form() -> None:
    pair = torch.randn(50, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one, two = pair[:, 0], pair[:, 1]
    closed = (((two - one) * two).sum(1) / ((two - one) ** 2).sum(1)).clamp(0, 1)
    torch.testing.assert_close(min_norm_weights(pair)[:, 0], closed)


def test_the_shortest_vector_of_three_is_that_of_a_grid_and_helps_everyone() -> None:
    several = torch.randn(8, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = min_norm_weights(several)
    grid = torch.tensor([[i / 60, j / 60, 1 - (i + j) / 60] for i in range(61) for j in range(61 - i)], dtype=torch.float64)
    shortest = (grid @ several).norm(dim=-1).min(1).values
    found = (weights[:, None] @ several)[:, 0]
    assert torch.all(found.norm(dim=-1) <= shortest + 0.01) and torch.all(found.norm(dim=-1) > shortest - 0.03)
    assert torch.all((several @ found[..., None])[..., 0] >= found.norm(dim=-1, keepdim=True) ** 2 - 0.05)


def test_annotators_of_unlike_gradients_are_weighed_by_the_shortest_vector_of_the_last_layers() -> None:
    pool, data, _ = answers(40, 2, (1.0, 0.0), scale=20.0)  # two who contradict each other
    learner = BradleyTerryLearner(BOX, ACT, replace(SETTINGS, robust="min_norm"))
    batch = learner.batch(data, pool)
    network = learner._fresh(torch.Generator().manual_seed(0))
    trust = MinimumNorm(batch, 2)
    assert last_weights(network).shape == (2, 8, 1)
    loss = trust.loss(network, batch, learner.member_losses)
    each = [learner.member_losses(network, batch.take(torch.as_tensor(np.flatnonzero(data.annotator == k)))) for k in range(2)]
    torch.testing.assert_close(trust.weights.sum(1), torch.ones(2))
    torch.testing.assert_close(loss, sum(((trust.weights[:, k] * each[k]).sum() for k in range(2)), torch.zeros(())))
    plain = MinimumNorm(replace(batch, annotator=None), 2).loss(network, batch, learner.member_losses)
    torch.testing.assert_close(plain, learner.loss(network, batch))


def test_an_annotator_left_out_of_a_minibatch_by_a_member_gains_no_weight_there() -> None:
    """A member's mean loss over answers that it leaves out is 0, and so is its gradient: the shortest there is, of nothing."""
    pool, data, _ = answers(40, 2, (1.0, 0.0, 0.7), scale=20.0)
    learner = BradleyTerryLearner(BOX, ACT, replace(SETTINGS, robust="min_norm"))
    batch = learner.batch(data, pool)
    left_out = torch.stack([torch.as_tensor(data.annotator == 2), torch.zeros(40, dtype=torch.bool)])
    network = learner._fresh(torch.Generator().manual_seed(0))
    trust, two = MinimumNorm(replace(batch, weight=batch.weight * ~left_out), 2), np.flatnonzero(data.annotator < 2)
    loss = trust.loss(network, trust.given, learner.member_losses)
    assert float(trust.weights[0, 2]) == pytest.approx(1 / 3)  # nothing was heard of it
    torch.testing.assert_close(trust.weights.sum(1), torch.ones(2))
    alone, whole = MinimumNorm(batch.take(torch.as_tensor(two)), 2), MinimumNorm(batch, 2)
    torch.autograd.backward(loss)
    found = [last_weights(network).grad[0].clone(), last_weights(network).grad[1].clone()]  # type: ignore[index]
    for k, other in enumerate((alone, whole)):
        network.zero_grad()
        torch.autograd.backward(other.loss(network, other.given, learner.member_losses))
        torch.testing.assert_close(found[k], last_weights(network).grad[k])  # type: ignore[index]


def test_a_minority_is_heard_under_minimum_norm_weights() -> None:
    """Nine in ten compare by the first observation, one in ten by the second: answers that a reward can satisfy both of."""
    pool, data = random_answers(box_world(), seed=0, n=600)
    annotator = (np.arange(600) % 10 == 0).astype(np.int64)
    sums = [pool.gather(side).observations[:, :-1].sum(1) for side in (data.first, data.second)]
    gap = (sums[0] - sums[1])[np.arange(600), annotator]
    data = comparisons_of(data.first, data.second, np.where(gap > 0, 0, 1))
    data = with_columns(data, annotator=annotator)
    accuracy = {}
    for robust in ("none", "min_norm"):
        model, _ = fitted(pool, data, replace(SETTINGS, robust=robust, data="shared", early_stopping=False))
        right = (metrics.predicted(model, pool, data) > 0.5) == (data.choice == 0)
        accuracy[robust] = right[annotator == 1].mean()
    assert accuracy["min_norm"] > accuracy["none"] + 0.1


def test_probabilities_of_answers_and_plain_losses_agree() -> None:
    batch, difference = pairs([1.0, 0.0, 0.5]), torch.tensor([0.3, -2.0, 1.0])
    scores = torch.stack([difference, torch.zeros(3)])[None]
    strict = -torch.log(given_probabilities(difference, batch))[:2]
    torch.testing.assert_close(binary_nats(scores, batch)[0, :2], strict)


def test_what_cannot_be_is_refused_by_name() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"robust": "flip", "n_members": 1, "data": "shared", "early_stopping": False}, "n_members must be at least 2 to vote"),
        ({"flip_share": 1.5}, "flip_share"), ({"n_vote_rounds": 0}, "n_vote_rounds"),
        ({"robust": "filter", "likelihood": "davidson"}, "Bradley-Terry"),
    ]
    for arguments, match in cases:
        with pytest.raises(InvalidArgument, match=match):
            RewardSettings(**arguments)
