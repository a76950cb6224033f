"""Each segment is judged once: the same bits as judging every pair, from the same answers."""

from collections.abc import Callable

import numpy as np
import pytest

from preflab.interfaces import Judgment, Response
from preflab.oracles import (
    Argmax,
    Boltzmann,
    BPrefThresholds,
    CallableJudgment,
    Cells,
    ComposedOracle,
    Davidson,
    Drift,
    DriftingJudgment,
    Fatigue,
    FeatureMistakes,
    Hierarchy,
    IdealPoint,
    Level,
    Majority,
    MarginMistakes,
    Member,
    Mistakes,
    OrderBias,
    PartialReturn,
    Population,
    PreferenceMatrix,
    RaoKupper,
    Regret,
    RewardCode,
    SegmentFeatures,
    Skips,
    SkipsBelow,
    ThresholdTies,
    WeightedFactors,
    ZoneVisits,
    deciding_levels,
    label,
    labeling,
    random_preferences,
)
from preflab.oracles.wrapping import SideBySide
from preflab.types import AnyArray, FloatArray, ScoredSegments, ScoredStore, ScoredTrajectory, SegmentIndex, Trajectory

LENGTH, NAMES = 7, ("a", "b")


class Value:
    """V of the first number of an observation; counts what it was asked for."""

    gamma = 0.9

    def __init__(self) -> None:
        self.n_asked = 0

    def values(self, obs: AnyArray) -> FloatArray:
        self.n_asked += len(obs)
        return np.asarray(np.sin(obs[:, 0].astype(np.float64)))


def _store() -> ScoredStore:
    rng = np.random.default_rng(0)
    scored = []
    for i in range(6):
        steps = 10 + i
        trajectory = Trajectory(rng.normal(size=(steps + 1, 3)).astype(np.float32), rng.normal(size=(steps, 1)), i % 2 == 0)
        scored.append(ScoredTrajectory(trajectory, rng.normal(size=steps), rng.normal(size=(steps, 2))))
    return ScoredStore(scored)


def _pairs(store: ScoredStore, n: int) -> tuple[SegmentIndex, SegmentIndex]:
    rng, every = np.random.default_rng(1), store.store.admissible(LENGTH)
    first, second = (every[rng.integers(len(every), size=n)] for _ in range(2))
    return first, second


JUDGMENTS: dict[str, Callable[[], Judgment]] = {
    "partial return": lambda: PartialReturn(0.9), "factors": lambda: WeightedFactors({"a": 1.0, "b": -2.0}, NAMES),
    "regret": lambda: Regret(Value()), "two-ended regret": lambda: Regret(Value(), weighting="discounted"),
}


@pytest.mark.parametrize("name", sorted(JUDGMENTS))
@pytest.mark.parametrize("most_bytes", [1, 2**27], ids=["one at a time", "all at once"])
def test_labels_are_the_bits_of_asking_about_every_pair(name: str, most_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labeling, "_MOST_BYTES", most_bytes)
    store, n = _store(), 200
    first, second = _pairs(store, n)
    oracle, ids = ComposedOracle(JUDGMENTS[name](), Boltzmann(1.0), seed=3, name=name), np.arange(n)
    found, sides = label(oracle, store, first, second, ids), (store.gather(first), store.gather(second))
    np.testing.assert_array_equal(found.choice, oracle.answer(*sides, oracle.context(ids)))
    np.testing.assert_array_equal(found.probabilities, oracle.marginal_probabilities(*sides, ids))


def test_a_population_labels_as_it_answers() -> None:
    store, n = _store(), 150
    first, second = _pairs(store, n)
    members = [Member(name, 0.5, WeightedFactors({name: 1.0}, NAMES), Boltzmann(2.0)) for name in NAMES]
    oracle, ids, sides = Population(members, seed=4, name="two"), np.arange(n), (store.gather(first), store.gather(second))
    found = label(oracle, store, first, second, ids)
    np.testing.assert_array_equal(found.choice, oracle.answer(*sides, oracle.context(ids)))
    np.testing.assert_array_equal(found.probabilities, oracle.marginal_probabilities(*sides, ids))
    assert set(found.context.annotator) == {0, 1}


def _ranking(*names: str) -> tuple[Judgment, Response]:
    return SegmentFeatures(names, NAMES, "sum"), Hierarchy(tuple(Level(name, margin=0.5) for name in names), np.ones(len(names)))


def _misled(judgment: Judgment, response: Response) -> tuple[Judgment, Response]:
    return SideBySide(judgment, SegmentFeatures(("obs_1",), NAMES, "mean")), FeatureMistakes(response, 0.4, 0.0, 1.0, "obs_1")


