import numpy as np
import pytest

from preflab.errors import InvalidArgument
from preflab.rewards import metrics
from preflab.types import Choice

FIRST, SECOND, TIE = Choice.FIRST, Choice.SECOND, Choice.TIE


def test_accuracy_is_over_strict_answers_and_an_even_prediction_counts_half() -> None:
    assert metrics.accuracy([0.9, 0.9, 0.1, 0.5, 0.99], [FIRST, SECOND, SECOND, FIRST, TIE]) == pytest.approx(2.5 / 4)


def test_log_loss_counts_a_tie_at_one_half() -> None:
    expected = -(np.log(0.8) + 0.5 * np.log(0.8) + 0.5 * np.log(0.2)) / 2
    assert metrics.log_loss([0.8, 0.8], [FIRST, TIE]) == pytest.approx(expected)


def test_log_loss_of_a_certain_error_is_large_and_finite() -> None:
    assert 20 < metrics.log_loss([0.0], [FIRST]) < 40


def test_log_loss_takes_weights() -> None:
    assert metrics.log_loss([0.8, 0.4], [FIRST, FIRST], [3, 1]) == pytest.approx(-(3 * np.log(0.8) + np.log(0.4)) / 4)


def test_brier_is_the_squared_error_on_strict_answers() -> None:
    assert metrics.brier([0.7, 0.2, 0.9], [FIRST, FIRST, TIE]) == pytest.approx((0.09 + 0.64) / 2)


def test_calibration_has_one_point_per_filled_bin_of_equal_width() -> None:
    curve = metrics.calibration([0.62, 0.68, 0.69, 0.05], [FIRST, FIRST, SECOND, SECOND])
    np.testing.assert_allclose(curve.predicted, [0.05, (0.62 + 0.68 + 0.69) / 3])
    np.testing.assert_allclose(curve.observed, [0, 2 / 3])
    assert curve.count.tolist() == [1, 3]
    assert curve.error == pytest.approx((0.05 + 3 * abs(1.99 / 3 - 2 / 3)) / 4)
    assert metrics.ece([0.62, 0.68, 0.69, 0.05], [FIRST, FIRST, SECOND, SECOND]) == curve.error


def test_calibrated_answers_have_a_small_calibration_error_and_overconfident_ones_a_large_one() -> None:
    rng = np.random.default_rng(0)
    p_first = rng.uniform(size=20_000)
    answers = np.where(rng.uniform(size=20_000) < p_first, FIRST, SECOND)
    # ECE of a calibrated model is about 10 bins' mean |error|, each of spread √(p(1−p)/2000) ≤ 0.0112: below 0.02
    assert metrics.ece(p_first, answers) < 0.02
    # pushing every prediction to 0.05 or 0.95 errs by |p − 0.95| on average, E|U − 0.95| over U in [½, 1] = 0.205
    assert metrics.ece(np.where(p_first > 0.5, 0.95, 0.05), answers) == pytest.approx(0.2, abs=0.02)


def test_adaptive_bins_hold_equally_many_answers() -> None:
    p_first, answers = [0.81, 0.82, 0.83, 0.84], [SECOND, SECOND, FIRST, FIRST]
    curve = metrics.calibration(p_first, answers, 2, is_adaptive=True)
    np.testing.assert_allclose(curve.predicted, [0.815, 0.835])
    np.testing.assert_allclose(curve.observed, [0, 1])
    assert curve.count.tolist() == [2, 2]
    assert metrics.ace(p_first, answers, 2) == pytest.approx((0.815 + 0.165) / 2)
    assert metrics.ece(p_first, answers, 2) == pytest.approx(0.825 - 0.5)  # one bin, in which both errors cancel


def test_equal_predictions_share_an_adaptive_bin() -> None:
    answers = [FIRST, SECOND] * 10
    assert metrics.ace([0.5] * 20, answers) == 0  # and no bin of ten alike
    assert metrics.ece([0.5] * 20, answers) == 0  # the number that breaks both: a model that knows nothing is calibrated
    assert metrics.accuracy([0.5] * 20, answers) == 0.5


