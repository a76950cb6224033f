"""Builds the stages of a run from its config and injects what crosses between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch

from preflab import agents, envs, experts, oracles, rewards
from preflab.actions import UniformActions
from preflab.agents.ppo import PPOAgent
from preflab.errors import InvalidArgument, Refused
from preflab.experiments.config import RunConfig
from preflab.experiments.controls import GoldSource, GoldTape
from preflab.experiments.progress import Stopwatch
from preflab.interfaces import Oracle, Policy, RewardLearner, Strategy
from preflab.seeding import generator, small_seed
from preflab.types import ScoredSegments, ScoredStore, ScoredTrajectory, SegmentIndex

GOLD_CONTROLS = ("gold", "shaped-gold")
CALIBRATION_SEED = 10_000_019  # a β belongs to a task, not to a run: every seed judges with the same human
N_CALIBRATION_TRAJECTORIES = 12  # of each policy
N_CALIBRATION_SEGMENTS = 600


@dataclass
class Stages:
    """The parts of one run. `learner` is None where gold itself is the proxy; `extras` are what it needs of other stages."""

    config: RunConfig
    task: envs.Task
    oracle: Oracle
    strategy: Strategy
    uniform: Strategy
    learner: RewardLearner | None
    agent: PPOAgent
    expert: experts.Expert | None
    evaluation_env: envs.TaskVecEnv
    tape: list[GoldTape]
    extras: dict[str, Any] = field(default_factory=dict)

    @property
    def is_fixed_horizon(self) -> bool:
        """True in the form without terminations."""
        return self.config.form == "fixed"

    def collect(self, policy: Policy, n: int, seed: int, rng: np.random.Generator | None, keep_states: bool = False
                ) -> list[ScoredTrajectory]:
        """Returns `n` scored trajectories of `policy` from first states that follow from `seed` alone."""
        self.evaluation_env.seed(seed)
        return envs.collect(self.evaluation_env, policy, n, rng, keep_states=keep_states)

    def gold_source(self, pool: ScoredStore) -> GoldSource:
        """Returns the gold control's reward source, anchored on `pool`."""
        potential = None
        if self.config.reward_name == "shaped-gold":
            potential = require_expert(self.expert, self.config).value
        source = GoldSource(pool, self.is_fixed_horizon, potential)
        source.tape = lambda: self.tape[-1].take()
        return source

    def close(self) -> None:
        """Closes the env."""
        self.evaluation_env.close()