KINDS: dict[str, Callable[[], tuple[Judgment, Response]]] = {
    "myopic": lambda: (PartialReturn(0.9, is_myopic=True), Boltzmann(1.0)),
    "ideal": lambda: (IdealPoint({"a": 0.2, "obs_2": 1.0}, NAMES), Boltzmann(1.0)),
    "goal": lambda: (IdealPoint({"gold": 0.2}, NAMES, by_step=True), Boltzmann(1.0)),
    "zone": lambda: (ZoneVisits("act_0", NAMES, low=0.0, at_most=3), Argmax()),
    "callable": lambda: (CallableJudgment(lambda scored: scored.factors.max(axis=(1, 2), initial=-9)), Boltzmann(1.0)),
    "code": lambda: (RewardCode(lambda obs, act, after, info: after[:, 0] * info["b"], NAMES, name="x"), Boltzmann(1.0)),
    "heron": lambda: _ranking("b", "a"), "heron of one level": lambda: _ranking("obs_0"),
    "heron, misled": lambda: _misled(*_ranking("a")),
    "cells": lambda: (Cells("gold", NAMES, np.array([-1.0, 1.0])), PreferenceMatrix(random_preferences(3, 0))),
    "rao-kupper": lambda: (PartialReturn(), RaoKupper(1.0, 2.0)), "davidson": lambda: (PartialReturn(), Davidson(1.0, 2.0)),
    "ties and skips": lambda: (PartialReturn(), Skips(SkipsBelow(ThresholdTies(Boltzmann(1.0), 0.5), -1.0), 0.1)),
    "b-pref": lambda: (PartialReturn(), BPrefThresholds(Argmax(), epsilon=0.5, kind="equal", length=LENGTH)),
    "mistakes": lambda: (PartialReturn(), Mistakes(MarginMistakes(Boltzmann(1.0), 0.2, 1.0), 0.1, "training")),
    "tired and biased": lambda: (PartialReturn(), OrderBias(Fatigue(Boltzmann(1.0), 0.5, 30.0), 0.7)),
    "drift, misled": lambda: _misled(
        DriftingJudgment(PartialReturn(), WeightedFactors({"a": 1.0}, NAMES)), Drift(Boltzmann(1.0), 60.0)),
}


@pytest.mark.parametrize("is_heldout", [False, True], ids=["training", "held out"])
@pytest.mark.parametrize("kind", [*KINDS, "population", "majority"])
def test_whoever_answers_labels_are_the_bits_of_asking_about_every_pair(kind: str, is_heldout: bool) -> None:
    if kind in KINDS:
        judgment, response = KINDS[kind]()
        oracle: ComposedOracle | Population = ComposedOracle(judgment, response, seed=3, name=kind)
    else:
        members = [Member(f"m{i}", 1 / len(KINDS), *make()) for i, make in enumerate(KINDS.values())]
        oracle = {"population": Population, "majority": Majority}[kind](members, seed=3, name=kind)
    oracle.begin_round({"round": 1.0, "mean_return": 4.0, "mean_length": 12.0})
    store, ids = _store(), 7 * np.arange(120)
    first, second = _pairs(store, 120)
    asked = oracle.for_evaluation() if is_heldout else oracle
    found, sides = label(asked, store, first, second, ids), (store.gather(first), store.gather(second))
    context = asked.context(ids)
    np.testing.assert_array_equal(found.choice, asked.answer(*sides, context))
    np.testing.assert_array_equal(found.probabilities, asked.marginal_probabilities(*sides, ids))
    each = [slice(i, i + 1) for i in range(20)]
    by_one = [asked.answer(store.gather(first[row]), store.gather(second[row]), context[row])[0] for row in each]
    np.testing.assert_array_equal(found.choice[:20], by_one)
    none = label(asked, store, first[:0], second[:0], ids[:0])
    assert none.choice.shape == (0,) and none.probabilities.shape == (0, 4)


def test_the_levels_that_decided_are_those_of_who_answered() -> None:
    members = [Member("two", 0.5, *_ranking("b", "a")), Member("one", 0.5, *_ranking("obs_0"))]
    oracle, store, ids = Population(members, seed=3, name="two"), _store(), np.arange(150)
    first, second = _pairs(store, 150)
    found, sides = deciding_levels(oracle, store, first, second, ids), (store.gather(first), store.gather(second))
    each = [member.response.levels(*(member.judgment.values(side) for side in sides)) for member in members]
    who = oracle.context(ids).annotator
    assert found is not None and each[0] is not None and each[1] is not None
    np.testing.assert_array_equal(found, np.where(who == 0, each[0], each[1]))
    assert set(found) == {-1, 0, 1}
    mixed = Population([members[0], Member("sum", 0.5, PartialReturn(), Boltzmann(1.0))], seed=3, name="mixed")
    assert deciding_levels(mixed, store, first, second, ids) is None


def test_a_subclass_that_answers_otherwise_is_asked_itself() -> None:
    class Contrary(ComposedOracle):
        def values(self, scored: ScoredSegments) -> FloatArray:
            return -super().values(scored)

        def answer(self, first: ScoredSegments, second: ScoredSegments, context: object) -> AnyArray:
            return np.zeros(len(first), np.int8)

    store = _store()
    first, second = _pairs(store, 20)
    assert not label(Contrary(PartialReturn(), Boltzmann(1.0), seed=0, name="no"), store, first, second, np.arange(20)).choice.any()


def test_two_ended_regret_is_the_sum_of_discounted_steps_and_asks_for_v_at_both_ends_only() -> None:
    store = _store()
    index = store.store.admissible(LENGTH)
    scored, value = store.gather(index), Value()
    found = Regret(value, weighting="discounted").values(scored)
    obs, segments = scored.segments.observations[..., 0].astype(np.float64), scored.segments
    after = np.where(segments.terminated, 0.0, np.sin(obs[:, 1:]))
    steps = np.where(segments.absorbing, 0.0, scored.gold_rewards + 0.9 * after - np.sin(obs[:, :-1]))
    np.testing.assert_allclose(found, (steps * 0.9 ** np.arange(LENGTH)).sum(1), atol=1e-12)
    n_cut = int((~segments.terminated.any(1)).sum())
    assert segments.terminated.any() and value.n_asked == -(-(len(index) + n_cut) // 64) * 64  # padded to whole blocks


def test_a_segment_in_many_pairs_is_judged_once() -> None:
    store, value = _store(), Value()
    every = store.store.admissible(LENGTH)
    rows = np.arange(300) % 5
    oracle = ComposedOracle(Regret(value), Boltzmann(1.0), seed=0, name="v")
    label(oracle, store, every[rows], every[(rows + 1) % 5], np.arange(300))
    assert value.n_asked == 64  # five segments of eight states, padded
