"""Votes against the enumeration of all ways to answer, and circles that nobody in the panel goes in."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from preflab import oracles
from preflab.interfaces import Judgment, Response
from preflab.oracles import (
    Argmax,
    Boltzmann,
    Fatigue,
    Majority,
    Member,
    Mistakes,
    OracleSettings,
    OrderBias,
    PartialReturn,
    Population,
    SegmentFeatures,
    WeightedFactors,
    vote,
)
from preflab.oracles.hierarchy import Hierarchy, Level
from preflab.types import Choice, FloatArray, ScoredSegments, Segments

MakeSegments = Callable[..., ScoredSegments]
NAMES = ("a", "b", "c")


def counted(rows: FloatArray) -> FloatArray:
    """Returns (4,) probabilities of the majority of (n, 4) voters, summed over all 4^n ways to answer."""
    found = np.zeros(4)
    for answers in itertools.product(range(4), repeat=len(rows)):
        p = math.prod(row[answer] for row, answer in zip(rows.tolist(), answers, strict=True))
        firsts, seconds = answers.count(Choice.FIRST), answers.count(Choice.SECOND)
        if set(answers) == {Choice.SKIP}:
            found[Choice.SKIP] += p
        else:
            found[Choice.FIRST if firsts > seconds else Choice.SECOND if seconds > firsts else Choice.TIE] += p
    return found


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_vote_is_the_sum_over_all_ways_to_answer(n: int) -> None:
    rng = np.random.default_rng(n)
    each = rng.dirichlet(np.full(4, 0.5), size=(n, 12))
    each[:, 6:] *= rng.random((n, 6, 4)) < 0.6  # some answers are never given
    each[..., Choice.TIE] += each.sum(axis=2) == 0
    each /= each.sum(axis=2, keepdims=True)
    found = vote(each)
    for i, row in enumerate(found):
        wanted = counted(each[:, i])
        np.testing.assert_allclose(row, wanted, atol=1e-15)
        assert ((row == 0) == (wanted == 0)).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-15)
    swapped = vote(each[..., [Choice.SECOND, Choice.FIRST, Choice.TIE, Choice.SKIP]])
    np.testing.assert_allclose(found, swapped[:, [Choice.SECOND, Choice.FIRST, Choice.TIE, Choice.SKIP]], atol=1e-15)
    np.testing.assert_array_equal(vote(each[:, 3:4]), found[3:4])
    assert vote(each[:, :0]).shape == (0, 4)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 101])
def test_a_vote_of_equals_is_condorcets_binomial(n: int) -> None:
    p = 0.7
    found = vote(np.tile([p, 1 - p, 0, 0], (n, 1, 1)))[0]
    wins = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    assert found[Choice.FIRST] == pytest.approx(math.fsum(w for k, w in enumerate(wins) if 2 * k > n), abs=1e-13)
    assert found[Choice.TIE] == pytest.approx(wins[n // 2] if n % 2 == 0 else 0.0, abs=1e-13)
    assert (found[Choice.TIE] == 0) == (n % 2 == 1) and found[Choice.SKIP] == 0


def test_one_vote_beats_ties_and_skips() -> None:
    first, second, tie, skip = np.eye(4)
    for votes, wanted in (((first, tie, skip), first), ((second, skip, skip), second), ((first, second, skip), tie),
                          ((tie, skip, skip), tie), ((skip, skip, skip), skip)):
        np.testing.assert_array_equal(vote(np.stack(votes)[:, None])[0], wanted)


HIGH, MIDDLE, LOW = 2.0, 1.0, 0.0
ITEMS = np.array([[HIGH, MIDDLE, LOW], [LOW, HIGH, MIDDLE], [MIDDLE, LOW, HIGH]])  # each is best by one factor


def items() -> ScoredSegments:
    """Returns three segments of one step, by their factors, which sum to the same gold."""
    real = np.ones((3, 1), dtype=np.bool_)
    plain = Segments(np.zeros((3, 2)), np.zeros((3, 1)), real, ~real, ~real)
    return ScoredSegments(plain, ITEMS.sum(axis=1)[:, None], ITEMS[:, None])


def raters(population: str) -> Any:
    settings = OracleSettings(
        judgment="hierarchy", target_accuracy=None, beta=np.inf, people="rotations", population=population,
        levels=tuple(Level(name, margin=0.0) for name in NAMES),
    )
    return oracles.build("condorcet", settings, seed=0, calibration=items(), factor_names=NAMES, task="items", form="fixed")


@pytest.mark.parametrize(("population", "p"), [("mixture", 2 / 3), ("majority", 1.0)])
def test_rotated_rankings_prefer_in_a_circle_that_no_rater_goes_in(population: str, p: float) -> None:
    oracle, shown = raters(population), items()
    better, worse = shown[np.array([0, 2, 1])], shown[np.array([2, 1, 0])]  # two raters of three each; the third is of another mind
    found = oracle.marginal_probabilities(better, worse, np.arange(3))
    np.testing.assert_allclose(found, [[p, 1 - p, 0, 0]] * 3, atol=1e-15)
    assert oracle.card()["intransitive"]["share_of_triples"] == 1.0
    for member in oracle.members:
        alone = member.response.probabilities(member.judgment.values(better), member.judgment.values(worse))
        assert sorted(alone[:, Choice.FIRST]) == [0, 1, 1]  # two of the circle's three steps: transitive
    rankings = [[level.feature for level in member.response.ranking] for member in oracle.members]
    assert rankings == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]]


def test_by_hand_the_first_rater_of_the_circle_orders_the_items_by_the_first_factor() -> None:
    oracle, shown = raters("mixture"), items()
    scores = oracle.member_scores(shown)
    assert [np.argsort(-row).tolist() for row in scores] == [[0, 2, 1], [1, 0, 2], [2, 1, 0]]


def test_the_panel_is_one_annotator_who_answers_every_query(make_segments: MakeSegments) -> None:
    members = [Member("a", 0.5, PartialReturn(), Boltzmann(1.0)), Member("b", 0.3, PartialReturn(0.5), Boltzmann(2.0)),
               Member("c", 0.2, PartialReturn(), Mistakes(Argmax(), 0.2))]
    panel = Majority(members, seed=1, name="panel")
    rng = np.random.default_rng(0)
    first, second = (make_segments(rng.normal(size=(200, 3))) for _ in range(2))
    context = panel.context(np.arange(200))
    assert panel.n_annotators == 1 and not context.annotator.any()
    p = panel.probabilities(first, second, context)
    each = [
        member.response.probabilities(member.judgment.values(first), member.judgment.values(second)) for member in members
    ]
    np.testing.assert_allclose(p, [counted(np.stack([rows[i] for rows in each])) for i in range(200)], atol=1e-15)
    np.testing.assert_array_equal(p, panel.marginal_probabilities(first, second, np.arange(200)))
    wanted = 0.5 * PartialReturn().values(first) + 0.3 * PartialReturn(0.5).values(first) + 0.2 * PartialReturn().values(first)
    np.testing.assert_allclose(panel.values(first), wanted, atol=1e-12)
    card = panel.card()
    assert (card["n_raters"], card["n_annotators"]) == (3, 1) and sorted(card["humans"]) == ["a", "b", "c"]


def test_a_vote_makes_more_of_a_bias_so_that_none_is_declared(make_segments: MakeSegments) -> None:
    def panel(n: int, response: Response) -> Majority:
        return Majority([Member(f"r{i}", 1 / n, PartialReturn(), response) for i in range(n)], seed=0, name="panel")

    biased, same = OrderBias(Boltzmann(1.0), 1.0), make_segments([[1.0]])
    three = panel(3, biased)
    p = three.probabilities(same, same, three.context([0]))[0, 0]
    sure = 1 / (1 + math.exp(-1))
    assert p == pytest.approx(sure**3 + 3 * sure**2 * (1 - sure)) and p > biased.p_first_if_same
    assert math.isnan(three.p_first_if_same) and panel(3, Boltzmann(1.0)).p_first_if_same == 0.5
    even = panel(4, Boltzmann(1.0)).probabilities(same, same, three.context([0]))[0]
    assert even[0] == pytest.approx(even[1]) and even[2] == pytest.approx(6 / 16)


@pytest.mark.parametrize("kind", [Population, Majority])
def test_humans_who_look_at_one_number_and_at_several_answer_together(kind: type[Population], draw_segments: MakeSegments) -> None:
    pool = draw_segments(60)
    pool = replace(pool, factors=np.nan_to_num(pool.factors))
    ranked: Judgment = SegmentFeatures(NAMES, NAMES, "sum")
    human = Hierarchy(tuple(Level(name) for name in NAMES), np.ones(3))
    members = [Member("ranking", 0.6, ranked, human, ranked.values(pool)), Member("summing", 0.4, PartialReturn(), Boltzmann(0.5))]
    oracle = kind(members, seed=0, name="both")
    first, second, ids = pool[:30], pool[30:], np.arange(30)
    by_rank = human.probabilities(ranked.values(first), ranked.values(second))
    by_sum = Boltzmann(0.5).probabilities(PartialReturn().values(first), PartialReturn().values(second))
    wanted = 0.6 * by_rank + 0.4 * by_sum
    if kind is Majority:
        wanted = np.array([counted(np.stack(rows)) for rows in zip(by_rank, by_sum, strict=True)])
    np.testing.assert_allclose(oracle.marginal_probabilities(first, second, ids), wanted, atol=1e-15)
    context = oracle.context(ids)
    if kind is Population:
        own = np.where(context.annotator[:, None] == 0, by_rank, by_sum)
        np.testing.assert_array_equal(oracle.probabilities(first, second, context), own)
    assert oracle.levels(oracle.member_values(first), oracle.member_values(second), context) is None
    assert oracle.member_scores(pool).shape == (2, 60) and np.isfinite(oracle.values(pool)).all()


def test_a_tired_panel_is_tired_of_every_query(make_segments: MakeSegments) -> None:
    members = [Member(name, 1 / 3, PartialReturn(), Fatigue(Argmax(), 1.0, half_life=10.0)) for name in NAMES]
    panel = Majority(members, seed=0, name="tired")
    first, second = make_segments([[1.0]] * 2), make_segments([[0.0]] * 2)
    p = panel.probabilities(first, second, panel.context([0, 10]))
    assert p[0, 0] == 1 and p[1, 0] == pytest.approx(0.75**3 + 3 * 0.75**2 * 0.25)


def test_raters_who_are_alike_are_built_once_and_each_has_a_vote(draw_segments: MakeSegments) -> None:
    settings = OracleSettings(judgment="weighted_factors", weights={"a": 1.0}, population="majority", people="raters", n_people=5)
    panel = oracles.build(
        "majority", settings, seed=0, calibration=draw_segments(50), factor_names=NAMES, task="t", form="terminating")
    assert isinstance(panel, Majority) and len(panel.members) == 5
    assert len({id(member.judgment) for member in panel.members}) == 1
    assert isinstance(panel.members[0].judgment, WeightedFactors)
