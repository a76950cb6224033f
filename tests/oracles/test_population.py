"""Humans who differ: who answers, what is known without knowing who, and how far they agree, on numbers done by hand."""

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from preflab import envs, oracles
from preflab.errors import InvalidArgument, Refused, UnknownName
from preflab.interfaces import AnswerContext
from preflab.oracles import (
    Boltzmann,
    Human,
    Member,
    OracleSettings,
    PartialReturn,
    Population,
    WeightedFactors,
    pairwise_agreement,
)
from preflab.testing.oracles import FACTOR_NAMES, check_oracle, random_world
from preflab.types import ScoredSegments, ScoredStore, Segments

WORLD = random_world()
HUMANS = (Human("a", 0.5, {"one": 1}), Human("b", 0.3, {"other": 1}), Human("c", 0.2, {"one": -1, "other": 2}))


def built(humans: Any = HUMANS, seed: int = 0, **settings: Any) -> Population:
    made = oracles.build(
        "pluralistic", OracleSettings(humans=humans, **settings), seed=seed, calibration=WORLD.pool, task="random",
        form="terminating", factor_names=FACTOR_NAMES,
    )
    assert isinstance(made, Population)
    return made


def segments(factors: Any) -> ScoredSegments:
    """Returns segments (N, L, F) of given factors, which sum to gold."""
    parts = np.asarray(factors, dtype=np.float64)
    n, length = parts.shape[:2]
    real = np.ones((n, length), dtype=np.bool_)
    plain = Segments(np.zeros((n, length + 1)), np.zeros((n, length)), real, ~real, ~real)
    return ScoredSegments(plain, parts.sum(axis=2), parts)


def test_weighted_factors_by_hand() -> None:
    scored = segments([[[1, 10], [2, 20], [4, 40]]])
    assert WeightedFactors({"x": 1, "y": -1}, ("x", "y")).values(scored) == [7 - 70]
    assert WeightedFactors({"y": 2}, ("x", "y"), gamma=0.5).values(scored) == [2 * (10 + 10 + 10)]
    assert WeightedFactors({"y": 2}, ("x", "y")).card()["weights"] == {"x": 0.0, "y": 2.0}


@pytest.mark.parametrize("name", ["delivery-gridworld", "pendulum"])
def test_one_human_with_weights_1_is_partial_return_where_factors_sum_to_gold(name: str) -> None:
    task, venv = envs.task(name), envs.make_vec(name, "fixed", 2, 0)
    store = ScoredStore(envs.collect(venv, envs.RandomPolicy(venv.action_space), 2, np.random.default_rng(0)))
    pool = store.gather(store.store.admissible(10)[::9])
    weights = dict.fromkeys(task.factor_names, 1.0)
    built = oracles.build(
        "pluralistic", OracleSettings(humans=(Human("all", 1.0, weights),)), seed=3, calibration=pool, task=name, form="fixed",
        factor_names=task.factor_names,
    )
    plain = oracles.build("partial_return", OracleSettings(), seed=3, calibration=pool, task=name, form="fixed")
    assert task.factors_sum_to_gold and built.n_annotators == 1
    np.testing.assert_allclose(built.values(pool), PartialReturn().values(pool), atol=1e-9)
    context, other = built.context(np.arange(len(pool))), pool[np.arange(len(pool))[::-1]]
    np.testing.assert_allclose(built.probabilities(pool, other, context), plain.probabilities(pool, other, context), atol=1e-9)
    np.testing.assert_array_equal(built.answer(pool, other, context), plain.answer(pool, other, context))


def test_what_is_known_without_knowing_who_answers_is_the_mean_over_humans_by_share() -> None:
    oracle, (first, second) = built(), WORLD.pairs()
    ids = np.arange(len(first))
    each = []
    for annotator in range(3):
        context = AnswerContext(np.full_like(ids, annotator), ids, np.zeros_like(ids), ids)
        each.append(oracle.probabilities(first, second, context))
    by_hand = 0.5 * each[0] + 0.3 * each[1] + 0.2 * each[2]
    np.testing.assert_allclose(oracle.marginal_probabilities(first, second, ids), by_hand, atol=1e-15)
    context = oracle.context(ids)
    np.testing.assert_array_equal(oracle.probabilities(first, second, context), np.stack(each)[context.annotator, ids])
    assert len(set(context.annotator.tolist())) == 3 and np.abs(each[0] - each[1]).max() > 0.5
    values = [WeightedFactors(human.weights or {}, FACTOR_NAMES).values(WORLD.pool) for human in HUMANS]
    mean = 0.5 * values[0] + 0.3 * values[1] + 0.2 * values[2]
    np.testing.assert_allclose(oracle.values(WORLD.pool), mean, atol=1e-12)


