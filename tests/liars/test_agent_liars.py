"""Broken agents: each fails exactly the law that is about its fault; all of them are PPO but for one thing."""

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from preflab.agents import PPOAgent, PPOSettings, actor
from preflab.errors import Refused
from preflab.interfaces import RewardSource
from preflab.testing import AgentCase, LawBroken, check_agent
from preflab.testing.agents import AGENT_LAWS
from preflab.testing.laws import SaysNothing
from preflab.testing.tape import BOX, HIGH, LOW
from preflab.types import AnyArray, FloatArray, Transitions

CASE = AgentCase(n_learning_steps=256, sb3_class=PPO)
SETTINGS = PPOSettings(
    n_envs=2, n_steps=16, batch_size=16, n_epochs=2, hidden=(16, 16), target_kl=None, learning_rate=1e-2, gamma=0.5,
    normalize_obs=False,
)
MakeVec = Callable[[int, int], VecEnv]
State = Mapping[str, torch.Tensor]


class Wrapper(VecEnvWrapper):
    """Environments of which one thing is changed."""

    def __init__(self, venv: VecEnv, agent: Any) -> None:
        super().__init__(venv)
        self.agent = agent

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        return self.altered(*self.venv.step_wait())

    def altered(self, obs: Any, rewards: Any, dones: Any, infos: Any) -> Any:
        return obs, rewards, dones, infos


class Honest(PPOAgent):
    """Small and honest. A liar changes its environments, what it asks the proxy, what it makes of the answer, or more."""

    breaks: ClassVar[str]
    wrapper: ClassVar[Callable[[VecEnv, Any], VecEnv]] = lambda venv, agent: venv

    def __init__(self, make_vec: MakeVec, seed: int) -> None:
        self.is_training = False
        wrapper = type(self).wrapper
        super().__init__(lambda n_envs, s: wrapper(make_vec(n_envs, s), self), SETTINGS, seed=seed)

    def train(self, n_env_steps: int, source: RewardSource, *, on_rollout: Any = None, **place: Any) -> Any:
        def asked(transitions: Transitions) -> Any:
            return self.understood(source(self.told(transitions)), transitions)

        self.is_training = True
        try:
            return super().train(n_env_steps, asked, on_rollout=on_rollout, **place)
        finally:
            self.is_training = False

    def told(self, transitions: Transitions) -> Transitions:
        return transitions

    def understood(self, rewards: AnyArray, transitions: Transitions) -> AnyArray:
        return rewards


class SkipsTheLastStep(Honest):
    """Does not ask about the last step of a rollout and takes it for worthless."""

    breaks = "law_every_transition_is_scored"

    def told(self, transitions: Transitions) -> Transitions:
        return transitions[:-1]

    def understood(self, rewards: AnyArray, transitions: Transitions) -> AnyArray:
        return np.append(rewards, np.float32(0)) if rewards.shape == (len(transitions) - 1,) else rewards


class AsksTwice(Honest):
    """Asks about the first step of a rollout twice."""

    breaks = "law_every_transition_is_scored"

    def told(self, transitions: Transitions) -> Transitions:
        return transitions[np.append(np.arange(len(transitions)), 0)]

    def understood(self, rewards: AnyArray, transitions: Transitions) -> AnyArray:
        return rewards[:-1] if rewards.shape == (len(transitions) + 1,) else rewards[:0]


class AsksAboutDreams(AsksTwice):
    """Asks about a step that nobody took."""

    breaks = "law_every_transition_is_scored"

    def told(self, transitions: Transitions) -> Transitions:
        more = super().told(transitions)
        obs = more.obs.copy()
        obs[-1] /= 2
        return replace(more, obs=obs)


class LosesTheEnd(Honest):
    """Takes the next episode's first observation for the final one."""

    breaks = "law_next_observations_are_true"

    class wrapper(Wrapper):  # noqa: N801
        def altered(self, obs: Any, rewards: Any, dones: Any, infos: Any) -> Any:
            for i in np.flatnonzero(dones):
                infos[i]["terminal_observation"] = obs[i].copy()
            return obs, rewards, dones, infos


