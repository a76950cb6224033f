"""Which queries are asked: pairs drawn uniformly, from the same situation, or where an ensemble's members disagree."""

import math

import numpy as np

from preflab.errors import InvalidArgument, UnknownName
from preflab.interfaces import PreferenceModel, RewardModel, Strategy
from preflab.oracles.pairs import different_rows, distinct_pairs
from preflab.oracles.similar_start import SimilarStartStrategy
from preflab.types import FloatArray, IntArray, SegmentIndex, TrajectoryStore

STRATEGIES = ("uniform", "episode_start", "similar_start", "disagreement")
_CHUNK = 256  # pairs gathered at once; Humanoid observations of 256 pairs of 50 steps are 70 MB


class UniformStrategy(Strategy):
    """Draws pairs of different segments, all equally likely and in either order, no pair twice."""

    def choose(
        self, store: TrajectoryStore, candidates: SegmentIndex, n: int, model: PreferenceModel | None,
        rng: np.random.Generator,
    ) -> tuple[SegmentIndex, SegmentIndex]:
        """Returns n pairs of `candidates`; raises `InvalidArgument` if there are fewer different pairs than n."""
        first, second = distinct_pairs(candidates, n, rng)
        return candidates[first], candidates[second]


class EpisodeStartStrategy(Strategy):
    """Uniform pairs of segments that both begin at a reset: the human compares what was made of the same situation.

    A regret human blames a segment for what it lost from where it began. Shown a fall that began upright and a body that
    lay all along, the human rightly prefers the second, and a learner that assumes partial return concludes that lying is
    good. Pairs that begin alike cancel V(s_0), and the regret of both differs by what they earned and where they ended
    (telescoped form: −V(s_0) + Σ γ^t r + γ^L V(s_L)). The pairs are no sample of the candidates: never measure on them.
    """

    def choose(
        self, store: TrajectoryStore, candidates: SegmentIndex, n: int, model: PreferenceModel | None, rng: np.random.Generator
    ) -> tuple[SegmentIndex, SegmentIndex]:
        """Returns n pairs of those `candidates` that start at step 0, or where these are too few, at the first steps."""
        counts = np.bincount(candidates.start, minlength=1).cumsum()
        latest = int(np.searchsorted(counts * (counts - 1) // 2, n))
        starts = candidates[candidates.start <= latest]
        first, second = distinct_pairs(starts, n, rng)
        return starts[first], starts[second]


class DisagreementStrategy(Strategy):
    """Of `factor` · n uniform pairs, the n with the largest standard deviation of P(first) over the members.

    Lee et al. 2021 (B-Pref, https://arxiv.org/abs/2111.03026), sampling scheme 1, there with factor 10. Uniform before
    the first fit and for a model of one member. The pairs chosen are no sample of the candidates: accuracy measured on
    them is not accuracy.
    """

    def __init__(self, factor: int = 10) -> None:
        """Looks at `factor` pairs for each query asked; raises `InvalidArgument` if it is below 1."""
        if factor < 1:
            raise InvalidArgument("factor", "must be at least 1", factor)
        self.factor = factor

    def choose(
        self, store: TrajectoryStore, candidates: SegmentIndex, n: int, model: PreferenceModel | None,
        rng: np.random.Generator,
    ) -> tuple[SegmentIndex, SegmentIndex]:
        """Returns n pairs of `candidates`, most disputed first; raises `InvalidArgument` if there are too few pairs."""
        n_pairs = max(n, min(self.factor * n, math.comb(_n_different(candidates), 2)))
        first, second = distinct_pairs(candidates, n_pairs, rng)
        if isinstance(model, RewardModel) and n > 0:
            order = np.argsort(-_disagreement(store, candidates, first, second, model), kind="stable")
            first, second = first[order], second[order]
        return candidates[first[:n]], candidates[second[:n]]


def build_strategy(name: str, candidates_per_query: int = 10) -> Strategy:
    """Returns the strategy `name`; raises `UnknownName` if there is none."""
    if name not in STRATEGIES:
        raise UnknownName("strategy", name, STRATEGIES)
    if name == "disagreement":
        return DisagreementStrategy(candidates_per_query)
    if name == "similar_start":
        return SimilarStartStrategy(candidates_per_query)
    return UniformStrategy() if name == "uniform" else EpisodeStartStrategy()


def _n_different(candidates: SegmentIndex) -> int:
    return len(different_rows(candidates))


def _disagreement(
    store: TrajectoryStore, candidates: SegmentIndex, first: IntArray, second: IntArray, model: RewardModel
) -> FloatArray:
    """Returns (M,) standard deviations over members of P(first); 0 for a model of one member."""
    parts = []
    for start in range(0, len(first), _CHUNK):
        sides = [store.gather(candidates[rows[start : start + _CHUNK]]) for rows in (first, second)]
        parts.append(model.member_prob_first(sides[0], sides[1]).std(axis=0))
    return np.asarray(np.concatenate(parts), dtype=np.float64)