def test_each_human_answers_the_share_of_queries_that_is_theirs() -> None:
    annotators = built(seed=5).context(np.arange(60_000)).annotator
    counts = np.bincount(annotators, minlength=3)
    assert stats.chisquare(counts, 60_000 * np.array([0.5, 0.3, 0.2])).pvalue > 1e-4  # false alarms: 1e-4 of seeds; it is fixed
    pairs = np.bincount(3 * annotators[:-1] + annotators[1:], minlength=9)
    expected = np.outer([0.5, 0.3, 0.2], [0.5, 0.3, 0.2]).ravel() * 59_999
    assert stats.chisquare(pairs, expected * pairs.sum() / expected.sum()).pvalue > 1e-4  # who answered last does not matter


def test_who_answers_follows_from_seed_and_query_alone() -> None:
    oracle = built(seed=7)
    ids = np.array([5, 3, 99, 3, 10**9])
    together = oracle.context(ids).annotator
    oracle.begin_round({"round": 4.0})
    alone = [int(oracle.context([i]).annotator[0]) for i in ids]
    assert together.tolist() == alone and together[1] == together[3]
    assert built(seed=7).context(ids).annotator.tolist() == alone
    many = np.arange(1000)
    assert (built(seed=8).context(many).annotator != oracle.context(many).annotator).mean() > 0.3
    assert (oracle.context(many).round == 4).all()


def test_who_answers_says_nothing_about_the_answer_of_two_of_a_kind() -> None:
    """Two humans with the same weights: the uniforms of who and of what are independent."""
    twins = built((Human("a", 0.5, {"one": 1}), Human("b", 0.5, {"one": 1})))
    rows = np.zeros(20_000, np.int64)
    first, second = WORLD.pool[rows + WORLD.first[0]], WORLD.pool[rows + WORLD.second[0]]
    context = twins.context(np.arange(20_000))
    p, choice = twins.probabilities(first[:1], second[:1], twins.context([0]))[0], twins.answer(first, second, context)
    for annotator in range(2):
        mine = choice[context.annotator == annotator] == 0
        assert abs(mine.mean() - p[0]) < 4 * np.sqrt(p[0] * p[1] / len(mine))  # false alarms: 1e-4 of seeds; it is fixed


def test_agreement_is_kendalls_tau_and_ties_are_left_out() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 40))
    found = pairwise_agreement(values)
    for i in range(3):
        for j in range(3):
            assert found[i, j] == pytest.approx((1 + stats.kendalltau(values[i], values[j]).statistic) / 2)
    assert pairwise_agreement(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])).tolist() == [[1, 0], [0, 1]]
    # (0, 1): even for the second; (0, 2): alike; (1, 2): not
    assert pairwise_agreement(np.array([[0.0, 1.0, 2.0], [1.0, 1.0 + 1e-12, 5.0], [0.0, 3.0, 1.0]]))[0].tolist() == [1, 1, 2 / 3]
    assert np.isnan(pairwise_agreement(np.array([[0.0, 1.0], [2.0, 2.0]]))[0, 1])


def test_each_human_is_calibrated_in_their_own_eyes_and_the_card_says_who_they_are() -> None:
    oracle = built(seed=2, mistake_rate=0.1)
    card = oracle.card()
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert (card["name"], card["n_annotators"], card["task"], card["form"]) == ("pluralistic", 3, "random", "terminating")
    assert [card["humans"][human.name]["share"] for human in HUMANS] == [0.5, 0.3, 0.2]
    assert card["humans"]["c"]["weights"] == {"one": -1.0, "other": 2.0}
    for human, member in zip(HUMANS, oracle.members, strict=True):
        figures = card["humans"][human.name]
        assert figures["accuracy"] == pytest.approx(0.9 * 0.85 + 0.1 * 0.15, abs=1e-9)  # mistakes come on top
        assert figures["beta"] == member.response.card()["beta"] > 0
        assert figures["judged_spread"] == pytest.approx(member.judgment.values(WORLD.pool).std())
    assert len({card["humans"][human.name]["beta"] for human in HUMANS}) == 3 and "beta" not in card["response"]
    found = pairwise_agreement(oracle.member_scores(WORLD.pool))
    assert card["agreement"]["a"]["c"] == card["agreement"]["c"]["a"] == pytest.approx(found[0, 2]) and found[0, 2] < 0.6
    raw = built(target_accuracy=None, beta=0.7).card()
    assert [raw["humans"][human.name]["beta"] for human in HUMANS] == [0.7] * 3


