"""How members become one number: formulas by hand, limits, units, levels, and that nothing is fitted again."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from preflab.errors import InvalidArgument, UnknownName
from preflab.interfaces import LearnerContext
from preflab.rewards import BradleyTerryLearner, Pessimism, RewardSettings
from preflab.rewards.pessimism import KNOBS, soft_minimum
from preflab.testing.worlds import ACT, BOX, LENGTH, box_world, random_answers
from preflab.types import Segments, TrajectoryStore

pytestmark = pytest.mark.filterwarnings("ignore::preflab.rewards.FewComparisonsWarning")
SETTINGS = RewardSettings(n_members=4, hidden=(8,), n_epochs=10, learning_rate=0.02, weight_decay=0.0)
MEMBERS = np.array([[1.0, 0.0], [2.0, 0.0], [6.0, 3.0]])  # means 3 and 1, population variances 14/3 and 2


@pytest.mark.parametrize(("rule", "expected"), [
    (Pessimism("mean"), [3.0, 1.0]),
    (Pessimism("worst"), [1.0, 0.0]),
    (Pessimism("variance", 0.3), [3 - 0.3 * 14 / 3, 1 - 0.3 * 2]),
    (Pessimism("variance", 0.3, ddof=1), [3 - 0.3 * 7, 1 - 0.3 * 3]),
    (Pessimism("deviation", 2.0), [3 - 2 * math.sqrt(14 / 3), 1 - 2 * math.sqrt(2)]),
    (Pessimism("blend", 0.25), [0.25 * 3 + 0.75 * 1, 0.25]),
    (Pessimism("soft", 2.0), [-2 * math.log((math.exp(-0.5) + math.exp(-1) + math.exp(-3)) / 3),
                              -2 * math.log((2 + math.exp(-1.5)) / 3)]),
])
def test_each_rule_is_its_formula(rule: Pessimism, expected: list[float]) -> None:
    np.testing.assert_allclose(rule(MEMBERS), expected, rtol=1e-12)


def test_the_blend_is_the_worst_at_0_and_the_mean_at_1() -> None:
    assert np.array_equal(Pessimism("blend", 0.0)(MEMBERS), MEMBERS.min(0))
    assert np.array_equal(Pessimism("blend", 1.0)(MEMBERS), MEMBERS.mean(0))


def test_the_one_knob_form_is_the_worst_at_0_and_the_mean_at_infinity_and_gets_there() -> None:
    assert np.array_equal(soft_minimum(MEMBERS, 0.0), MEMBERS.min(0))
    assert np.array_equal(soft_minimum(MEMBERS, math.inf), MEMBERS.mean(0))
    np.testing.assert_allclose(soft_minimum(MEMBERS, 1e-6), MEMBERS.min(0), atol=1e-6 * math.log(3) + 1e-12)
    np.testing.assert_allclose(soft_minimum(MEMBERS, 1e9), MEMBERS.mean(0), atol=1e-8)


def test_the_one_knob_forms_second_order_term_is_variance_over_2_b() -> None:
    for b in (1e2, 1e3, 1e4):  # what is left is the third cumulant over 6 b²
        centered = MEMBERS - MEMBERS.mean(0)
        third = (centered**3).mean(0) / (6 * b**2)
        rest = soft_minimum(MEMBERS, b) - (MEMBERS.mean(0) - MEMBERS.var(0) / (2 * b))
        np.testing.assert_allclose(rest, third, rtol=20 / b, atol=1e-11)


def test_the_one_knob_form_falls_as_b_falls_and_loses_no_digits_in_float32() -> None:
    single = MEMBERS.astype(np.float32)
    values = np.stack([soft_minimum(single, b) for b in (math.inf, 1e6, 100.0, 1.0, 0.01, 1e-30, 0.0)])
    assert values.dtype == np.float32
    assert np.all(np.diff(values, axis=0) <= 1e-6)
    np.testing.assert_allclose(values[1], MEMBERS.mean(0), rtol=1e-5)


def test_a_unit_makes_a_knob_mean_the_same_for_a_reward_in_other_units() -> None:
    for rule in KNOBS:
        np.testing.assert_allclose(Pessimism(rule)(1000 * MEMBERS, 1000.0), 1000 * Pessimism(rule)(MEMBERS), rtol=1e-12)


def test_settings_that_mean_nothing_are_refused_by_name() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"pessimism": "variance", "pessimism_knob": -1.0}, "pessimism_knob must be at least 0"),
        ({"pessimism": "soft", "pessimism_knob": math.nan}, "pessimism_knob"),
        ({"pessimism": "blend", "pessimism_knob": 1.5}, "share"),
        ({"pessimism": "deviation", "pessimism_knob": math.inf}, "finite"), ({"pessimism_ddof": 2}, "pessimism_ddof"),
        ({"pessimism": "variance", "pessimism_ddof": 1, "n_members": 1, "data": "shared", "early_stopping": False}, "n_members"),
    ]
    for arguments, message in cases:
        with pytest.raises(InvalidArgument, match=message):
            RewardSettings(**arguments)
    with pytest.raises(UnknownName, match=r"pessimism .*did you mean worst"):
        RewardSettings(pessimism="wrost")
    with pytest.raises(UnknownName, match="pessimism_level"):
        RewardSettings(pessimism_level="episode")
    with pytest.raises(InvalidArgument, match="number of members, 1"):
        Pessimism("variance", ddof=1)(MEMBERS[:1])


def fitted(is_fixed_horizon: bool, settings: RewardSettings = SETTINGS) -> tuple[BradleyTerryLearner, TrajectoryStore, Segments]:
    """Returns a small trained ensemble, its pool and its anchor."""
    pool, data = random_answers(box_world(), seed=0, n=30, n_terminated=0 if is_fixed_horizon else 10)
    learner = BradleyTerryLearner(BOX, ACT, settings, is_fixed_horizon)
    learner.fit(data, LearnerContext(pool, pool.admissible(LENGTH), is_fixed_horizon), np.random.default_rng(0))
    return learner, pool, pool.gather(pool.admissible(LENGTH))


@pytest.mark.parametrize("is_fixed_horizon", [True, False])
def test_a_knob_counts_in_spreads_of_the_mean_at_its_level(is_fixed_horizon: bool) -> None:
    learner, _, anchor = fitted(is_fixed_horizon)
    model = learner.model
    steps = model.member_step_rewards(anchor)
    real = ~anchor.absorbing
    assert model.step_spread.item() == pytest.approx(steps.mean(0)[real].std(), rel=1e-4)
    assert model.return_spread.item() == pytest.approx(steps.mean(0).sum(1).std(), rel=1e-4)
    c, u_step, u_return = model.mean_scale.item(), model.step_spread.item(), model.return_spread.item()
    harsh = model.with_pessimism(Pessimism("variance", 0.7))
    expected = (steps.mean(0) - 0.7 * steps.var(0) / u_step) / c
    np.testing.assert_allclose(harsh.step_rewards(anchor), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(harsh.rewards(anchor.transitions()[real.reshape(-1)]), expected[real], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(harsh.returns(anchor), expected.sum(1), rtol=1e-6, atol=1e-8)
    whole = model.with_pessimism(Pessimism("soft", 0.3, level="return"))
    sums = steps.sum(2)
    np.testing.assert_allclose(
        whole.returns(anchor), -0.3 * u_return * np.log(np.exp(-sums / (0.3 * u_return)).mean(0)) / c, rtol=1e-6, atol=1e-8
    )
    assert np.array_equal(whole.step_rewards(anchor), model.step_rewards(anchor))


@pytest.mark.parametrize("rule", KNOBS)
def test_a_trained_ensemble_changes_its_rule_without_a_fit_and_never_pays_more_than_the_mean(rule: str) -> None:
    learner, _, anchor = fitted(False)
    before = {name: tensor.clone() for name, tensor in learner.state().items()}
    mean, model = learner.model, learner.model.with_pessimism(Pessimism(rule))
    assert model.network is mean.network
    assert np.all(model.step_rewards(anchor) <= mean.step_rewards(anchor) + 1e-9)
    assert np.all(model.rewards(anchor.transitions()) <= mean.rewards(anchor.transitions()) + 1e-5)
    assert np.all(model.step_rewards(anchor)[anchor.absorbing] == 0.0)
    whole = mean.with_pessimism(Pessimism(rule, level="return"))
    assert np.all(whole.returns(anchor) <= mean.returns(anchor) + 1e-9)
    assert mean.pessimism == Pessimism() and np.array_equal(model.prob_first(anchor, anchor), mean.prob_first(anchor, anchor))
    assert all(np.array_equal(tensor, before[name]) for name, tensor in learner.state().items())


def test_a_learner_pays_by_the_rule_of_its_settings_also_after_it_was_restored() -> None:
    mean, _, anchor = fitted(True)
    settings = replace(SETTINGS, pessimism="deviation", pessimism_knob=2.0)
    harsh, _, _ = fitted(True, settings)
    assert np.array_equal(
        harsh.model.step_rewards(anchor), mean.model.with_pessimism(Pessimism("deviation", 2.0)).step_rewards(anchor)
    )
    restored = BradleyTerryLearner(BOX, ACT, settings)
    restored.load_state(harsh.state())
    assert np.array_equal(restored.model.step_rewards(anchor), harsh.model.step_rewards(anchor))
    assert restored.model.return_spread.item() == harsh.model.return_spread.item() != 1.0


def test_a_fit_reports_the_spreads_that_its_knob_counts_in() -> None:
    pool, data = random_answers(box_world(), seed=0, n=30)
    learner = BradleyTerryLearner(BOX, ACT, SETTINGS)
    report = learner.fit(data, LearnerContext(pool, pool.admissible(LENGTH), True), np.random.default_rng(0))
    for name in ("step_spread", "return_spread"):
        assert report.scalars[name] == getattr(learner.model, name).item()

