"""The loop: collect, choose queries, answer, fit, train, measure — and what a run leaves behind."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.tensorboard import SummaryWriter

from preflab.agents.label_free import StateEntropyReward
from preflab.experiments import asking, checkpoint, film, record
from preflab.experiments.asking import Answers
from preflab.experiments.checkpoint import State
from preflab.experiments.config import RunConfig
from preflab.experiments.controls import GoldSource
from preflab.experiments.evaluation import EVALUATION_SEED, measure
from preflab.experiments.progress import Progress, Stopwatch
from preflab.experiments.stages import Stages, build, reference_state, subsample
from preflab.experiments.users import user_scores
from preflab.interfaces import LearnerContext, RewardModel
from preflab.seeding import generator, small_seed
from preflab.types import AnyArray, ScoredStore, ScoredTrajectory, Transitions

REPORT_SECONDS, VIDEO_SECONDS = 2.0, 8.0  # roughly what comes after the last round, for the ETA
N_ANCHOR_SEGMENTS = 500


@dataclass
class Loop:
    """One run in progress: its stages, its clock and its folder."""

    config: RunConfig
    folder: Path
    stages: Stages
    watch: Stopwatch
    progress: Progress
    board: SummaryWriter
    told: int = 0  # rounds that the oracle was told about
    _rollout_started: float = 0.0

    def __post_init__(self) -> None:
        self.initial = self.stages.agent.state()  # the untrained agent: a pure function of the seed
        is_own = self.config.kl.reference == "initial"
        self.reference = self.initial if is_own else reference_state(self.config)  # what distances are measured from

    def play(self, state: State | None) -> State:
        """Plays the rounds that are left, checkpointing after each; `state` is None at the very start."""
        if state is None:
            state = self.begin()
            checkpoint.save(self.folder / "checkpoint", state)
        self.progress.steps_done, self.progress.rounds_done = state.steps_done, state.round
        while state.round < self.config.budget.n_rounds:
            state = self.play_round(state)
            checkpoint.save(self.folder / "checkpoint", replace(state, seconds=self.watch.seconds()))
        return state

    def begin(self) -> State:
        """Returns the state before the first round: the untrained agent, measured."""
        none = Answers.empty(self.config.env.segment_length)
        state = State(
            0, 0, 0, self.stages.agent.state(), None, ScoredStore(), ScoredStore(), none, none, oracle_memory=self.oracle_memory(),
        )
        state = replace(state, history=(self.measured(state, None, 0.0),))
        return self.explored(state) if self.config.budget.label_free_steps else state

    def explored(self, state: State) -> State:
        """Trains the agent to reach states far from those so far, before anyone is asked."""
        self.progress.enter("explore")
        source = StateEntropyReward(generator(self.config.seed, "label-free"))
        return self.learned(state, self.config.budget.label_free_steps, source, small_seed(self.config.seed, "label-free"))

    def play_round(self, state: State) -> State:
        """Plays one round: a pure function of `state` (and the config)."""
        started = time.perf_counter()
        self.restore(state)
        state, source = self.collected(state)
        state = self.asked(state, source)
        state = self.fitted(state)
        state = self.trained(state)
        state = replace(state, round=state.round + 1)
        row = self.measured(state, self.model(state), time.perf_counter() - started)
        self.progress.round_done()
        return replace(state, history=(*state.history, row))

    def restore(self, state: State) -> None:
        """Puts `state` into the agent, the learner and what the oracle remembers."""
        self.stages.agent.load_state(state.agent)
        if self.stages.learner is not None and state.learner is not None:
            self.stages.learner.load_state(state.learner)
        if self.stages.state_value is not None:
            self.stages.state_value.load_state(state.oracle_memory)
        for stats in state.oracle_stats[self.told :]:
            self.tell(stats)

    def tell(self, stats: dict[str, float]) -> None:
        """Tells the oracle of a new round."""
        self.stages.oracle.begin_round(stats)
        self.told += 1

    def oracle_memory(self) -> dict[str, AnyArray]:
        """Returns the values of states that the oracle has paid for; empty unless it branches."""
        return self.stages.state_value.state() if self.stages.state_value is not None else {}

    def model(self, state: State) -> RewardModel | None:
        """Returns the learned reward model; None before the first fit and for gold controls."""
        return self.stages.learner.model if self.stages.learner is not None and state.learner is not None else None

    def collected(self, state: State) -> tuple[State, dict[bool, ScoredStore]]:
        """Adds this round's trajectories to the pools; also returns the pools with this round's simulator states."""
        self.progress.enter("collect")
        budget, r = self.config.budget, state.round
        rng = generator(self.config.seed, "collect", r)
        is_branched = self.stages.oracle.needs_sim_states
        with self.watch.on("env"):
            made = self.stages.collect(
                self.stages.agent, budget.n_collect, small_seed(self.config.seed, "collect", r), rng,
                keep_states=self.config.video or is_branched,
            )
        kept, heldout = asking.split_heldout(made, budget.heldout_share, generator(self.config.seed, "split", r))
        n_steps = sum(len(item.trajectory) for item in made)
        pooled = [part if is_branched else _plain(part) for part in (kept, heldout)]
        grown = replace(
            state, pool=state.pool.extended(pooled[0]), heldout=state.heldout.extended(pooled[1]),
            n_env_steps=state.n_env_steps + n_steps,
        )
        return grown, {False: ScoredStore(kept), True: ScoredStore(heldout)}

    def asked(self, state: State, fresh: dict[bool, ScoredStore]) -> State:
        """Chooses this round's queries and puts them to the oracle; a gold control asks nothing."""
        if self.stages.learner is None:
            return state
        self.progress.enter("ask")
        r, seed, budget = state.round, self.config.seed, self.config.budget
        stats = {"round": float(r), "n_answered": float(state.ledger.n_queries), **_last_returns(state)}
        self.tell(stats)
        n = budget.comparisons_by_round()[r]
        n_heldout = min(n - 1, max(1, round(budget.heldout_share * n))) if n > 1 else 0
        films, ledger = [state.films], state.ledger
        grown: dict[bool, Answers] = {}
        parts = ((False, n - n_heldout, state.pool, state.answers), (True, n_heldout, state.heldout, state.heldout_answers))
        for is_heldout, n_asked, store, answers in parts:
            name = "heldout" if is_heldout else "train"
            n_fresh = len(fresh[is_heldout])
            with self.watch.on("oracle"):
                first, second = asking.choose(
                    self.stages.uniform if is_heldout else self.stages.strategy, store, self.config.env.segment_length,
                    n_asked, self.model(state), generator(seed, "choose", name, r),
                )
                ids = ledger.n_queries + np.arange(len(first))
                oracle = self.stages.oracle.for_evaluation() if is_heldout else self.stages.oracle
                answered, choice = asking.ask(oracle, store, first, second, ids)
            ledger = ledger.charged(choice, is_heldout)
            grown[is_heldout] = answers.extended(answered)
            source = film.Source(fresh[is_heldout], len(store) - n_fresh, answered, is_heldout)
            films.append(film.keep(source, r, generator(seed, "film", name, r)))
        return replace(
            state, answers=grown[False], heldout_answers=grown[True], ledger=ledger, films=film.join(films),
            oracle_stats=(*state.oracle_stats, stats), oracle_memory=self.oracle_memory(),
        )

    def fitted(self, state: State) -> State:
        """Fits the reward to all training answers so far, if there are any: a human may skip a whole round."""
        if self.stages.learner is None or not len(state.answers.comparisons):
            return state
        self.progress.enter("fit")
        stages = self.stages
        context = LearnerContext(state.pool.store, self.anchor(state), stages.is_fixed_horizon, stages.extras)
        with self.watch.on("reward_fit"):
            fit = self.stages.learner.fit(state.answers.comparisons, context, generator(self.config.seed, "fit", state.round))
        for name, value in {"log_loss": fit.train_log_loss, "accuracy": fit.train_accuracy, **fit.scalars}.items():
            self.board.add_scalar(f"reward/train_{name}", value, state.steps_done)
        return replace(state, learner=self.stages.learner.state())

    def anchor(self, state: State) -> Any:
        """Returns the segments on which the proxy's scale is measured."""
        index = state.pool.store.admissible(self.config.env.segment_length)
        return subsample(index, N_ANCHOR_SEGMENTS, f"anchor-{state.round}")

    def trained(self, state: State) -> State:
        """Trains the agent on the proxy until this round's share of the env steps is spent."""
        self.progress.enter("train")
        r, budget = state.round, self.config.budget
        target = budget.steps_by_round()[r] - state.steps_done
        if target <= 0:
            return state
        if budget.restarts_agent and 0 < r == budget.n_rounds - 1:
            counters = {name: state.agent[name] for name in ("n_env_steps", "n_updates")}
            self.stages.agent.load_state({**self.initial, **counters})
        if r == 0 and budget.label_free_steps:  # what was of value while exploring is none now
            self.stages.agent.reset_critic(small_seed(self.config.seed, "critic"), forgets=self.stages.learner is None)
        return self.learned(state, target, self.source(state), small_seed(self.config.seed, "train", r))

    def source(self, state: State) -> Any:
        """Returns what pays the agent: gold for a gold control, else the learned reward, and nothing before the first answer."""
        if self.stages.learner is None:
            return self.gold_source(state)
        model = self.model(state)
        return nothing if model is None else model.rewards

    def learned(self, state: State, n_env_steps: int, source: Any, seed: int) -> State:
        """Trains the agent on `source` and charges what that took."""
        self._rollout_started = time.perf_counter()
        report = self.stages.agent.train(
            n_env_steps, source, seed=seed, steps_done=state.steps_done, steps_total=self.config.budget.n_env_steps,
            on_rollout=self.on_rollout,
        )
        self.watch.charge("env", report.seconds_env)
        self.watch.charge("reward_inference", report.seconds_reward)
        self.watch.charge("agent", report.seconds_agent)
        return replace(
            state, agent=self.stages.agent.state(), steps_done=state.steps_done + report.n_env_steps,
            n_env_steps=state.n_env_steps + report.n_env_steps,
        )

    def on_rollout(self, info: Any) -> None:
        """Reports a rollout: progress with its ETA, and TensorBoard."""
        now = time.perf_counter()
        done = info.n_env_steps_total - self.progress.steps_done
        self.progress.trained(done, now - self._rollout_started)
        self._rollout_started = now
        for name, value in info.scalars.items():
            self.board.add_scalar(name, value, info.n_env_steps_total)

    def gold_source(self, state: State) -> GoldSource:
        """Returns gold as the proxy, anchored as a learned reward would be."""
        return self.stages.gold_source(state.pool)

    def measured(self, state: State, model: RewardModel | None, seconds: float) -> dict[str, Any]:
        """Evaluates the agent and the reward; nothing of it flows back into training."""
        self.progress.enter("measure")
        with self.watch.on("env"):
            episodes = self.evaluation_episodes(state.round)
            deterministic = self.evaluation_episodes(state.round, is_stochastic=False)
        with self.watch.on("reward_inference"):
            measured = measure(episodes, self.stages.task.factor_names, model.rewards if model else None)
        mean_return = measure(deterministic, self.stages.task.factor_names, None).gold_return_mean
        figures = record.heldout_figures(model, state.heldout, state.heldout_answers)
        row = {
            "round": state.round, "n_env_steps": state.steps_done, "n_comparisons": len(state.answers.comparisons),
            "n_queries": state.ledger.n_queries, **measured.row(), "gold_return_deterministic": mean_return, **figures,
            **state.ledger.shares(), "seconds": seconds,
        }
        with self.watch.on("oracle"):
            if (scores := user_scores(self.stages.oracle, episodes, self.config.env.segment_length)) is not None:
                row["user_scores"] = scores
        self.progress.gold, self.progress.proxy = measured.gold_return_mean, measured.proxy_return_mean
        for name, value in row.items():
            if isinstance(value, float) and name != "seconds":
                self.board.add_scalar(f"measure/{name}", value, state.steps_done)
        self.board.flush()
        return row

    def evaluation_episodes(self, round_number: int, is_stochastic: bool = True) -> list[ScoredTrajectory]:
        """Returns the evaluation episodes of the agent as it is now, from the first states that every run is measured on."""
        rng = generator(self.config.seed, "evaluate", round_number) if is_stochastic else None
        return self.stages.collect(self.stages.agent, self.config.budget.n_eval_episodes, EVALUATION_SEED, rng)