def test_the_kit_passes_humans_who_differ() -> None:
    def make(mdp: Any, *, seed: int = 0, beta: float | None = None, mistake_rate: float | None = None) -> Population:
        return built(seed=seed, target_accuracy=0.85 if beta is None else None, beta=beta, mistake_rate=mistake_rate)

    check_oracle(make)


@pytest.mark.parametrize(("humans", "said"), [
    ([{"name": "a", "share": 0.5, "weights": {"one": 1}}], r"humans\.share must sum to 1, got 0\.5"),
    ([{"name": "a", "share": 1.5, "weights": {"one": 1}}, {"name": "b", "share": -0.5, "weights": {"one": 1}}], "must be above 0"),
    ([{"name": "a", "share": 0.5, "weights": {"one": 1}}] * 2, "must differ from human to human"),
    ([{"name": "a b", "share": 1, "weights": {"one": 1}}], "must be a word"),
    ([{"name": "a", "weights": {"one": 1}}], "mappings with name, share and, say, weights"),
    ([{"name": "a", "share": 1, "weights": 3}], "mappings with name, share and, say, weights"),
    ([{"name": "a", "share": 1, "weights": {"one": 1}, "wieght": 2}], "a is not a known name, got 'wieght'.*did you mean weights"),
    ({"name": "a"}, "must be a list"), (3, "must be a list"),
])
def test_humans_that_make_no_sense_are_refused_by_name(humans: Any, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        OracleSettings(humans=humans)


def test_shares_may_miss_one_by_rounding_only() -> None:
    thirds = [{"name": name, "share": 1 / 3, "weights": {"one": 1}} for name in "abc"]
    assert len(OracleSettings(humans=tuple(thirds)).humans) == 3  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="sum to 1"):
        OracleSettings(humans=(Human("a", 0.5, {}), Human("b", 0.5 + 1e-8, {})))


def test_factors_that_the_task_does_not_have_are_named_beside_those_that_it_has() -> None:
    with pytest.raises(UnknownName, match=r"humans\.a\.weights.*got 'onee'; valid: did you mean one.*all of them: one, other"):
        built((Human("a", 1.0, {"onee": 1}),))
    with pytest.raises(UnknownName, match="all of them: one, other"):
        WeightedFactors({"two": 1}, FACTOR_NAMES)
    for weights in ({}, {"one": 0.0}, {"one": np.nan}):
        with pytest.raises(InvalidArgument):
            WeightedFactors(weights, FACTOR_NAMES)
    with pytest.raises(Refused, match=r"cartpole.*gold has one factor, upright.*oracle\.humans="):
        oracles.check("pluralistic", OracleSettings(), ("upright",), "cartpole")
    with pytest.raises(Refused, match="factors: one, other"):
        built(())


def test_a_population_needs_shares_that_sum_to_1_and_a_context_of_its_own() -> None:
    for shares in ((), (0.4,), (0.4, 0.6, 0.0)):
        members = [Member(f"m{i}", share, PartialReturn(), Boltzmann(1.0)) for i, share in enumerate(shares)]
        with pytest.raises(InvalidArgument, match="positive shares that sum to 1"):
            Population(members, seed=0, name="x")
    oracle, (first, second) = built(), WORLD.pairs(slice(0, 2))
    two = np.arange(2)
    with pytest.raises(InvalidArgument, match=r"context\.annotator must be in 0…2"):
        oracle.probabilities(first, second, AnswerContext(np.array([0, 3]), two, two, two))
    with pytest.raises(InvalidArgument, match="one entry per query"):
        oracle.probabilities(first, second, oracle.context([0]))
