"""Humans by rule: the same for every seed, shares that sum to 1, and who differs in what."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from preflab import oracles
from preflab.errors import InvalidArgument, Refused
from preflab.oracles import Human, IdealPoint, Level, OracleSettings, PartialReturn, Population, WeightedFactors, label
from preflab.oracles.people import people_of
from preflab.types import ScoredSegments, ScoredStore, ScoredTrajectory, Trajectory

DrawSegments = Callable[..., ScoredSegments]
NAMES = ("speed", "effort", "height")
LEVELS: Any = [{"feature": "speed"}, {"feature": "effort", "sign": -1, "margin": 0.5}, {"feature": "obs_0"}, {"feature": "gold"}]
PROTOTYPES: Any = ({"speed": 2.0}, {"speed": -1.0, "obs_1": 1.0}, {"height": 3.0})


def settings(people: str, **changes: Any) -> OracleSettings:
    given: dict[str, dict[str, Any]] = {
        "alpacafarm": {"judgment": "partial_return", "mistake_rate": 0.25, "mistakes_when": "training"},
        "ideal_points": {"judgment": "ideal_point", "prototypes": PROTOTYPES, "n_people": 40},
        "raters": {"judgment": "partial_return", "population": "majority", "n_people": 5},
        "rotations": {"judgment": "hierarchy", "target_accuracy": None, "beta": np.inf, "levels": LEVELS},
    }
    return OracleSettings(**given[people] | changes, people=people)


@pytest.mark.parametrize(("people", "n"), [("alpacafarm", 13), ("ideal_points", 40), ("raters", 5), ("rotations", 4)])
def test_people_are_the_same_for_everyone_and_share_the_queries_evenly(people: str, n: int) -> None:
    humans = people_of(settings(people), NAMES, "t")
    assert humans == people_of(settings(people), NAMES, "another")
    assert len(humans) == n == len({human.name for human in humans})
    assert sum(human.share for human in humans) == pytest.approx(1, abs=1e-12)
    assert {human.share for human in humans} == {1 / n}


@pytest.mark.parametrize("people", ["alpacafarm", "ideal_points", "raters", "rotations"])
def test_people_are_built_alike_in_every_run_and_answer_by_its_seed(people: str, draw_segments: DrawSegments) -> None:
    def built(seed: int) -> Population:
        made = oracles.build(
            people, settings(people), seed=seed, calibration=draw_segments(60), factor_names=NAMES, task="t", form="terminating")
        assert isinstance(made, Population)
        return made

    one, other, pool, ids = built(0), built(1), draw_segments(400, seed=3), np.arange(200)
    sides = pool[:200], pool[200:]
    np.testing.assert_array_equal(one.member_probabilities(*sides), other.member_probabilities(*sides))
    assert (one.answer(*sides, one.context(ids)) != other.answer(*sides, other.context(ids))).any()
    card = one.card()
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert {**card, "seed": 1} == other.card()


def test_annotators_of_alpacafarm_differ_in_what_they_are_sure_of_and_no_two_are_alike() -> None:
    humans = people_of(settings("alpacafarm"), NAMES, "t")
    said = [json.dumps([dict(human.own), human.weights], sort_keys=True) for human in humans]
    assert len(set(said)) == 13
    own = [settings("alpacafarm").of(human) for human in humans]
    assert all(0.75 <= one.target_accuracy <= 0.95 for one in own if one.target_accuracy is not None)
    assert len({one.target_accuracy for one in own}) > 10
    for name in ("gamma", "myopic", "ties", "judgment"):
        assert len({getattr(one, name) for one in own}) > 1
    for one in own:
        assert one.beta is None and one.mistake_rate == 0.25 and one.mistakes_when == "training"
        assert (one.judgment == "weighted_factors") == (one.weights is not None) and not (one.myopic and one.weights)
        assert one.weights is None or (set(one.weights) == set(NAMES) and min(one.weights.values()) > 0)


def test_where_gold_has_one_factor_annotators_judge_by_partial_return() -> None:
    assert all(human.weights is None for human in people_of(settings("alpacafarm"), ("reward",), "t"))


def test_a_quarter_of_the_training_answers_is_flipped_and_no_held_out_one(draw_segments: DrawSegments) -> None:
    pool = draw_segments(60)
    flawed, clean = (
        oracles.build(
            "alpacafarm", settings("alpacafarm", mistake_rate=rate), seed=0, calibration=pool, factor_names=NAMES, task="t",
            form="terminating",
        ) for rate in (0.25, 0.0)
    )
    assert isinstance(flawed, Population) and isinstance(clean, Population)
    sides, spared = (pool[:30], pool[30:]), flawed.for_evaluation()
    wanted = clean.member_probabilities(*sides)
    assert isinstance(spared, Population)
    np.testing.assert_array_equal(spared.member_probabilities(*sides), wanted)
    by_hand = 0.75 * wanted[..., :2] + 0.25 * wanted[..., [1, 0]]
    np.testing.assert_allclose(flawed.member_probabilities(*sides)[..., :2], by_hand, atol=1e-15)
    np.testing.assert_array_equal(flawed.member_probabilities(*sides)[..., 2:], wanted[..., 2:])
    np.testing.assert_array_equal(flawed.context(np.arange(99)).annotator, spared.context(np.arange(99)).annotator)


def test_ideal_users_are_convex_mixtures_of_the_prototypes() -> None:
    humans = people_of(settings("ideal_points"), NAMES, "t")
    names = ("speed", "obs_1", "height")
    points = np.array([[2.0, 0, 0], [-1.0, 1.0, 0], [0, 0, 3.0]])  # what a prototype does not name is at the mean, 0
    ideals = np.array([[human.own["ideal"][name] for name in names] for human in humans])
    mixtures = np.linalg.solve(points.T, ideals.T).T  # three points that are linearly independent: there is one mixture
    assert mixtures.min() > -1e-4 and np.abs(mixtures.sum(axis=1) - 1).max() < 2e-4  # ideals are rounded to four digits
    assert mixtures.max() > 0.95 and (mixtures.argmax(axis=1) == [[0], [1], [2]]).any(axis=1).all()
    together = people_of(settings("ideal_points", concentration=100.0), NAMES, "t")
    spread = np.array([list(human.own["ideal"].values()) for human in together]).std(axis=0).sum()
    assert ideals.std(axis=0).sum() > 4 * spread  # a small concentration puts users near a prototype


def test_an_ideal_is_said_in_spreads_from_the_pools_mean(draw_segments: DrawSegments) -> None:
    pool = draw_segments(50)
    oracle = oracles.build(
        "users", settings("ideal_points"), seed=0, calibration=pool, factor_names=NAMES, task="t", form="terminating")
    assert isinstance(oracle, Population)
    means = {"speed": np.nanmean(pool.factors[..., 0], axis=1), "height": np.nanmean(pool.factors[..., 2], axis=1)}
    humans = people_of(settings("ideal_points"), NAMES, "t")
    for human, member in zip(humans, oracle.members, strict=True):
        assert isinstance(member.judgment, IdealPoint)
        at, spreads = (dict(zip(member.judgment.names, of, strict=True)) for of in (member.judgment.ideal, member.judgment.spreads))
        for name, values in means.items():
            assert at[name] == pytest.approx(values.mean() + human.own["ideal"][name] * values.std(), abs=1e-12)
            assert spreads[name] == pytest.approx(values.std(), rel=1e-12)


def test_rotations_rank_the_same_levels_from_another_one_on() -> None:
    humans = people_of(settings("rotations"), NAMES, "t")
    ranked = [[level.feature for level in human.own["levels"]] for human in humans]
    order = ["speed", "effort", "obs_0", "gold"]
    assert ranked == [order[i:] + order[:i] for i in range(4)]
    assert all(Level("effort", -1, 0.5) in human.own["levels"] for human in humans)


def test_raters_are_alike() -> None:
    humans = people_of(settings("raters"), NAMES, "t")
    assert [(human.weights, dict(human.own)) for human in humans] == [(None, {})] * 5


def test_humans_that_are_listed_are_those_and_a_rule_beside_them_is_refused() -> None:
    listed = (Human("a", 1.0, {"speed": 1.0}),)
    assert people_of(OracleSettings(judgment="weighted_factors", humans=listed), NAMES, "t") == listed
    assert people_of(OracleSettings(), NAMES, "t") == ()
    with pytest.raises(InvalidArgument, match=r"humans, people must not both be given, got \(1, 'raters'\); valid: one of them"):
        people_of(settings("raters", humans=listed), NAMES, "t")


@pytest.mark.parametrize(("people", "changes", "said"), [
    ("rotations", {"levels": LEVELS[:2]}, "rotated rankings need three levels to go in a circle, and 2 are named for hopper"),
    ("rotations", {"levels": []}, "and 0 are named for hopper; give them as oracle.levels="),
    ("ideal_points", {"prototypes": PROTOTYPES[:1]}, "users between prototypes need at least two of these, and 1 are named"),
    ("ideal_points", {"concentration": 0.0}, "concentration must be above 0, got 0.0"),
])
def test_rules_without_what_they_are_made_of_are_refused(people: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises((Refused, InvalidArgument), match=said):
        people_of(settings(people, **changes), NAMES, "hopper")


def test_only_people_can_be_several_of_nobody() -> None:
    with pytest.raises(InvalidArgument, match="n_people must be at least 1, got 0"):
        settings("raters", n_people=0)
    with pytest.raises(InvalidArgument, match="humans must be given with population=majority"):
        oracles.check("majority", OracleSettings(judgment="partial_return", population="majority"), NAMES, "t")


def test_a_pool_with_different_eyes_labels_as_it_answers() -> None:
    """Humans who look at factors, observations and gold: each segment is judged once, with only what somebody needs."""
    rng = np.random.default_rng(0)
    plain = [Trajectory(rng.normal(size=(13, 3)), rng.normal(size=(12, 2)), i % 2 == 0) for i in range(6)]
    store = ScoredStore([ScoredTrajectory(each, rng.normal(size=12), rng.normal(size=(12, 3))) for each in plain])
    every = store.store.admissible(5)
    pool = store.gather(every)
    for people in ("alpacafarm", "ideal_points", "raters", "rotations"):
        oracle = oracles.build(people, settings(people), seed=0, calibration=pool, factor_names=NAMES, task="t", form="terminating")
        first, second, ids = every[rng.integers(len(every), size=80)], every[rng.integers(len(every), size=80)], np.arange(80)
        found, sides = label(oracle, store, first, second, ids), (store.gather(first), store.gather(second))
        np.testing.assert_array_equal(found.choice, oracle.answer(*sides, oracle.context(ids)))
        np.testing.assert_array_equal(found.probabilities, oracle.marginal_probabilities(*sides, ids))
        assert isinstance(oracle, Population)
        kinds = {type(member.judgment) for member in oracle.members}
        assert people != "alpacafarm" or kinds == {PartialReturn, WeightedFactors}