def test_temperature_undoes_what_made_predictions_too_sure() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(size=20_000)
    answers = np.where(rng.uniform(size=20_000) < 1 / (1 + np.exp(-logit)), FIRST, SECOND)
    sure = 1 / (1 + np.exp(-3 * logit))
    found = metrics.temperature(sure, answers)
    assert found == pytest.approx(3, rel=0.1)  # standard error of 1/T about 0.02 / 3
    better = metrics.tempered(sure, found)
    losses = [metrics.log_loss(metrics.tempered(sure, found * factor), answers) for factor in (0.98, 1.0, 1.02)]
    assert losses[1] == min(losses)
    assert metrics.ece(better, answers) < 0.02 < 0.1 < metrics.ece(sure, answers)
    assert metrics.accuracy(better, answers) == metrics.accuracy(sure, answers)


def test_a_known_temperature() -> None:
    # Three of four right at σ(z): the best is σ(z / T) = 3/4, so T = z / ln 3.
    p_first = np.full(4, 0.9)
    assert metrics.temperature(p_first, [FIRST, FIRST, FIRST, SECOND]) == pytest.approx(np.log(9) / np.log(3))


def test_temperature_ends_where_no_temperature_is_best() -> None:
    assert metrics.temperature([0.9, 0.2], [SECOND, FIRST]) == pytest.approx(1e3)
    assert metrics.temperature([0.9, 0.2], [FIRST, SECOND]) == pytest.approx(1e-3)
    assert metrics.temperature([0.5, 0.5], [FIRST, SECOND]) == 1  # where every one is
    assert np.isnan(metrics.temperature([], []))
    with pytest.raises(InvalidArgument, match="temperature must be above 0"):
        metrics.tempered([0.5], 0.0)


def test_certain_predictions_fall_into_the_last_bin() -> None:
    assert metrics.calibration([1.0], [FIRST]).error == 0.0


def test_best_possible_accuracy_is_among_strict_answers_only() -> None:
    probabilities = np.array([[0.4, 0.1, 0.3, 0.2], [0.25, 0.25, 0.0, 0.5], [0.0, 0.0, 0.5, 0.5]])
    estimate, low, high = metrics.best_possible_accuracy(probabilities)
    assert estimate == pytest.approx((0.8 + 0.5) / 2)
    assert 0 <= low < estimate < high <= 1


def test_its_interval_is_wilsons() -> None:
    probabilities = np.tile([0.85, 0.15, 0.0, 0.0], (100, 1))
    _, low, high = metrics.best_possible_accuracy(probabilities)
    # Wilson 1927: the two p with (0.85 − p)² = z² p (1 − p) / 100
    z2 = 1.959963984540054**2
    roots = np.roots([1 + z2 / 100, -(1.7 + z2 / 100), 0.85**2])
    assert [low, high] == pytest.approx(sorted(roots.real))


def test_a_certain_human_can_be_predicted_without_error() -> None:
    estimate, low, high = metrics.best_possible_accuracy(np.tile([1.0, 0.0, 0.0, 0.0], (10, 1)))
    assert (estimate, high) == (1.0, 1.0)
    assert low > 0.7


def test_pearson_distance_is_the_sine_of_half_the_angle() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50))
    assert metrics.pearson_distance(x, y) == pytest.approx(np.sqrt((1 - np.corrcoef(x, y)[0, 1]) / 2))
    assert np.isnan(metrics.pearson_distance(x, np.ones(50)))


def test_no_strict_answers_give_nan_and_not_a_number_that_looks_like_one() -> None:
    for figure in (metrics.accuracy, metrics.brier, metrics.ece, metrics.ace):
        assert np.isnan(figure([0.7], [TIE]))
    assert np.isnan(metrics.log_loss([], []))
    assert np.isnan(metrics.best_possible_accuracy(np.tile([0.0, 0.0, 0.0, 1.0], (3, 1)))).all()


def test_what_is_no_probability_or_no_answer_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match="p_first must be probabilities"):
        metrics.accuracy([1.2], [FIRST])
    with pytest.raises(InvalidArgument, match="choice must be FIRST, SECOND or TIE"):
        metrics.log_loss([0.5], [Choice.SKIP])
    with pytest.raises(InvalidArgument, match=r"choice must be \(M,\)"):
        metrics.log_loss([0.5, 0.5], [FIRST])
    with pytest.raises(InvalidArgument, match=r"probabilities must be \(M, 4\)"):
        metrics.best_possible_accuracy(np.ones((3, 2)))
    with pytest.raises(InvalidArgument, match="n_bins"):
        metrics.calibration([0.5], [FIRST], n_bins=0)
