"""Humans who want different things: each query is answered by one of them, drawn by share, under weights of their own."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from preflab.errors import InvalidArgument
from preflab.interfaces import AnswerContext, Judgment, Oracle, Response
from preflab.oracles.calibration import compared_pairs, rounding
from preflab.oracles.oracle import SeededOracle, check_lengths, scores_of
from preflab.seeding import counter_uniforms, key
from preflab.types import FloatArray, IntArray, ScoredSegments

_SHARES_MISS_ONE_BY = 1e-9


@dataclass(frozen=True)
class Human:
    """What is said of one human.

    Attributes:
        name: letters, digits, - and _.
        share: chance that this human answers a query.
        weights: of the task's reward factors, by name; those not named weigh 0. None: as `OracleSettings` has it.
        own: other `OracleSettings` in which this human differs.
    """

    name: str
    share: float
    weights: Mapping[str, float] | None = None
    own: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][\w-]*", self.name):
            raise InvalidArgument("humans.name", "must be a word of letters, digits, - and _", self.name, "speed, careful-one")
        if not (math.isfinite(self.share) and self.share > 0):
            raise InvalidArgument("humans.share", f"must be above 0, as {self.name}'s", self.share)

    @staticmethod
    def of(said: Human | Mapping[str, Any]) -> Human:
        """Returns the human that a mapping of name, share and what tells this human apart describes."""
        if isinstance(said, Human):
            return said
        if not isinstance(said, Mapping) or not {"name", "share"} <= set(said) or not isinstance(said.get("weights", {}), Mapping):
            valid = "{name: speed, share: 0.5, weights: {forward: 1}}"
            raise InvalidArgument("humans", "must be a list of mappings with name, share and, say, weights", said, valid)
        weights = said.get("weights")
        if weights is not None:
            weights = {str(factor): float(weight) for factor, weight in weights.items()}
        own = {str(name): value for name, value in said.items() if name not in ("name", "share", "weights")}
        return Human(str(said["name"]), float(said["share"]), weights, own)


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


@dataclass(frozen=True, eq=False)
class Member:
    """A human who can answer.

    Attributes:
        name: of the human.
        share: chance to answer a query.
        judgment: how this human values a segment.
        response: how two of these values become a choice.
        reference: (C,) or (C, D) values of a frozen pool, where the response orders segments by none of their own.
    """

    name: str
    share: float
    judgment: Judgment
    response: Response
    reference: FloatArray | None = None


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
        self.responses = [member.response for member in self.members]
        biases = {member.response.p_first_if_same for member in self.members}
        self.p_first_if_same = biases.pop() if len(biases) == 1 else math.nan
        self._who = key(seed, "annotator")

    def annotators(self, query_ids: IntArray) -> IntArray:
        """Returns who answers each of the (M,) queries, 0…k − 1, by inverse CDF of one uniform a query."""
        uniforms = counter_uniforms(self._who, query_ids)
        return np.searchsorted(np.cumsum(self.shares)[:-1], uniforms, side="right").astype(np.int64)

    def member_values(self, scored: ScoredSegments) -> list[FloatArray]:
        """Returns k arrays of values, (N,) or (N, D), one a human, each in that human's own units."""
        judged: dict[int, FloatArray] = {}
        for member in self.members:
            if id(member.judgment) not in judged:
                judged[id(member.judgment)] = member.judgment.values(scored)
        return [judged[id(member.judgment)] for member in self.members]

    def member_probabilities(
        self, first: ScoredSegments, second: ScoredSegments, context: AnswerContext | None = None
    ) -> FloatArray:
        """Returns (k, M, 4) probabilities, one matrix a human, of what each would answer to all M queries."""
        return self.each(self.member_values(first), self.member_values(second), context)

    def each(
        self, first: Sequence[FloatArray], second: Sequence[FloatArray], context: AnswerContext | None
    ) -> FloatArray:
        """Returns (k, M, 4) probabilities, one matrix a human, for the M values that each gives to both sides."""
        values = zip(self.responses, first, second, strict=True)
        return np.stack([response.probabilities(one, two, context) for response, one, two in values])

    def compared(
        self, first: Sequence[FloatArray], second: Sequence[FloatArray], context: AnswerContext
    ) -> FloatArray:
        """Returns `each`: who answers is one of the humans."""
        return self.each(first, second, context)

    def member_scores(self, scored: ScoredSegments) -> FloatArray:
        """Returns (k, N) one value a segment and human: the human's own, or the chance to beat a calibration segment."""
        judged = self.member_values(scored)
        each = zip(self.responses, judged, self.members, strict=True)
        return np.stack([scores_of(response, values, member.reference) for response, values, member in each])

    def values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N,) values averaged over humans by share."""
        shares = np.array([member.share for member in self.members])
        return np.asarray((shares[:, None] * self.member_scores(scored)).sum(axis=0), dtype=np.float64)

    def probabilities(self, first: ScoredSegments, second: ScoredSegments, context: AnswerContext) -> FloatArray:
        """Returns (M, 4) probabilities of FIRST, SECOND, TIE, SKIP of the human whom the context names."""
        check_lengths(first, second, context)
        if len(context) and not 0 <= context.annotator.min() <= context.annotator.max() < self.n_annotators:
            raise InvalidArgument("context.annotator", f"must be in 0…{self.n_annotators - 1}", context.annotator.max())
        compared = self.compared(self.member_values(first), self.member_values(second), context)
        return compared[context.annotator, np.arange(len(context))]

    def begin_round(self, stats: Mapping[str, float]) -> None:
        """Counts rounds, and tells each human of the new one."""
        super().begin_round(stats)
        self.responses = [member.response.in_round({**stats, "round": float(self._round)}) for member in self.members]

    def for_evaluation(self) -> Oracle:
        """Returns these humans as they answer held-out queries; themselves, if that is all the same."""
        members = [replace(member, response=member.response.for_evaluation()) for member in self.members]
        if all(one.response is other.response for one, other in zip(members, self.members, strict=True)):
            return self
        made = type(self)(members, seed=self.seed, name=self.name, notes=self._notes)
        made.responses = [response.for_evaluation() for response in self.responses]
        made._round, made._has_begun = self._round, self._has_begun
        return made

    def levels(self, first: Sequence[FloatArray], second: Sequence[FloatArray], context: AnswerContext) -> IntArray | None:
        """Returns (M,) which level of the answering human's hierarchy decides, −1 for none; None without hierarchies."""
        each = [response.levels(one, two) for response, one, two in zip(self.responses, first, second, strict=True)]
        if any(levels is None for levels in each):
            return None
        return np.asarray(np.stack([levels for levels in each if levels is not None])[context.annotator, np.arange(len(context))])

    def marginal_probabilities(
        self, first: ScoredSegments, second: ScoredSegments, query_ids: npt.ArrayLike
    ) -> FloatArray:
        """Returns (M, 4) probabilities averaged over humans by share: who will answer is not known."""
        return self.averaged(self.compared(self.member_values(first), self.member_values(second), self.context(query_ids)))

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
                    **{name: judgment[name] for name in ("ideal", "gamma") if name in judgment},
                    **({"levels": [_said(level) for level in response["levels"]]} if "levels" in response else {}),
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


def _said(level: Mapping[str, Any]) -> str:
    return f"{level['better']} {level['feature']}"
