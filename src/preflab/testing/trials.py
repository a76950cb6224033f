"""How laws of agents try one: what they need of it, how they train it, and what they keep of the training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from preflab.errors import InvalidArgument
from preflab.testing.tape import BOX, CHOICE, OBS, Source, Tape, likes_matches
from preflab.types import AnyArray, FloatArray, Transitions

MakeVec = Callable[[int, int], VecEnv]


class TrainableAgent(Protocol):
    """What the laws call of an agent; `preflab.agents.PPOAgent` says what each promises."""

    def train(
        self, n_env_steps: int, source: Any, *, seed: int, steps_done: int, steps_total: int, on_rollout: Any = None
    ) -> Any:
        """Trains on the rewards of `source` and returns a report; a pure function of (state, arguments)."""
        ...

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        """Returns (N, *act) actions for (N, *obs)."""
        ...

    def kl_to(self, other_state: Any, obs: AnyArray) -> FloatArray:
        """Returns (N,) KL(this policy ‖ that of `other_state`) in nats; raises `Refused` where there is none."""
        ...

    def state(self) -> Mapping[str, Any]:
        """Returns copies of everything that training depends on, by name."""
        ...

    def load_state(self, state: Any) -> None:
        """Restores what `state` returned."""
        ...

    def save(self, path: Path) -> None:
        """Writes SB3's own file."""
        ...


MakeAgent = Callable[[MakeVec, int], TrainableAgent]


@dataclass(frozen=True)
class AgentCase:
    """How an agent is tried.

    Attributes:
        is_discrete: the agent chooses between two actions, instead of a number in −0.5…2.
        is_on_policy: every transition is scored exactly once; off-policy, at least once.
        n_env_steps: steps that most laws train for, at least two updates; episodes have 3 or 5 steps.
        n_learning_steps: steps in which the agent learns to act as a simple proxy likes.
        sb3_class: of SB3, whose `load` opens what `save` writes; None where that is not claimed.
    """

    is_discrete: bool = False
    is_on_policy: bool = True
    n_env_steps: int = 64
    n_learning_steps: int = 512
    sb3_class: Any = None

    def __post_init__(self) -> None:
        """Checks the numbers of steps."""
        if not 1 <= self.n_env_steps <= self.n_learning_steps:
            found = self.n_env_steps, self.n_learning_steps
            raise InvalidArgument("n_env_steps", "must be at least 1 and at most n_learning_steps", found)

    @property
    def action_space(self) -> gym.Space[Any]:
        """The actions of the environment that the agent is tried in."""
        return CHOICE if self.is_discrete else BOX


@dataclass
class Trial:
    """An agent and what was seen of its training.

    Attributes:
        agent: as it is now.
        tape: what happened in its environments.
        source: what it asked a proxy that was not broken.
        report: what the last training returned.
        infos: what `on_rollout` was given.
        n_steps: steps that were asked for so far.
        n_calls: trainings so far.
    """

    agent: TrainableAgent
    tape: Tape
    source: Source
    report: Any = None
    infos: list[Any] = field(default_factory=list)
    n_steps: int = 0
    n_calls: int = 0

    def train(
        self, n: int, source: Source | None = None, *, seed: int = 1,
        on_rollout: Callable[[TrainableAgent, Any], bool | None] | None = None,
    ) -> None:
        """Trains for `n` steps; the trial counts them if the training ends well."""

        def told(info: Any) -> bool | None:
            self.infos.append(info)
            return None if on_rollout is None else on_rollout(self.agent, info)

        self.report = self.agent.train(
            n, self.source if source is None else source, seed=seed + self.n_calls, steps_done=self.n_steps,
            steps_total=self.n_steps + n, on_rollout=told,
        )
        self.n_steps, self.n_calls = self.n_steps + n, self.n_calls + 1


def trained(
    make: MakeAgent, case: AgentCase, *, n: int | None = None, n_calls: int = 1, seed: int = 0, train_seed: int = 1,
    pay: Callable[[Transitions], AnyArray] = likes_matches, tape: Tape | None = None,
    on_rollout: Callable[[TrainableAgent, Any], bool | None] | None = None,
) -> Trial:
    """Returns a new agent of `seed` that was trained `n_calls` times for `n` steps in environments that write on `tape`."""
    trial = untrained(make, case, seed=seed, pay=pay, tape=tape)
    for _ in range(n_calls):
        trial.train(case.n_env_steps if n is None else n, seed=train_seed, on_rollout=on_rollout)
    return trial


def untrained(
    make: MakeAgent, case: AgentCase, *, seed: int = 0, pay: Callable[[Transitions], AnyArray] = likes_matches,
    tape: Tape | None = None,
) -> Trial:
    """Returns a new agent of `seed`."""
    written = Tape() if tape is None else tape
    return Trial(make(written.make_vec(case.is_discrete), seed), written, Source(pay))


def some_obs(n: int = 64) -> AnyArray:
    """Returns (n, 2) observations of the environment that agents are tried in."""
    return np.random.default_rng(0).uniform(-1, 1, (n, *OBS.shape)).astype(np.float32)


def probe(agent: TrainableAgent, n: int = 64) -> Transitions:
    """Returns the deterministic actions of `agent` at `some_obs`, as transitions that go nowhere."""
    obs = some_obs(n)
    return Transitions(obs, np.asarray(agent.act(obs)), obs, np.zeros(n, np.bool_))


def state_difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Returns where two states part, in words; "" if they are equal to the bit."""
    if first.keys() != second.keys():
        return f"{sorted(first.keys() ^ second.keys())} are in one state only"
    for name, value in first.items():
        one, other = np.asarray(value), np.asarray(second[name])
        if one.shape != other.shape or one.tobytes() != other.tobytes():
            is_number = one.shape == other.shape and one.dtype.kind in "iuf"
            gap = f" by {np.abs(one.astype(np.float64) - other).max():.2g}" if is_number else ""
            return f"{name} differs{gap}"
    return ""