class CallsALimitAnEnd(Honest):
    """Does not know time limits."""

    breaks = "law_a_time_limit_is_no_termination"

    class wrapper(Wrapper):  # noqa: N801
        def altered(self, obs: Any, rewards: Any, dones: Any, infos: Any) -> Any:
            return obs, rewards, dones, [{**info, "TimeLimit.truncated": False} for info in infos]


class KnowsNoEnds(Honest):
    """Tells the proxy of no end."""

    breaks = "law_a_time_limit_is_no_termination"

    def told(self, transitions: Transitions) -> Transitions:
        return replace(transitions, terminated=np.zeros(len(transitions), np.bool_))


class EndsInside(Honest):
    """Calls the steps inside an episode terminal too."""

    breaks = "law_a_time_limit_is_no_termination"

    def told(self, transitions: Transitions) -> Transitions:
        is_inside = (transitions.next_obs[:-2] == transitions.obs[2:]).all(1)  # of the same one of two environments
        return replace(transitions, terminated=transitions.terminated | np.append(is_inside, [False, False]))


class TellsScaledActions(Honest):
    """Tells the proxy actions in −1…1, as SAC keeps them."""

    breaks = "law_actions_scored_are_those_taken"

    def told(self, transitions: Transitions) -> Transitions:
        return replace(transitions, actions=2 * (transitions.actions - LOW) / (HIGH - LOW) - 1)


class TellsNestedActions(Honest):
    """Tells the proxy actions of (N, 1, 1)."""

    breaks = "law_actions_scored_are_those_taken"

    def told(self, transitions: Transitions) -> Transitions:
        return replace(transitions, actions=transitions.actions[:, None])


class BelievesInMoreStrength(Honest):
    """Explores outside the bounds, and clips only what `act` returns."""

    breaks = "law_the_env_gets_legal_actions"

    class wrapper(Wrapper):  # noqa: N801
        def __init__(self, venv: VecEnv, agent: Any) -> None:
            super().__init__(venv, agent)
            self.action_space = gym.spaces.Box(-5.0, 5.0, (1,), np.float32)

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        return np.clip(super().act(obs, rng), LOW, HIGH)


class ReadsTheEnvsReward(Honest):
    """Adds what the environment pays to what the proxy says: an agent that reads gold."""

    breaks = "law_rewards_of_the_env_change_nothing"

    class wrapper(Wrapper):  # noqa: N801
        def altered(self, obs: Any, rewards: Any, dones: Any, infos: Any) -> Any:
            self.agent.overheard.append(self.overheard(rewards, infos))
            return obs, rewards, dones, infos

        def overheard(self, rewards: Any, infos: Any) -> Any:
            return rewards.copy()

    def __init__(self, make_vec: MakeVec, seed: int) -> None:
        self.overheard: list[AnyArray] = []
        super().__init__(make_vec, seed)

    def understood(self, rewards: AnyArray, transitions: Transitions) -> AnyArray:
        extra = np.concatenate(self.overheard)
        self.overheard.clear()
        return rewards + extra if rewards.shape == extra.shape else rewards


class ReadsInfos(ReadsTheEnvsReward):
    """Adds what the environment says in its infos."""

    breaks = "law_infos_of_the_env_change_nothing"

    class wrapper(ReadsTheEnvsReward.wrapper):  # noqa: N801
        def overheard(self, rewards: Any, infos: Any) -> Any:
            return np.array([info.get("reward_run", 0.0) for info in infos], np.float32)


class IgnoresTheProxy(Honest):
    """Asks the proxy and makes nothing of it."""

    breaks = "law_the_proxy_moves_the_policy"

    def understood(self, rewards: AnyArray, transitions: Transitions) -> AnyArray:
        return np.where(np.isfinite(rewards), np.float32(0), rewards)


class TurnsTheProxyAround(Honest):
    """Takes a reward for a cost."""

    breaks = "law_the_proxy_moves_the_policy"

    def understood(self, rewards: AnyArray, transitions: Transitions) -> AnyArray:
        return -rewards


class MixesUpItsSteps(Honest):
    """Reads rewards of (step, environment) as of (environment, step)."""

    breaks = "law_the_proxy_moves_the_policy"

    def understood(self, rewards: AnyArray, transitions: Transitions) -> AnyArray:
        is_whole = rewards.shape == (len(transitions),)
        return rewards.reshape(2, -1).T.reshape(-1) if is_whole else rewards


