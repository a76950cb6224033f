"""Broken environments: each fails exactly the law that is about its fault; an honest one, not made here, fails none."""

from dataclasses import replace
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper

from preflab import envs
from preflab.envs.physics import N_GENERATOR_WORDS, generator_words, restore_generator
from preflab.errors import InvalidArgument
from preflab.testing import EnvFacts, LawBroken, check_env
from preflab.testing.driving import facts_of
from preflab.testing.envs import ENV_LAWS
from preflab.testing.laws import SaysNothing
from preflab.types import AnyArray

Single = npt.NDArray[np.float32]
HORIZON = 12


class Honest(gym.Env[Any, Any]):
    """A walk in the plane, pushed along x, with a user's own way to keep gold: every liar is this but for one thing."""

    breaks: ClassVar[str]
    form: ClassVar[str] = "fixed"
    has_vec: ClassVar[bool] = True
    factor_names: ClassVar[tuple[str, ...]] = ("place", "effort")
    observation_space = gym.spaces.Box(-5.0, 5.0, (2,), np.float32)
    action_space: gym.Space[Any] = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self) -> None:
        self.place: Single = np.zeros(2, np.float32)
        self.n_elapsed = 0
        self.gold = envs.Gold(0.0, np.zeros(2))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.n_elapsed = 0
        self.place = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.shown(), {}

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.n_elapsed += 1
        noise = self.np_random.uniform(-0.1, 0.1, 2)
        self.place = (0.9 * self.place + np.array([self.push(action), 0.0]) + noise).astype(np.float32)
        self.gold = self.pay(float(action[0]))
        terminated, truncated = self.ends()
        return self.shown(), 0.0, terminated, truncated, self.info()

    def push(self, action: Any) -> float:
        return float(np.clip(action, -1, 1)[0])

    def pay(self, force: float) -> envs.Gold:
        factors = np.array([-float(np.abs(self.place).sum()), -0.1 * force**2])
        return envs.Gold(float(factors.sum()), factors)

    def ends(self) -> tuple[Any, Any]:
        return self.form == "terminating" and abs(self.place[0]) > 1.5, self.n_elapsed >= HORIZON

    def info(self) -> dict[str, Any]:
        return {}

    def shown(self) -> AnyArray:
        return self.place.copy()

    def words(self) -> list[float]:
        return []

    def take_words(self, words: list[float]) -> None:
        pass

    def save_state(self) -> AnyArray:
        return np.array([self.n_elapsed, *generator_words(self.np_random), *self.place, *self.words()])

    def restore_state(self, state: AnyArray) -> AnyArray:
        restore_generator(self.np_random, state[1 : 1 + N_GENERATOR_WORDS])
        self.n_elapsed, rest = int(state[0]), state[1 + N_GENERATOR_WORDS :]
        self.place = rest[:2].astype(np.float32)
        self.take_words(list(rest[2:]))
        return self.shown()

    def draw(self) -> AnyArray:
        return np.full((4, 6, 3), int(50 + 10 * self.place[0]), np.uint8)

    @classmethod
    def make_vec(cls, n_envs: int, seed: int) -> Any:
        venv = DummyVecEnv([cls] * n_envs)
        venv.seed(seed)
        return venv


def facts_about(kind: type[Honest]) -> EnvFacts:
    def set_elapsed(env: Any, n: int) -> None:
        env.n_elapsed = n

    def gold(env: Any) -> Any:
        return env.gold

    def draw(env: Any) -> Any:
        return env.draw()

    make_vec = kind.make_vec if kind.has_vec else None
    return EnvFacts(HORIZON, kind.form, gold, kind.factor_names, True, set_elapsed, draw, make_vec, n_steps=30)


class CountsItsFlags(Honest):
    """Says 0 and 1 where truth values belong."""

    breaks = "law_the_interface_is_gymnasiums"

    def ends(self) -> tuple[Any, Any]:
        terminated, truncated = super().ends()
        return int(terminated), int(truncated)


class PaysInAnArray(Honest):
    """Pays an array of no dimension."""

    breaks = "law_the_interface_is_gymnasiums"

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        obs, reward, *rest = super().step(action)
        return obs, np.array(reward), *rest


