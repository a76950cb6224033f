"""HERON's human against its rule written as a loop over pairs, and against the slip in the public code."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from preflab import oracles
from preflab.errors import InvalidArgument, UnknownName
from preflab.interfaces import AnswerContext
from preflab.oracles import (
    Argmax,
    Boltzmann,
    ComposedOracle,
    FeatureMistakes,
    Hierarchy,
    Level,
    OracleSettings,
    SegmentFeatures,
    ThresholdTies,
)
from preflab.types import Choice, FloatArray, IntArray, ScoredSegments

DrawSegments = Callable[..., ScoredSegments]
NAMES = ("speed", "effort", "height", "noise", "heat")
SIGNS, MARGINS = (1, -1, 1, -1, 1), (1.0, 0.5, 0.25, 1.5, 0.0)
SPREADS = np.array([1.0, 2.0, 0.5, 4.0, 1.0])


def levels(n: int) -> tuple[Level, ...]:
    return tuple(Level(name, sign, margin) for name, sign, margin in zip(NAMES[:n], SIGNS, MARGINS, strict=False))


def heron(first: Sequence[float], second: Sequence[float], margin: Callable[[int], float]) -> tuple[int, Choice]:
    """Bukharin et al. 2023, the rule for one pair: returns which level decides and how; −1 and TIE for none."""
    for k, (a, b) in enumerate(zip(first, second, strict=True)):
        if abs(a - b) > margin(k):
            return k, Choice.FIRST if (a > b) == (SIGNS[k] == 1) else Choice.SECOND
    return -1, Choice.TIE


def told(first: FloatArray, second: FloatArray, margin: Callable[[int], float]) -> tuple[IntArray, IntArray]:
    """Returns (M,) levels and (M,) choices of the loop."""
    each = [heron(a.tolist(), b.tolist(), margin) for a, b in zip(first, second, strict=True)]
    return np.array([level for level, _ in each]), np.array([int(choice) for _, choice in each])


def values(n_levels: int, n_pairs: int = 2000) -> tuple[FloatArray, FloatArray]:
    """Returns features in steps of a quarter, so that many differences are exactly a margin, which decides nothing."""
    rng = np.random.default_rng(n_levels)
    first, second = rng.integers(-6, 7, size=(2, n_pairs, n_levels)) * 0.25 * SPREADS[:n_levels]
    return first, second


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_first_level_that_separates_decides_by_a_margin_of_its_own(n: int) -> None:
    first, second = values(n)
    human = Hierarchy(levels(n), SPREADS[:n])
    deciding, choice = told(first, second, lambda k: MARGINS[k] * SPREADS[k])
    p = human.probabilities(first, second)
    np.testing.assert_array_equal(human.levels(first, second), deciding)
    np.testing.assert_array_equal(p, np.eye(4)[choice])
    assert set(deciding) == set(range(-1, n))
    mirrored = human.probabilities(second, first)[:, [Choice.SECOND, Choice.FIRST, Choice.TIE, Choice.SKIP]]
    np.testing.assert_array_equal(p, mirrored)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_public_code_reads_the_second_margin_at_every_deeper_level_and_answers_otherwise(n: int) -> None:
    first, second = values(n)
    choice = Hierarchy(levels(n), SPREADS[:n]).probabilities(first, second).argmax(axis=1)
    public = told(first, second, lambda k: MARGINS[min(k, 1)] * SPREADS[k])[1]
    assert (choice != public).any() == (n > 2)
    if n > 2:
        assert np.mean(choice != public) > 0.02


@pytest.mark.parametrize("beta", [0.0, 0.7, 30.0])
def test_a_hesitant_human_doubts_by_the_deciding_difference_in_spreads(beta: float) -> None:
    first, second = values(3)
    p = Hierarchy(levels(3), SPREADS[:3], Boltzmann(beta)).probabilities(first, second)
    deciding = told(first, second, lambda k: MARGINS[k] * SPREADS[k])[0]
    for row, a, b, k in zip(p, first, second, deciding, strict=True):
        sure = 0.0 if k < 0 else 1 / (1 + np.exp(-beta * SIGNS[k] * (a[k] - b[k]) / SPREADS[k]))
        np.testing.assert_allclose(row, [0, 0, 1, 0] if k < 0 else [sure, 1 - sure, 0, 0], atol=1e-14)


def test_one_level_is_a_tie_below_its_margin() -> None:
    first, second = values(1)
    p = Hierarchy(levels(1), SPREADS[:1]).probabilities(first, second)
    flat = ThresholdTies(Argmax(), MARGINS[0]).probabilities(first[:, 0], second[:, 0])
    is_edge = np.abs(first - second)[:, 0] == MARGINS[0]  # HERON separates above a margin, B-Pref ties below a threshold
    np.testing.assert_array_equal(p[~is_edge], flat[~is_edge])
    assert is_edge.any() and (p[is_edge, Choice.TIE] == 1).all() and (flat[is_edge, Choice.TIE] == 0).all()
    np.testing.assert_array_equal(p, Hierarchy(levels(1), SPREADS[:1]).probabilities(first[:, 0], second[:, 0]))


@pytest.mark.parametrize("how", ["sum", "mean", "last"])
def test_a_factor_times_1024_changes_no_bit_if_spreads_are_fitted_anew_and_answers_if_not(
    how: str, draw_segments: DrawSegments
) -> None:
    pool = draw_segments(120)
    louder = replace(pool, factors=pool.factors * np.array([1.0, 1024.0, 1.0]))
    settings = OracleSettings(judgment="hierarchy", target_accuracy=None, beta=2.0, levels=levels(3), how=how)

    def built(calibration: ScoredSegments) -> ComposedOracle:
        made = oracles.build(
            "heron", settings, seed=0, calibration=calibration, factor_names=NAMES[:3], task="none", form="terminating")
        assert isinstance(made, ComposedOracle)
        return made

    def answers(oracle: ComposedOracle, scored: ScoredSegments) -> tuple[FloatArray, Any, Any]:
        first, second, context = scored[:60], scored[60:], oracle.context(np.arange(60))
        levels = oracle.levels(oracle.member_values(first), oracle.member_values(second), context)
        return oracle.probabilities(first, second, context), oracle.answer(first, second, context), levels

    before, after, frozen = answers(built(pool), pool), answers(built(louder), louder), answers(built(pool), louder)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.mean(before[2] != frozen[2]) > 0.05 and np.abs(before[0] - frozen[0]).max() > 0.3
    assert built(pool).card()["accuracy"] == built(louder).card()["accuracy"]


def test_margins_are_multiples_of_the_calibration_pools_spread_and_then_frozen(draw_segments: DrawSegments) -> None:
    pool, other = draw_segments(60), draw_segments(50, seed=1)
    settings = OracleSettings(judgment="hierarchy", target_accuracy=None, beta=np.inf, levels=levels(3))
    oracle = oracles.build("heron", settings, seed=0, calibration=pool, factor_names=NAMES[:3], task="t", form="terminating")
    sums = np.nansum(pool.factors, axis=1)
    said = oracle.card()["response"]["levels"]
    assert [level["margin"] for level in said] == pytest.approx([m * s for m, s in zip(MARGINS, sums.std(axis=0), strict=False)])
    assert [(level["feature"], level["better"]) for level in said] == [("speed", "more"), ("effort", "less"), ("height", "more")]
    first, second = other[:25], other[25:]
    judged = np.nansum(first.factors, axis=1), np.nansum(second.factors, axis=1)
    choice = told(*judged, lambda k: MARGINS[k] * sums[:, k].std())[1]
    np.testing.assert_array_equal(oracle.answer(first, second, oracle.context(np.arange(25))), choice)
    i, j = np.triu_indices(60, k=1)
    deciding = told(sums[i], sums[j], lambda k: MARGINS[k] * sums[:, k].std())[0]
    shares = {name: np.mean(deciding == k) for k, name in enumerate(NAMES[:3])} | {"none": np.mean(deciding < 0)}
    assert oracle.card()["deciding_levels"] == pytest.approx(shares)


def test_without_levels_golds_factors_rank_in_their_order_and_those_that_never_change_are_left_out(
    draw_segments: DrawSegments
) -> None:
    pool = draw_segments(50)
    pool = replace(pool, factors=np.where(np.arange(3) == 1, 0.25, pool.factors))
    settings = OracleSettings(judgment="hierarchy", target_accuracy=None, beta=np.inf, how="mean")
    oracle = oracles.build("heron", settings, seed=0, calibration=pool, factor_names=NAMES[:3], task="t", form="terminating")
    assert [level["feature"] for level in oracle.card()["response"]["levels"]] == ["speed", "height"]


def test_a_single_step_is_the_last_one_that_happened(draw_segments: DrawSegments) -> None:
    pool = draw_segments(30)
    last = pool.segments.valid.sum(axis=1) - 1
    found = SegmentFeatures(NAMES[:3], NAMES[:3], "last").values(pool)
    np.testing.assert_array_equal(found, pool.factors[np.arange(30), last])


def test_near_ties_chain_so_that_preferences_go_in_a_circle() -> None:
    """Speed 0, 0.8 and 1.6 under a margin of 1: neighbors are even, and by height the slower one is better."""
    human = Hierarchy((Level("speed"), Level("height", margin=0.0)), np.ones(2))
    slow, middle, fast = (np.array([each]) for each in ((0.0, 2.0), (0.8, 1.0), (1.6, 0.0)))
    for better, worse in ((slow, middle), (middle, fast), (fast, slow)):
        assert human.probabilities(better, worse).argmax() == Choice.FIRST
    assert human.main(np.stack([slow, middle])) is None


def test_levels_that_nobody_passes_are_a_tie_for_any_number_of_pairs() -> None:
    human, same = Hierarchy(levels(5), SPREADS), np.ones((3, 5))
    assert human.probabilities(same, same).tolist() == [[0, 0, 1, 0]] * 3
    assert human.probabilities(same[:1], same[:1]).tolist() == [[0, 0, 1, 0]]
    assert human.probabilities(same[:0], same[:0]).shape == (0, 4) and human.levels(same[:0], same[:0]).shape == (0,)


def test_an_oracle_asked_about_nothing_answers_nothing(draw_segments: DrawSegments) -> None:
    pool = draw_segments(20)
    human = Hierarchy(levels(3), SPREADS[:3])
    judgment = SegmentFeatures(NAMES[:3], NAMES[:3], "sum")
    oracle = ComposedOracle(judgment, human, seed=0, name="heron", reference=judgment.values(pool))
    assert oracle.answer(pool[:0], pool[:0], oracle.context(np.zeros(0, np.int64))).shape == (0,)
    assert oracle.values(pool[:0]).shape == (0,)


def test_a_score_is_the_chance_to_beat_a_segment_of_the_pool(draw_segments: DrawSegments) -> None:
    pool, other = draw_segments(30), draw_segments(8, seed=1)
    human, judgment = Hierarchy(levels(3), SPREADS[:3]), SegmentFeatures(NAMES[:3], NAMES[:3], "sum")
    reference, judged = judgment.values(pool), judgment.values(other)
    oracle = ComposedOracle(judgment, human, seed=0, name="heron", reference=reference)
    for i, score in enumerate(oracle.values(other)):
        choice = told(np.tile(judged[i], (30, 1)), reference, lambda k: MARGINS[k] * SPREADS[k])[1]
        assert score == np.mean(np.array([1.0, 0.0, 0.5])[choice])
    alone = np.concatenate([oracle.values(other[i : i + 1]) for i in range(8)])
    np.testing.assert_array_equal(alone, oracle.values(other))


def test_features_that_are_no_numbers_are_refused_and_no_deeper_level_decides_instead() -> None:
    human = Hierarchy(levels(2), SPREADS[:2])
    for bad in (np.nan, np.inf):
        with pytest.raises(InvalidArgument, match="values must be finite, got '1 that are not'"):
            human.probabilities(np.array([[bad, 5.0]]), np.zeros((1, 2)))
        with pytest.raises(InvalidArgument, match="values must be finite"):
            human.levels(np.zeros((1, 2)), np.array([[0.0, bad]]))


@pytest.mark.parametrize("n", [1, 2])
def test_who_is_misled_by_a_feature_still_compares_level_by_level(n: int) -> None:
    first, second = values(n, 200)
    misled = FeatureMistakes(Hierarchy(levels(n), SPREADS[:n]), 0.4, center=0.0, spread=1.0, name="heat")
    heat = np.linspace(-3, 3, 200)
    p = misled.probabilities(np.column_stack([first, heat]), np.column_stack([second, heat]), AnswerContext.fresh(200))
    deciding, choice = told(first, second, lambda k: MARGINS[k] * SPREADS[k])
    for row, z, answer in zip(p, heat, choice, strict=True):
        flip = 0.4 / (1 + np.exp(-2 * z))
        wanted = {Choice.FIRST: [1 - flip, flip, 0, 0], Choice.SECOND: [flip, 1 - flip, 0, 0], Choice.TIE: [0, 0, 1, 0]}
        np.testing.assert_allclose(row, wanted[Choice(answer)], atol=1e-15)
    np.testing.assert_array_equal(misled.levels(np.column_stack([first, heat]), np.column_stack([second, heat])), deciding)


@pytest.mark.parametrize(("said", "error", "message"), [
    ({"sign": 1}, InvalidArgument, r"levels must be a list of mappings with a feature, got \{'sign': 1\}; valid: \{feature"),
    ("speed", InvalidArgument, "levels must be a list of mappings with a feature, got 'speed'"),
    ({"feature": "speed", "sgn": 1}, UnknownName, "levels.<key> is not a known name, got 'sgn'; valid: did you mean sign"),
    ({"feature": "speed", "sign": 2}, InvalidArgument, "levels.sign must be 1 or -1, as speed's, got 2"),
    ({"feature": "speed", "sign": 1.5}, InvalidArgument, "levels.sign must be 1 or -1, as speed's, got 1.5"),
    ({"feature": "speed", "sign": "up"}, InvalidArgument, "levels.sign must be a number, as speed's, got 'up'"),
    ({"feature": "speed", "margin": -0.1}, InvalidArgument, "levels.margin must be finite and at least 0, as speed's, got -0.1"),
    ({"feature": "speed", "margin": np.inf}, InvalidArgument, "levels.margin must be finite"),
    ({"feature": "speed", "margin": "wide"}, InvalidArgument, "levels.margin must be a number, as speed's, got 'wide'"),
])
def test_levels_that_make_no_sense_are_refused(said: Any, error: type[InvalidArgument], message: str) -> None:
    with pytest.raises(error, match=message):
        Level.of(said)


@pytest.mark.parametrize(("ranking", "spreads"), [
    ((), []), (levels(2), [1.0]), (levels(1), [0.0]), (levels(1), [np.nan]), (levels(1), [np.inf]),
])
def test_spreads_that_are_no_units_are_refused(ranking: tuple[Level, ...], spreads: list[float]) -> None:
    with pytest.raises(InvalidArgument, match=rf"spreads must be {len(ranking)} numbers above 0, at least one"):
        Hierarchy(ranking, np.array(spreads))
