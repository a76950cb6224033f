"""From pairs of segments to answers: every segment is gathered and judged once, however many pairs it is in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from preflab.interfaces import AnswerContext, Oracle
from preflab.oracles.majority import Majority
from preflab.oracles.oracle import ComposedOracle
from preflab.oracles.population import Population
from preflab.types import FloatArray, IntArray, ScoredStore, SegmentIndex

_MOST_BYTES = 2**27  # of observations and simulator states gathered at once


@dataclass(frozen=True, eq=False)
class Labels:
    """Answers to M queries.

    Attributes:
        choice: (M,) over all four choices.
        probabilities: (M, 4) averaged over who might have answered; only metrics may see them.
        context: who answered, and in which state.
    """

    choice: npt.NDArray[np.int8]
    probabilities: FloatArray
    context: AnswerContext


def label(oracle: Oracle, store: ScoredStore, first: SegmentIndex, second: SegmentIndex, query_ids: IntArray) -> Labels:
    """Returns `oracle`'s answers to (M,) ordered pairs of segments of `store`.

    Our oracles judge each distinct segment once and compare values: the same bits as `answer` and `marginal_probabilities` on
    the gathered pairs, which is what any other oracle is asked.
    """
    context = oracle.context(query_ids)
    if type(oracle) not in (ComposedOracle, Population, Majority):  # a subclass may answer otherwise
        states = "ends" if oracle.needs_sim_states else "none"
        scored = store.gather(first, states), store.gather(second, states)
        return Labels(oracle.answer(*scored, context), oracle.marginal_probabilities(*scored, query_ids), context)
    assert isinstance(oracle, ComposedOracle | Population)
    segments, (i_first, i_second) = store.store.distinct(first, second)
    values = member_values(oracle, store, segments)
    sides = [member[i_first] for member in values], [member[i_second] for member in values]
    each = oracle.compared(*sides, context)
    own = each[0] if len(each) == 1 else each[context.annotator, np.arange(len(context))]
    return Labels(oracle.draw(own, context), oracle.averaged(each), context)


def deciding_levels(
    oracle: Oracle, store: ScoredStore, first: SegmentIndex, second: SegmentIndex, query_ids: IntArray
) -> IntArray | None:
    """Returns (M,) which level of a hierarchy decided each query, −1 for none; None where the oracle has no hierarchy."""
    if not isinstance(oracle, ComposedOracle | Population) or not len(query_ids):
        return None
    segments, (i_first, i_second) = store.store.distinct(first, second)
    values = member_values(oracle, store, segments)
    return oracle.levels([each[i_first] for each in values], [each[i_second] for each in values], oracle.context(query_ids))


def member_values(oracle: ComposedOracle | Population, store: ScoredStore, segments: SegmentIndex) -> list[FloatArray]:
    """Returns values of N segments, (N,) or (N, D) an annotator; gathers no more of them at a time than memory allows."""
    states = "ends" if oracle.needs_sim_states else "none"
    each = (segments.length + 1) * _bytes_of_one(store, oracle.needs_observations, oracle.needs_sim_states)
    size = max(1, _MOST_BYTES // each)
    values = []
    for first in range(0, max(1, len(segments)), size):
        part = segments[first : first + size]
        values.append(oracle.member_values(store.gather(part, states, oracle.needs_observations, oracle.needs_factors)))
    return [np.concatenate(parts) for parts in zip(*values, strict=True)]


def _bytes_of_one(store: ScoredStore, has_observations: bool, has_states: bool) -> int:
    observed = (store.store.observations, store.store.actions) if has_observations else ()
    states = (store.sim_states,) if has_states and store.sim_states is not None else ()
    return int(sum(array[:1].nbytes for array in (*observed, *states, store.factors, store.gold_rewards))) + 4
