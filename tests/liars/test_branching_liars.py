"""Regret by branching against exact regret on finite tasks, and broken ways to branch that each claim is there to catch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest

from preflab import envs
from preflab.envs import BranchedValue, BranchSettings
from preflab.envs.tabular_physics import TabularPhysics
from preflab.experts import EpsilonRandom, TabularExpert
from preflab.interfaces import Judgment, StateValue
from preflab.oracles import BranchedRegret, Regret
from preflab.oracles.judgments import real_steps, weighted_sum
from preflab.tabular import TabularMDP
from preflab.testing.oracles import random_world
from preflab.types import AnyArray, FloatArray, ScoredSegments, ScoredStore

TAIL, TOLERANCE = 1e-11, 1e-9
LENGTH = 6
N_SEGMENTS = 20
SURE = random_world(1, is_deterministic=True).mdp  # its terminal pays and moves on if it is followed, as no other task's does


@pytest.fixture(autouse=True)
def sure_mdp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds a deterministic random MDP to the tasks."""
    def build(form: str) -> TabularPhysics:
        return TabularPhysics(SURE, SURE.rewards[..., None], lambda state, width, height: np.zeros((height, width, 3), np.uint8))

    task = envs.Task("sure-mdp", {"fixed": 15, "terminating": 15}, ("reward",), "", "", build, lambda form: SURE)
    monkeypatch.setitem(envs.TASKS, "sure-mdp", task)


@dataclass(frozen=True, eq=False)
class Case:
    """Segments of a task with the states at both ends, and the exact expert."""

    name: str
    form: str
    expert: TabularExpert
    scored: ScoredSegments


