"""A panel instead of a human: everyone answers every query on their own, and the majority is the answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from preflab.interfaces import AnswerContext
from preflab.oracles.population import Member, Population
from preflab.types import Choice, FloatArray, IntArray


class Majority(Population):
    """n humans who vote: FIRST or SECOND, whichever has more votes; even votes are a tie, and a skip if all skip.

    Votes are independent given the query. Three raters with rotated lexicographic orders make a Condorcet cycle (Condorcet
    1785): each is transitive, and the majority prefers a to b, b to c and c to a.
    """

    def __init__(
        self, members: Sequence[Member], *, seed: int, name: str, notes: Mapping[str, Any] | None = None
    ) -> None:
        """Takes the panel; shares are what `values` averages by, for every vote counts the same."""
        super().__init__(members, seed=seed, name=name, notes=notes)
        self.n_annotators, self.shares = 1, np.ones(1)
        if self.p_first_if_same != 0.5:
            self.p_first_if_same = math.nan  # a vote makes more of a bias, the more so the rarer ties are

    def annotators(self, query_ids: IntArray) -> IntArray:
        """Returns 0 for each query: the panel."""
        return np.zeros_like(query_ids)

    def compared(self, first: Sequence[FloatArray], second: Sequence[FloatArray], context: AnswerContext) -> FloatArray:
        """Returns (1, M, 4) probabilities of the panel's answer."""
        return vote(self.each(first, second, context))[None]

    def levels(self, first: Sequence[FloatArray], second: Sequence[FloatArray], context: AnswerContext) -> IntArray | None:
        """Returns None: no one level decides a vote."""
        return None

    def card(self) -> dict[str, Any]:
        """Returns the card of the humans, with the rule of the vote."""
        rule = "everyone answers, and the side with more votes wins; even votes are a tie, and a skip if all skip"
        return {**super().card(), "n_raters": len(self.members), "vote": rule}


def vote(each: FloatArray) -> FloatArray:
    """Returns (M, 4) probabilities of a majority of n independent votes, for (n, M, 4) of each voter.

    Exact, by the distribution of (votes for FIRST) − (votes for SECOND).

    >>> vote(np.array([[[0.8, 0.2, 0.0, 0.0]]] * 3)).round(3)
    array([[0.896, 0.104, 0.   , 0.   ]])
    """
    n = len(each)
    lead = np.zeros((each.shape[1], 2 * n + 1))
    lead[:, n] = 1.0
    for p in each:
        neither = (p[:, Choice.TIE] + p[:, Choice.SKIP])[:, None]
        moved = neither * lead
        moved[:, 1:] += p[:, [Choice.FIRST]] * lead[:, :-1]
        moved[:, :-1] += p[:, [Choice.SECOND]] * lead[:, 1:]
        lead = moved
    skip = each[:, :, Choice.SKIP].prod(axis=0)
    found = np.stack([lead[:, n + 1 :].sum(axis=1), lead[:, :n][:, ::-1].sum(axis=1), lead[:, n] - skip, skip], axis=1)
    return np.asarray(np.maximum(found, 0.0))
