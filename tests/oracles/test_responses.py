"""Response models and the calibration of β."""

import numpy as np
import pytest

from preflab.errors import InvalidArgument, Refused
from preflab.oracles import Argmax, Boltzmann, ComposedOracle, Mistakes, PartialReturn, agreement, solve_beta
from preflab.testing.oracles import random_world
from preflab.types import FloatArray

NEVER = np.zeros(6, dtype=np.bool_)


def test_boltzmann_by_hand() -> None:
    p = Boltzmann(2.0).probabilities(np.array([1.0, 0.0, 5.0]), np.array([0.0, np.log(3) / 2, 5.0]))
    np.testing.assert_allclose(p[:, 0], [1 / (1 + np.exp(-2)), 0.25, 0.5], atol=1e-15)
    np.testing.assert_array_equal(p[:, 2:], 0)
    assert p[2, 0] == p[2, 1] == 0.5


def test_boltzmann_does_not_overflow() -> None:
    p = Boltzmann(1e300).probabilities(np.array([1e200, -1e200]), np.array([-1e200, 1e200]))
    np.testing.assert_array_equal(p, [[1, 0, 0, 0], [0, 1, 0, 0]])


def test_argmax_ties_only_exact_equals_unless_told_a_tolerance() -> None:
    first, second = np.array([1.0, 2.0, 1.0, 1.0]), np.array([2.0, 1.0, 1.0, 1.0 + 1e-12])
    np.testing.assert_array_equal(Argmax().probabilities(first, second).argmax(axis=1), [1, 0, 2, 1])
    np.testing.assert_array_equal(Argmax(1.0).probabilities(first, second).argmax(axis=1), [2, 2, 2, 2])


def test_mistakes_flip_strict_answers_and_leave_ties() -> None:
    p = Mistakes(Argmax(), 0.1).probabilities(np.array([2.0, 1.0, 1.0]), np.array([1.0, 2.0, 1.0]))
    np.testing.assert_allclose(p, np.array([[0.9, 0.1, 0, 0], [0.1, 0.9, 0, 0], [0, 0, 1, 0]]), atol=1e-15)


def test_mistakes_are_realized_at_their_rate_in_answers() -> None:
    # 24,000 strict answers at rate 0.1: a true oracle misses by more than 4 standard errors once in 16,000 seeds.
    world = random_world()
    oracle = ComposedOracle(PartialReturn(), Mistakes(Argmax(), 0.1), seed=5, name="flips")
    rows = np.tile(np.arange(len(world.first)), 300)
    first, second = world.pairs(rows)
    choice = oracle.answer(first, second, oracle.context(np.arange(len(rows))))
    gap = oracle.values(first) - oracle.values(second)
    share = np.mean(choice[gap != 0] != (gap < 0)[gap != 0])
    assert abs(share - 0.1) < 4 * np.sqrt(0.09 / np.sum(gap != 0))


def test_values_that_are_not_finite_are_named() -> None:
    with pytest.raises(InvalidArgument, match="values must be finite, got '1 that are not'"):
        Boltzmann(1.0).probabilities(np.array([np.nan, 1.0]), np.zeros(2))


@pytest.mark.parametrize("beta", [-1.0, np.inf, np.nan])
def test_a_beta_that_is_no_finite_temperature_is_refused(beta: float) -> None:
    with pytest.raises(InvalidArgument, match="beta must be finite and at least 0"):
        Boltzmann(beta)


def test_beta_is_solved_in_closed_form_where_all_gaps_are_equal() -> None:
    # two values 2 apart: σ(2 β) = 0.85, so β = log(0.85 / 0.15) / 2; the 6 pairs of one value are left out
    solved = solve_beta(np.array([1.0, 3.0, 1.0, 3.0, 1.0, 3.0]), NEVER, 0.85)
    np.testing.assert_allclose(solved.beta, np.log(0.85 / 0.15) / 2, rtol=1e-9)
    np.testing.assert_allclose(solved.achieved, 0.85, atol=1e-12)
    assert (solved.n_pairs, solved.n_tied) == (9, 6)


@pytest.mark.parametrize("target", [0.51, 0.85, 0.999])
def test_the_solved_beta_reaches_its_target_on_the_pool(target: float, rng: np.random.Generator) -> None:
    values, is_terminated = rng.standard_cauchy(200), rng.random(200) < 0.4
    solved = solve_beta(values, is_terminated, target)
    gaps = np.abs(values[:, None] - values[None])[np.triu(is_terminated[:, None] == is_terminated[None], 1)]
    assert len(gaps) == solved.n_pairs
    np.testing.assert_allclose(np.mean(1 / (1 + np.exp(-np.minimum(solved.beta * gaps, 700)))), target, atol=1e-9)
    figures = agreement(values, is_terminated, Boltzmann(solved.beta))
    np.testing.assert_allclose(figures["equal status"]["accuracy"], target, atol=1e-9)
    assert sum(figures[group]["n_pairs"] for group in ("both terminated", "neither terminated", "mixed")) == 19_900


def test_pairs_across_termination_status_do_not_calibrate() -> None:
    values, is_terminated = np.array([0.0, 1.0, 100.0, 101.0]), np.array([False, False, True, True])
    np.testing.assert_allclose(solve_beta(values, is_terminated, 0.75).beta, np.log(3), rtol=1e-9)


def test_the_scale_of_gold_divides_beta(rng: np.random.Generator) -> None:
    values, never = rng.standard_normal(100), np.zeros(100, dtype=np.bool_)
    small, large = solve_beta(values, never, 0.85), solve_beta(1e6 * values, never, 0.85)
    np.testing.assert_allclose(large.beta, small.beta / 1e6, rtol=1e-9)


def test_large_pools_are_calibrated_on_a_fixed_sample_of_pairs(rng: np.random.Generator) -> None:
    values, never = rng.standard_normal(3000), np.zeros(3000, dtype=np.bool_)
    solved = solve_beta(values, never, 0.85)
    assert solved == solve_beta(values, never, 0.85)
    assert solved.n_pairs == 100_000
    assert abs(solved.beta / solve_beta(values[:600], never[:600], 0.85).beta - 1) < 0.2


@pytest.mark.parametrize("target", [0.5, 0.3, 1.0])
def test_a_target_that_no_beta_reaches_is_refused(target: float) -> None:
    with pytest.raises(InvalidArgument, match=r"cannot be reached.*above 0.5"):
        solve_beta(np.arange(6.0), NEVER, target)


@pytest.mark.parametrize("values", [np.ones(6), 5 + 1e-15 * np.arange(6), np.ones(1)])
def test_a_pool_of_ties_is_refused_in_a_sentence(values: FloatArray) -> None:
    with pytest.raises(Refused, match=r"no beta can be calibrated.*more varied segments, or give beta itself"):
        solve_beta(values, np.zeros(len(values), dtype=np.bool_), 0.85)


def test_agreement_counts_mistakes_and_ties() -> None:
    values = np.array([0.0, 0.0, 1.0])
    figures = agreement(values, np.array([False, False, True]), Mistakes(Argmax(), 0.1))
    assert figures["mixed"] == {"accuracy": pytest.approx(0.9), "n_pairs": 2, "tie_rate": 0.0}
    assert figures["neither terminated"] == {"accuracy": None, "n_pairs": 0, "tie_rate": 1.0}
    assert figures["both terminated"] == {"accuracy": None, "n_pairs": 0, "tie_rate": None}
    assert figures["all"]["tie_rate"] == pytest.approx(1 / 3)