@cache
def case(name: str, form: str, epsilon: float) -> Case:
    """Collects segments of an expert who acts at random with probability `epsilon`."""
    mdp = envs.task(name).mdp(form)
    assert isinstance(mdp, TabularMDP)
    expert = TabularExpert(mdp)
    venv = envs.make_vec(name, form, 4, 3)
    policy = EpsilonRandom(expert, mdp.n_actions, epsilon)
    rng = np.random.default_rng(0) if epsilon else None
    store = ScoredStore(envs.collect(venv, policy, 12, rng, keep_states=True))
    index = store.store.admissible(LENGTH)
    scored = store.gather(index[:: max(1, len(index) // N_SEGMENTS)], states="ends")
    spoiled = np.where(scored.segments.absorbing, 1e3, scored.gold_rewards)
    return Case(name, form, expert, replace(scored, gold_rewards=spoiled))


class Honest:
    """Branches as it should; a liar overrides one part."""

    breaks: ClassVar[set[str]] = set()

    def copy(self, name: str, form: str) -> envs.HiddenGold:
        return envs.HiddenGold(name, form, reveal_gold=True)

    def policy(self, expert: TabularExpert) -> Any:
        return expert

    def judge(self, value: StateValue) -> Judgment:
        return BranchedRegret(value)

    def values(self, given: Case) -> FloatArray:
        """Returns the values of the case's segments under a fresh memory."""
        copies = [self.copy(given.name, given.form) for _ in range(5)]
        for copy in copies:
            copy.reset(seed=1)
        settings = BranchSettings(given.expert.gamma, TAIL if given.name != "delivery-gridworld" else 0.9)
        return self.judge(BranchedValue(copies, self.policy(given.expert), settings)).values(given.scored)


def luck_free(liar: Honest, name: str, form: str) -> float:
    """Where transitions are sure, branching = realized = expected, all with weights γ^t, segment by segment."""
    given = case(name, form, 0.5)
    segments = given.scored.segments
    assert form == "fixed" or (segments.absorbing.any() and (~segments.terminated.any(axis=1)).any())
    exact = [Regret(given.expert, kind, "discounted").values(given.scored) for kind in ("realized", "expected")]
    assert np.abs(exact[0] - exact[1]).max() < TOLERANCE
    return float(np.abs(liar.values(given) - exact[0]).max())


def own_luck(liar: Honest) -> float:
    """The expert's own segments have no regret even where transitions are random: a branch meets the luck they met."""
    return float(np.abs(liar.values(case("random-mdp", "fixed", 0.0))).max())


def repeats(liar: Honest) -> float:
    """Valuing the same segments anew, with a fresh memory, gives the same values to the bit."""
    given = case("random-mdp", "terminating", 0.5)
    return float(np.abs(liar.values(given) - liar.values(given)).max())


CLAIMS: dict[str, Callable[[Honest], float]] = {
    "sure mdp, terminating": lambda liar: luck_free(liar, "sure-mdp", "terminating"),
    "board, terminating": lambda liar: luck_free(liar, "delivery-gridworld", "terminating"),
    "board, fixed": lambda liar: luck_free(liar, "delivery-gridworld", "fixed"),
    "own luck": own_luck,
    "repeats": repeats,
}


class ForgetsTheGenerator(Honest):
    """Restores where a state is, but not what luck it was about to meet."""

    breaks: ClassVar[set[str]] = {"own luck", "repeats"}
    _births = np.random.default_rng(0)

    def copy(self, name: str, form: str) -> envs.HiddenGold:
        births = self._births

        class Lucky(envs.HiddenGold):
            def restore_state(self, state: FloatArray, *, n_elapsed: int | None = None) -> AnyArray:
                obs = super().restore_state(state, n_elapsed=n_elapsed)
                self.physics.rng.bit_generator.state = np.random.PCG64(int(births.integers(2**40))).state
                return obs

        return Lucky(name, form, reveal_gold=True)


class HeedsTheClock(Honest):
    """Ends a branch where an episode would."""

    breaks: ClassVar[set[str]] = {"sure mdp, terminating", "own luck"}  # on the board, a driver arrives before that

    def copy(self, name: str, form: str) -> envs.HiddenGold:
        class Punctual(envs.HiddenGold):
            def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
                obs, reward, terminated, truncated, info = super().step(action)
                return obs, reward, terminated or truncated, truncated, info

        return Punctual(name, form, reveal_gold=True)


class KeepsTheHour(HeedsTheClock):
    """Ends a branch where the state's own episode would have: it restores the clock too."""

    def copy(self, name: str, form: str) -> envs.HiddenGold:
        class Late(envs.HiddenGold):
            def restore_state(self, state: FloatArray, *, n_elapsed: int | None = None) -> AnyArray:
                return super().restore_state(state, n_elapsed=self.horizon - 3)

            def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
                obs, reward, terminated, truncated, info = super().step(action)
                return obs, reward, terminated or truncated, truncated, info

        return Late(name, form, reveal_gold=True)

    breaks: ClassVar[set[str]] = {"sure mdp, terminating", "board, terminating", "board, fixed", "own luck"}


class FollowsAStochasticExpert(Honest):
    """Follows an expert who still explores."""

    breaks: ClassVar[set[str]] = set(CLAIMS)
    _draws = np.random.default_rng(0)

    def policy(self, expert: TabularExpert) -> Any:
        draws, explorer = self._draws, EpsilonRandom(expert, 3, 0.2)

        class Explores:
            def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
                return explorer.act(obs, draws)

        return Explores()


class Telescopes(BranchedRegret):
    """The true judgment, with each part in a method."""

    def after(self, ends: FloatArray, ended: AnyArray) -> FloatArray:
        found = self.value.values_of_states(ends)
        return np.where(ended, 0.0, found)

    def discount(self, length: int) -> float:
        return float(self.value.gamma**length)

    def counted(self, scored: ScoredSegments) -> AnyArray:
        return real_steps(scored.segments)

    def values(self, scored: ScoredSegments) -> FloatArray:
        ends, ended = scored.end_states(), np.asarray(scored.segments.terminated.any(axis=1))
        earned = weighted_sum(scored.gold_rewards, self.counted(scored), self.value.gamma)
        after = self.discount(scored.segments.length) * self.after(ends[:, 1], ended)
        return np.asarray(earned + after - self.value.values_of_states(ends[:, 0]), dtype=np.float64)


class Rewritten(Honest):
    """Judges by `Telescopes`, which is true."""

    def judge(self, value: StateValue) -> Judgment:
        return Telescopes(value)


class ForgetsTheLastDiscount(Honest):
    """Adds V(s_L) where γ^L V(s_L) is due."""

    breaks: ClassVar[set[str]] = {"sure mdp, terminating", "board, terminating", "board, fixed", "own luck"}

    def judge(self, value: StateValue) -> Judgment:
        class Undiscounted(Telescopes):
            def discount(self, length: int) -> float:
                return 1.0

        return Undiscounted(value)


class ValuesTheDead(Honest):
    """Follows the expert from a terminal too."""

    breaks: ClassVar[set[str]] = {"sure mdp, terminating"}  # nothing is paid after the other tasks' terminals

    def judge(self, value: StateValue) -> Judgment:
        class Revives(Telescopes):
            def after(self, ends: FloatArray, ended: AnyArray) -> FloatArray:
                return self.value.values_of_states(ends)

        return Revives(value)


class PaysForThePadding(Honest):
    """Adds up whatever gold stands on absorbing steps."""

    breaks: ClassVar[set[str]] = {"sure mdp, terminating", "board, terminating"}

    def judge(self, value: StateValue) -> Judgment:
        class Pays(Telescopes):
            def counted(self, scored: ScoredSegments) -> AnyArray:
                return np.ones_like(scored.segments.valid)

        return Pays(value)


LIARS: list[type[Honest]] = [Honest, *Honest.__subclasses__(), *HeedsTheClock.__subclasses__()]


@pytest.mark.parametrize("liar", LIARS, ids=lambda kind: kind.__name__)
def test_each_liar_breaks_exactly_its_claims(liar: type[Honest]) -> None:
    errors = {name: claim(liar()) for name, claim in CLAIMS.items()}
    assert {name for name, error in errors.items() if error > TOLERANCE} == liar.breaks, errors
    assert all(error > 1e-3 for name, error in errors.items() if name in liar.breaks), errors


def test_every_claim_catches_a_liar() -> None:
    assert set.union(*(liar.breaks for liar in LIARS)) == set(CLAIMS)


def test_where_transitions_are_random_branching_is_expected_regret_in_the_mean() -> None:
    """One segment's start and actions, under 300 generators: the mean difference from Σ γ^t [Q − V] vanishes."""
    mdp = envs.task("random-mdp").mdp("terminating")
    assert isinstance(mdp, TabularMDP)
    expert = TabularExpert(mdp)

    class Script:
        """Takes action t mod 4 in the t-th step, whatever it sees."""

        def __init__(self) -> None:
            self._t = -1

        def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
            self._t += 1
            return np.full(len(obs), self._t % 4, dtype=np.int64)

    venv = envs.make_vec("random-mdp", "terminating", 300, 11)
    store = ScoredStore(envs.collect(venv, Script(), 300, None, keep_states=True))
    index = store.store.admissible(LENGTH)
    scored = store.gather(index[index.start == 0], states="ends")
    value = envs.branched_value("random-mdp", "terminating", expert, BranchSettings(expert.gamma, 1e-4))
    by_branching = BranchedRegret(value).values(scored)
    expected = Regret(expert, "expected", "discounted").values(scored)
    difference = by_branching - expected
    assert len(difference) > 270 and difference.std() > 0.5
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(difference))  # false alarms: 6e-5 of seeds; it is fixed
