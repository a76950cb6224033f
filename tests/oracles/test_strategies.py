"""Which queries are asked."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from preflab.errors import InvalidArgument, UnknownName
from preflab.interfaces import RewardModel, Strategy
from preflab.oracles import DisagreementStrategy, SimilarStartStrategy, UniformStrategy, build_strategy
from preflab.oracles.pairs import distinct_pairs
from preflab.oracles.similar_start import standardized
from preflab.types import FloatArray, IntArray, SegmentIndex, Segments, Trajectory, TrajectoryStore, Transitions


class Members(RewardModel):
    """K members whose reward is a weight times the observation."""

    def __init__(self, *weights: float) -> None:
        self.weights = np.array(weights)

    def member_prob_first(self, first: Segments, second: Segments) -> FloatArray:
        gap = first.observations.sum(axis=1) - second.observations.sum(axis=1)
        return np.asarray(1 / (1 + np.exp(-self.weights[:, None] * gap)), dtype=np.float64)

    def prob_first(self, first: Segments, second: Segments, annotator: IntArray | None = None) -> FloatArray:
        return np.asarray(self.member_prob_first(first, second).mean(axis=0), dtype=np.float64)

    def step_rewards(self, segments: Segments, annotator: IntArray | None = None) -> FloatArray:
        return np.asarray(self.weights.mean() * segments.observations[:, :-1], dtype=np.float64)

    def rewards(self, transitions: Transitions) -> npt.NDArray[np.float32]:
        return np.asarray(self.weights.mean() * transitions.obs, dtype=np.float32)


@pytest.fixture
def store() -> TrajectoryStore:
    rng = np.random.default_rng(0)
    return TrajectoryStore([Trajectory(rng.standard_normal(13), np.zeros(12), bool(i % 2)) for i in range(6)])


@pytest.fixture
def candidates(store: TrajectoryStore) -> SegmentIndex:
    return store.admissible(4)


def names(index: SegmentIndex) -> list[tuple[int, int]]:
    return list(zip(index.trajectory.tolist(), index.start.tolist(), strict=True))


def unordered(first: SegmentIndex, second: SegmentIndex) -> set[frozenset[tuple[int, int]]]:
    return {frozenset(pair) for pair in zip(names(first), names(second), strict=True)}


@pytest.mark.parametrize("strategy", [UniformStrategy(), DisagreementStrategy(10), SimilarStartStrategy(20)])
@pytest.mark.parametrize("n", [0, 1, 50, 400])
def test_pairs_are_of_different_segments_and_none_comes_twice(
    strategy: Strategy, n: int, store: TrajectoryStore, candidates: SegmentIndex, rng: np.random.Generator
) -> None:
    first, second = strategy.choose(store, candidates, n, Members(1.0, 2.0), rng)
    pairs = unordered(first, second)
    assert len(first) == len(second) == len(pairs) == n
    assert all(len(pair) == 2 for pair in pairs)
    assert set().union(*pairs) <= set(names(candidates))


@pytest.mark.parametrize("strategy", [UniformStrategy(), DisagreementStrategy(3), SimilarStartStrategy(20)])
def test_all_pairs_can_be_asked_and_no_more(
    strategy: Strategy, store: TrajectoryStore, candidates: SegmentIndex, rng: np.random.Generator
) -> None:
    few = candidates[:7]
    first, second = strategy.choose(store, few, 21, None, rng)
    assert len(unordered(first, second)) == 21
    with pytest.raises(InvalidArgument, match="at most 21, the number of pairs among 7 different segments, got 22"):
        strategy.choose(store, few, 22, None, rng)


def test_a_segment_that_is_listed_twice_is_one_segment(store: TrajectoryStore, rng: np.random.Generator) -> None:
    doubled = SegmentIndex(np.array([0, 0, 1]), np.array([2, 2, 3]), 4)
    first, second = UniformStrategy().choose(store, doubled, 1, None, rng)
    assert unordered(first, second) == {frozenset({(0, 2), (1, 3)})}


def test_ordered_pairs_are_equally_likely(candidates: SegmentIndex, rng: np.random.Generator) -> None:
    # 5,000 draws over 20 ordered pairs: each count within 5 standard deviations; a fair draw fails 1 seed in 90,000.
    counts = np.zeros((5, 5))
    for _ in range(1000):
        np.add.at(counts, distinct_pairs(candidates[:5], 5, rng), 1)
    assert np.trace(counts) == 0
    off = counts[~np.eye(5, dtype=bool)]
    assert np.abs(off - 250).max() < 5 * math.sqrt(250)


def test_codes_of_huge_pools_decode_to_different_rows(rng: np.random.Generator) -> None:
    n = 300_000
    huge = SegmentIndex(np.arange(n), np.zeros(n, np.int64), 1)
    first, second = distinct_pairs(huge, 5000, rng)
    low, high = np.minimum(first, second), np.maximum(first, second)
    assert (low < high).all() and high.max() < n and low.min() >= 0
    assert len(np.unique(high * n + low)) == 5000


def test_disagreement_asks_the_most_disputed_of_its_candidates(
    store: TrajectoryStore, candidates: SegmentIndex, rng: np.random.Generator
) -> None:
    few, model = candidates[:12], Members(1.0, -1.0, 0.5)
    first, second = DisagreementStrategy(100).choose(store, few, 9, model, rng)  # looks at all 66 pairs
    i, j = np.triu_indices(12, k=1)
    spread = model.member_prob_first(store.gather(few[i]), store.gather(few[j])).std(axis=0)
    best = np.argsort(-spread)[:9]
    assert unordered(first, second) == unordered(few[i[best]], few[j[best]])


@pytest.mark.parametrize("model", [None, Members(1.0)])
def test_disagreement_without_an_ensemble_is_uniform(
    model: Members | None, store: TrajectoryStore, candidates: SegmentIndex
) -> None:
    chosen = DisagreementStrategy(4).choose(store, candidates, 10, model, np.random.default_rng(3))
    drawn = distinct_pairs(candidates, 40, np.random.default_rng(3))
    assert names(chosen[0]) == names(candidates[drawn[0][:10]])
    assert names(chosen[1]) == names(candidates[drawn[1][:10]])


def test_more_pairs_than_fit_in_one_chunk_are_all_looked_at(
    store: TrajectoryStore, candidates: SegmentIndex, rng: np.random.Generator
) -> None:
    model = Members(1.0, -1.0)
    first, second = DisagreementStrategy(10**6).choose(store, candidates, 1, model, rng)  # all pairs, several chunks
    i, j = np.triu_indices(len(candidates), k=1)
    spread = model.member_prob_first(store.gather(candidates[i]), store.gather(candidates[j])).std(axis=0)
    chosen = model.member_prob_first(store.gather(first), store.gather(second)).std(axis=0)
    assert len(i) > 256 and chosen == pytest.approx(spread.max())


def nearest_of_others(store: TrajectoryStore, candidates: SegmentIndex) -> dict[tuple[int, int], tuple[int, int]]:
    """Returns, by brute force, the segment of another trajectory that begins most like each."""
    value, found = store.gather(candidates).observations[:, 0], {}
    for i, name in enumerate(names(candidates)):
        gaps = np.where(candidates.trajectory == name[0], np.inf, np.abs(value - value[i]))
        found[name] = names(candidates)[int(gaps.argmin())]
    return found


def test_similar_start_pairs_each_segment_with_the_nearest_of_other_trajectories(
    store: TrajectoryStore, candidates: SegmentIndex, rng: np.random.Generator
) -> None:
    first, second = SimilarStartStrategy(10_000).choose(store, candidates, 20, None, rng)  # sees every other segment
    nearest = nearest_of_others(store, candidates)
    pairs = list(zip(names(first), names(second), strict=True))
    assert all(nearest[a] == b or nearest[b] == a for a, b in pairs)
    assert all(a[0] != b[0] for a, b in pairs)


def test_similar_start_shows_the_segment_it_drew_first_and_second_equally_often(
    store: TrajectoryStore, candidates: SegmentIndex
) -> None:
    # Where nearness is not mutual, the order tells who was drawn: a fair coin, within 5 standard deviations of the half.
    nearest, n_first, n = nearest_of_others(store, candidates), 0, 0
    for seed in range(30):
        sides = SimilarStartStrategy(2_000).choose(store, candidates, 20, None, np.random.default_rng(seed))
        for a, b in zip(*map(names, sides), strict=True):
            is_mutual = nearest[a] == b and nearest[b] == a
            n, n_first = n + (not is_mutual), n_first + (not is_mutual and nearest[a] == b)
    assert n > 100 and abs(n_first - n / 2) < 5 * math.sqrt(n) / 2


def test_similarity_is_standardized_and_takes_every_kind_of_observation() -> None:
    numbers = standardized(np.array([[1.0, 10.0, 5.0], [3.0, 30.0, 5.0]]))
    assert numbers.tolist() == [[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0]]
    assert standardized(np.array([3, 1, 3])).tolist() == [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    both = np.zeros(2, dtype=[("door", "<i8"), ("state", "<f4", (2,))])
    both["door"], both["state"] = [0, 4], [[0.0, 1.0], [2.0, 1.0]]
    assert standardized(both).tolist() == [[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 1.0, 0.0]]


def test_similar_start_in_a_single_trajectory_asks_what_there_is(rng: np.random.Generator) -> None:
    store = TrajectoryStore([Trajectory(rng.standard_normal(13), np.zeros(12), False)])
    first, second = SimilarStartStrategy(5).choose(store, store.admissible(4), 10, None, rng)
    assert len(unordered(first, second)) == 10


def test_strategies_have_names() -> None:
    assert isinstance(build_strategy("uniform", 1), UniformStrategy)
    chosen = build_strategy("disagreement", 5)
    assert isinstance(chosen, DisagreementStrategy) and chosen.factor == 5
    assert isinstance(build_strategy("similar_start", 5), SimilarStartStrategy)
    with pytest.raises(InvalidArgument, match="factor must be at least 1"):
        SimilarStartStrategy(0)
    with pytest.raises(UnknownName, match="did you mean uniform"):
        build_strategy("unifrom")
    with pytest.raises(InvalidArgument, match="factor must be at least 1"):
        DisagreementStrategy(0)
