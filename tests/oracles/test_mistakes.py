"""Mistakes against their closed forms: what is flipped, what never is, and what held-out answers are spared."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from preflab import oracles
from preflab.errors import InvalidArgument, Refused
from preflab.interfaces import AnswerContext, Oracle, Response
from preflab.oracles import (
    Argmax,
    Boltzmann,
    BPrefThresholds,
    ComposedOracle,
    Davidson,
    Drift,
    FeatureMistakes,
    Hierarchy,
    Level,
    Majority,
    MarginMistakes,
    Member,
    Mistakes,
    OracleSettings,
    OrderBias,
    PartialReturn,
    Population,
    PreferenceMatrix,
    SkipsBelow,
    ThresholdTies,
    WeightedFactors,
)
from preflab.types import Choice, FloatArray, ScoredSegments

DrawSegments = Callable[..., ScoredSegments]
NAMES = ("speed", "effort", "height")
RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.integers(-8, 9, size=(2, 300)) * 0.25  # many are equal
INNER = SkipsBelow(ThresholdTies(Davidson(1.3, 0.5), 0.6), -1.0)  # strict answers, ties and skips
FEATURE = RNG.normal(size=(2, 300))


def flipped(p: FloatArray, rate: Any) -> FloatArray:
    """Returns what flipping strict answers at a rate makes of (M, 4) rows, one at a time."""
    rates = np.broadcast_to(rate, len(p)).tolist()
    rows = [[(1 - e) * a + e * b, (1 - e) * b + e * a, tie, skip] for (a, b, tie, skip), e in zip(p.tolist(), rates, strict=True)]
    return np.array(rows)


def with_feature(values: FloatArray, side: int) -> FloatArray:
    return np.column_stack([values, FEATURE[side]])


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("inner", [INNER, Argmax(), Boltzmann(0.7)], ids=["all four", "argmax", "boltzmann"])
def test_strict_answers_are_flipped_at_the_rate_and_no_tie_or_skip_is_touched(inner: Response, rate: float) -> None:
    clean, p = inner.probabilities(FIRST, SECOND), Mistakes(inner, rate).probabilities(FIRST, SECOND)
    np.testing.assert_allclose(p, flipped(clean, rate), atol=1e-16)
    np.testing.assert_array_equal(p[:, 2:], clean[:, 2:])
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=4e-16)


def test_mistakes_fade_with_the_margin() -> None:
    clean, p = INNER.probabilities(FIRST, SECOND), MarginMistakes(INNER, 0.4, 0.7).probabilities(FIRST, SECOND)
    rates = [0.4 * math.exp(-abs(a - b) / 0.7) for a, b in zip(FIRST.tolist(), SECOND.tolist(), strict=True)]
    np.testing.assert_allclose(p, flipped(clean, rates), atol=1e-15)
    np.testing.assert_array_equal(p[:, 2:], clean[:, 2:])
    assert max(rates) == 0.4 and min(rates) < 0.01


def test_mistakes_follow_the_feature_of_both_sides_and_not_who_is_right() -> None:
    misled = FeatureMistakes(INNER, 0.4, center=0.3, spread=0.5, name="obs_0")
    sides = with_feature(FIRST, 0), with_feature(SECOND, 1)
    clean, p = INNER.probabilities(FIRST, SECOND), misled.probabilities(*sides)
    z = [(0.5 * (a + b) - 0.3) / 0.5 for a, b in FEATURE.T.tolist()]
    np.testing.assert_allclose(p, flipped(clean, [0.4 / (1 + math.exp(-2 * each)) for each in z]), atol=1e-15)
    np.testing.assert_array_equal(p[:, 2:], clean[:, 2:])
    mirrored = misled.probabilities(*sides[::-1])[:, [Choice.SECOND, Choice.FIRST, Choice.TIE, Choice.SKIP]]
    np.testing.assert_array_equal(p, mirrored)
    np.testing.assert_array_equal(misled.main(sides[0]), FIRST)


def test_a_feature_far_out_misleads_at_the_full_rate_or_not_at_all() -> None:
    misled = FeatureMistakes(Argmax(), 0.4, center=0.0, spread=1e-200, name="obs_0")
    p = misled.probabilities(np.array([[1.0, 1e100], [1.0, -1e100], [1.0, 0.0]]), np.zeros((3, 2)))
    np.testing.assert_allclose(p[:, 0], [0.6, 1.0, 0.8], atol=1e-15)


def test_a_human_whose_mind_drifts_can_be_misled_too() -> None:
    start, end = np.array([1.0, 1.0, 1.0]), np.array([-1.0, -1.0, -1.0])
    misled = FeatureMistakes(Drift(Boltzmann(2.0), 10.0), 0.4, center=0.0, spread=1.0, name="obs_0")
    first, second = np.column_stack([start, end, np.zeros(3)]), np.zeros((3, 3))
    ids = np.array([0, 5, 30])
    p = misled.probabilities(first, second, AnswerContext(ids, ids, ids, ids))
    sure = 1 / (1 + np.exp(-2.0 * np.array([1.0, 0.0, -1.0])))
    np.testing.assert_allclose(p[:, 0], 0.8 * sure + 0.2 * (1 - sure), atol=1e-15)
    np.testing.assert_array_equal(misled.main(first), start)
    np.testing.assert_array_equal(misled.probabilities(first, second)[:, 0], p[[0, 0, 0], 0])


def composed(mistaken: Response) -> ComposedOracle:
    return ComposedOracle(PartialReturn(), mistaken, seed=3, name="mistaken")


def test_mistakes_made_in_training_only_vanish_from_held_out_answers(make_segments: DrawSegments) -> None:
    first, second = make_segments(FIRST[:, None]), make_segments(SECOND[:, None])
    clean = INNER.probabilities(FIRST, SECOND)
    for model in (Mistakes(INNER, 0.4, "training"), MarginMistakes(INNER, 0.4, 1.0, "training")):
        oracle = composed(model)
        spared = oracle.for_evaluation()
        np.testing.assert_array_equal(spared.probabilities(first, second, spared.context(np.arange(300))), clean)
        assert np.abs(oracle.probabilities(first, second, oracle.context(np.arange(300))) - clean).max() > 0.05
        assert spared.for_evaluation() is spared
    always = composed(Mistakes(INNER, 0.4))
    assert always.for_evaluation() is always


def test_who_is_misled_by_a_feature_in_training_only_is_spared_it_held_out(draw_segments: DrawSegments) -> None:
    pool = draw_segments(40)
    settings = OracleSettings(
        judgment="partial_return", target_accuracy=None, beta=0.5, mistakes="feature", mistake_rate=0.4, mistake_feature="obs_1",
        mistakes_when="training",
    )
    oracle = oracles.build("misled", settings, seed=0, calibration=pool, factor_names=NAMES, task="t", form="terminating")
    clean = composed(Boltzmann(0.5))
    first, second, ids = pool[:20], pool[20:], np.arange(20)
    spared = oracle.for_evaluation()
    wanted = clean.probabilities(first, second, clean.context(ids))
    np.testing.assert_array_equal(spared.probabilities(first, second, spared.context(ids)), wanted)
    assert np.abs(oracle.probabilities(first, second, oracle.context(ids)) - wanted).max() > 0.05
    np.testing.assert_array_equal(spared.values(pool), clean.values(pool))
    assert spared.for_evaluation() is spared


class Around:
    """An oracle of one human, or of two who are alike, or of a panel of one, around the same response model."""

    alone = staticmethod(composed)

    @staticmethod
    def of_two(model: Response) -> Population:
        members = [Member(name, 0.5, PartialReturn(), model) for name in "ab"]
        return Population(members, seed=3, name="two")

    @staticmethod
    def panel(model: Response) -> Majority:
        return Majority([Member("a", 1.0, PartialReturn(), model)], seed=3, name="panel")


@pytest.mark.parametrize("make", [Around.alone, Around.of_two, Around.panel])
def test_held_out_answers_are_those_of_the_round_that_has_begun(
    make: Callable[[Response], Oracle], make_segments: DrawSegments
) -> None:
    first, second = make_segments(FIRST[:, None]), make_segments(SECOND[:, None])
    inner = BPrefThresholds(Boltzmann(1.0), epsilon=0.5, kind="equal", length=1)
    oracle = make(Mistakes(inner, 0.4, "training"))
    for number, mean_return in ((0, 10.0), (4, 25.0)):
        stats = {"round": float(number), "mean_return": mean_return, "mean_length": 10.0}
        oracle.begin_round(stats)
        spared = oracle.for_evaluation()
        context = spared.context(np.arange(300))
        assert (context.round == number).all() and type(spared) is type(oracle)
        wanted = inner.in_round(stats).probabilities(FIRST, SECOND)
        np.testing.assert_allclose(spared.probabilities(first, second, context), wanted, atol=1e-15)
        gaps = np.abs(FIRST - SECOND)
        np.testing.assert_array_equal(wanted[:, Choice.TIE] == 1, gaps < 0.5 * mean_return / 10)
        assert np.abs(oracle.probabilities(first, second, context) - wanted).max() > 0.1
        spared.begin_round({"round": 9.0, "mean_return": 0.0})
        assert (oracle.context([0]).round == number).all()  # whoever answers held-out queries is another one


def test_what_is_left_of_a_bias_is_declared_and_where_it_depends_on_the_segment_nothing_is() -> None:
    biased = OrderBias(Boltzmann(1.0), 1.0)
    sure = 1 / (1 + math.exp(-1))
    assert Mistakes(biased, 0.1).p_first_if_same == pytest.approx(0.9 * sure + 0.1 * (1 - sure))
    assert MarginMistakes(biased, 0.1, 1.0).p_first_if_same == pytest.approx(0.9 * sure + 0.1 * (1 - sure))
    assert math.isnan(FeatureMistakes(biased, 0.1, 0.0, 1.0, "x").p_first_if_same)
    assert FeatureMistakes(Argmax(), 0.1, 0.0, 1.0, "x").p_first_if_same == 0.5
    even = np.zeros(1)
    for model in (Mistakes(biased, 0.1), MarginMistakes(biased, 0.1, 1.0)):
        assert model.probabilities(even, even)[0, 0] == pytest.approx(model.p_first_if_same)


def test_a_margin_needs_an_order() -> None:
    unordered = (Hierarchy((Level("x"),), np.ones(1)), PreferenceMatrix(np.full((3, 3), 0.5)))
    for inner in unordered:
        for model in (MarginMistakes(inner, 0.1, 1.0), ThresholdTies(inner, 1.0), SkipsBelow(inner, 1.0),
                      BPrefThresholds(inner, epsilon=0.1, kind="equal", length=1, threshold=1.0)):
            name = type(model).__name__
            with pytest.raises(Refused, match=f"{name} asks by how much one segment is better, and a hierarchy or"):
                model.probabilities(np.zeros(2), np.ones(2))


@pytest.mark.parametrize(("make", "said"), [
    (lambda: Mistakes(Argmax(), 1.1), r"rate must be in \[0, 1\], got 1.1"), (lambda: Mistakes(Argmax(), -0.1), "rate must be"),
    (lambda: Mistakes(Argmax(), np.nan), "rate must be"),
    (lambda: Mistakes(Argmax(), 0.1, "never"), "when is not known, got 'never'; valid: always, training"),
    (lambda: MarginMistakes(Argmax(), 0.1, 0.0), "scale must be finite and above 0, got 0.0"),
    (lambda: MarginMistakes(Argmax(), 0.1, np.inf), "scale must be"),
    (lambda: FeatureMistakes(Argmax(), 0.1, 0.0, 0.0, "x"), r"center, spread must be finite, and spread above 0, got \(0.0, 0.0\)"),
    (lambda: FeatureMistakes(Argmax(), 0.1, np.nan, 1.0, "x"), "center, spread must be"),
])
def test_rates_and_scales_out_of_range_are_refused(make: Callable[[], Response], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        make()


def test_the_scale_of_a_margin_is_the_pools_median_difference_that_is_no_rounding(make_segments: DrawSegments) -> None:
    def scale(values: FloatArray) -> float:
        settings = OracleSettings(judgment="partial_return", target_accuracy=None, beta=np.inf, mistakes="margin", mistake_rate=0.3)
        oracle = oracles.build("m", settings, seed=0, calibration=make_segments(values[:, None]), task="t", form="fixed")
        return float(oracle.card()["response"]["mistake_scale"])

    # pairs: 3 times 2 apart, 3 times 1, 3 times 3, and those between alike, which are 0 or rounding
    values = np.array([0.0, 1e-16, -1e-16, 2.0, 3.0])
    gaps = [2, 2, 2, 3, 3, 3, 1]
    assert scale(values) == pytest.approx(np.median(gaps))


def test_mistakes_belong_to_the_feature_in_spreads_of_the_pool(draw_segments: DrawSegments) -> None:
    pool = draw_segments(60)
    settings = OracleSettings(
        judgment="weighted_factors", weights={"speed": 1.0}, target_accuracy=None, beta=np.inf, mistakes="feature",
        mistake_rate=0.4, mistake_feature="height",
    )
    oracle = oracles.build("misled", settings, seed=0, calibration=pool, factor_names=NAMES, task="t", form="terminating")
    height = np.nanmean(pool.factors[..., 2], axis=1)
    z = (0.5 * (height[:30] + height[30:]) - height.mean()) / height.std()
    values = WeightedFactors({"speed": 1.0}, NAMES).values(pool)
    clean = Argmax().probabilities(values[:30], values[30:])
    p = oracle.probabilities(pool[:30], pool[30:], oracle.context(np.arange(30)))
    np.testing.assert_allclose(p, flipped(clean, 0.4 / (1 + np.exp(-2 * z))), atol=1e-14)
