"""Builds the stages of a run from its config and injects what crosses between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from preflab import agents, envs, experts, oracles, rewards
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
N_BRANCHED_SEGMENTS = {"smoke": 20}  # of the calibration pool, by budget: each costs two branches of hundreds of steps
N_BRANCHED_SEGMENTS_ELSE = 80  # 3,160 pairs


@dataclass
class Stages:
    """The parts of one run. `learner` is None where gold itself is the proxy."""

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
    state_value: envs.BranchedValue | None = None  # where the oracle judges by branching

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
        """Closes the envs."""
        self.evaluation_env.close()
        if self.state_value is not None:
            self.state_value.close()


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
    if config.oracle_name in oracles.BY_REGRET or config.reward_name == "shaped-gold":
        require_expert(expert, config)
    if config.oracle_name == "pluralistic":
        oracles.check_humans(config.oracle.humans, envs.task(config.env.name).factor_names, config.env.name)
    if config.reward.likelihood != "partial_return":
        raise InvalidArgument("reward.likelihood", "is not available", config.reward.likelihood, "partial_return")
    if config.env.segment_length > envs.task(config.env.name).horizon(config.form):
        horizon = envs.task(config.env.name).horizon(config.form)
        raise InvalidArgument("env.segment_length", f"must not exceed the horizon of {horizon} steps", config.env.segment_length)
    return device


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
    learner = None
    if config.reward_name not in GOLD_CONTROLS:
        learner = rewards.build(
            config.reward_name, config.reward, evaluation_env.observation_space, evaluation_env.action_space,
            is_fixed_horizon=config.form == "fixed", seed=config.seed,
        )
    expert = find_expert(config)
    with stopwatch.on("oracle"):
        calibration = calibration_segments(config, evaluation_env, expert)
        state_value = branched_value(config, expert)
        oracle = oracles.build(
            config.oracle_name, config.oracle, seed=config.seed, calibration=calibration,
            value=expert.value if expert else None, value_card=expert.card if expert else None, state_value=state_value,
            factor_names=task.factor_names, task=config.env.name, form=config.form,
        )
    strategy = oracles.build_strategy(config.strategy.name, config.strategy.candidates_per_query)
    uniform = oracles.build_strategy("uniform")
    return Stages(config, task, oracle, strategy, uniform, learner, agent, expert, evaluation_env, tape, state_value)


def branched_value(config: RunConfig, expert: experts.Expert | None) -> envs.BranchedValue | None:
    """Returns V by branching, which the oracle is given; None for oracles that do not branch."""
    if expert is None or not oracles.needs_sim_states(config.oracle_name, config.oracle):
        return None
    settings = envs.BranchSettings(expert.value.gamma, config.oracle.branch_tail, config.oracle.branch_steps)
    return envs.branched_value(config.env.name, config.form, expert.policy, settings, expert.value)


def calibration_segments(config: RunConfig, venv: envs.TaskVecEnv, expert: experts.Expert | None) -> ScoredSegments:
    """Returns the frozen pool on which β is solved: random, middle and expert segments, as far as there is an expert.

    An oracle that branches gets fewer of them, with the simulator states at both ends.
    """
    is_branched = oracles.needs_sim_states(config.oracle_name, config.oracle)
    n_segments = N_BRANCHED_SEGMENTS.get(config.budget.name, N_BRANCHED_SEGMENTS_ELSE) if is_branched else N_CALIBRATION_SEGMENTS
    policies: list[tuple[str, Policy]] = [("random", envs.RandomPolicy(venv.action_space))]
    if expert is not None:
        policies += [("middle", expert.middle), ("expert", expert.policy)]
    n_trajectories = N_CALIBRATION_TRAJECTORIES if config.budget.name != "smoke" else 4
    gathered: list[ScoredTrajectory] = []
    for name, policy in policies:
        rng = generator(CALIBRATION_SEED, "calibration", name)
        venv.seed(small_seed(CALIBRATION_SEED, name))
        gathered += envs.collect(venv, policy, n_trajectories, rng, keep_states=is_branched)
    store = ScoredStore(gathered)
    return store.gather(subsample(store.store.admissible(config.env.segment_length), n_segments, "calibration"), states="ends")


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