class ForgetsWhatItSaw(Honest):
    """Gives each step the mean reward of steps with a like action, whatever was seen."""

    breaks = "law_the_proxy_moves_the_policy"

    def understood(self, rewards: AnyArray, transitions: Transitions) -> AnyArray:
        if rewards.shape != (len(transitions),) or not np.isfinite(rewards).all():
            return rewards
        is_high = transitions.actions[:, 0] > np.median(transitions.actions)
        if is_high.all() or not is_high.any():
            return np.full_like(rewards, rewards.mean())
        means = rewards[~is_high].mean(), rewards[is_high].mean()
        return np.asarray(np.where(is_high, means[1], means[0]), np.float32)


class AltersItsReport(Honest):
    """Trains well and reports something else."""

    breaks = "law_steps_are_reported"
    changes: ClassVar[Callable[[Any], dict[str, Any]]] = lambda report: {"n_env_steps": 2 * report.n_env_steps}

    def train(self, n_env_steps: int, source: RewardSource, **place: Any) -> Any:
        report = super().train(n_env_steps, source, **place)
        return replace(report, **type(self).changes(report))


class CountsNoEpisodes(AltersItsReport):
    breaks = "law_steps_are_reported"
    changes = lambda report: {"n_episodes": 0}  # noqa: E731


class ReportsNoStop(AltersItsReport):
    breaks = "law_false_stops_training"
    changes = lambda report: {"is_stopped": False}  # noqa: E731


class AlwaysReportsAStop(AltersItsReport):
    breaks = "law_false_stops_training"
    changes = lambda report: {"is_stopped": True}  # noqa: E731