class HasNothingToSay(Honest):
    """Gives None where infos belong."""

    breaks = "law_the_interface_is_gymnasiums"
    has_vec = False

    def info(self) -> Any:
        return None


class HasNothingToSayAtFirst(Honest):
    """Gives None where a reset's info belongs."""

    breaks = "law_the_interface_is_gymnasiums"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        return super().reset(seed=seed)[0], None


class TakesManyChoices(Honest):
    """Has actions that no agent here takes."""

    breaks = "law_the_interface_is_gymnasiums"
    action_space = gym.spaces.MultiDiscrete([3], start=[-1])


class LeavesItsSpace(Honest):
    """Declares less room than it walks in."""

    breaks = "law_observations_are_in_their_space"
    observation_space = gym.spaces.Box(-0.5, 0.5, (2,), np.float32)


class ShowsDoubles(Honest):
    """Shows float64 where its space says float32."""

    breaks = "law_observations_are_in_their_space"

    def shown(self) -> AnyArray:
        return self.place.astype(np.float64)


class ShowsAColumn(Honest):
    """Shows (2, 1) where its space says (2,)."""

    breaks = "law_observations_are_in_their_space"
    has_vec = False

    def shown(self) -> AnyArray:
        return self.place[:, None].copy()


class ShowsInfinity(Honest):
    """Shows an unbounded distance when it stands still."""

    breaks = "law_observations_are_in_their_space"
    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def shown(self) -> AnyArray:
        return np.where(self.n_elapsed == 5, np.inf, self.place).astype(np.float32)


class PaysGold(Honest):
    """Pays gold to whoever steps."""

    breaks = "law_the_reward_shown_is_zero"

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        obs, _, *rest = super().step(action)
        return obs, self.gold.reward, *rest


class TellsAFactor(Honest):
    """Has a factor in its infos, under Gymnasium's own name."""

    breaks = "law_infos_hold_no_gold"

    def info(self) -> dict[str, Any]:
        return {"reward_place": self.gold.factors[0]}


class TellsInCode(Honest):
    """Has an increasing function of gold deep in its infos."""

    breaks = "law_infos_hold_no_gold"

    def info(self) -> dict[str, Any]:
        return {"debug": [np.array([3.0, np.exp(self.gold.reward)])]}


class TellsWhenItIsOver(Honest):
    """Sums gold up at the end of an episode, as a Monitor inside would."""

    breaks = "law_infos_hold_no_gold"
    total = 0.0

    def pay(self, force: float) -> envs.Gold:
        gold = super().pay(force)
        self.total = gold.reward + (self.total if self.n_elapsed > 1 else 0.0)
        return gold

    def words(self) -> list[float]:
        return [self.total]

    def take_words(self, words: list[float]) -> None:
        (self.total,) = words

    def info(self) -> dict[str, Any]:
        return {"episode": {"r": self.total}} if any(self.ends()) else {}


class TellsTheSumSoFar(TellsWhenItIsOver):
    """Tells twice the sum of gold so far, so that no number is gold itself."""

    breaks = "law_infos_hold_no_gold"

    def info(self) -> dict[str, Any]:
        return {"progress": 2 * self.total}


class TellsAtReset(Honest):
    """Tells the last gold of an episode when the next one begins."""

    breaks = "law_infos_hold_no_gold"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return super().reset(seed=seed)[0], {"last": self.gold.reward}


class LosesAFactor(Honest):
    """Has a factor that is not a number every now and then."""

    breaks = "law_gold_is_readable"

    def pay(self, force: float) -> envs.Gold:
        gold = super().pay(force)
        return envs.Gold(gold.reward, gold.factors * np.array([1.0, np.nan if self.n_elapsed == 5 else 1.0]))


class NamesTooFew(Honest):
    """Has three factors with two names."""

    breaks = "law_gold_is_readable"

    def pay(self, force: float) -> envs.Gold:
        gold = super().pay(force)
        return envs.Gold(gold.reward, np.append(gold.factors, 0.0))


class HasATableOfFactors(Honest):
    """Has factors in a row of a table."""

    breaks = "law_gold_is_readable"

    def pay(self, force: float) -> envs.Gold:
        gold = super().pay(force)
        return envs.Gold(gold.reward, gold.factors[None])


