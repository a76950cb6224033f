"""Humans who want different things: each query is answered by one of them, drawn by share, under weights of their own."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from preflab.errors import InvalidArgument, Refused, UnknownName
from preflab.interfaces import AnswerContext, Judgment, Response
from preflab.oracles.calibration import compared_pairs, rounding
from preflab.oracles.oracle import SeededOracle, check_lengths
from preflab.seeding import counter_uniforms, key
from preflab.types import FloatArray, IntArray, ScoredSegments

_KEYS = ("name", "share", "weights")
_SHARES_MISS_ONE_BY = 1e-9


@dataclass(frozen=True)
class Human:
    """What is said of one human.

    Attributes:
        name: letters, digits, - and _.
        share: chance that this human answers a query.
        weights: of the task's reward factors, by name; those not named weigh 0.
    """

    name: str
    share: float
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][\w-]*", self.name):
            raise InvalidArgument("humans.name", "must be a word of letters, digits, - and _", self.name, "speed, careful-one")
        if not (math.isfinite(self.share) and self.share > 0):
            raise InvalidArgument("humans.share", f"must be above 0, as {self.name}'s", self.share)

    @staticmethod
    def of(said: Human | Mapping[str, Any]) -> Human:
        """Returns the human that a mapping of name, share and weights describes."""
        if isinstance(said, Human):
            return said
        if not isinstance(said, Mapping) or not isinstance(said.get("weights"), Mapping) or set(_KEYS) - set(said):
            valid = "{name: speed, share: 0.5, weights: {forward: 1}}"
            raise InvalidArgument("humans", "must be a list of mappings with name, share and weights", said, valid)
        for name in said:
            if name not in _KEYS:
                raise UnknownName("humans.<key>", str(name), _KEYS)
        weights = {str(factor): float(weight) for factor, weight in said["weights"].items()}
        return Human(str(said["name"]), float(said["share"]), weights)


def humans_of(said: Sequence[Human | Mapping[str, Any]]) -> tuple[Human, ...]:
    """Returns the humans that a list describes; raises `InvalidArgument` unless names differ and shares sum to 1."""
    if isinstance(said, str | Mapping) or not isinstance(said, Sequence):
        raise InvalidArgument("humans", "must be a list", said, "[{name: speed, share: 1.0, weights: {forward: 1}}]")
    humans = tuple(Human.of(one) for one in said)
    names = [human.name for human in humans]
    if len(set(names)) != len(names):
        raise InvalidArgument("humans.name", "must differ from human to human", names)
    total = sum(human.share for human in humans)
    if humans and abs(total - 1) > _SHARES_MISS_ONE_BY:
        raise InvalidArgument("humans.share", "must sum to 1", total, "shares such as 0.6 and 0.4")
    return humans


def check_humans(humans: Sequence[Human], factor_names: Sequence[str], task: str) -> None:
    """Refuses nobody, and weights for factors that `task` does not have, naming those that it has."""
    if not humans:
        why = f"gold has one factor, {factor_names[0]}" if len(factor_names) == 1 else f"factors: {', '.join(factor_names)}"
        raise Refused(
            f"oracle=pluralistic needs humans with weights of their own on the factors of {task}, and its yaml names none "
            f"({why}); give them as oracle.humans=[{{name:a,share:0.5,weights:{{{factor_names[0]}:1}}}},…], or use "
            "oracle=partial_return"
        )
    for human in humans:
        for factor in human.weights:
            if factor not in factor_names:
                raise UnknownName(f"humans.{human.name}.weights", factor, factor_names)


@dataclass(frozen=True, eq=False)
class Member:
    """A human who can answer.

    Attributes:
        name: of the human.
        share: chance to answer a query.
        judgment: how this human values a segment.
        response: how two of these values become a choice.
    """

    name: str
    share: float
    judgment: Judgment
    response: Response


class Population(SeededOracle):
    """k humans, one of whom answers each query, drawn by share from a counter generator keyed (seed, query id)."""

    def __init__(
        self, members: Sequence[Member], *, seed: int, name: str, notes: Mapping[str, Any] | None = None
    ) -> None:
        """Takes members whose shares are positive and sum to 1; raises `InvalidArgument` otherwise."""
        super().__init__(seed=seed, name=name, notes=notes)
        shares = np.array([member.share for member in members], dtype=np.float64)
        if not len(members) or not (shares > 0).all() or abs(shares.sum() - 1) > _SHARES_MISS_ONE_BY:
            raise InvalidArgument("members", "must have positive shares that sum to 1", shares.tolist())
        self.members, self.shares = tuple(members), shares
        self.n_annotators = len(members)
        self.needs_sim_states = any(member.judgment.needs_sim_states for member in members)
        self.needs_observations = any(member.judgment.needs_observations for member in members)
        self.needs_factors = any(member.judgment.needs_factors for member in members)
        self._who = key(seed, "annotator")

    def annotators(self, query_ids: IntArray) -> IntArray:
        """Returns who answers each of the (M,) queries, 0…k − 1, by inverse CDF of one uniform a query."""
        uniforms = counter_uniforms(self._who, query_ids)
        return np.searchsorted(np.cumsum(self.shares)[:-1], uniforms, side="right").astype(np.int64)

    def member_values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (k, N) values, one row a human, each in that human's own units."""
        return np.stack([member.judgment.values(scored) for member in self.members])

    def member_probabilities(self, first: ScoredSegments, second: ScoredSegments) -> FloatArray:
        """Returns (k, M, 4) probabilities, one matrix a human, of what each would answer to all M queries."""
        return self.compared(self.member_values(first), self.member_values(second))

    def compared(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """Returns (k, M, 4) probabilities, one matrix a human, for the (k, M) values that each gives to both sides."""
        values = zip(self.members, first, second, strict=True)
        return np.stack([member.response.probabilities(one, two) for member, one, two in values])

    def values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N,) values averaged over humans by share."""
        return np.asarray((self.shares[:, None] * self.member_values(scored)).sum(axis=0), dtype=np.float64)

    def probabilities(self, first: ScoredSegments, second: ScoredSegments, context: AnswerContext) -> FloatArray:
        """Returns (M, 4) probabilities of FIRST, SECOND, TIE, SKIP of the human whom the context names."""
        check_lengths(first, second, context)
        if len(context) and not 0 <= context.annotator.min() <= context.annotator.max() < self.n_annotators:
            raise InvalidArgument("context.annotator", f"must be in 0…{self.n_annotators - 1}", context.annotator.max())
        return self.member_probabilities(first, second)[context.annotator, np.arange(len(context))]

    def marginal_probabilities(
        self, first: ScoredSegments, second: ScoredSegments, query_ids: npt.ArrayLike
    ) -> FloatArray:
        """Returns (M, 4) probabilities averaged over humans by share: who will answer is not known."""
        self.context(query_ids)  # refuses ids that are none
        return self.averaged(self.member_probabilities(first, second))

    def card(self) -> dict[str, Any]:
        """Returns name, seed, what the humans have in common, each one's own (`humans`) and the notes, as plain json values."""
        judgments = [member.judgment.card() for member in self.members]
        responses = [member.response.card() for member in self.members]
        figures = self._notes.get("humans", {})
        return {
            "name": self.name, "seed": self.seed, "n_annotators": self.n_annotators,
            "judgment": _common(judgments), "response": _common(responses), **self._notes,
            "humans": {
                member.name: {
                    "share": member.share, "weights": judgment.get("weights"), "beta": response.get("beta"),
                    **figures.get(member.name, {}),
                } for member, judgment, response in zip(self.members, judgments, responses, strict=True)
            },
        }


def pairwise_agreement(values: FloatArray) -> FloatArray:
    """Returns (k, k): the share of pairs of segments that two humans order alike, among those that neither finds even.

    It is (1 + Kendall's τ) / 2 where no two segments are even. nan where no pair is left.

    Args:
        values: (k, N) values of N segments, one row a human; all pairs are compared, or a fixed 100,000 of very many.

    >>> pairwise_agreement(np.array([[0.0, 1.0, 2.0], [0.0, 2.0, 1.0]])).round(3)
    array([[1.   , 0.667],
           [0.667, 1.   ]])
    """
    first, second = compared_pairs(values.shape[1])
    gaps = values[:, first] - values[:, second]
    sign = np.where(np.abs(gaps) > np.array([rounding(row) for row in values])[:, None], np.sign(gaps), 0.0)
    is_strict = (sign != 0).astype(np.float64)
    n_strict = is_strict @ is_strict.T
    alike = 0.5 * (n_strict + sign @ sign.T)
    return np.asarray(np.where(n_strict > 0, alike / np.maximum(n_strict, 1.0), np.nan), dtype=np.float64)


def _common(cards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the entries that are the same in all cards."""
    return {name: value for name, value in cards[0].items() if all(card.get(name) == value for card in cards)}
