"""Does every oracle do at the rate it says? Answers counted beside what settings, the card or a formula of ours say.

Used by `oracles.py`. Queries are drawn from the very pairs that calibrated, with replacement and in random order, so that each
count is binomial about its nominal share. Formulas here are written anew from the words of papers and yamls, not taken from
`oracles/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from preflab.experiments.humans import Calibrated
from preflab.interfaces import AnswerContext, Response
from preflab.oracles import ComposedOracle, Majority, Population, deciding_levels, label
from preflab.oracles.calibration import compared_pairs, rounding
from preflab.seeding import generator
from preflab.types import BoolArray, Choice, FloatArray, IntArray, ScoredSegments

SURE = 1e-6  # a Boltzmann human errs less often than this where only mistakes can explain a wrong answer


@dataclass(frozen=True)
class Rate:
    """One share, said and counted.

    Attributes:
        oracle: the preset.
        what: accuracy, ties, skips, mistakes, …
        nominal: the share that was said.
        source: who said it: setting, card or formula.
        count: how often it happened.
        n: of how many.
    """

    oracle: str
    what: str
    nominal: float
    source: str
    count: int
    n: int

    @property
    def share(self) -> float:
        """The realized share."""
        return self.count / self.n

    def p_value(self) -> float:
        """Returns the exact two-sided binomial p value of the nominal share.

        >>> Rate("a", "ties", 0.0, "setting", 1, 9).p_value(), Rate("a", "ties", 0.0, "setting", 0, 9).p_value()
        (0.0, 1.0)
        """
        return float(stats.binomtest(self.count, self.n, min(1.0, max(0.0, self.nominal))).pvalue)

    def interval(self, level: float) -> tuple[float, float]:
        """Returns the exact (Clopper-Pearson) interval of the realized share."""
        found = stats.binomtest(self.count, self.n).proportion_ci(level, method="exact")
        return float(found.low), float(found.high)


class Asked:
    """One human's answers to n queries, and which of them are right in the eyes of whoever answered."""

    def __init__(self, human: Calibrated, n: int) -> None:
        """Draws pairs that calibrated, begins a round, and asks."""
        one, other = compared_pairs(len(human.index))
        rng = generator(0, "oracle rates", human.oracle.name)
        rows, is_swapped = rng.integers(len(one), size=n), rng.random(n) < 0.5
        self.human, self.pairs = human, (one, other)
        self.first = np.where(is_swapped, other[rows], one[rows])
        self.second = np.where(is_swapped, one[rows], other[rows])
        human.oracle.begin_round(human.stats())
        self.values = human.values()
        index = human.index
        self.labels = label(human.oracle, human.store, index[self.first], index[self.second], np.arange(n))

    @property
    def responses(self) -> list[Response]:
        """The response model of each human as this round has it."""
        oracle = self.human.oracle
        return oracle.responses if isinstance(oracle, Population) else [oracle.now]

    def ahead(self, first: IntArray, second: IntArray) -> FloatArray:
        """Returns (k, M) how much the first is better in each human's own eyes; 0 where these see no difference."""
        found = []
        for response, values in zip(self.responses, self.values, strict=True):
            main = response.main(values)
            if main is None:  # without an order, the likelier answer is the right one
                p = response.probabilities(values[first], values[second])
                found.append(p[:, Choice.FIRST] - p[:, Choice.SECOND])
            else:
                gap = main[first] - main[second]
                found.append(np.where(np.abs(gap) > rounding(main), gap, 0.0))
        return np.stack(found)

    def counted(self, choice: npt.NDArray[np.int8], ahead: FloatArray, among: BoolArray | None = None) -> tuple[int, int]:
        """Returns (right, strict) answers."""
        strict = (choice <= Choice.SECOND) & (ahead != 0)
        strict = strict if among is None else strict & among
        return int((strict & ((choice == Choice.FIRST) == (ahead > 0))).sum()), int(strict.sum())

    def pool(self) -> ScoredSegments:
        """Returns the calibration segments."""
        return self.human.store.gather(self.human.index, "none")


def rates(human: Calibrated, n: int) -> list[Rate]:
    """Returns every rate that is said of a preset beside what n answers show; those of which nothing can be seen are left out."""
    asked = Asked(human, n)
    found = [*_accuracies(asked), *_abstentions(asked), *_mistakes(asked), *_same(asked, n), *_shares(asked)]
    return [rate for rate in found if rate.n]