class HasOneNameForAll(Honest):
    """Calls both its factors by one name."""

    breaks = "law_gold_is_readable"
    factor_names = ("place", "place")


class AddsABonus(Honest):
    """Pays a bonus that is in no factor."""

    breaks = "law_gold_is_readable"

    def pay(self, force: float) -> envs.Gold:
        gold = super().pay(force)
        return envs.Gold(gold.reward + 0.01 * force, gold.factors)


class ReusesItsArray(Honest):
    """Fills one array again and again: every observation it gave out changes with it."""

    breaks = "law_earlier_observations_stay"
    has_vec = False

    def __init__(self) -> None:
        super().__init__()
        self.array: Single = np.zeros(2, np.float32)

    def shown(self) -> AnyArray:
        self.array[:] = self.place
        return self.array


class GivesItsStateAway(Honest):
    """Shows the very array that it goes on from."""

    breaks = "law_written_observations_change_nothing"

    def shown(self) -> AnyArray:
        return self.place


class ReusesItsFactors(Honest):
    """Keeps factors in one array."""

    breaks = "law_earlier_gold_stays"

    def __init__(self) -> None:
        super().__init__()
        self.factors = np.zeros(2)

    def pay(self, force: float) -> envs.Gold:
        gold = super().pay(force)
        self.factors[:] = gold.factors
        return envs.Gold(gold.reward, self.factors)


class ClipsInPlace(Honest):
    """Clips the caller's own array."""

    breaks = "law_actions_are_left_alone"

    def push(self, action: Any) -> float:
        return float(np.clip(action, -1, 1, out=action)[0])


class HalvesInPlace(Honest):
    """Halves the action in the caller's own array, within its bounds too."""

    breaks = "law_actions_are_left_alone"

    def push(self, action: Any) -> float:
        force = super().push(action)
        action *= 0.5
        return force


class KeepsTheArrayOfItsAction(Honest):
    """Has momentum from the last action, which it reads where the caller keeps it."""

    breaks = "law_actions_are_left_alone"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.last: AnyArray = np.zeros(1, np.float32)
        return super().reset(seed=seed)

    def push(self, action: Any) -> float:
        momentum = 0.1 * float(np.clip(self.last, -1, 1)[0])
        self.last = action
        return super().push(action) + momentum

    def words(self) -> list[float]:
        return [float(self.last[0])]

    def take_words(self, words: list[float]) -> None:
        self.last = np.array(words, np.float32)


class ObeysAnyForce(Honest):
    """Lets an action beyond its bounds push harder."""

    breaks = "law_actions_outside_are_clipped_or_refused"

    def push(self, action: Any) -> float:
        return float(action[0])


class TakesAnyNumber(Honest):
    """Reads every number as one of its two actions."""

    breaks = "law_actions_outside_are_clipped_or_refused"
    action_space = gym.spaces.Discrete(2)

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        return super().step(np.array([0.5 if action > 0 else -0.5], np.float32))


class BorrowsTheGlobalGenerator(Honest):
    """Draws from numpy's global generator at a reset and throws the draw away."""

    breaks = "law_global_generators_rest"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        np.random.random()
        return super().reset(seed=seed)


class CallsALimitAnEnd(Honest):
    """Says "terminated" when the time is up."""

    breaks = "law_a_time_limit_truncates"

    def ends(self) -> tuple[Any, Any]:
        terminated, truncated = super().ends()
        return terminated or truncated, False


class CallsALimitAnEndWhereThereAreOthers(CallsALimitAnEnd):
    """Says so in the terminating form, where some episodes do end."""

    breaks = "law_a_time_limit_truncates"
    form = "terminating"


class EndsEpisodesThatGoAstray(Honest):
    """Terminates in the fixed form."""

    breaks = "law_a_time_limit_truncates"

    def ends(self) -> tuple[Any, Any]:
        return abs(self.place[0]) > 1.0, super().ends()[1]


class CountsFromZero(Honest):
    """Cuts one step late."""

    breaks = "law_a_time_limit_truncates"

    def ends(self) -> tuple[Any, Any]:
        return False, self.n_elapsed > HORIZON


