"""Ties and skips against closed forms, against B-Pref's published loop, and at their nominal rates."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from preflab import oracles
from preflab.errors import InvalidArgument
from preflab.interfaces import Response
from preflab.oracles import (
    Argmax,
    Boltzmann,
    BPrefThresholds,
    ComposedOracle,
    Davidson,
    Mistakes,
    OracleSettings,
    PartialReturn,
    RaoKupper,
    Skips,
    SkipsBelow,
    ThresholdTies,
)
from preflab.types import Choice, FloatArray, ScoredSegments

MakeSegments = Callable[..., ScoredSegments]
MIRRORED = [Choice.SECOND, Choice.FIRST, Choice.TIE, Choice.SKIP]
GAPS = np.concatenate([np.linspace(-6, 6, 121), [0.0, -0.0, 1e-9, 40.0, -800.0, 1e300, -1.7e308]])
NOTHING = np.zeros(len(GAPS))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def rao_kupper(d: float, theta: float) -> list[float]:
    p_first, p_second = sigmoid(d - math.log(theta)), sigmoid(-d - math.log(theta))
    return [p_first, p_second, 1 - p_first - p_second, 0]


def davidson(d: float, nu: float) -> list[float]:
    weights = [math.exp(d / 2), math.exp(-d / 2), nu, 0.0]
    return [weight / math.fsum(weights) for weight in weights]


@pytest.mark.parametrize("beta", [0.0, 0.4, 3.0])
@pytest.mark.parametrize("parameter", [1.0, 1.5, 20.0])
def test_ties_of_rao_kupper_and_davidson_by_their_formulas(beta: float, parameter: float) -> None:
    gaps = GAPS[:121]
    for model, formula in ((RaoKupper(beta, parameter), rao_kupper), (Davidson(beta, parameter), davidson)):
        p = model.probabilities(gaps + 5.0, np.full(len(gaps), 5.0))
        np.testing.assert_allclose(p, [formula(beta * gap, parameter) for gap in gaps], atol=2e-15)


@pytest.mark.parametrize("model", [
    RaoKupper(0.7, 1.0), RaoKupper(0.7, 3.0), RaoKupper(0.0, 3.0), RaoKupper(2.0, 1e300), RaoKupper(1e300, 2.0), Davidson(0.7, 0.0),
    Davidson(0.7, 3.0), Davidson(0.0, 3.0), Davidson(2.0, 1e300), Davidson(1e300, 2.0), ThresholdTies(Boltzmann(0.7), 1.0),
    SkipsBelow(Boltzmann(0.7), 1.0), Skips(Boltzmann(0.7), 0.3), Boltzmann(0.0), Boltzmann(1e300), Argmax(),
    BPrefThresholds(Boltzmann(0.7), epsilon=0.1, kind="skip", length=1, threshold=2.0),
    BPrefThresholds(Boltzmann(0.7), epsilon=0.1, kind="equal", length=1, threshold=2.0),
])
def test_rows_sum_to_1_and_swapping_mirrors_bit_for_bit_however_large_values_are(model: Response) -> None:
    with np.errstate(all="raise", under="ignore"):
        p, mirrored = model.probabilities(GAPS, NOTHING), model.probabilities(NOTHING, GAPS)[:, MIRRORED]
    np.testing.assert_array_equal(p, mirrored)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=4e-16)
    assert (p >= 0).all() and p.shape == (len(GAPS), 4)
    even = model.probabilities(GAPS, GAPS)
    np.testing.assert_array_equal(even[:, 0], even[:, 1])
    for i in (0, 60, 127):
        np.testing.assert_array_equal(model.probabilities(GAPS[i : i + 1], NOTHING[:1]), p[i : i + 1])
    assert model.probabilities(GAPS[:0], NOTHING[:0]).shape == (0, 4)


def test_without_room_for_ties_both_models_are_boltzmann() -> None:
    boltzmann = Boltzmann(0.7).probabilities(GAPS, NOTHING)
    np.testing.assert_array_equal(RaoKupper(0.7, 1.0).probabilities(GAPS, NOTHING), boltzmann)
    np.testing.assert_allclose(Davidson(0.7, 0.0).probabilities(GAPS, NOTHING), boltzmann, atol=2e-16)


def test_davidson_leaves_the_odds_of_strict_answers_alone_and_rao_kupper_does_not() -> None:
    gap, zero = np.array([0.5, 1.0, 2.0]), np.zeros(3)
    tied, rao = Davidson(1.5, 2.0).probabilities(gap, zero), RaoKupper(1.5, 2.0).probabilities(gap, zero)
    np.testing.assert_allclose(tied[:, 0] / tied[:, 1], np.exp(1.5 * gap))
    odds = np.exp(1.5 * gap)
    np.testing.assert_allclose(rao[:, 0] / rao[:, 1], (1 + 2 * odds) / (1 + 2 / odds))


def test_equals_tie_in_closed_form() -> None:
    even = np.zeros(1)
    assert RaoKupper(9.0, 3.0).probabilities(even, even)[0].tolist() == pytest.approx([0.25, 0.25, 0.5, 0])  # (θ − 1) / (θ + 1)
    assert Davidson(9.0, 3.0).probabilities(even, even)[0].tolist() == pytest.approx([0.2, 0.2, 0.6, 0])  # ν / (2 + ν)


def test_values_nearer_than_a_threshold_are_even_whatever_else_would_be_answered() -> None:
    inner, threshold = Boltzmann(0.7), 1.5
    for gap, row in zip(GAPS, ThresholdTies(inner, threshold).probabilities(GAPS, NOTHING), strict=True):
        own = inner.probabilities(np.array([gap]), np.zeros(1))[0].tolist()
        assert row.tolist() == ([0, 0, 1, 0] if abs(gap) < 1.5 else own)
    np.testing.assert_array_equal(ThresholdTies(inner, 0.0).probabilities(GAPS, NOTHING), inner.probabilities(GAPS, NOTHING))


def test_a_pair_is_skipped_where_both_are_worth_less_than_a_threshold() -> None:
    first, second = (side.ravel() for side in np.meshgrid([-1.0, 0.0, 1.0, 2.0], [-1.0, 0.0, 1.0, 2.0]))
    inner = ThresholdTies(Boltzmann(0.7), 0.5)
    for a, b, row in zip(first, second, SkipsBelow(inner, 1.0).probabilities(first, second), strict=True):
        own = inner.probabilities(np.array([a]), np.array([b]))[0].tolist()
        assert row.tolist() == ([0, 0, 0, 1] if max(a, b) < 1.0 else own)  # a skip is no tie


def test_a_share_is_skipped_whatever_is_shown() -> None:
    p, inner = Skips(Davidson(1.0, 2.0), 0.3).probabilities(GAPS, NOTHING), Davidson(1.0, 2.0).probabilities(GAPS, NOTHING)
    np.testing.assert_allclose(p[:, :3], 0.7 * inner[:, :3], atol=1e-16)
    assert (p[:, 3] == 0.3).all()


@pytest.mark.parametrize(("make", "said"), [
    (lambda: RaoKupper(-1, 2), "beta must be finite and at least 0, got -1"), (lambda: RaoKupper(np.inf, 2), "beta must be finite"),
    (lambda: RaoKupper(1, 0.9), "theta must be finite and at least 1, got 0.9"), (lambda: RaoKupper(1, np.nan), "theta must be"),
    (lambda: Davidson(np.nan, 2), "beta must be finite"), (lambda: Davidson(1, -0.1), "nu must be finite and at least 0, got -0.1"),
    (lambda: Davidson(1, np.inf), "nu must be"),
    (lambda: ThresholdTies(Argmax(), -1), "threshold must be finite and at least 0, got -1"),
    (lambda: ThresholdTies(Argmax(), np.inf), "threshold must be"),
    (lambda: SkipsBelow(Argmax(), np.nan), "threshold must be finite, got nan"),
    (lambda: Skips(Argmax(), 1.0), r"rate must be in \[0, 1\), got 1.0"), (lambda: Skips(Argmax(), -0.1), "rate must be"),
    (lambda: BPrefThresholds(Argmax(), epsilon=-1, kind="skip", length=5), "epsilon must be finite and at least 0, got -1"),
    (lambda: BPrefThresholds(Argmax(), epsilon=1, kind="ties", length=5), "kind is not known, got 'ties'; valid: skip, equal"),
])
def test_parameters_out_of_range_are_refused(make: Callable[[], Response], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        make()


class Published:
    """B-Pref's teacher, pair by pair, in the order of its code; thresholds are set every round (train_PEBBLE.py).

    Skip unless max(Σr_1, Σr_2) > skip threshold (if above 0); equal where |Σr_1 − Σr_2| < equal threshold; myopic weights
    γ^(H−1−t); label, β = −1 for the better one; a mistake; and what was called equal is a tie after all.
    """

    def __init__(
        self, *, beta: float = -1, gamma: float = 1, mistake: float = 0, skip: float = 0, equal: float = 0, compat: bool = False
    ) -> None:
        self.beta, self.gamma, self.mistake, self.skip, self.equal, self.compat = beta, gamma, mistake, skip, equal, compat
        self.skip_threshold = self.equal_threshold = 0.0

    def begin_round(self, number: int, mean_return: float, length: float, n_steps: int) -> None:
        margin = (mean_return if self.compat else abs(mean_return)) * n_steps / length
        times = 2 if self.compat and number > 0 else 1  # the caller multiplies, and the setter again
        self.skip_threshold, self.equal_threshold = margin * self.skip**times, margin * self.equal**times

    def __call__(self, first: FloatArray, second: FloatArray) -> list[float]:
        sums = first.sum(), second.sum()
        if self.skip_threshold > 0 and max(sums) <= self.skip_threshold:
            return [0, 0, 0, 1]
        if abs(sums[0] - sums[1]) < self.equal_threshold:
            return [0, 0, 1, 0]
        weights = self.gamma ** np.arange(len(first))[::-1]
        gap = float((weights * first).sum() - (weights * second).sum())
        p = sigmoid(self.beta * gap) if self.beta >= 0 else float(gap > 0)
        p = (1 - self.mistake) * p + self.mistake * (1 - p)
        return [p, 1 - p, 0, 0]


TEACHERS: dict[str, tuple[Mapping[str, Any], Mapping[str, float]]] = {
    "oracle": ({}, {}), "stoc": ({"beta": 1.0}, {"beta": 1.0}), "mistake": ({"mistake_rate": 0.1}, {"mistake": 0.1}),
    "skip": ({"bpref": "skip"}, {"skip": 0.1}), "equal": ({"bpref": "equal"}, {"equal": 0.1}),
    "myopic": ({"gamma": 0.9, "myopic": True}, {"gamma": 0.9}),
    "skip, stoc, mistake": ({"bpref": "skip", "bpref_epsilon": 0.5, "beta": 0.3, "mistake_rate": 0.2}, {
        "skip": 0.5, "beta": 0.3, "mistake": 0.2}),
    "equal, stoc, mistake": ({"bpref": "equal", "bpref_epsilon": 0.5, "beta": 0.3, "mistake_rate": 0.2}, {
        "equal": 0.5, "beta": 0.3, "mistake": 0.2}),
    "myopic, stoc, mistake": ({"gamma": 0.5, "myopic": True, "beta": 0.3, "mistake_rate": 0.2}, {
        "gamma": 0.5, "beta": 0.3, "mistake": 0.2}),
}
ROUNDS = ((0, 40.0, 100.0), (1, 70.0, 90.0), (2, 0.0, 100.0), (7, 55.0, 25.0))  # number, R̄, T


@pytest.mark.parametrize("compat", [False, True])
@pytest.mark.parametrize("name", TEACHERS)
def test_the_six_teachers_and_their_mixtures_answer_as_published_every_round(
    name: str, compat: bool, draw_segments: MakeSegments
) -> None:
    own, published = TEACHERS[name]
    pool = draw_segments(120, length=8)
    pool = replace(pool, gold_rewards=np.nan_to_num(pool.gold_rewards) + 0.3, segments=replace(
        pool.segments, valid=np.ones((120, 8), bool), absorbing=np.zeros((120, 8), bool)))  # B-Pref's episodes never end
    told = {"judgment": "partial_return", "target_accuracy": None, "beta": np.inf, "bpref_compat": compat}
    settings = OracleSettings(**told | dict(own))
    oracle = oracles.build("bpref", settings, seed=0, calibration=pool, task="walker", form="fixed")
    teacher = Published(**published, compat=compat)
    first, second, seen = pool[:60], pool[60:], []
    for number, mean_return, length in ROUNDS:
        oracle.begin_round({"round": float(number), "mean_return": mean_return, "mean_length": length})
        teacher.begin_round(number, mean_return, length, 8)
        p = oracle.probabilities(first, second, oracle.context(np.arange(60)))
        wanted = [teacher(a, b) for a, b in zip(first.gold_rewards, second.gold_rewards, strict=True)]
        np.testing.assert_allclose(p, wanted, atol=1e-14)
        seen.append(p[:, 2:].sum(axis=0))
    is_used = "skip" in published or "equal" in published
    assert (np.ptp(seen, axis=0).max() > 0) == is_used  # the threshold of one round is not that of the next


@pytest.mark.parametrize("kind", ["skip", "equal"])
@pytest.mark.parametrize("number", [0, 1, 5])
def test_compat_multiplies_epsilon_twice_from_the_second_round_on(kind: str, number: int) -> None:
    def threshold(is_compat: bool, mean_return: float) -> float:
        human = BPrefThresholds(Argmax(), epsilon=0.1, kind=kind, length=50, is_compat=is_compat)
        told = human.in_round({"round": float(number), "mean_return": mean_return, "mean_length": 1000.0})
        assert isinstance(told, BPrefThresholds) and human.threshold == 0
        return told.threshold

    assert threshold(False, 800.0) == pytest.approx(0.1 * 800 * 50 / 1000)
    assert threshold(True, 800.0) == pytest.approx((0.1 if number == 0 else 0.01) * 800 * 50 / 1000)
    assert threshold(False, -800.0) == pytest.approx(0.1 * 800 * 50 / 1000)
    assert threshold(True, -800.0) == 0


def test_rounds_that_are_counted_and_not_named_multiply_twice_too(make_segments: MakeSegments) -> None:
    human = BPrefThresholds(Argmax(), epsilon=0.1, kind="equal", length=1, is_compat=True)
    oracle = ComposedOracle(PartialReturn(), human, seed=0, name="equal")
    first, second = make_segments([[0.5], [0.05]]), make_segments([[0.0], [0.0]])
    answers = []
    for _ in range(3):
        oracle.begin_round({"mean_return": 10.0, "mean_length": 10.0})  # ε R̄ H / T = 0.1, and then 0.01
        answers.append(oracle.answer(first, second, oracle.context([0, 1])).tolist())
    assert answers == [[Choice.FIRST, Choice.TIE], [Choice.FIRST, Choice.FIRST], [Choice.FIRST, Choice.FIRST]]


def test_where_gold_is_a_cost_worth_is_measured_from_the_worst_segment_of_the_pool() -> None:
    human = BPrefThresholds(Argmax(), epsilon=0.1, kind="skip", length=10, lowest=-30.0)
    told = human.in_round({"round": 0.0, "mean_return": -500.0, "mean_length": 50.0})  # 0.1 · 500 · 10 / 50 = 10, from −30 on
    values = np.array([-31.0, -25.0, -20.0, -19.9, -1.0])
    p = told.probabilities(values, np.full(5, -40.0))
    assert p.argmax(axis=1).tolist() == [Choice.SKIP] * 3 + [Choice.FIRST] * 2
    before = human.probabilities(values, np.full(5, -40.0))
    assert before.argmax(axis=1).tolist() == [Choice.FIRST] * 5  # before the first round there is no threshold


def test_the_better_side_is_worth_the_same_first_or_second_however_bad_the_other_is() -> None:
    human = BPrefThresholds(Argmax(), epsilon=0.1, kind="skip", length=1, threshold=0.1)
    good, bad = np.array([0.3]), np.array([-1e17])  # bad + (good - bad) is 0 in floating point
    assert human.probabilities(good, bad).tolist() == [[1, 0, 0, 0]]
    assert human.probabilities(bad, good).tolist() == [[0, 1, 0, 0]]


def test_who_guesses_guesses_between_the_largest_numbers_too() -> None:
    high, low = np.array([1.7e308]), np.array([-1.7e308])  # their difference is no number that fits
    with np.errstate(all="raise", under="ignore"):
        assert Boltzmann(0.0).probabilities(high, low).tolist() == [[0.5, 0.5, 0, 0]]
        assert Boltzmann(1.0).probabilities(high, low).tolist() == Argmax().probabilities(high, low).tolist() == [[1, 0, 0, 0]]
        assert RaoKupper(0.0, 3.0).probabilities(high, low).tolist() == [[0.25, 0.25, 0.5, 0]]
        assert Davidson(0.0, 2.0).probabilities(high, low).tolist() == [[0.25, 0.25, 0.5, 0]]


def test_a_myopic_human_skips_and_ties_by_what_it_sees_itself(make_segments: MakeSegments) -> None:
    """The published code compares undiscounted sums with the threshold and labels discounted ones; here both are one value."""
    human = BPrefThresholds(Argmax(), epsilon=1.0, kind="equal", length=2)
    oracle = ComposedOracle(PartialReturn(0.5, is_myopic=True), human, seed=0, name="both")
    oracle.begin_round({"mean_return": 1.0, "mean_length": 2.0})  # threshold 1
    first, second = make_segments([[4.0, 0.0]]), make_segments([[0.0, 2.5]])  # sums 4 and 2.5, myopic 2 and 2.5
    assert oracle.answer(first, second, oracle.context([0])) == Choice.TIE


def pooled(name: str, make_segments: MakeSegments) -> ScoredSegments:
    """Returns 90 segments: all of different gold, or 0 for most, or of three values up to rounding."""
    rng = np.random.default_rng(1)
    gold = {
        "continuous": rng.standard_normal(90) ** 3, "mostly 0": np.where(rng.random(90) < 0.6, 0.0, rng.standard_normal(90)),
        "three values": rng.integers(0, 3, 90) + rng.choice([0, 1e-16], 90), "heavy tails": rng.standard_cauchy(90),
    }[name]
    return make_segments(gold[:, None])


def realized(settings: OracleSettings, pool: ScoredSegments) -> tuple[FloatArray, dict[str, Any]]:
    """Returns mean probabilities over all pairs of the pool, and how the oracle was calibrated."""
    oracle = oracles.build("some", settings, seed=0, calibration=pool, task="t", form="fixed")
    first, second = np.triu_indices(len(pool), k=1)
    p = oracle.probabilities(pool[first], pool[second], oracle.context(np.arange(len(first))))
    return p.mean(axis=0), oracle.card()["calibration"]


@pytest.mark.parametrize("rate", [0.02, 0.2, 0.9])
@pytest.mark.parametrize("ties", ["threshold", "rao_kupper", "davidson"])
@pytest.mark.parametrize("kind", ["continuous", "mostly 0", "three values", "heavy tails"])
def test_ties_come_at_their_nominal_rate_on_the_pool_or_at_the_nearest_there_is(
    kind: str, ties: str, rate: float, make_segments: MakeSegments
) -> None:
    pool = pooled(kind, make_segments)
    settings = OracleSettings(judgment="partial_return", ties=ties, tie_rate=rate)
    found, card = realized(settings, pool)
    assert card["achieved_tie_rate"] == pytest.approx(found[Choice.TIE], abs=1e-12) and card["tie_rate"] == rate
    if ties == "threshold" and kind in ("mostly 0", "three values"):
        values = pool.gold_rewards[:, 0]
        gaps = np.abs(np.subtract.outer(values, values))[np.triu_indices(90, k=1)]
        possible = [np.mean(gaps < threshold) for threshold in [0.0, *(np.unique(gaps.round(9)) + 1e-8)]]
        assert abs(found[Choice.TIE] - rate) == pytest.approx(min(abs(share - rate) for share in possible), abs=1e-12)
    else:
        assert found[Choice.TIE] == pytest.approx(rate, abs=1 / 4005)  # of 4,005 pairs, a threshold ties whole ones


@pytest.mark.parametrize("rate", [0.02, 0.2, 0.9])
@pytest.mark.parametrize("kind", ["continuous", "mostly 0", "three values"])
def test_skips_come_at_their_nominal_rate_on_the_pool_or_at_the_nearest_there_is(
    kind: str, rate: float, make_segments: MakeSegments
) -> None:
    pool = pooled(kind, make_segments)
    found, card = realized(OracleSettings(judgment="partial_return", skip_rate=rate), pool)
    best = np.maximum.outer(*[pool.gold_rewards[:, 0].round(9)] * 2)[np.triu_indices(90, k=1)]
    possible = [np.mean(best < threshold) for threshold in [*np.unique(best), np.inf]]  # a segment is the better of many pairs
    assert abs(found[Choice.SKIP] - rate) == pytest.approx(min(abs(share - rate) for share in possible), abs=1e-12)
    assert card["achieved_skip_rate"] == pytest.approx(found[Choice.SKIP], abs=1e-12) and card["skip_rate"] == rate


def test_skips_win_over_ties_and_flips_touch_neither(make_segments: MakeSegments) -> None:
    settings = OracleSettings(
        judgment="partial_return", target_accuracy=None, beta=np.inf, ties="threshold", tie_rate=0.3, skip_rate=0.2,
        mistake_rate=0.25, random_skip_rate=0.1,
    )
    found, card = realized(settings, pooled("continuous", make_segments))
    assert found[Choice.SKIP] == pytest.approx(0.1 + 0.9 * card["achieved_skip_rate"], abs=1e-12)
    clean, _ = realized(replace(settings, mistake_rate=0.0), pooled("continuous", make_segments))
    np.testing.assert_allclose(found[2:], clean[2:], atol=1e-15)


def test_a_flip_leaves_every_row_of_ties_and_skips_as_it_was() -> None:
    inner = SkipsBelow(ThresholdTies(Argmax(), 1.0), -2.0)
    before, after = (model.probabilities(GAPS, NOTHING - 3.0) for model in (inner, Mistakes(inner, 0.3)))
    np.testing.assert_array_equal(before[:, 2:], after[:, 2:])
