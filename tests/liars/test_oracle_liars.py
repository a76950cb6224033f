"""Broken oracles: each fails exactly the law that is about its fault, so each law has a reason to be there."""

import itertools
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from preflab.experts import TabularExpert
from preflab.interfaces import AnswerContext, Oracle, Response
from preflab.oracles import (
    Argmax,
    Boltzmann,
    ComposedOracle,
    Hierarchy,
    Level,
    Mistakes,
    OrderBias,
    PartialReturn,
    Regret,
    SegmentFeatures,
    SkipsBelow,
    ThresholdTies,
)
from preflab.seeding import counter_uniforms, key
from preflab.tabular import TabularMDP, evaluate_policy
from preflab.testing import LawBroken
from preflab.testing.laws import SaysNothing
from preflab.testing.oracle_laws import LAWS, OracleCase, OracleTags
from preflab.testing.oracles import FACTOR_NAMES, random_world, regolded
from preflab.types import Choice, FloatArray, ScoredSegments

WORLD = random_world()


class Honest(ComposedOracle):
    """Regret, Boltzmann, mistakes: every liar tells the truth but for one thing."""

    breaks: ClassVar[str]
    tags: ClassVar[OracleTags] = OracleTags(regret="uniform")

    def __init__(self, mdp: TabularMDP, seed: int, beta: float, mistake_rate: float) -> None:
        super().__init__(self.judge(mdp), self.respond(beta, mistake_rate), seed=seed, name="liar")
        self.mdp, self.beta = mdp, beta

    def judge(self, mdp: TabularMDP) -> Any:
        return Regret(TabularExpert(mdp))

    def respond(self, beta: float, mistake_rate: float) -> Response:
        return Mistakes(Boltzmann(beta), mistake_rate)


class LosesProbability(Honest):
    """Its rows sum to a little less than 1."""

    breaks = "law_rows_are_probabilities"

    def probabilities(self, first: ScoredSegments, second: ScoredSegments, context: AnswerContext) -> FloatArray:
        return super().probabilities(first, second, context) * (1 - 1e-6)


class OwesProbability(Honest):
    """Its rows sum to 1, but what nobody would ever say is a little less likely than never."""

    breaks = "law_rows_are_probabilities"

    def probabilities(self, first: ScoredSegments, second: ScoredSegments, context: AnswerContext) -> FloatArray:
        owed: FloatArray = 1e-9 * np.array([0.5, 0.5, -1.0, 0.0])
        return super().probabilities(first, second, context) + owed

    def draw(self, probabilities: FloatArray, context: AnswerContext) -> npt.NDArray[np.int8]:
        return super().draw(np.maximum(probabilities, 0.0), context)


class LikesTheFirst(Honest):
    """Leans to whatever is shown first when it is neither sure nor torn."""

    breaks = "law_swapping_mirrors"

    def probabilities_from_values(
        self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None
    ) -> FloatArray:
        q = 1 / (1 + np.exp(-np.clip(self.beta * (first - second), -500, 500)))
        lean: FloatArray = 0.5 * q * (1 - q) * (2 * q - 1) ** 2
        lean *= 1 - 2 * self.response.rate  # type: ignore[attr-defined]
        shift: FloatArray = lean[:, None] * np.array([1.0, -1.0, 0.0, 0.0])
        return super().probabilities_from_values(first, second) + shift


class GradesOnACurve(Honest):
    """Compares a pair's gap with the gaps of its batch mates."""

    breaks = "law_batching_changes_nothing"

    def probabilities_from_values(
        self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None
    ) -> FloatArray:
        spread = np.abs(first - second).max(initial=0.0) + 1.0
        return super().probabilities_from_values(first / spread, second / spread)


class CountsItsAnswers(Honest):
    """Draws by position in the batch, not by query."""

    breaks = "law_batching_changes_nothing"

    def draw(self, probabilities: FloatArray, context: AnswerContext) -> npt.NDArray[np.int8]:
        uniforms = counter_uniforms(self._stream, np.arange(len(probabilities)))
        return np.asarray(uniforms >= probabilities[:, 0], dtype=np.int8)


class IsBornMoody(Honest):
    """Every instance of the third seed answers differently."""

    breaks = "law_seed_decides_answers"
    _births: ClassVar[Any] = itertools.count()

    def __init__(self, mdp: TabularMDP, seed: int, beta: float, mistake_rate: float) -> None:
        super().__init__(mdp, seed, beta, mistake_rate)
        self._stream = key(next(self._births) if seed == 3 else seed, "birth")


