"""Each segment is judged once: the same bits as judging every pair, from the same answers."""

from collections.abc import Callable

import numpy as np
import pytest

from preflab.interfaces import Judgment
from preflab.oracles import Boltzmann, ComposedOracle, Member, PartialReturn, Population, Regret, WeightedFactors, label, labeling
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
