"""What every oracle of ours shares — context, rounds, one uniform a query — and the one of a single annotator."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from preflab.errors import InvalidArgument, Refused
from preflab.interfaces import AnswerContext, Judgment, Oracle, Response
from preflab.seeding import counter_uniforms, key
from preflab.types import Choice, FloatArray, IntArray, ScoredSegments

_MOST_COMPARED = 2**20  # pairs of a segment and one of the reference pool at once


class SeededOracle(Oracle):
    """An oracle whose answers are a pure function of (seed, query id, the two segments): order and batching cannot matter."""

    def __init__(self, *, seed: int, name: str, notes: Mapping[str, Any] | None = None) -> None:
        """Names and seeds an oracle; `notes` are further entries of its card (calibration, accuracy, expert)."""
        self.seed, self.name = seed, name
        self._notes = dict(notes or {})
        self._stream = key(seed, "oracle")
        self._round = 0
        self._has_begun = False

    shares: FloatArray = np.ones(1)  # chance of each annotator to answer

    def averaged(self, each: FloatArray) -> FloatArray:
        """Returns (M, 4) probabilities averaged over who may answer, for (k, M, 4) of each."""
        return np.asarray((self.shares[:, None, None] * each).sum(axis=0), dtype=np.float64)

    def annotators(self, query_ids: IntArray) -> IntArray:
        """Returns who answers each of the (M,) queries: the only annotator, 0."""
        return np.zeros_like(query_ids)

    def context(self, query_ids: npt.ArrayLike) -> AnswerContext:
        """Returns the context of (M,) queries, numbered from 0 in the order of asking."""
        ids = np.atleast_1d(np.asarray(query_ids, dtype=np.int64))
        if ids.ndim != 1 or (ids < 0).any():
            raise InvalidArgument("query_ids", "must be (M,) non-negative integers", ids.min(initial=0))
        return AnswerContext(self.annotators(ids), ids.copy(), np.full_like(ids, self._round), ids)

    def begin_round(self, stats: Mapping[str, float]) -> None:
        """Counts rounds from 0, or takes the number that `stats["round"]` gives."""
        self._round = int(stats["round"]) if "round" in stats else self._round + self._has_begun
        self._has_begun = True

    def answer(self, first: ScoredSegments, second: ScoredSegments, context: AnswerContext) -> npt.NDArray[np.int8]:
        """Draws (M,) choices, one uniform a query."""
        return self.draw(self.probabilities(first, second, context), context)

    def draw(self, probabilities: FloatArray, context: AnswerContext) -> npt.NDArray[np.int8]:
        """Draws (M,) choices from (M, 4) rows by inverse CDF; a choice of probability 0 is never drawn."""
        uniforms = counter_uniforms(self._stream, context.query_id)
        p_first, p_second, p_tie, p_skip = probabilities.T  # a column at a time: numpy is slow along an axis of four
        second = p_first + p_second
        tie = second + p_tie
        total = tie + p_skip
        above = [uniforms >= edge / total for edge in (p_first, second, tie)]
        return np.asarray(above[0].astype(np.int8) + above[1] + above[2], dtype=np.int8)


def scores_of(response: Response, values: FloatArray, reference: FloatArray | None) -> FloatArray:
    """Returns (N,) one value a segment for (N,) or (N, D) judged ones.

    It is the one that `response` orders by; where it has none, P(FIRST) + ½ P(TIE) against the segments of `reference` (C, D)
    in the mean, the segment's Borda score: a hierarchy and a cyclic preference order no segments otherwise.
    """
    main = response.main(values)
    if main is not None:
        return np.asarray(main, dtype=np.float64)
    if reference is None or not len(reference):
        raise Refused("this human orders segments by no value of their own, so that their scores need a reference pool to beat")
    score = np.zeros(len(values))
    for rows in np.array_split(np.arange(len(values)), max(1, len(values) * len(reference) // _MOST_COMPARED)):
        one, other = np.repeat(values[rows], len(reference), axis=0), np.tile(reference, (len(rows), *(1,) * (values.ndim - 1)))
        p = response.probabilities(one, other)
        score[rows] = (p[:, Choice.FIRST] + 0.5 * p[:, Choice.TIE]).reshape(len(rows), len(reference)).mean(axis=1)
    return score


def check_lengths(first: ScoredSegments, second: ScoredSegments, context: AnswerContext) -> None:
    """Raises `InvalidArgument` unless both sides and the context have one entry per query."""
    sizes = (len(first), len(second), len(context))
    if len(set(sizes)) != 1:
        raise InvalidArgument("first, second, context", "must have one entry per query each", sizes)


class ComposedOracle(SeededOracle):
    """One simulated human: values each segment with `judgment`, turns two values into a choice with `response`."""

    def __init__(
        self, judgment: Judgment, response: Response, *, seed: int, name: str, notes: Mapping[str, Any] | None = None,
        reference: FloatArray | None = None,
    ) -> None:
        """Composes an oracle; `notes` are further entries of its card.

        `reference` holds (C,) or (C, D) values of a frozen pool: a response that orders segments by no value of their own (a
        hierarchy, a preference matrix) scores one by its chance to be preferred to a segment of that pool.
        """
        super().__init__(seed=seed, name=name, notes=notes)
        self.judgment, self.response, self.reference = judgment, response, reference
        self.now = response  # the response model of this round
        self.p_first_if_same = response.p_first_if_same
        self.needs_sim_states, self.needs_observations = judgment.needs_sim_states, judgment.needs_observations
        self.needs_factors = judgment.needs_factors

    def begin_round(self, stats: Mapping[str, float]) -> None:
        """Counts rounds, and takes the response model of the new one."""
        super().begin_round(stats)
        self.now = self.response.in_round({**stats, "round": float(self._round)})

    def for_evaluation(self) -> Oracle:
        """Returns this human as held-out queries are answered; itself, if that is all the same."""
        response = self.response.for_evaluation()
        if response is self.response:
            return self
        made = type(self)(
            self.judgment, response, seed=self.seed, name=self.name, notes=self._notes, reference=self.reference,
        )
        made.now, made._round, made._has_begun = self.now.for_evaluation(), self._round, self._has_begun
        return made

    def member_values(self, scored: ScoredSegments) -> list[FloatArray]:
        """Returns the judged values, (N,) or (N, D), of the only annotator, in a list."""
        return [self.judged(scored)]

    def compared(self, first: Sequence[FloatArray], second: Sequence[FloatArray], context: AnswerContext) -> FloatArray:
        """Returns (1, M, 4) probabilities for the values of both sides by the only annotator."""
        return self.probabilities_from_values(first[0], second[0], context)[None]

    def judged(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N,) or (N, D) values: what the response compares."""
        return self.judgment.values(scored)

    def values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N,) one value a segment: the judgment's, or the chance to beat a calibration segment."""
        return scores_of(self.response, self.judged(scored), self.reference)

    def probabilities_from_values(
        self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None
    ) -> FloatArray:
        """Returns (M, 4) probabilities for M values of both sides: judge each segment once, compare often."""
        return self.now.probabilities(first, second, context)

    def probabilities(self, first: ScoredSegments, second: ScoredSegments, context: AnswerContext) -> FloatArray:
        """Returns (M, 4) probabilities of FIRST, SECOND, TIE, SKIP given who was asked how often before."""
        check_lengths(first, second, context)
        return self.probabilities_from_values(self.judged(first), self.judged(second), context)

    def levels(self, first: Sequence[FloatArray], second: Sequence[FloatArray], context: AnswerContext) -> IntArray | None:
        """Returns (M,) which level of the hierarchy decides, −1 for none; None where there is none."""
        return self.now.levels(first[0], second[0])

    def marginal_probabilities(
        self, first: ScoredSegments, second: ScoredSegments, query_ids: npt.ArrayLike
    ) -> FloatArray:
        """Returns `probabilities`: there is one annotator to average over."""
        return self.probabilities(first, second, self.context(query_ids))

    def card(self) -> dict[str, Any]:
        """Returns name, seed, judgment, response and the notes given, as plain json values."""
        return {
            "name": self.name, "seed": self.seed, "n_annotators": self.n_annotators,
            "judgment": self.judgment.card(), "response": self.response.card(), **self._notes,
        }