class IgnoresItsSeed(Honest):
    """Every seed gives the same answers."""

    breaks = "law_seed_decides_answers"

    def __init__(self, mdp: TabularMDP, seed: int, beta: float, mistake_rate: float) -> None:
        super().__init__(mdp, 0, beta, mistake_rate)


class IsSurerThanItSays(Honest):
    """Answers with twice the log odds that it states."""

    breaks = "law_counts_match"

    def draw(self, probabilities: FloatArray, context: AnswerContext) -> npt.NDArray[np.int8]:
        sharp = probabilities**2
        return super().draw(sharp / sharp.sum(axis=1, keepdims=True), context)


class DrawsTheImpossible(Honest):
    """Says TIE once in a thousand answers, although it gives TIE no probability."""

    breaks = "law_counts_match"

    def draw(self, probabilities: FloatArray, context: AnswerContext) -> npt.NDArray[np.int8]:
        is_lost = counter_uniforms(key(0, "tie"), context.query_id) < 1e-3
        return np.where(is_lost, 2, super().draw(probabilities, context)).astype(np.int8)


class AppliesItsRateTwice(Honest):
    """Errs at ε² where ε was asked for, as B-Pref does with its thresholds from the second round on."""

    breaks = "law_mistakes_flip_at_their_rate"

    def respond(self, beta: float, mistake_rate: float) -> Response:
        return Mistakes(Boltzmann(beta), mistake_rate**2)


class NeverGuesses(Honest):
    """Has a floor under β."""

    breaks = "law_beta_has_its_limits"

    def respond(self, beta: float, mistake_rate: float) -> Response:
        return Mistakes(Boltzmann(max(beta, 0.01)), mistake_rate)


class Lapses(Honest):
    """Guesses once in fifty answers however sure it is."""

    breaks = "law_beta_has_its_limits"

    def probabilities_from_values(
        self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None
    ) -> FloatArray:
        return 0.98 * super().probabilities_from_values(first, second) + 0.02 * np.array([0.5, 0.5, 0, 0])


class IsUnsureInACrowd(Honest):
    """One of two humans, who guesses once in fifty answers however sure."""

    breaks = "law_beta_has_its_limits"
    n_annotators = 2

    def probabilities_from_values(
        self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None
    ) -> FloatArray:
        return 0.98 * super().probabilities_from_values(first, second) + 0.02 * np.array([0.5, 0.5, 0, 0])


class BreaksTiesForTheFirst(Honest):
    """Says FIRST where both sides are one and the same."""

    breaks = "law_identical_segments_are_even"

    def probabilities_from_values(
        self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None
    ) -> FloatArray:
        plain = super().probabilities_from_values(first, second)
        return np.where((first == second)[:, None], np.array([1.0, 0, 0, 0]), plain)


class PaysTheDead(Honest):
    """Adds up whatever gold stands on absorbing steps."""

    breaks = "law_absorbing_steps_count_nothing"

    def values(self, scored: ScoredSegments) -> FloatArray:
        padding: FloatArray = np.where(scored.segments.absorbing, scored.gold_rewards, 0.0).sum(axis=1)
        return super().values(scored) + padding


class TidiesUp(Honest):
    """Blanks padded gold in the caller's own array."""

    breaks = "law_inputs_are_left_alone"

    def values(self, scored: ScoredSegments) -> FloatArray:
        scored.gold_rewards[scored.segments.absorbing] = 0.0
        return super().values(scored)


class BorrowsTheGlobalGenerator(Honest):
    """Draws from numpy's global generator and throws the draw away."""

    breaks = "law_global_generators_rest"

    def values(self, scored: ScoredSegments) -> FloatArray:
        np.random.random()
        return super().values(scored)


class BeginsRoundsAtRandom(Honest):
    """Moves Python's global generator when a round begins."""

    breaks = "law_global_generators_rest"

    def begin_round(self, stats: Mapping[str, float]) -> None:
        __import__("random").random()


class JudgesWithAnOldValue(Honest):
    """Keeps V of the first MDP where gold was shaped."""

    breaks = "law_regret_ignores_shaping"

    def judge(self, mdp: TabularMDP) -> Any:
        is_shaped_at_most = np.array_equal(mdp.transitions, WORLD.mdp.transitions)
        return Regret(TabularExpert(WORLD.mdp if is_shaped_at_most else mdp))