class NeverEnds(Honest):
    """Has no time limit."""

    breaks = "law_a_time_limit_truncates"

    def ends(self) -> tuple[Any, Any]:
        return False, False


class NeverEndsUnlessItTerminates(NeverEnds):
    """Has no time limit in the terminating form."""

    breaks = "law_a_time_limit_truncates"
    form = "terminating"


class CutsBadEpisodes(Honest):
    """Cuts an episode of the terminating form before its time."""

    breaks = "law_a_time_limit_truncates"
    form = "terminating"

    def ends(self) -> tuple[Any, Any]:
        return False, self.n_elapsed >= HORIZON - 1


class ForgetsItsClock(Honest):
    """Starts its clock anew only where it is seeded."""

    breaks = "law_a_time_limit_truncates"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        n_elapsed = 0 if seed is not None or self.n_elapsed >= HORIZON else self.n_elapsed
        first = super().reset(seed=seed)
        self.n_elapsed = n_elapsed
        return first


class RemembersItsPast(Honest):
    """Begins elsewhere the second time that it is seeded."""

    breaks = "law_a_seed_decides_everything"
    n_seeded = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.n_seeded += seed is not None
        self.place += np.float32(0.1 * (self.n_seeded > 1))
        return self.shown(), {}


class IgnoresItsSeed(Honest):
    """Takes every seed for 0."""

    breaks = "law_other_seeds_differ"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return super().reset(seed=None if seed is None else 0)


class IgnoresItsSeedInVec(IgnoresItsSeed):
    """Takes every seed for 0 in its vectorized form, where single environments do not."""

    breaks = "law_vectorized_equals_single"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return Honest.reset(self, seed=seed)

    @classmethod
    def make_vec(cls, n_envs: int, seed: int) -> Any:
        return IgnoresItsSeed.make_vec(n_envs, seed)


class StartsOver(Honest):
    """Seeds itself again at every reset, so that one episode comes again and again."""

    breaks = "law_a_reset_without_seed_goes_on"
    last_seed = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.last_seed = self.last_seed if seed is None else seed
        return super().reset(seed=self.last_seed)

    def words(self) -> list[float]:
        return [self.last_seed]

    def take_words(self, words: list[float]) -> None:
        self.last_seed = int(words[0])


class SharesItsWind(Honest):
    """Has one wind for all its instances."""

    breaks = "law_instances_are_independent"
    has_vec = False
    wind: ClassVar[list[float]] = [0.0]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.wind[0] = 0.0
        return super().reset(seed=seed)

    def push(self, action: Any) -> float:
        force = super().push(action)
        pushed, self.wind[0] = force + 0.1 * self.wind[0], force
        return pushed

    def words(self) -> list[float]:
        return list(self.wind)

    def take_words(self, words: list[float]) -> None:
        self.wind[:] = words


class ForgetsItsGenerator(Honest):
    """Restores everything but what is yet to be drawn."""

    breaks = "law_a_saved_state_repeats"

    def restore_state(self, state: AnyArray) -> AnyArray:
        before = generator_words(self.np_random)
        obs = super().restore_state(state)
        restore_generator(self.np_random, before)
        return obs


class ForgetsTheTime(Honest):
    """Gives a restored episode its whole horizon."""

    breaks = "law_a_saved_state_repeats"

    def restore_state(self, state: AnyArray) -> AnyArray:
        obs = super().restore_state(state)
        self.n_elapsed = 0
        return obs


class ForgetsItsMomentum(Honest):
    """Is pushed by its last action too, which it does not save."""

    breaks = "law_a_saved_state_repeats"
    last = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.last = 0.0
        return super().reset(seed=seed)

    def push(self, action: Any) -> float:
        before, self.last = self.last, super().push(action)
        return self.last + 0.1 * before


class ShowsNothingWhenRestored(Honest):
    """Restores a state and shows zeros."""

    breaks = "law_a_saved_state_repeats"

    def restore_state(self, state: AnyArray) -> AnyArray:
        return np.zeros_like(super().restore_state(state))


class TiresOfBeingSaved(Honest):
    """Slows down when it was saved five times since its reset."""

    breaks = "law_saving_changes_nothing"
    n_saved = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.n_saved = 0
        return super().reset(seed=seed)

    def save_state(self) -> AnyArray:
        self.n_saved += 1
        return super().save_state()

    def push(self, action: Any) -> float:
        return super().push(action) * (0.5 if self.n_saved > 5 else 1.0)


