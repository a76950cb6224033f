"""Features by name, ideals, goals and zones, against loops over single steps."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from preflab.errors import InvalidArgument, Refused, UnknownName
from preflab.oracles import Feature, IdealPoint, SegmentFeatures, ZoneVisits
from preflab.oracles.features import spreads_of
from preflab.types import AnyArray, FloatArray, ScoredSegments

DrawSegments = Callable[..., ScoredSegments]
NAMES = ("speed", "effort", "height")


def real(scored: ScoredSegments, i: int) -> int:
    """Returns how many steps of segment i really happened; they are its first ones."""
    return int(scored.segments.valid[i].sum())


def step(scored: ScoredSegments, name: str, i: int, t: int) -> float:
    """Returns one feature of one step, looked up by hand."""
    if name in NAMES:
        return float(scored.factors[i, t, NAMES.index(name)])
    return {
        "gold": float(scored.gold_rewards[i, t]), "obs_2": float(scored.segments.observations[i, t + 1, 2]),
        "act_1": float(scored.segments.actions[i, t, 1]), "abs_obs_0": abs(float(scored.segments.observations[i, t + 1, 0])),
    }[name]


def with_observations(scored: ScoredSegments, obs: AnyArray, actions: AnyArray | None = None) -> ScoredSegments:
    """Returns the segments with other observations, and perhaps actions."""
    kept = scored.segments.actions if actions is None else actions
    return replace(scored, segments=replace(scored.segments, observations=obs, actions=kept))


@pytest.mark.parametrize("name", ["speed", "height", "gold", "obs_2", "act_1", "abs_obs_0"])
def test_a_feature_is_what_its_name_says_of_where_the_step_led(name: str, draw_segments: DrawSegments) -> None:
    scored = draw_segments()
    found = Feature(name, NAMES).steps(scored)
    by_hand = [[step(scored, name, i, t) for t in range(real(scored, i))] for i in range(len(scored))]
    for i, row in enumerate(by_hand):
        assert found[i, : len(row)].tolist() == row


@pytest.mark.parametrize("how", ["sum", "mean", "last"])
def test_a_segments_features_are_sums_means_or_last_numbers_of_its_real_steps(how: str, draw_segments: DrawSegments) -> None:
    scored, names = draw_segments(), ("effort", "gold", "obs_2", "act_1", "abs_obs_0")
    found = SegmentFeatures(names, NAMES, how).values(scored)
    assert found.shape == (len(scored), 5)
    for i in range(len(scored)):
        for f, name in enumerate(names):
            steps = [step(scored, name, i, t) for t in range(real(scored, i))]
            wanted = {"sum": math.fsum(steps), "mean": math.fsum(steps) / len(steps), "last": steps[-1]}[how]
            assert found[i, f] == pytest.approx(wanted, abs=1e-14)


def test_of_a_discrete_observation_a_feature_says_whether_it_is_that_one(draw_segments: DrawSegments) -> None:
    states, acts = np.array([[0, 3, 1, 3]]), np.array([[2, 0, 2]])
    scored = with_observations(draw_segments(1, 3, seed=3), states, acts)
    assert Feature("obs_3", NAMES).steps(scored).tolist() == [[1, 0, 1]]
    assert Feature("obs_0", NAMES).steps(scored).tolist() == [[0, 0, 0]]  # where it began is not where a step led
    assert Feature("act_2", NAMES).steps(scored).tolist() == [[1, 0, 1]]


def test_an_observation_that_is_one_number_is_that_number(draw_segments: DrawSegments) -> None:
    scored = with_observations(draw_segments(1, 3), np.array([[0.0, -3.0, 1.5, 0.0]], dtype=np.float32))
    assert Feature("obs_0", NAMES).steps(scored).tolist() == [[-3.0, 1.5, 0.0]]
    assert Feature("abs_obs_0", NAMES).steps(scored).tolist() == [[3.0, 1.5, 0.0]]
    with pytest.raises(InvalidArgument, match=r"feature must be below obs_1, got 'obs_1'"):
        Feature("obs_1", NAMES).steps(scored)


def test_the_parts_of_a_dict_and_the_numbers_of_a_matrix_are_counted_row_by_row(draw_segments: DrawSegments) -> None:
    obs = np.zeros((2, 4), dtype=[("door", "<i8"), ("cam_1", "<f4", (2, 3)), ("level", "<f4")])
    obs["door"], obs["level"] = np.arange(8).reshape(2, 4), 0.5 * np.arange(8).reshape(2, 4)
    obs["cam_1"] = np.arange(48).reshape(2, 4, 2, 3)
    scored = with_observations(draw_segments(2, 3), obs)
    assert Feature("obs_door_6", NAMES).steps(scored).tolist() == [[0, 0, 0], [0, 1, 0]]
    assert Feature("obs_cam_1_4", NAMES).steps(scored).tolist() == [[10, 16, 22], [34, 40, 46]]  # row 1, column 1
    assert Feature("obs_level_0", NAMES).steps(scored).tolist() == [[0.5, 1, 1.5], [2.5, 3, 3.5]]
    with pytest.raises(InvalidArgument, match=r"must name a part of the obs, got 'obs_0'; valid: obs_door_0, obs_cam_1_0"):
        Feature("obs_0", NAMES).steps(scored)
    with pytest.raises(InvalidArgument, match=r"must name a part of the obs, got 'obs_window_0'"):
        Feature("obs_window_0", NAMES).steps(scored)
    with pytest.raises(InvalidArgument, match=r"must be below obs_cam_1_6, got 'obs_cam_1_6'"):
        Feature("obs_cam_1_6", NAMES).steps(scored)


def test_a_part_of_an_observation_without_parts_and_a_number_too_many_are_refused(draw_segments: DrawSegments) -> None:
    scored = draw_segments()
    with pytest.raises(InvalidArgument, match=r"must name a part of the obs, got 'obs_cam_0'; valid: obs_0"):
        Feature("obs_cam_0", NAMES).steps(scored)
    with pytest.raises(InvalidArgument, match=r"must be below abs_act_2, got 'abs_act_7'"):
        Feature("abs_act_7", NAMES).steps(scored)


@pytest.mark.parametrize("name", ["spede", "obs", "obs_", "obs_-1", "abs_speed", "abs_gold", "xobs_0"])
def test_names_that_are_no_feature_are_refused_beside_those_that_are(name: str) -> None:
    with pytest.raises(UnknownName, match=rf"feature is not a known name, got '{name}'.*abs_obs_0, act_0, effort, gold, height"):
        Feature(name, NAMES)


def test_only_what_is_looked_at_is_needed() -> None:
    def needs(*names: str) -> tuple[bool, bool]:
        judgment = SegmentFeatures(names, NAMES, "sum")
        return judgment.needs_observations, judgment.needs_factors

    assert [needs("gold"), needs("speed"), needs("act_0"), needs("gold", "obs_1", "height")] == [
        (False, False), (False, True), (True, False), (True, True)]


def test_a_feature_that_is_no_number_on_a_real_step_is_named(draw_segments: DrawSegments) -> None:
    scored = draw_segments()
    factors = scored.factors.copy()
    factors[3, 0, 1] = np.nan
    with pytest.raises(InvalidArgument, match="features must be finite on real steps, got 'effort'"):
        SegmentFeatures(NAMES, NAMES, "mean").values(replace(scored, factors=factors))
    SegmentFeatures(("speed", "height"), NAMES, "mean").values(replace(scored, factors=factors))


def test_ways_and_names_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="how is not known, got 'first'; valid: sum, mean, last"):
        SegmentFeatures(("speed",), NAMES, "first")
    with pytest.raises(InvalidArgument, match="features must name at least one"):
        SegmentFeatures((), NAMES, "sum")


def test_the_distance_from_an_ideal_is_that_of_means_over_real_steps_in_spreads(draw_segments: DrawSegments) -> None:
    scored, ideal, spreads = draw_segments(), {"speed": 0.5, "obs_2": -0.2}, np.array([2.0, 0.5])
    found = IdealPoint(ideal, NAMES, spreads=spreads).values(scored)
    for i in range(len(scored)):
        n = real(scored, i)
        means = [math.fsum(step(scored, name, i, t) for t in range(n)) / n for name in ideal]
        assert found[i] == pytest.approx(-math.hypot((means[0] - 0.5) / 2.0, (means[1] + 0.2) / 0.5), abs=1e-14)


def test_an_ideal_by_hand(make_segments: DrawSegments) -> None:
    scored = replace(make_segments([[1, 5, 99]], real=[2]), factors=np.array([[[3.0], [5.0], [99.0]]]))
    # means over two real steps: gold 3, height 4; 3 and 4 from the origin
    assert IdealPoint({"gold": 0, "height": 0}, ("height",)).values(scored) == [-5]
    assert IdealPoint({"gold": 3, "height": 4}, ("height",)).values(scored) == [0]
    # steps: (1, 3), (5, 5), from (1, 2): 1 and 5
    assert IdealPoint({"gold": 1, "height": 2}, ("height",), by_step=True).values(scored) == [-6]


def test_the_distance_from_a_goal_is_summed_over_real_steps(draw_segments: DrawSegments) -> None:
    scored, goal, spreads = draw_segments(), {"height": 1.0, "act_1": 0.0}, np.array([0.25, 4.0])
    found = IdealPoint(goal, NAMES, spreads=spreads, by_step=True).values(scored)
    for i in range(len(scored)):
        away = [
            math.hypot((step(scored, "height", i, t) - 1.0) / 0.25, step(scored, "act_1", i, t) / 4.0)
            for t in range(real(scored, i))
        ]
        assert found[i] == pytest.approx(-math.fsum(away), abs=1e-12)


@pytest.mark.parametrize(("ideal", "spreads", "said"), [
    ({"speed": np.inf}, None, "ideal must be finite"), ({"speed": np.nan}, None, "ideal must be finite"),
    ({"speed": 1.0}, [0.0], "spreads must be 1 numbers above 0"), ({"speed": 1.0}, [np.inf], "spreads must be 1"),
    ({"speed": 1.0}, [1.0, 1.0], "spreads must be 1"), ({}, None, "features must name at least one"),
])
def test_ideals_that_are_no_point_are_refused(ideal: dict[str, float], spreads: Any, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        IdealPoint(ideal, NAMES, spreads=None if spreads is None else np.array(spreads))


@pytest.mark.parametrize(("at_least", "at_most"), [(1, 1), (1, 3), (0, 2), (2, 6), (0, 0)])
def test_visits_are_counted_step_by_step(at_least: int, at_most: int, draw_segments: DrawSegments) -> None:
    scored = draw_segments(60)
    zone = ZoneVisits("obs_2", NAMES, low=-0.5, high=0.5, at_least=at_least, at_most=at_most)
    counts = [sum(-0.5 <= step(scored, "obs_2", i, t) <= 0.5 for t in range(real(scored, i))) for i in range(60)]
    assert zone.visits(scored).tolist() == counts and len(set(counts)) > 3
    assert zone.values(scored).tolist() == [float(at_least <= count <= at_most) for count in counts]


def test_no_sum_of_rewards_of_steps_says_at_least_one_visit_and_at_most_one(make_segments: DrawSegments) -> None:
    """Two steps, in or out: for any sum of rewards, v(in, in) + v(out, out) = v(in, out) + v(out, in)."""
    scored = make_segments([[1, 1], [0, 0], [1, 0], [0, 1]])
    value = ZoneVisits("gold", (), low=1, high=1, at_most=1).values(scored)
    assert value.tolist() == [0, 0, 1, 1]
    assert value[0] + value[1] != value[2] + value[3]

    def summed(r_in: FloatArray, r_out: FloatArray) -> FloatArray:
        return np.asarray(np.where(scored.gold_rewards == 1, r_in, r_out).sum(axis=1))

    rng = np.random.default_rng(0)
    for _ in range(20):
        total = summed(*rng.normal(size=(2, 2)))  # a reward may even depend on the step's number
        assert total[0] + total[1] == pytest.approx(total[2] + total[3])


def test_both_bounds_are_in_the_zone_and_without_bounds_every_step_is(make_segments: DrawSegments) -> None:
    scored = make_segments([[1, 2, 3, 4]])
    assert ZoneVisits("gold", (), low=2, high=3, at_most=9).visits(scored) == [2]
    assert ZoneVisits("gold", (), low=2, at_most=9).visits(scored) == [3]
    assert ZoneVisits("gold", (), at_most=9).visits(scored) == [4]


@pytest.mark.parametrize(("changes", "said"), [
    ({"low": 1, "high": 0}, r"zone.low, zone.high must not be the wrong way round, got \(1, 0\)"),
    ({"low": np.nan}, "wrong way round"), ({"at_most": 0}, r"zone.at_least, zone.at_most must be 0 or more.*got \(1, 0\)"),
    ({"at_least": -1}, "must be 0 or more"),
])
def test_zones_that_hold_nothing_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        ZoneVisits("gold", (), **({"at_most": 5} | changes))


def test_units_are_means_and_standard_deviations_of_the_pool(draw_segments: DrawSegments) -> None:
    scored, judgment = draw_segments(), SegmentFeatures(("speed", "gold"), NAMES, "sum")
    center, spread = spreads_of(judgment, scored)
    for f, name in enumerate(("speed", "gold")):
        sums = [math.fsum(step(scored, name, i, t) for t in range(real(scored, i))) for i in range(len(scored))]
        mean = math.fsum(sums) / len(sums)
        assert center[f] == pytest.approx(mean, abs=1e-13)
        assert spread[f] == pytest.approx(math.sqrt(math.fsum((each - mean) ** 2 for each in sums) / len(sums)), rel=1e-12)


@pytest.mark.parametrize("height", [0.0, 3.0, 1e9, 0.1])
def test_a_feature_that_never_changes_is_no_unit(height: float, draw_segments: DrawSegments) -> None:
    scored = draw_segments()
    factors = np.where(np.arange(3) == 2, height, scored.factors)  # means of 0.1 over 3 and 6 steps differ by rounding
    with pytest.raises(Refused, match=r"height is the same in all 40 calibration segments.*leave it out, or calibrate on more"):
        spreads_of(SegmentFeatures(NAMES, NAMES, "mean"), replace(scored, factors=factors))