def resolve_device(name: str) -> str:
    """Returns cpu or cuda for auto, cpu or cuda; refuses cuda where there is none."""
    if name not in ("auto", "cpu", "cuda"):
        raise InvalidArgument("device", "is not known", name, "auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise Refused("device=cuda was asked for, but torch sees no CUDA GPU here; use device=cpu or device=auto")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def check(config: RunConfig) -> str:
    """Refuses what cannot run, before any work, and returns the device."""
    device = resolve_device(config.device)
    envs.task(config.env.name).horizon(config.form)
    expert = find_expert(config)
    if config.oracle_name == "regret" or config.reward_name == "shaped-gold":
        require_expert(expert, config)
    if config.oracle_name == "regret" and config.oracle.regret_form == "expected":
        require_expert(expert, config)
    learner_needs(config, expert)
    if config.env.segment_length > envs.task(config.env.name).horizon(config.form):
        horizon = envs.task(config.env.name).horizon(config.form)
        raise InvalidArgument("env.segment_length", f"must not exceed the horizon of {horizon} steps", config.env.segment_length)
    return device


def learner_needs(config: RunConfig, expert: experts.Expert | None) -> frozenset[str]:
    """Returns what the config's learner needs of other stages; refuses in a sentence where the task does not have it."""
    if config.reward_name in GOLD_CONTROLS:
        return frozenset()
    needs = rewards.needs(config.reward_name, config.reward)
    if "dynamics" in needs and envs.task(config.env.name).mdp(config.form) is None:
        finite = [name for name, task in envs.TASKS.items() if task.solve is not None]
        raise Refused(
            f"reward={config.reward_name} plans with exact dynamics, which {config.env.name} does not have: use "
            f"reward=regret there, or a finite task ({', '.join(finite)})"
        )
    if "value" in needs:
        require_expert(expert, config)
    return needs


def learner_extras(
    config: RunConfig, needs: frozenset[str], expert: experts.Expert | None, venv: envs.TaskVecEnv
) -> dict[str, Any]:
    """Returns what a learner needs of other stages, by name; nothing of it holds a reward, but V is in units of gold."""
    extras: dict[str, Any] = {}
    mdp = envs.task(config.env.name).mdp(config.form)
    if "dynamics" in needs and mdp is not None:
        extras["dynamics"] = mdp.dynamics()
    if "action_sampler" in needs:
        extras["action_sampler"] = UniformActions(venv.action_space)
    if "value" in needs:
        extras["value"] = require_expert(expert, config).value
    return extras


def find_expert(config: RunConfig) -> experts.Expert | None:
    """Returns the expert of the config's task and form: exact for tabular tasks, else shipped, else None."""
    task = envs.task(config.env.name)
    mdp = task.mdp(config.form)
    if mdp is not None:
        return experts.tabular_expert(config.env.name, config.form, mdp)
    try:
        return experts.load_expert(config.env.name, config.form)
    except Refused:
        return None


def require_expert(expert: experts.Expert | None, config: RunConfig) -> experts.Expert:
    """Returns the expert, or refuses in a sentence that names task and form and says what to run."""
    if expert is None:
        return experts.load_expert(config.env.name, config.form)  # raises Refused with the list of those shipped
    return expert


def build(config: RunConfig, stopwatch: Stopwatch) -> Stages:
    """Builds every stage; the oracle is calibrated on a frozen mixture of random, middle and expert segments."""
    device = check(config)
    task = envs.task(config.env.name)
    n_envs = min(config.budget.n_eval_episodes, 10)
    evaluation_env = envs.make_vec(config.env.name, config.form, n_envs, CALIBRATION_SEED)
    tape: list[GoldTape] = []
    agent = agents.build(
        config.agent_name, _as_mapping(config.agent), _agent_env(config, tape), seed=small_seed(config.seed, "agent"),
        device=device,
    )
    expert = find_expert(config)
    extras = learner_extras(config, learner_needs(config, expert), expert, evaluation_env)
    learner = None
    if config.reward_name not in GOLD_CONTROLS:
        gamma = config.agent.gamma if config.reward.gamma is None else config.reward.gamma
        learner = rewards.build(
            config.reward_name, replace(config.reward, gamma=gamma), evaluation_env.observation_space,
            evaluation_env.action_space, is_fixed_horizon=config.form == "fixed", seed=config.seed,
        )
        learner.provide(extras)
    with stopwatch.on("oracle"):
        calibration = calibration_segments(config, evaluation_env, expert)
        oracle = oracles.build(
            config.oracle_name, config.oracle, seed=config.seed, calibration=calibration,
            value=expert.value if expert else None, value_card=expert.card if expert else None,
            task=config.env.name, form=config.form,
        )
    strategy = oracles.build_strategy(config.strategy.name, config.strategy.candidates_per_query)
    uniform = oracles.build_strategy("uniform")
    return Stages(config, task, oracle, strategy, uniform, learner, agent, expert, evaluation_env, tape, extras)


def calibration_segments(config: RunConfig, venv: envs.TaskVecEnv, expert: experts.Expert | None) -> ScoredSegments:
    """Returns the frozen pool on which β is solved: random, middle and expert segments, as far as there is an expert."""
    policies: list[tuple[str, Policy]] = [("random", envs.RandomPolicy(venv.action_space))]
    if expert is not None:
        policies += [("middle", expert.middle), ("expert", expert.policy)]
    n_trajectories = N_CALIBRATION_TRAJECTORIES if config.budget.name != "smoke" else 4
    gathered: list[ScoredTrajectory] = []
    for name, policy in policies:
        rng = generator(CALIBRATION_SEED, "calibration", name)
        venv.seed(small_seed(CALIBRATION_SEED, name))
        gathered += envs.collect(venv, policy, n_trajectories, rng)
    store = ScoredStore(gathered)
    return store.gather(subsample(store.store.admissible(config.env.segment_length), N_CALIBRATION_SEGMENTS, "calibration"))


def subsample(index: SegmentIndex, n: int, name: str) -> SegmentIndex:
    """Returns at most `n` of the segments, the same for every run."""
    if len(index) <= n:
        return index
    return index[np.sort(generator(CALIBRATION_SEED, name).choice(len(index), n, replace=False))]


def _as_mapping(settings: Any) -> dict[str, Any]:
    return {item.name: getattr(settings, item.name) for item in fields(settings)}


def _agent_env(config: RunConfig, tape: list[GoldTape]) -> Callable[[int, int], Any]:
    def make(n_envs: int, seed: int) -> Any:
        venv = envs.make_vec(config.env.name, config.form, n_envs, seed)
        tape[:] = [GoldTape(venv)]
        return tape[0]

    return make