def _accuracies(asked: Asked) -> Iterable[Rate]:
    oracle, settings, choice = asked.human.oracle, asked.human.config.oracle, asked.labels.choice
    ahead = asked.ahead(asked.first, asked.second)[asked.labels.context.annotator, np.arange(len(choice))]
    if settings.fatigue > 0:
        lapse = np.mean(settings.fatigue * (1 - 2.0 ** (-np.arange(len(choice)) / settings.fatigue_half_life)))
        nominal = float((1 - lapse) * (settings.target_accuracy or 1.0) + lapse / 2)
        yield Rate(oracle.name, "accuracy", nominal, "formula", *asked.counted(choice, ahead))
        return
    if settings.drift_to is not None:
        yield from _drifted(asked, ahead)
        return
    nominal, source = _accuracy(asked)
    yield Rate(oracle.name, "accuracy", nominal, source, *asked.counted(choice, ahead))
    heldout = oracle.for_evaluation()
    if heldout is not oracle:
        assert isinstance(heldout, ComposedOracle | Population)
        index, ids = asked.human.index, np.arange(len(choice))
        choice = label(heldout, asked.human.store, index[asked.first], index[asked.second], ids).choice
        clean = _accuracy(asked, without=settings.mistaken(oracle.name))[0]
        yield Rate(oracle.name, "accuracy, held out", clean, "card", *asked.counted(choice, ahead))


def _accuracy(asked: Asked, without: float = 0.0) -> tuple[float, str]:
    """Returns the accuracy said, and by whom; of a population, of whoever answers; `without` a rate of mistakes in it."""
    human, settings = asked.human, asked.human.config.oracle
    card, rate = human.oracle.card(), settings.mistaken(human.oracle.name)
    if isinstance(human.oracle, Majority):
        return _vote_is_right(asked), "formula"
    if isinstance(human.oracle, Population):
        humans = card["humans"].values()
        weights = np.array([one["share"] * (1 - one["tie_rate"]) for one in humans])
        each = np.array([(one["accuracy"] - without) / (1 - 2 * without) for one in humans])
        return float(weights @ each / weights.sum()), "card"
    is_plain = not (settings.ties or settings.skip_rate or settings.order_bias or settings.bpref) and settings.mistakes == "iid"
    if settings.target_accuracy is not None and is_plain:
        target = settings.target_accuracy
        return target * (1 - rate) + (1 - target) * rate, "setting"
    return card["accuracy"]["all"]["accuracy"] or 0.5, "card"