def start(config: RunConfig, folder: Path, seconds: dict[str, float] | None = None) -> Loop:
    """Builds everything; refuses before the folder is touched if the parts do not fit together."""
    watch = Stopwatch(seconds)
    stages = build(config, watch)
    folder.mkdir(parents=True, exist_ok=True)
    final_seconds = REPORT_SECONDS + VIDEO_SECONDS * config.video
    progress = Progress(
        config.name, config.budget.n_env_steps, config.budget.n_rounds, folder, final_seconds=final_seconds,
    )
    return Loop(config, folder, stages, watch, progress, SummaryWriter(str(folder)))


def nothing(steps: Transitions) -> npt.NDArray[np.float32]:
    """Returns 0 for each step: what an agent is paid before anybody has answered."""
    return np.zeros(len(steps), dtype=np.float32)


def _plain(trajectories: list[ScoredTrajectory]) -> list[ScoredTrajectory]:
    return [ScoredTrajectory(item.trajectory, item.gold_rewards, item.factors) for item in trajectories]


def _last_returns(state: State) -> dict[str, float]:
    """Returns what a human may adapt to: the mean gold return and length of the ten newest trajectories (B-Pref's R̄ and T)."""
    if not len(state.pool):
        return {}
    first = np.concatenate([[0], np.cumsum(state.pool.store.lengths)])[:-1]
    returns = np.add.reduceat(state.pool.gold_rewards, first)
    return {"mean_return": float(returns[-10:].mean()), "mean_length": float(state.pool.store.lengths[-10:].mean())}


def load_json_lines(path: Path) -> list[dict[str, Any]]:
    """Reads a file of one json object a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
