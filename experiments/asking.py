"""From trajectories to answers: split them, choose queries, put them to the oracle, and keep the ledger."""

from dataclasses import dataclass, replace

import numpy as np

from preflab.interfaces import Oracle, PreferenceModel, Strategy
from preflab.oracles import label
from preflab.types import AnyArray, Choice, Comparisons, FloatArray, IntArray, ScoredStore, ScoredTrajectory, SegmentIndex


@dataclass(frozen=True)
class Ledger:
    """What was asked so far: every query is charged, a skip too."""

    n_queries: int = 0
    n_heldout_queries: int = 0
    n_skips: int = 0
    n_ties: int = 0

    def charged(self, choice: AnyArray, is_heldout: bool) -> "Ledger":
        """Returns the ledger after the answers `choice` (M,)."""
        return replace(
            self,
            n_queries=self.n_queries + len(choice),
            n_heldout_queries=self.n_heldout_queries + len(choice) * is_heldout,
            n_skips=self.n_skips + int(np.sum(choice == Choice.SKIP)),
            n_ties=self.n_ties + int(np.sum(choice == Choice.TIE)),
        )

    def shares(self) -> dict[str, float | None]:
        """Returns which share of all queries was skipped and which of all answers, held-out ones too, was a tie."""
        n_answered = self.n_queries - self.n_skips
        return {
            "skip_share": self.n_skips / self.n_queries if self.n_queries else None,
            "tie_share": self.n_ties / n_answered if n_answered else None,
        }


@dataclass(frozen=True, eq=False)
class Answers:
    """Answered queries with what only metrics may see.

    Attributes:
        comparisons: what the learner gets (training) or is measured on (held out); skips are absent.
        probabilities: (M, 4) of the oracle for each comparison kept, averaged over who might have answered.
    """

    comparisons: Comparisons
    probabilities: FloatArray

    def extended(self, more: "Answers") -> "Answers":
        """Returns these answers followed by `more`."""
        return Answers(
            self.comparisons.extended(more.comparisons), np.concatenate([self.probabilities, more.probabilities])
        )

    @staticmethod
    def empty(length: int) -> "Answers":
        """Returns no answers about segments of `length` steps."""
        return Answers(Comparisons.empty(length), np.zeros((0, 4)))


def split_heldout(
    trajectories: list[ScoredTrajectory], share: float, rng: np.random.Generator
) -> tuple[list[ScoredTrajectory], list[ScoredTrajectory]]:
    """Returns (training, held-out) trajectories: whole trajectories, at least two held out where there are four."""
    n_heldout = len(trajectories) - n_kept(len(trajectories), share)
    order = rng.permutation(len(trajectories))
    heldout, kept = np.sort(order[:n_heldout]), np.sort(order[n_heldout:])
    return [trajectories[i] for i in kept], [trajectories[i] for i in heldout]


def n_kept(n: int, share: float) -> int:
    """Returns how many of `n` trajectories are for training when a `share` of them, at least two of four, is held out."""
    return n - max(min(2, n // 2), round(share * n))


def ask(
    oracle: Oracle, store: ScoredStore, first: SegmentIndex, second: SegmentIndex, query_ids: IntArray
) -> tuple[Answers, AnyArray]:
    """Puts (M,) ordered pairs to the oracle and returns the answers without skips, and all (M,) choices."""
    labels = label(oracle, store, first, second, query_ids)
    choice, context, probabilities = labels.choice, labels.context, labels.probabilities  # no learner uses annotators yet
    kept = choice != Choice.SKIP
    comparisons = Comparisons(
        first[kept], second[kept], choice[kept], context.annotator[kept], context.round[kept], np.ones(int(kept.sum())),
        query_ids[kept],
    )
    return Answers(comparisons, probabilities[kept]), choice


def choose(
    strategy: Strategy, store: ScoredStore, length: int, n: int, model: PreferenceModel | None, rng: np.random.Generator,
) -> tuple[SegmentIndex, SegmentIndex]:
    """Returns n pairs chosen by `strategy` among all segments of `length` in `store`."""
    return strategy.choose(store.store, store.store.admissible(length), n, model, rng)
