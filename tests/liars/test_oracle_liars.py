"""Broken oracles: each fails exactly the law that is about its fault, so each law has a reason to be there."""

import itertools
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from preflab.experts import TabularExpert
from preflab.interfaces import AnswerContext, Oracle, Response
from preflab.oracles import Boltzmann, ComposedOracle, Mistakes, PartialReturn, Regret
from preflab.seeding import counter_uniforms, key
from preflab.tabular import TabularMDP, evaluate_policy
from preflab.testing import LawBroken
from preflab.testing.oracles import ORACLE_LAWS, REGRET_LAWS, random_world
from preflab.types import FloatArray, ScoredSegments

LAWS = ORACLE_LAWS | REGRET_LAWS
WORLD = random_world()


class Honest(ComposedOracle):
    """Regret, Boltzmann, mistakes: every liar tells the truth but for one thing."""

    breaks: ClassVar[str]

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


class LikesTheFirst(Honest):
    """Leans to whatever is shown first when it is neither sure nor torn."""

    breaks = "law_swapping_mirrors"

    def probabilities_from_values(self, first: FloatArray, second: FloatArray) -> FloatArray:
        q = 1 / (1 + np.exp(-np.clip(self.beta * (first - second), -500, 500)))
        lean: FloatArray = 0.5 * q * (1 - q) * (2 * q - 1) ** 2
        lean *= 1 - 2 * self.response.rate  # type: ignore[attr-defined]
        shift: FloatArray = lean[:, None] * np.array([1.0, -1.0, 0.0, 0.0])
        return super().probabilities_from_values(first, second) + shift


class GradesOnACurve(Honest):
    """Compares a pair's gap with the gaps of its batch mates."""

    breaks = "law_batching_changes_nothing"

    def probabilities_from_values(self, first: FloatArray, second: FloatArray) -> FloatArray:
        spread = np.abs(first - second).max(initial=0.0) + 1.0
        return super().probabilities_from_values(first / spread, second / spread)


class CountsItsAnswers(Honest):
    """Draws by position in the batch, not by query."""

    breaks = "law_batching_changes_nothing"

    def draw(self, probabilities: FloatArray, context: AnswerContext) -> npt.NDArray[np.int8]:
        uniforms = counter_uniforms(self._stream, np.arange(len(probabilities)))
        return np.asarray(uniforms >= probabilities[:, 0], dtype=np.int8)


class IsBornMoody(Honest):
    """Every instance answers differently, whatever the seed."""

    breaks = "law_seed_decides_answers"
    _births: ClassVar[Any] = itertools.count()

    def __init__(self, mdp: TabularMDP, seed: int, beta: float, mistake_rate: float) -> None:
        super().__init__(mdp, seed, beta, mistake_rate)
        self._stream = key(next(self._births) % 2, "birth")


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

    def probabilities_from_values(self, first: FloatArray, second: FloatArray) -> FloatArray:
        return 0.98 * super().probabilities_from_values(first, second) + 0.02 * np.array([0.5, 0.5, 0, 0])


class IsUnsureInACrowd(Honest):
    """One of two humans, who guesses once in fifty answers however sure."""

    breaks = "law_beta_has_its_limits"
    n_annotators = 2

    def probabilities_from_values(self, first: FloatArray, second: FloatArray) -> FloatArray:
        return 0.98 * super().probabilities_from_values(first, second) + 0.02 * np.array([0.5, 0.5, 0, 0])


class BreaksTiesForTheFirst(Honest):
    """Says FIRST where both sides are one and the same."""

    breaks = "law_identical_segments_are_even"

    def probabilities_from_values(self, first: FloatArray, second: FloatArray) -> FloatArray:
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

    def values(self, scored: ScoredSegments) -> FloatArray:
        gold, v = scored.gold_rewards[:, 0], self.judgment.value_fn  # type: ignore[attr-defined]
        states = scored.segments.observations
        return np.asarray(gold + v.gamma * v.values(states[:, 1]) - v.values(states[:, 0]), dtype=np.float64)


LIARS = Honest.__subclasses__()


def make(
    kind: type[Honest], mdp: TabularMDP, *, seed: int = 0, beta: float | None = None, mistake_rate: float | None = None
) -> Oracle:
    return kind(mdp, seed, 1.0 if beta is None else beta, mistake_rate or 0.0)


def broken_laws(kind: type[Honest]) -> list[str]:
    """Returns the names of the laws that `kind` fails."""
    broken = []
    for name, law in LAWS.items():
        try:
            law(lambda mdp, **settings: make(kind, mdp, **settings), WORLD)
        except LawBroken:
            broken.append(name)
    return broken


@pytest.mark.parametrize("liar", LIARS, ids=lambda kind: kind.__name__)
def test_each_liar_fails_exactly_the_law_about_its_fault(liar: type[Honest]) -> None:
    assert broken_laws(liar) == [liar.breaks]


def test_the_honest_oracle_fails_no_law() -> None:
    assert broken_laws(Honest) == []


def test_each_law_has_a_liar() -> None:
    assert {liar.breaks for liar in LIARS} == set(LAWS)


def test_partial_return_is_caught_by_the_laws_of_regret_only() -> None:
    class Returns(Honest):
        def judge(self, mdp: TabularMDP) -> Any:
            return PartialReturn()

    assert broken_laws(Returns) == list(REGRET_LAWS)