class KnowsOnlyANovice(Honest):
    """Measures regret in luck-free worlds against the optimum, elsewhere against the uniformly random policy."""

    breaks = "law_regret_is_advantage_in_the_mean"

    def judge(self, mdp: TabularMDP) -> Any:
        expert = TabularExpert(mdp)
        if not np.isin(mdp.transitions, (0.0, 1.0)).all():
            expert._v = evaluate_policy(mdp, np.full((mdp.n_states, mdp.n_actions), 1 / mdp.n_actions))
        return Regret(expert)


class ForgetsTheEnd(Honest):
    """Judges only the first step of a segment."""

    breaks = "law_regret_is_summed_advantage_if_deterministic"

    def judged(self, scored: ScoredSegments) -> FloatArray:
        gold, v = scored.gold_rewards[:, 0], self.judgment.value_fn  # type: ignore[attr-defined]
        states = scored.segments.observations
        return np.asarray(gold + v.gamma * v.values(states[:, 1]) - v.values(states[:, 0]), dtype=np.float64)


class HashesItsName(Honest):
    """Seeds its answers by the hash of a string, which is another one in every process."""

    breaks = "law_answers_are_the_same_elsewhere"

    def __init__(self, mdp: TabularMDP, seed: int, beta: float, mistake_rate: float) -> None:
        super().__init__(mdp, seed, beta, mistake_rate)
        self._stream = key(seed, f"oracle {hash('liar') % 1000}")


class MultipliesEveryRound(Honest):
    """Multiplies its threshold again every round: B-Pref's published Equal teacher."""

    breaks = "law_rounds_alike_are_answered_alike"
    threshold = 0.5

    def begin_round(self, stats: Mapping[str, float]) -> None:
        super().begin_round(stats)
        self.threshold = 0.5 ** (1 + stats["round"])

    def probabilities_from_values(
        self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None
    ) -> FloatArray:
        tie = np.eye(4)[Choice.TIE]
        plain = super().probabilities_from_values(first, second)
        return np.asarray(np.where((np.abs(first - second) < self.threshold)[:, None], tie, plain))


class LooksAtWhatItDidNotDeclare(Honest):
    """Says that it reads gold only, and likes the third action."""

    breaks = "law_only_what_is_declared_is_read"
    tags = OracleTags(reads_observations=False)

    def judge(self, mdp: TabularMDP) -> Any:
        return PartialReturn()

    def judged(self, scored: ScoredSegments) -> FloatArray:
        liked = (scored.segments.actions == 2) & scored.segments.valid
        return np.asarray(super().judged(scored) + 0.1 * liked.sum(axis=1))


class LeansMoreThanItSays(Honest):
    """Declares a bias of log odds ½ for the first, and has one of 0.6."""

    breaks = "law_identical_segments_are_even"
    tags = OracleTags(p_first_if_same=1 / (1 + np.exp(-0.5)))

    def respond(self, beta: float, mistake_rate: float) -> Response:
        return OrderBias(super().respond(beta, mistake_rate), 0.6)


class TiesTooRarely(Honest):
    """Claims a fifth of ties, and has its threshold squared."""

    breaks = "law_fitted_rates_are_met"
    tags = OracleTags(tie_rate=0.2)
    squares = True

    def __init__(self, mdp: TabularMDP, seed: int, beta: float, mistake_rate: float) -> None:
        super().__init__(mdp, seed, beta, mistake_rate)
        values = self.judgment.values(regolded(WORLD.pool, mdp))
        first, second = np.triu_indices(len(values), k=1)
        self.response = self.now = self.fitted(values[first], values[second], Mistakes(Boltzmann(beta), mistake_rate))

    def fitted(self, first: FloatArray, second: FloatArray, inner: Response) -> Response:
        threshold = float(np.quantile(np.abs(first - second), 0.2))
        return ThresholdTies(inner, threshold**2 if self.squares else threshold)


class SkipsTooOften(TiesTooRarely):
    """Claims a fifth of skips, and skips by the worse side."""

    breaks = "law_fitted_rates_are_met"
    tags = OracleTags(skip_rate=0.2)

    def fitted(self, first: FloatArray, second: FloatArray, inner: Response) -> Response:
        return SkipsBelow(inner, float(np.quantile(np.maximum(first, second), 0.4)))