class SavesIntoOneArray(Honest):
    """Saves every state in the same place."""

    breaks = "law_saving_changes_nothing"

    def __init__(self) -> None:
        super().__init__()
        self.saved: AnyArray = np.zeros(3 + N_GENERATOR_WORDS)

    def save_state(self) -> AnyArray:
        self.saved[:] = super().save_state()
        return self.saved


class StirsWhenDrawn(Honest):
    """Adds grain from its own generator to a picture."""

    breaks = "law_drawing_changes_nothing"

    def draw(self) -> AnyArray:
        return super().draw() + self.np_random.integers(3, size=(4, 6, 3), dtype=np.uint8)


class DrawsInFractions(Honest):
    """Draws between 0 and 1."""

    breaks = "law_drawing_changes_nothing"

    def draw(self) -> AnyArray:
        return super().draw() / 255


class Liar(VecEnvWrapper):
    """An honest vectorized form, of which one thing is changed."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        return self.altered(*self.venv.step_wait())

    def altered(self, obs: Any, rewards: Any, dones: Any, infos: Any) -> Any:
        return obs, rewards, dones, infos


class VecShowsTheEnd(Honest):
    """Shows an episode's final observation where the next one's first belongs: the end is followed by a step."""

    breaks = "law_vectorized_equals_single"

    class Vec(Liar):
        def altered(self, obs: Any, rewards: Any, dones: Any, infos: Any) -> Any:
            for i in np.flatnonzero(dones):
                obs[i] = infos[i]["terminal_observation"]
            return obs, rewards, dones, infos

    @classmethod
    def make_vec(cls, n_envs: int, seed: int) -> Any:
        return cls.Vec(super().make_vec(n_envs, seed))


class VecLosesTheEnd(VecShowsTheEnd):
    """Has the next episode's first observation where the final one belongs."""

    breaks = "law_vectorized_equals_single"

    class Vec(Liar):
        def altered(self, obs: Any, rewards: Any, dones: Any, infos: Any) -> Any:
            for i in np.flatnonzero(dones):
                infos[i]["terminal_observation"] = obs[i].copy()
            return obs, rewards, dones, infos


class VecCallsALimitAnEnd(VecShowsTheEnd):
    """Does not say that an episode was cut."""

    breaks = "law_vectorized_equals_single"

    class Vec(Liar):
        def altered(self, obs: Any, rewards: Any, dones: Any, infos: Any) -> Any:
            return obs, rewards, dones, [{k: v for k, v in info.items() if k != "TimeLimit.truncated"} for info in infos]


class VecForgetsTheEnd(VecShowsTheEnd):
    """Never says that an episode is over."""

    breaks = "law_vectorized_equals_single"

    class Vec(Liar):
        def altered(self, obs: Any, rewards: Any, dones: Any, infos: Any) -> Any:
            return obs, rewards, np.zeros_like(dones), infos


class VecReusesItsBatch(VecShowsTheEnd):
    """Gives out one array of observations again and again."""

    breaks = "law_vectorized_equals_single"

    class Vec(Liar):
        batch: Any = None

        def altered(self, obs: Any, rewards: Any, dones: Any, infos: Any) -> Any:
            self.batch = obs if self.batch is None else self.batch
            self.batch[:] = obs
            return self.batch, rewards, dones, infos


class VecPays(VecShowsTheEnd):
    """Pays what single environments hide."""

    breaks = "law_vectorized_equals_single"

    class Vec(Liar):
        def altered(self, obs: Any, rewards: Any, dones: Any, infos: Any) -> Any:
            return obs, rewards + 1.5, dones, infos


class VecTells(VecShowsTheEnd):
    """Has gold in the infos of the vectorized form only."""

    breaks = "law_vectorized_equals_single"

    class Vec(Liar):
        def altered(self, obs: Any, rewards: Any, dones: Any, infos: Any) -> Any:
            for info, gold in zip(infos, self.venv.get_attr("gold"), strict=True):
                info["reward"] = gold.reward
            return obs, rewards, dones, infos