class TrainsTooLittle(Honest):
    """Takes half of the steps that it was asked for."""

    breaks = "law_steps_are_reported"

    def train(self, n_env_steps: int, source: RewardSource, **place: Any) -> Any:
        return super().train(n_env_steps // 2, source, **place)


class AltersItsCallback(Honest):
    """Counts backward to whoever listens."""

    breaks = "law_steps_are_reported"

    def train(self, n_env_steps: int, source: RewardSource, *, on_rollout: Any = None, **place: Any) -> Any:
        return super().train(n_env_steps, source, on_rollout=lambda info: self.called(on_rollout, info), **place)

    def called(self, on_rollout: Any, info: Any) -> Any:
        return on_rollout(replace(info, n_env_steps=-info.n_env_steps))


class GoesOn(AltersItsCallback):
    """Does not listen to whoever says stop."""

    breaks = "law_false_stops_training"

    def called(self, on_rollout: Any, info: Any) -> Any:
        on_rollout(info)


class NeverCalls(AltersItsCallback):
    """Tells nobody that it trains."""

    breaks = "law_false_stops_training"

    def called(self, on_rollout: Any, info: Any) -> Any:
        return None


class ActsByAnOldPolicy(AltersItsCallback):
    """Acts by the policy that its training began with until it is over: the wrong policy is evaluated."""

    breaks = "law_act_is_the_policy_in_training"

    def train(self, n_env_steps: int, source: RewardSource, **place: Any) -> Any:
        self.old = self._blank(0)
        self.old.policy.load_state_dict(self._learner.policy.state_dict())
        return super().train(n_env_steps, source, **place)

    def called(self, on_rollout: Any, info: Any) -> Any:
        learner, self._learner = self._learner, self.old
        try:
            return on_rollout(info)
        finally:
            self._learner = learner


class TakesNaNForZero(Honest):
    breaks = "law_a_broken_proxy_is_refused"

    def understood(self, rewards: AnyArray, transitions: Transitions) -> AnyArray:
        return np.nan_to_num(rewards)


class TakesColumns(Honest):
    breaks = "law_a_broken_proxy_is_refused"

    def understood(self, rewards: AnyArray, transitions: Transitions) -> AnyArray:
        return rewards.reshape(-1)


class FillsUp(Honest):
    """Takes what is missing for 0."""

    breaks = "law_a_broken_proxy_is_refused"

    def understood(self, rewards: AnyArray, transitions: Transitions) -> AnyArray:
        is_short = rewards.shape == (len(transitions) - 1,)
        return np.append(rewards, np.float32(0)) if is_short else rewards


class StaysHalfTrained(AltersItsCallback):
    """Refuses a broken proxy, and keeps what it learned until then."""

    breaks = "law_a_broken_proxy_is_refused"

    def train(self, n_env_steps: int, source: RewardSource, **place: Any) -> Any:
        self.last: dict[str, torch.Tensor] | None = None
        try:
            return super().train(n_env_steps, source, **place)
        except Exception:
            if self.last is not None:
                self.load_state(self.last)
            raise

    def called(self, on_rollout: Any, info: Any) -> Any:
        self.last = self.state()
        return on_rollout(info)


class BearsAGrudge(Honest):
    """Believes a proxy only half once it was refused."""

    breaks = "law_a_broken_proxy_is_refused"
    trust = 1.0

    def train(self, n_env_steps: int, source: RewardSource, **place: Any) -> Any:
        try:
            return super().train(n_env_steps, source, **place)
        except Exception:
            self.trust = 0.5
            raise

    def understood(self, rewards: AnyArray, transitions: Transitions) -> AnyArray:
        return (rewards * np.float32(self.trust)).astype(np.float32)


class BorrowsTheGlobalGenerator(Honest):
    """Draws from torch's global generator and throws the draw away."""

    breaks = "law_global_state_rests"

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        torch.rand(1)
        return super().act(obs, rng)


class TakesAllThreads(Honest):
    """Lets torch use two threads more than it was given."""

    breaks = "law_global_state_rests"

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        acted = super().act(obs, rng)
        torch.set_num_threads(torch.get_num_threads() + 2)
        return acted


class IgnoresItsSeed(Honest):
    """Begins with the same weights whatever its seed."""

    breaks = "law_seeds_matter"

    def __init__(self, make_vec: MakeVec, seed: int) -> None:
        super().__init__(make_vec, 0)


class TrainsByOneSeed(Honest):
    """Trains with the same noise whatever the seed."""

    breaks = "law_seeds_matter"

    def train(self, n_env_steps: int, source: RewardSource, **place: Any) -> Any:
        return super().train(n_env_steps, source, **(place | {"seed": 0}))


class LosesItsMomentum(Honest):
    """Leaves Adam's moments out of its state."""

    breaks = "law_a_loaded_state_goes_on_alike"

    def state(self) -> dict[str, torch.Tensor]:
        whole = super().state()
        return whole if self.is_training else {name: whole[name] for name in whole if not name.startswith("optimizer")}


class ForgetsItsAge(Honest):
    """Thinks that it is new when it was loaded."""

    breaks = "law_a_loaded_state_goes_on_alike"

    def load_state(self, state: State) -> None:
        super().load_state(state)
        if not self.is_training:
            self.n_env_steps = 0


class ActsAsBeforeItWasLoaded(Honest):
    """Acts by a copy of its policy that a training brings up to date, and loading does not."""

    breaks = "law_a_loaded_state_goes_on_alike"

    def __init__(self, make_vec: MakeVec, seed: int) -> None:
        super().__init__(make_vec, seed)
        self.acting = self._learner.policy

    def train(self, n_env_steps: int, source: RewardSource, *, on_rollout: Any = None, **place: Any) -> Any:
        def called(info: Any) -> Any:
            self.acting = self._learner.policy
            return on_rollout(info)

        return super().train(n_env_steps, source, on_rollout=called, **place)

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        return actor.choose(actor.outputs(self.acting, {}, obs), self.action_space, rng)


class GivesOneStateAway(Honest):
    """Fills one set of tensors again and again."""

    breaks = "law_a_state_is_a_copy"
    shared: dict[str, torch.Tensor] | None = None

    def state(self) -> dict[str, torch.Tensor]:
        fresh = super().state()
        if self.shared is None or self.shared.keys() != fresh.keys():
            self.shared = fresh
        for name, value in fresh.items():
            self.shared[name].copy_(value)
        return self.shared

    def train(self, n_env_steps: int, source: RewardSource, **place: Any) -> Any:
        report = super().train(n_env_steps, source, **place)
        self.state()
        return report


class WritesIntoWhatItLoaded(Honest):
    """Trains in the tensors that it was given."""

    breaks = "law_a_state_is_a_copy"
    loaded: State | None = None

    def load_state(self, state: State) -> None:
        super().load_state(state)
        self.loaded = None if self.is_training else state

    def train(self, n_env_steps: int, source: RewardSource, **place: Any) -> Any:
        report = super().train(n_env_steps, source, **place)
        for name, value in (self.loaded or {}).items():
            value.copy_(self.state()[name])
        return report


class Dithers(Honest):
    """Acts a little higher every other time that it is asked for its mode."""

    breaks = "law_act_is_deterministic_without_generator"
    n_acts = 0

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        self.n_acts += rng is None
        acted = super().act(obs, rng)
        return np.clip(acted + np.float32(0.01), LOW, HIGH) if rng is None and self.n_acts % 2 == 0 else acted


class RemembersItsSample(Honest):
    """Acts a little higher once it was sampled from."""

    breaks = "law_act_is_deterministic_without_generator"
    n_sampled = 0

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        self.n_sampled += rng is not None
        return np.clip(super().act(obs, rng) + np.float32(0.01 * (self.n_sampled > 0 and rng is None)), LOW, HIGH)


class AgesByActing(Honest):
    """Counts what it does among the steps that it trained."""

    breaks = "law_act_is_deterministic_without_generator"

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        self.n_env_steps += 1
        return super().act(obs, rng)


class IgnoresItsGenerator(Honest):
    """Samples from a generator of its own."""

    breaks = "law_act_follows_its_generator"

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        return super().act(obs, None if rng is None else np.random.default_rng(0))


class OnlyReadsItsGenerator(Honest):
    """Samples from a copy of the generator, so that each call has the same noise."""

    breaks = "law_act_follows_its_generator"

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        return super().act(obs, copy.deepcopy(rng))


class IsMoodyInCrowds(Honest):
    """Samples by a generator of its own where it sees many observations."""

    breaks = "law_act_follows_its_generator"

    def __init__(self, make_vec: MakeVec, seed: int) -> None:
        super().__init__(make_vec, seed)
        self.rng = np.random.default_rng(seed)

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        return super().act(obs, self.rng if rng is not None and len(obs) > 200 else rng)


class ActsBeyondBounds(Honest):
    """Does not clip what `act` returns."""

    breaks = "law_actions_are_legal"

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        return actor.choose(actor.outputs(self._learner.policy, {}, obs), gym.spaces.Box(-9, 9, (1,), np.float32), rng)


class SqueezesOneAction(Honest):
    """Returns (1,) for one observation."""

    breaks = "law_actions_are_legal"

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        acted = super().act(obs, rng)
        return acted[0] if len(acted) == 1 else acted


class RoundsOneAction(Honest):
    """Returns a whole number for one observation."""

    breaks = "law_actions_are_legal"

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        acted = super().act(obs, rng)
        return acted.astype(np.int64) if len(acted) == 1 else acted


class AltersItsDistance(Honest):
    """Says that its policy never moves."""

    breaks = "law_kl_to_itself_is_zero"

    def kl_to(self, other_state: State, obs: AnyArray) -> FloatArray:
        return self.altered(super().kl_to(other_state, obs))

    def altered(self, kl: FloatArray) -> FloatArray:
        return np.zeros_like(kl)


class IsNeverQuiteItself(AltersItsDistance):
    breaks = "law_kl_to_itself_is_zero"

    def altered(self, kl: FloatArray) -> FloatArray:
        return kl + 1e-12


class TurnsItsDistanceAround(AltersItsDistance):
    breaks = "law_kl_to_itself_is_zero"

    def altered(self, kl: FloatArray) -> FloatArray:
        return -kl


class SumsItsDistance(AltersItsDistance):
    breaks = "law_kl_to_itself_is_zero"

    def altered(self, kl: FloatArray) -> FloatArray:
        return np.asarray(kl.sum())


class IsInfinitelyFar(AltersItsDistance):
    breaks = "law_kl_to_itself_is_zero"

    def altered(self, kl: FloatArray) -> FloatArray:
        return np.where(kl > 0, np.inf, kl)


class SavesItsBeginning(Honest):
    """Saves the policy that it had when it was new."""

    breaks = "law_a_saved_policy_opens_in_sb3"

    def save(self, path: Path) -> None:
        learner, self._learner = self._learner, self._blank(0)
        super().save(path)
        self._learner = learner


class SavesElsewhere(Honest):
    """Saves beside the path that it was given."""

    breaks = "law_a_saved_policy_opens_in_sb3"

    def save(self, path: Path) -> None:
        super().save(path.with_name("other.zip"))


def subclasses(kind: type[Honest]) -> list[type[Honest]]:
    return [each for child in kind.__subclasses__() for each in (child, *subclasses(child))]


LIARS = subclasses(Honest)


class IsBornMoody(PPOAgent):
    """Believes the proxy more or less, by how many were born before it."""

    births: ClassVar[Iterator[int]] = itertools.count()

    def __init__(self, make_vec: MakeVec, seed: int) -> None:
        self.trust = np.float32(1 + next(self.births) % 2)
        super().__init__(make_vec, SETTINGS, seed=seed)

    def train(self, n_env_steps: int, source: RewardSource, **place: Any) -> Any:
        return super().train(n_env_steps, lambda transitions: source(transitions) * self.trust, **place)


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(n_threads)


def is_broken(law: str, kind: Any, case: AgentCase = CASE) -> bool:
    n_threads = torch.get_num_threads()
    try:
        AGENT_LAWS[law](kind, case)
    except LawBroken:
        return True
    except SaysNothing:
        pass
    finally:
        torch.set_num_threads(n_threads)
    return False


@pytest.mark.parametrize("liar", LIARS, ids=lambda kind: kind.__name__)
def test_each_liar_fails_the_law_about_its_fault(liar: type[Honest]) -> None:
    assert is_broken(liar.breaks, liar)


@pytest.mark.slow
@pytest.mark.parametrize("liar", LIARS, ids=lambda kind: kind.__name__)
def test_each_liar_fails_no_other_law(liar: type[Honest]) -> None:
    assert [name for name in AGENT_LAWS if is_broken(name, liar)] == [liar.breaks]


def test_each_law_has_a_liar() -> None:
    # Whatever is not a function of (state, arguments) breaks every law that compares two trainings, so it stands apart.
    assert {liar.breaks for liar in LIARS} | {"law_equal_agents_train_alike"} == set(AGENT_LAWS)
    assert is_broken("law_equal_agents_train_alike", IsBornMoody)


def test_the_honest_agent_keeps_every_law() -> None:
    assert check_agent(Honest, CASE) == {}


def test_what_cannot_be_checked_is_named_with_its_reason() -> None:
    class ActsByItsMode(Honest):
        def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
            return super().act(obs)

        def kl_to(self, other_state: State, obs: AnyArray) -> FloatArray:
            raise Refused("a deterministic policy has no KL divergence")

    names = ("law_act_follows_its_generator", "law_kl_to_itself_is_zero", "law_a_saved_policy_opens_in_sb3")
    silent = check_agent(ActsByItsMode, AgentCase(), {name: AGENT_LAWS[name] for name in names})
    assert silent == {
        "law_act_follows_its_generator": "the agent acts the same with and without a generator",
        "law_kl_to_itself_is_zero": "a deterministic policy has no KL divergence",
        "law_a_saved_policy_opens_in_sb3": "no class of SB3 was given",
    }


def test_a_broken_law_is_named_with_its_figures() -> None:
    with pytest.raises(LawBroken, match=r"law_every_transition_is_scored: the proxy is never asked about 2 of 64 steps"):
        check_agent(SkipsTheLastStep, CASE)


def test_off_policy_a_transition_may_be_scored_again() -> None:
    assert not is_broken("law_every_transition_is_scored", AsksTwice, replace(CASE, is_on_policy=False))
    assert is_broken("law_every_transition_is_scored", SkipsTheLastStep, replace(CASE, is_on_policy=False))
    assert BOX.low == LOW and BOX.high == HIGH
