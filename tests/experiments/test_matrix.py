"""Every cell of ENV × ORACLE × REWARD × AGENT runs one smoke round or is refused in a sentence, before any training."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import preflab
from preflab.envs import task
from preflab.errors import Refused
from preflab.experiments.config import RunConfig, compose_run, names
from preflab.experiments.stages import check
from preflab.oracles.population import humans_of

CELLS = list(itertools.product(names("env"), names("oracle"), names("reward"), names("agent")))
TABULAR = ("delivery-gridworld", "random-mdp")
DISCRETE = (*TABULAR, "cartpole")


@pytest.fixture(scope="module")
def composed() -> dict[str, tuple[RunConfig, list[dict[str, Any]]]]:
    """Each env's run and the humans that its yaml names; composing takes half a second, so it is done once."""
    found = {}
    for env in names("env"):
        config, tree = compose_run([f"env={env}", "budget=smoke"])
        found[env] = config, tree["env"]["overlays"].get("oracle.pluralistic", {}).get("humans", [])
    return found


def test_every_cell_is_checked_before_training_and_refused_only_for_want_of_an_expert(
    composed: dict[str, tuple[RunConfig, list[dict[str, Any]]]]
) -> None:
    by_oracle = {oracle: compose_run([f"oracle={oracle}"])[0].oracle for oracle in names("oracle")}
    by_agent = {agent: compose_run([f"agent={agent}", "budget=smoke"])[0].agent for agent in names("agent")}
    for env, oracle, reward, agent in CELLS:
        config, humans = composed[env]
        settings = dataclasses.replace(by_oracle[oracle], humans=tuple(humans))  # type: ignore[arg-type]
        config = dataclasses.replace(config, agent_name=agent, agent=by_agent[agent])
        try:
            check(dataclasses.replace(config, oracle_name=oracle, oracle=settings, reward_name=reward))
        except Refused as refusal:
            if "cannot act" in str(refusal):
                assert (agent == "dqn") != (env in DISCRETE), (env, agent)
                continue
            assert env in str(refusal)
            if oracle == "pluralistic" and not humans:
                assert len(task(env).factor_names) == 1 and "gold has one factor" in str(refusal)
            else:
                assert "regret" in oracle or reward == "shaped-gold", (env, oracle, reward)
                assert f"make experts ENV={env}" in str(refusal)


def test_every_task_whose_gold_has_two_factors_names_humans_who_differ(
    composed: dict[str, tuple[RunConfig, list[dict[str, Any]]]]
) -> None:
    assert compose_run(["env=pendulum", "oracle=pluralistic"])[0].oracle.humans == humans_of(composed["pendulum"][1])
    for env, (_, said) in composed.items():
        humans = humans_of(said)
        assert (len(humans) >= 2) == (len(task(env).factor_names) >= 2), env
        directions = {tuple(np.sign([human.weights.get(factor, 0.0) for factor in task(env).factor_names])) for human in humans}
        assert len(directions) == len(humans), env


def test_a_shipped_or_exact_expert_lets_regret_run_and_names_those_shipped_elsewhere() -> None:
    for env in ("pendulum", *TABULAR):
        check(compose_run([f"env={env}", "oracle=regret"])[0])
    with pytest.raises(Refused, match="pendulum"):
        check(compose_run(["env=mujoco-swimmer", "oracle=regret"])[0])


@pytest.mark.slow
@pytest.mark.parametrize("env", names("env"))
def test_every_cell_of_an_env_runs_one_smoke_round_or_is_refused(env: str, tmp_path: Path) -> None:
    n_run = 0
    cells = [cell for cell in CELLS if cell[0] == env and (cell[3] == "ppo" or cell[1:3] == ("partial_return", "ensemble"))]
    for _, oracle, reward, agent in cells:
        try:
            run = preflab.run(
                ["budget.n_collect=4", "budget.n_eval_episodes=1", "env.segment_length=2"], env=env, oracle=oracle, reward=reward,
                agent=agent, budget="smoke", video=False, out=str(tmp_path),
            )
        except Refused as refusal:
            known = (f"make experts ENV={env}", "cannot act", "one factor")
            assert any(words in str(refusal) for words in known)
            continue
        assert run.record["n_env_steps"] == 128 and run.report.stat().st_size > 0
        n_run += 1
    assert n_run >= 2 * 4  # partial_return and noisy, with all but shaped-gold