def subclasses(kind: type[Honest]) -> list[type[Honest]]:
    return [each for child in kind.__subclasses__() for each in (child, *subclasses(child))]


LIARS = subclasses(Honest)


def broken_laws(kind: type[Honest]) -> list[str]:
    """Returns the names of the laws that `kind` fails."""
    broken, facts = [], facts_about(kind)
    for name, law in ENV_LAWS.items():
        try:
            law(kind, facts)
        except LawBroken:
            broken.append(name)
        except SaysNothing:
            pass
    return broken


@pytest.mark.parametrize("liar", LIARS, ids=lambda kind: kind.__name__)
def test_each_liar_fails_exactly_the_law_about_its_fault(liar: type[Honest]) -> None:
    assert broken_laws(liar) == [liar.breaks]


def test_each_law_has_a_liar() -> None:
    assert {liar.breaks for liar in LIARS} == set(ENV_LAWS)


@pytest.mark.parametrize("form", ["fixed", "terminating"])
def test_an_honest_environment_of_a_user_keeps_every_law(form: str) -> None:
    kind = type("Formed", (Honest,), {"form": form})
    assert check_env(kind, facts_about(kind)) == {}


def test_harmless_numbers_in_infos_and_refused_actions_break_no_law() -> None:
    class Talks(Honest):
        def push(self, action: Any) -> float:
            if not self.action_space.contains(action):
                raise ValueError("no such action")
            return super().push(action)

        def info(self) -> dict[str, Any]:
            return {"step": self.n_elapsed, "dt": 0.05, "speeds": np.zeros(3), "place": self.place.tolist(), "name": "walk"}

    assert check_env(Talks, facts_about(Talks)) == {}


def test_what_cannot_be_checked_is_named_with_its_reason() -> None:
    bare = EnvFacts(HORIZON, n_steps=30)
    silent = check_env(Honest, bare)
    assert set(silent) == {
        "law_infos_hold_no_gold", "law_gold_is_readable", "law_earlier_gold_stays", "law_drawing_changes_nothing",
        "law_vectorized_equals_single",
    }
    assert silent["law_drawing_changes_nothing"] == "the environment draws no pictures"
    far = replace(facts_about(CutsBadEpisodes), horizon=5_000, set_elapsed=None)
    with pytest.raises(LawBroken, match=r"law_a_time_limit_truncates: an episode is cut at 11 steps"):
        check_env(CutsBadEpisodes, far)


def test_an_environment_that_draws_from_the_air_is_caught() -> None:
    class FromTheAir(Honest):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
            return super().reset(seed=int(np.random.default_rng().integers(2**31)))

    with pytest.raises(LawBroken, match="two environments reset with one seed differ"):
        ENV_LAWS["law_a_seed_decides_everything"](FromTheAir, facts_about(FromTheAir))


def test_old_interfaces_are_named() -> None:
    class Older(Honest):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            return super().reset(seed=seed)[0]

    class Old(Honest):
        def step(self, action: Any) -> Any:
            obs, reward, terminated, truncated, info = super().step(action)
            return obs, reward, terminated or truncated, info

    with pytest.raises(LawBroken, match=r"law_the_interface_is_gymnasiums: step returns 4 things, not \(obs, reward"):
        check_env(Old, facts_about(Old))
    with pytest.raises(LawBroken, match=r"law_the_interface_is_gymnasiums: reset returns 1 things, not \(obs, info\)"):
        check_env(Older, facts_about(Older))


def test_facts_are_asked_for_where_they_cannot_be_read() -> None:
    with pytest.raises(InvalidArgument, match=r"EnvFacts\(horizon=…\) of Honest"):
        check_env(Honest)
    with pytest.raises(InvalidArgument, match="form"):
        EnvFacts(10, "endless")


def test_a_liar_among_our_own_tasks_is_caught() -> None:
    class Revealing(envs.HiddenGold):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            obs, _, *rest = super().step(action)
            return obs, envs.gold(self).reward, *rest

    with pytest.raises(LawBroken, match="law_the_reward_shown_is_zero"):
        check_env(lambda: Revealing("pendulum"))
    assert facts_of(lambda: envs.make("cartpole", "terminating")).horizon == 500
