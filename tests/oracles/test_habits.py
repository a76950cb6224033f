"""Fatigue, order bias and drift: formulas at their ends and half-way, and what each leaves alone."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from preflab import oracles
from preflab.errors import InvalidArgument, Refused
from preflab.interfaces import AnswerContext, Response
from preflab.oracles import (
    Argmax,
    Boltzmann,
    ComposedOracle,
    Davidson,
    Drift,
    DriftingJudgment,
    Fatigue,
    OracleSettings,
    OrderBias,
    PartialReturn,
    SkipsBelow,
    ThresholdTies,
    WeightedFactors,
)
from preflab.types import Choice, FloatArray, ScoredSegments

DrawSegments = Callable[..., ScoredSegments]
NAMES = ("speed", "effort", "height")
FIRST, SECOND = np.random.default_rng(0).integers(-8, 9, size=(2, 200)) * 0.25
INNER = SkipsBelow(ThresholdTies(Davidson(1.3, 0.5), 0.6), -1.0)  # strict answers, ties and skips


def asked(n_answered: Any, size: int = 200) -> AnswerContext:
    """Returns a context in which this many queries went before."""
    n = np.broadcast_to(n_answered, size).astype(np.int64)
    return AnswerContext(np.zeros_like(n), n, np.zeros_like(n), np.arange(size))


@pytest.mark.parametrize(("n", "share"), [(0, 0.0), (30, 0.5), (60, 0.75), (90, 0.875), (2**62, 1.0)])
def test_lapses_reach_half_of_their_rate_after_a_half_life(n: int, share: float) -> None:
    tired, clean = Fatigue(INNER, 0.6, half_life=30.0), INNER.probabilities(FIRST, SECOND)
    assert tired.lapses(n) == pytest.approx(0.6 * share, abs=1e-16)
    p = tired.probabilities(FIRST, SECOND, asked(n))
    guess = clean.copy()
    guess[:, :2] = clean[:, :2].sum(axis=1, keepdims=True) / 2
    np.testing.assert_allclose(p, (1 - 0.6 * share) * clean + 0.6 * share * guess, atol=4e-16)
    np.testing.assert_allclose(p[:, 2:], clean[:, 2:], atol=2e-16)
    assert ((p == 0) == (guess == 0 if share else clean == 0)).all()


def test_lapses_follow_the_formula_query_by_query_and_a_fresh_human_has_none() -> None:
    tired = Fatigue(Argmax(), 0.5, half_life=7.0)
    lapse = [0.5 * (1 - 2 ** (-n / 7)) for n in range(200)]
    p = tired.probabilities(np.ones(200), np.zeros(200), asked(np.arange(200)))
    np.testing.assert_allclose(p[:, 0], [1 - each / 2 for each in lapse], atol=1e-15)
    np.testing.assert_array_equal(tired.probabilities(FIRST, SECOND), Argmax().probabilities(FIRST, SECOND))
    np.testing.assert_array_equal(tired.probabilities(FIRST, SECOND, asked(0)), Argmax().probabilities(FIRST, SECOND))
    total = Fatigue(Argmax(), 1.0, half_life=1e-3).probabilities(np.ones(1), np.zeros(1), asked(1, 1))
    assert total.tolist() == [[0.5, 0.5, 0, 0]]


def test_the_first_query_of_a_run_is_answered_awake_and_later_ones_less_so(make_segments: DrawSegments) -> None:
    oracle = ComposedOracle(PartialReturn(), Fatigue(Argmax(), 1.0, half_life=10.0), seed=0, name="tired")
    first, second = make_segments([[1.0]] * 3), make_segments([[0.0]] * 3)
    ids = np.array([0, 10, 10**9])
    np.testing.assert_allclose(oracle.probabilities(first, second, oracle.context(ids))[:, 0], [1, 0.75, 0.5], atol=1e-15)


@pytest.mark.parametrize("bias", [-2.0, -0.693, 1e-9, 0.693, 30.0])
@pytest.mark.parametrize("inner", [INNER, Boltzmann(0.7), Argmax()], ids=["all four", "boltzmann", "argmax"])
def test_odds_of_the_side_shown_first_are_multiplied(inner: Response, bias: float) -> None:
    clean, p = inner.probabilities(FIRST, SECOND), OrderBias(inner, bias).probabilities(FIRST, SECOND)
    for before, after in zip(clean.tolist(), p.tolist(), strict=True):
        strict = before[0] + before[1]
        if strict:
            odds = before[0] * math.exp(bias) / (before[0] * math.exp(bias) + before[1])
            assert after[:2] == pytest.approx([strict * odds, strict * (1 - odds)], abs=4e-16)
    np.testing.assert_array_equal(p[:, 2:], clean[:, 2:])
    np.testing.assert_array_equal(p[:, :2] == 0, clean[:, :2] == 0)  # who is sure stays sure
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=4e-16)
    other = OrderBias(inner, -bias).probabilities(SECOND, FIRST)[:, [Choice.SECOND, Choice.FIRST, Choice.TIE, Choice.SKIP]]
    np.testing.assert_array_equal(p, other)  # primacy is recency seen from the other side


@pytest.mark.parametrize("bias", [-5000.0, -800.0, -0.5, 0.5, 800.0, 5000.0])
def test_a_segment_against_itself_is_first_with_the_declared_probability_however_strong_the_bias(bias: float) -> None:
    even = np.zeros(1)
    biased = OrderBias(Boltzmann(1.0), bias)
    p = biased.probabilities(even, even)[0]
    assert p[0] == pytest.approx(biased.p_first_if_same, abs=1e-15)
    assert p[0] == pytest.approx(1 / (1 + math.exp(-bias)) if abs(bias) < 100 else float(bias > 0), abs=1e-15)
    assert p.sum() == 1
    twice = OrderBias(OrderBias(Boltzmann(1.0), 0.25), 0.5)
    assert twice.p_first_if_same == pytest.approx(1 / (1 + math.exp(-0.75)))
    sure = biased.probabilities(np.array([-1e6, 1e6]), np.array([1e6, -1e6]))
    assert sure.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]


def test_an_oracle_declares_its_bias_and_fatigue_around_one_declares_none(make_segments: DrawSegments) -> None:
    biased = OrderBias(Boltzmann(1.0), 0.5)
    oracle = ComposedOracle(PartialReturn(), biased, seed=0, name="first")
    same = make_segments([[2.0]])
    p = oracle.probabilities(same, same, oracle.context([0]))
    assert p[0, 0] == pytest.approx(oracle.p_first_if_same) and oracle.p_first_if_same > 0.6
    assert math.isnan(Fatigue(biased, 0.5, 10.0).p_first_if_same) and Fatigue(Argmax(), 0.5, 10.0).p_first_if_same == 0.5
    assert OrderBias(Fatigue(Boltzmann(1.0), 0.5, 10.0), 0.5).p_first_if_same == pytest.approx(oracle.p_first_if_same)


WEIGHTS = {"speed": 1.0, "effort": -0.5}, {"effort": 2.0, "height": 1.0}


def drifting(inner: Response | None = None) -> ComposedOracle:
    judgment = DriftingJudgment(WeightedFactors(WEIGHTS[0], NAMES), WeightedFactors(WEIGHTS[1], NAMES))
    return ComposedOracle(judgment, Drift(inner or Boltzmann(0.6), 40.0), seed=0, name="drift")


@pytest.mark.parametrize(("n", "t"), [(0, 0.0), (10, 0.25), (20, 0.5), (40, 1.0), (10**12, 1.0)])
def test_a_mind_that_changes_is_at_every_time_that_of_the_weights_between(n: int, t: float, draw_segments: DrawSegments) -> None:
    pool, oracle = draw_segments(80), drifting()
    weights = {name: (1 - t) * WEIGHTS[0].get(name, 0) + t * WEIGHTS[1].get(name, 0) for name in NAMES}
    plain = ComposedOracle(WeightedFactors(weights, NAMES), Boltzmann(0.6), seed=0, name="plain")
    p = oracle.probabilities(pool[:40], pool[40:], asked(n, 40))
    wanted = plain.probabilities(pool[:40], pool[40:], asked(n, 40))
    if t in (0, 1):
        np.testing.assert_array_equal(p, wanted)
    np.testing.assert_allclose(p, wanted, atol=1e-14)


def test_every_query_has_a_time_of_its_own(draw_segments: DrawSegments) -> None:
    pool, oracle = draw_segments(80), drifting(SkipsBelow(ThresholdTies(Boltzmann(0.6), 0.5), -1.0))
    together = oracle.probabilities(pool[:40], pool[40:], asked(np.arange(0, 80, 2), 40))
    alone = [oracle.probabilities(pool[i : i + 1], pool[40 + i : 41 + i], asked(2 * i, 1))[0] for i in range(40)]
    np.testing.assert_array_equal(together, alone)
    assert len(set(together.argmax(axis=1))) == 4


def test_values_are_those_before_the_drift_and_what_is_needed_is_what_either_needs(draw_segments: DrawSegments) -> None:
    pool, oracle = draw_segments(), drifting()
    np.testing.assert_array_equal(oracle.values(pool), WeightedFactors(WEIGHTS[0], NAMES).values(pool))
    judgment = DriftingJudgment(PartialReturn(), WeightedFactors(WEIGHTS[1], NAMES))
    assert (judgment.needs_observations, judgment.needs_factors, judgment.needs_sim_states) == (False, True, False)
    assert judgment.values(pool).shape == (40, 2) and judgment.values(pool[:0]).shape == (0, 2)
    card = oracle.card()["judgment"]
    assert card["weights"] == {**WEIGHTS[0], "height": 0.0} and card["drifts_to"]["weights"] == {"speed": 0.0, **WEIGHTS[1]}


def test_a_drift_must_be_told_where_to_and_cannot_be_of_a_ranking() -> None:
    with pytest.raises(Refused, match=r"must be told where to: oracle.drift_to=\{speed:1\}, weights of gold's factors"):
        oracles.check("drift", OracleSettings(judgment="partial_return", drift_to={}), NAMES, "t")
    ranking: dict[str, Any] = {"judgment": "hierarchy", "target_accuracy": None, "beta": 1.0, "levels": ({"feature": "speed"},)}
    for changes in ({"drift_to": {"speed": 1.0}}, {"mistakes": "margin"}, {"bpref": "skip"}):
        with pytest.raises(Refused, match="judgment=hierarchy orders segments by no value of their own: no drift, bpref"):
            oracles.check("drift", OracleSettings(**ranking, **changes), NAMES, "t")


@pytest.mark.parametrize(("make", "said"), [
    (lambda: Fatigue(Argmax(), 1.1, 1.0), r"fatigue must be in \[0, 1\], got 1.1"),
    (lambda: Fatigue(Argmax(), np.nan, 1.0), "fatigue must be"),
    (lambda: Fatigue(Argmax(), 0.5, 0.0), "fatigue_half_life must be finite and above 0, got 0.0"),
    (lambda: Fatigue(Argmax(), 0.5, np.inf), "fatigue_half_life must be"),
    (lambda: OrderBias(Argmax(), np.inf), "order_bias must be finite, got inf"),
    (lambda: Drift(Argmax(), 0.0), "drift_answers must be finite and above 0, got 0.0"),
    (lambda: Drift(Argmax(), np.nan), "drift_answers must be"),
])
def test_habits_out_of_range_are_refused(make: Callable[[], Response], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        make()


def test_the_values_given_to_habits_are_left_alone() -> None:
    first, second = np.column_stack([FIRST, SECOND]), np.column_stack([SECOND, FIRST])
    kept = first.copy(), second.copy()
    model = OrderBias(Fatigue(Drift(INNER, 5.0), 0.5, 3.0), 1.0)
    p: list[FloatArray] = [model.probabilities(first, second, asked(np.arange(200))) for _ in range(2)]
    np.testing.assert_array_equal(p[0], p[1])
    np.testing.assert_array_equal((first, second), kept)