class Ranks(Honest):
    """A hierarchy over both factors, its margins fitted on a pool: every liar about hierarchies is one but for one thing."""

    tags = OracleTags(is_hierarchy=True, has_order=False, takes_beta=False, reads_observations=False)

    def __init__(
        self, mdp: TabularMDP, seed: int, beta: float, mistake_rate: float, pool: ScoredSegments | None = None
    ) -> None:
        self.pool = regolded(WORLD.pool, mdp) if pool is None else pool
        super().__init__(mdp, seed, beta, mistake_rate)
        self.reference = self.judgment.values(self.pool)

    def judge(self, mdp: TabularMDP) -> Any:
        return SegmentFeatures(FACTOR_NAMES, FACTOR_NAMES, "sum")

    def respond(self, beta: float, mistake_rate: float) -> Response:
        return Mistakes(self.ranked(self.judge(self.mdp_of()).values(self.pool).std(axis=0)), mistake_rate)

    def mdp_of(self) -> Any:
        return None

    def ranked(self, spreads: FloatArray) -> Response:
        return Hierarchy([Level("one", margin=0.5), Level("other", margin=0.2)], spreads)


class MeasuresInRawUnits(Ranks):
    """Takes margins in the factors' own units, whatever these are."""

    breaks = "law_a_hierarchy_knows_no_scale"

    def ranked(self, spreads: FloatArray) -> Response:
        return Hierarchy([Level("one"), Level("other")], np.ones(2))


class Proportions(Hierarchy):
    """Compares shares of the larger side, and no amounts."""

    def probabilities(self, first: FloatArray, second: FloatArray, context: AnswerContext | None = None) -> FloatArray:
        size = np.maximum(np.abs(first), np.abs(second)) + 1e-300
        return super().probabilities(first / size, second / size, context)


class JudgesByProportion(Ranks):
    """Asks by which share of the larger one a factor differs, and so has no margin of its own."""

    breaks = "law_a_hierarchy_keeps_its_margins"

    def ranked(self, spreads: FloatArray) -> Response:
        return Proportions([Level("one", margin=0.5), Level("other", margin=0.2)], np.ones(2))


class HonestlyTies(TiesTooRarely):
    """Ties a fifth of the pairs, as it says."""

    breaks = ""
    squares = False


class HonestlySkips(SkipsTooOften):
    """Skips a fifth of the pairs, as it says."""

    breaks = ""

    def fitted(self, first: FloatArray, second: FloatArray, inner: Response) -> Response:
        return SkipsBelow(inner, float(np.quantile(np.maximum(first, second), 0.2)))


class HonestlyLeans(LeansMoreThanItSays):
    """Has the bias that it declares."""

    breaks = ""

    def respond(self, beta: float, mistake_rate: float) -> Response:
        return OrderBias(Mistakes(Boltzmann(beta), mistake_rate), 0.5)


class HonestlySure(Honest):
    """Never errs: there is nothing to draw."""

    breaks = ""
    tags = OracleTags(takes_beta=False)

    def respond(self, beta: float, mistake_rate: float) -> Response:
        return Mistakes(Argmax(), mistake_rate)


def kinds(base: type[Honest]) -> list[type[Honest]]:
    """Returns a class and all its subclasses."""
    return [base, *(each for kind in base.__subclasses__() for each in kinds(kind))]


Honest.breaks = Ranks.breaks = ""
LIARS = [kind for kind in kinds(Honest) if kind.breaks]
HONEST = [kind for kind in kinds(Honest) if not kind.breaks]


def make(
    kind: type[Honest], mdp: TabularMDP, *, seed: int = 0, beta: float | None = None, mistake_rate: float | None = None, **more: Any
) -> Oracle:
    return kind(mdp, seed, 1.0 if beta is None else beta, mistake_rate or 0.0, **more)


def broken_laws(kind: type[Honest]) -> list[str]:
    """Returns the names of the laws that `kind` fails."""
    broken = []
    case = OracleCase(partial(make, kind), kind.tags, WORLD)
    for name, law in LAWS.items():
        try:
            law(case)
        except LawBroken:
            broken.append(name)
        except SaysNothing:
            pass
    return broken


@pytest.mark.parametrize("liar", LIARS, ids=lambda kind: kind.__name__)
def test_each_liar_fails_exactly_the_law_about_its_fault(liar: type[Honest]) -> None:
    assert broken_laws(liar) == [liar.breaks]


@pytest.mark.parametrize("kind", HONEST, ids=lambda kind: kind.__name__)
def test_the_honest_fail_no_law(kind: type[Honest]) -> None:
    assert broken_laws(kind) == []


def test_each_law_has_a_liar() -> None:
    assert {liar.breaks for liar in LIARS} == set(LAWS)


def test_partial_return_is_caught_by_the_laws_of_regret_only() -> None:
    class Returns(Honest):
        breaks = "every law of regret"

        def judge(self, mdp: TabularMDP) -> Any:
            return PartialReturn()

    assert broken_laws(Returns) == [name for name in LAWS if "regret" in name]
