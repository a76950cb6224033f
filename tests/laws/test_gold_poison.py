"""Gold never reaches learner or agent: replaced by NaN everywhere outside the oracle, training does not change by a bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import preflab
from preflab import envs
from preflab.experiments import asking, stages
from preflab.experiments.checkpoint import State
from preflab.experiments.config import compose_run
from preflab.experiments.loop import Loop
from preflab.storage import load_tensors
from preflab.tabular import Dynamics
from preflab.types import ScoredStore, ScoredTrajectory


def _poisoned(store: ScoredStore) -> ScoredStore:
    return ScoredStore([
        ScoredTrajectory(
            item.trajectory, np.full_like(item.gold_rewards, np.nan), np.full_like(item.factors, np.nan), item.sim_states
        )
        for item in (store[i] for i in range(len(store)))
    ])


def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces gold by NaN in the env's reward and info, in the pool once labelled, and in every evaluation."""
    step, asked, episodes = envs.TaskVecEnv.step_wait, Loop.asked, Loop.evaluation_episodes
    clean: dict[str, ScoredStore] = {"pool": ScoredStore(), "heldout": ScoredStore()}

    def poisoned_step(self: Any) -> Any:
        obs, rewards, dones, infos = step(self)
        for info in infos:
            info["reward_gold"] = np.nan
        return obs, np.full_like(rewards, np.nan), dones, infos

    def poisoned_asked(self: Loop, state: State, fresh: dict[bool, ScoredStore]) -> State:
        # The oracle judges by gold; nobody else gets it, so it is taken away again when the questions are answered.
        for name, known in clean.items():
            store = getattr(state, name)
            clean[name] = known.extended([store[i] for i in range(len(known), len(store))])
        labelled = asked(self, replace(state, pool=clean["pool"], heldout=clean["heldout"]), fresh)
        return replace(labelled, pool=_poisoned(labelled.pool), heldout=_poisoned(labelled.heldout))

    def poisoned_episodes(self: Loop, *args: Any, **kwargs: Any) -> list[ScoredTrajectory]:
        store = _poisoned(ScoredStore(episodes(self, *args, **kwargs)))
        return [store[i] for i in range(len(store))]

    monkeypatch.setattr(envs.TaskVecEnv, "step_wait", poisoned_step)
    monkeypatch.setattr(Loop, "asked", poisoned_asked)
    monkeypatch.setattr(Loop, "evaluation_episodes", poisoned_episodes)


def _agent_of(env: str, out: Path, reward: str = "ensemble") -> dict[str, torch.Tensor]:
    overrides = ["budget.n_rounds=2", "budget.n_comparisons=20", "budget.n_env_steps=256"]
    run = preflab.run(overrides, env=env, oracle="partial_return", reward=reward, budget="smoke", video=False, out=str(out))
    return load_tensors(sorted((run.folder / "checkpoint").glob("round-*"))[-1] / "agent.safetensors")


def _equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("env", "reward"),
    [("pendulum", "ensemble"), ("random-mdp", "ensemble"), ("pendulum", "regret"), ("random-mdp", "regret_tabular")],
)
def test_gold_poisoned_by_nan_after_labelling_changes_no_bit_of_the_policy(
    env: str, reward: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = _agent_of(env, tmp_path / "clean", reward)
    _poison(monkeypatch)
    assert _equal(clean, _agent_of(env, tmp_path / "poisoned", reward))


def test_dynamics_reach_the_learner_without_a_reward() -> None:
    config, _ = compose_run(["env=random-mdp", "reward=regret_tabular"])
    venv = envs.make_vec("random-mdp", "fixed", 1, 0)
    extras = stages.learner_extras(config, stages.learner_needs(config, None), None, venv)
    assert list(extras) == ["dynamics"] and type(extras["dynamics"]) is Dynamics


def test_a_liar_that_stops_early_on_gold_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = Loop.trained

    def stops_when_gold_is_good(self: Loop, state: State) -> State:
        return state if state.round and state.history[-1]["gold_return_mean"] > -1e9 else trained(self, state)

    monkeypatch.setattr(Loop, "trained", stops_when_gold_is_good)
    clean = _agent_of("random-mdp", tmp_path / "clean")
    _poison(monkeypatch)
    assert not _equal(clean, _agent_of("random-mdp", tmp_path / "poisoned"))


def test_answers_do_not_change_when_the_learner_does(tmp_path: Path) -> None:
    """Labels come from gold, not from the learned reward (imitation PR 336)."""
    runs = [
        preflab.run([f"reward.hidden=[{width}]"], env="random-mdp", budget="smoke", video=False, out=str(tmp_path / str(width)))
        for width in (4, 16)
    ]
    choices = [np.load(run.folder / "comparisons.npz")["train_choice"] for run in runs]
    assert np.array_equal(*choices) and asking.Ledger().n_queries == 0
