"""What every oracle of ours shares — context, rounds, one uniform a query — and the one of a single annotator."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from preflab.errors import InvalidArgument
from preflab.interfaces import AnswerContext, Judgment, Oracle, Response
from preflab.seeding import counter_uniforms, key
from preflab.types import FloatArray, IntArray, ScoredSegments


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


def check_lengths(first: ScoredSegments, second: ScoredSegments, context: AnswerContext) -> None:
    """Raises `InvalidArgument` unless both sides and the context have one entry per query."""
    sizes = (len(first), len(second), len(context))
    if len(set(sizes)) != 1:
        raise InvalidArgument("first, second, context", "must have one entry per query each", sizes)


class ComposedOracle(SeededOracle):
    """One simulated human: values each segment with `judgment`, turns two values into a choice with `response`."""

    def __init__(
        self, judgment: Judgment, response: Response, *, seed: int, name: str, notes: Mapping[str, Any] | None = None
    ) -> None:
        """Composes an oracle; `notes` are further entries of its card."""
        super().__init__(seed=seed, name=name, notes=notes)
        self.judgment, self.response = judgment, response
        self.needs_sim_states, self.needs_observations = judgment.needs_sim_states, judgment.needs_observations
        self.needs_factors = judgment.needs_factors

    def member_values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (1, N) values: of the only annotator."""
        return self.values(scored)[None]

    def compared(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """Returns (1, M, 4) probabilities for (1, M) values of both sides."""
        return self.probabilities_from_values(first[0], second[0])[None]

    def values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N,) values of the segments, in units of gold."""
        return self.judgment.values(scored)

    def probabilities_from_values(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """Returns (M, 4) probabilities for (M,) values of both sides: judge each segment once, compare often."""
        return self.response.probabilities(first, second)

    def probabilities(self, first: ScoredSegments, second: ScoredSegments, context: AnswerContext) -> FloatArray:
        """Returns (M, 4) probabilities of FIRST, SECOND, TIE, SKIP; this human is the same in every context."""
        check_lengths(first, second, context)
        return self.probabilities_from_values(self.values(first), self.values(second))

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