def _vote_is_right(asked: Asked) -> float:
    """Returns the mean over strict pairs of P(more than half of the alike raters are right)."""
    n = len(asked.values)
    p = special.expit(asked.responses[0].card()["beta"] * np.abs(asked.ahead(*asked.pairs)[0]))
    right = sum(special.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n // 2 + 1, n + 1))
    return float(np.mean(right[p > 0.5]))


def _drifted(asked: Asked, fresh_ahead: FloatArray) -> Iterable[Rate]:
    """Returns accuracy before anything was asked, and in the eyes of the changed mind once it has changed."""
    oracle, settings, values = asked.human.oracle, asked.human.config.oracle, asked.values[0]
    fresh = AnswerContext.fresh(len(asked.first))
    p = oracle.compared([values[asked.first]], [values[asked.second]], fresh)[0]
    target = settings.target_accuracy or 1.0
    yield Rate(oracle.name, "accuracy, fresh", target, "setting", *asked.counted(oracle.draw(p, fresh), fresh_ahead))
    factors = asked.pool().factors.sum(axis=1) @ np.array([
        (settings.drift_to or {}).get(name, 0.0) for name in oracle.card()["judgment"]["drifts_to"]["weights"]
    ])
    gaps = np.abs(factors[asked.pairs[0]] - factors[asked.pairs[1]])
    strict = gaps > rounding(factors)
    nominal = float(special.expit(oracle.card()["response"]["beta"] * gaps[strict]).mean())
    ahead = factors[asked.first] - factors[asked.second]
    ahead = np.where(np.abs(ahead) > rounding(factors), ahead, 0.0)
    has_changed = np.arange(len(ahead)) >= settings.drift_answers
    what = f"accuracy, after {settings.drift_answers:.0f}"
    yield Rate(oracle.name, what, nominal, "formula", *asked.counted(asked.labels.choice, ahead, has_changed))


def _abstentions(asked: Asked) -> Iterable[Rate]:
    oracle, settings, choice = asked.human.oracle, asked.human.config.oracle, asked.labels.choice
    ties, skips = (0.0, "setting"), (settings.skip_rate, "setting")
    if settings.ties:
        ties = settings.tie_rate, "setting"
    elif isinstance(oracle, Population) and not isinstance(oracle, Majority):
        ties = sum(one["share"] * _said_even(one, response) for one, response in zip(
            oracle.card()["humans"].values(), asked.responses, strict=True)), "card"
    elif settings.bpref == "equal":
        ties = _bpref(asked, lambda one, other, threshold, _: np.abs(one - other) < threshold), "formula"
    elif isinstance(oracle, ComposedOracle) and (settings.target_accuracy or settings.beta) == np.inf:
        ties = oracle.card()["accuracy"]["all"]["tie_rate"] if settings.judgment != "cells" else 0.0, "card"
    if settings.bpref == "skip":
        skips = _bpref(asked, lambda one, other, threshold, lowest: np.maximum(one, other) - lowest <= threshold), "formula"
    yield Rate(oracle.name, "ties", *ties, int((choice == Choice.TIE).sum()), len(choice))
    yield Rate(oracle.name, "skips", *skips, int((choice == Choice.SKIP).sum()), len(choice))


def _said_even(card: dict[str, float], response: Response) -> float:
    """Returns which share of pairs a human of a population calls even: none of them, where the response is never even."""
    said = response.card()
    return card["tie_rate"] if "ties" in said or said["kind"] in ("argmax", "hierarchy") else 0.0


def _bpref(asked: Asked, happens: Callable[[FloatArray, FloatArray, float, float], BoolArray]) -> float:
    """Returns the share of pairs for which `happens`, by B-Pref's threshold ε |R̄| H / T on sums of gold."""
    settings, told = asked.human.config.oracle, asked.human.stats()
    gold = asked.pool().gold_rewards.sum(axis=1)
    threshold = settings.bpref_epsilon * abs(told["mean_return"]) * asked.human.index.length / told["mean_length"]
    lowest = 0.0 if told["mean_return"] >= 0 else min(0.0, float(gold.min()))
    return float(np.mean(happens(gold[asked.pairs[0]], gold[asked.pairs[1]], threshold, lowest)))


def _mistakes(asked: Asked) -> Iterable[Rate]:
    """Returns the share of wrong answers among those of which the human is else sure."""
    oracle, settings, choice = asked.human.oracle, asked.human.config.oracle, asked.labels.choice
    rate = settings.mistaken(oracle.name)
    if not rate:
        return
    betas = np.array([response.card().get("beta", np.inf) for response in asked.responses])
    who, rows = asked.labels.context.annotator, np.arange(len(choice))
    ahead = asked.ahead(asked.first, asked.second)[who, rows]
    with np.errstate(invalid="ignore"):
        is_sure = special.expit(-betas[who] * np.abs(ahead)) < SURE
    right, n = asked.counted(choice, ahead, is_sure)
    nominal, source = {"iid": (rate, "setting")}.get(settings.mistakes, (0.0, "formula"))
    gaps = np.abs(asked.ahead(*asked.pairs)[0])
    if settings.mistakes == "margin":
        nominal = float(np.mean(rate * np.exp(-gaps[gaps > 0] / np.median(gaps[gaps > 0]))))
    if settings.mistakes == "feature":
        assert settings.mistake_feature == "abs_act_0"
        feature = np.abs(asked.pool().segments.actions[..., 0]).mean(axis=1)
        z = (0.5 * (feature[asked.pairs[0]] + feature[asked.pairs[1]]) - feature.mean()) / feature.std()
        nominal = float(np.mean(rate * special.expit(2 * z[gaps > 0])))
    yield Rate(oracle.name, "mistakes", nominal, source, n - right, n)


def _same(asked: Asked, n: int) -> Iterable[Rate]:
    """Returns the share of FIRST among strict answers about a segment beside itself."""
    oracle, index = asked.human.oracle, asked.human.index
    if np.isfinite(oracle.p_first_if_same):
        same = index[asked.first]
        choice = label(oracle, asked.human.store, same, same, np.arange(n)).choice
        strict = int((choice <= Choice.SECOND).sum())
        source = "setting" if asked.human.config.oracle.order_bias else "card"
        yield Rate(oracle.name, "first of the same", oracle.p_first_if_same, source, int((choice == Choice.FIRST).sum()), strict)


def _shares(asked: Asked) -> Iterable[Rate]:
    """Returns who answered, and which level decided."""
    oracle, index = asked.human.oracle, asked.human.index
    n = len(asked.first)
    if isinstance(oracle, Population) and not isinstance(oracle, Majority):
        counts = np.bincount(asked.labels.context.annotator, minlength=oracle.n_annotators)
        for member, count in zip(oracle.members, counts.tolist(), strict=True):
            yield Rate(oracle.name, f"answered by {member.name}", member.share, "setting", count, n)
    said = oracle.card().get("deciding_levels")
    levels = deciding_levels(oracle, asked.human.store, index[asked.first], index[asked.second], np.arange(n)) if said else None
    if levels is not None:
        for i, (name, share) in enumerate(said.items()):
            at = i if name != "none" else -1
            yield Rate(oracle.name, f"decided by {name}", share, "card", int((levels == at).sum()), n)
