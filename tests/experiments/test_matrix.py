"""Every cell of ENV × ORACLE × REWARD × AGENT runs one smoke round or is refused in a sentence, before any training."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import preflab
from preflab import experts
from preflab.envs import task
from preflab.errors import Refused
from preflab.experiments.config import RunConfig, compose_run, names
from preflab.experiments.stages import check
from preflab.oracles.population import humans_of

CELLS = list(itertools.product(names("env"), names("oracle"), names("reward"), names("agent")))
TABULAR = ("delivery-gridworld", "random-mdp")
DISCRETE = (*TABULAR, "cartpole")


def says_what_plans(refusal: str) -> bool:
    return "reward=regret_tabular plans with exact dynamics" in refusal and all(name in refusal for name in TABULAR)


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
    by_reward = {reward: compose_run([f"reward={reward}"])[0].reward for reward in names("reward")}
    for env, oracle, reward, agent in CELLS:
        config, humans = composed[env]
        settings = dataclasses.replace(by_oracle[oracle], humans=tuple(humans))  # type: ignore[arg-type]
        config = dataclasses.replace(config, agent_name=agent, agent=by_agent[agent], reward=by_reward[reward])
        try:
            check(dataclasses.replace(config, oracle_name=oracle, oracle=settings, reward_name=reward))
        except Refused as refusal:
            if "cannot act" in str(refusal):
                assert (agent == "dqn") != (env in DISCRETE), (env, agent)
                continue
            assert env in str(refusal)
            if says_what_plans(str(refusal)):
                assert reward == "regret_tabular" and env not in TABULAR
            elif oracle == "pluralistic" and not humans:
                assert len(task(env).factor_names) == 1 and "gold has one factor" in str(refusal)
            else:
                assert "regret" in oracle or reward in ("shaped-gold", "regret_frozen_critic"), (env, oracle, reward)
                assert f"make experts ENV={env}" in str(refusal)
        else:
            assert reward != "regret_tabular" or env in TABULAR


def test_every_task_whose_gold_has_two_factors_names_humans_who_differ(
    composed: dict[str, tuple[RunConfig, list[dict[str, Any]]]]
) -> None:
    assert compose_run(["env=pendulum", "oracle=pluralistic"])[0].oracle.humans == humans_of(composed["pendulum"][1])
    for env, (_, said) in composed.items():
        humans = humans_of(said)
        assert (len(humans) >= 2) == (len(task(env).factor_names) >= 2), env
        directions = {tuple(np.sign([human.weights.get(factor, 0.0) for factor in task(env).factor_names])) for human in humans}
        assert len(directions) == len(humans), env


def test_a_shipped_or_exact_expert_lets_regret_run_and_names_those_shipped_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for env in ("pendulum", *TABULAR):
        check(compose_run([f"env={env}", "oracle=regret"])[0])
    (tmp_path / "pendulum-fixed").symlink_to(experts.FOLDER / "pendulum-fixed")
    monkeypatch.setattr(experts, "FOLDER", tmp_path)
    with pytest.raises(Refused, match=r"there are: pendulum \(fixed\)"):
        check(compose_run(["env=mujoco-swimmer", "oracle=regret"])[0])


@pytest.mark.slow
@pytest.mark.parametrize("env", names("env"))
def test_every_cell_of_an_env_runs_one_smoke_round_or_is_refused(env: str, tmp_path: Path) -> None:
    n_run = 0
    # Every two parts meet in some cell; the oracle and the reward that most others are compared with stand beside each third.
    plain = ("partial_return", "ensemble", "ppo")
    cells = [cell for cell in CELLS if cell[0] == env and sum(a != b for a, b in zip(cell[1:], plain, strict=True)) <= 1]
    cells += [(env, "regret", reward, "ppo") for reward in names("reward") if reward != "ensemble"]
    for _, oracle, reward, agent in cells:
        try:
            run = preflab.run(
                ["budget.n_collect=4", "budget.n_eval_episodes=1", "env.segment_length=2"], env=env, oracle=oracle, reward=reward,
                agent=agent, budget="smoke", video=False, out=str(tmp_path),
            )
        except Refused as refusal:
            known = (f"make experts ENV={env}", "cannot act", "one factor", "plans with exact dynamics")
            assert any(words in str(refusal) for words in known)
            continue
        assert run.record["n_env_steps"] == 128 and run.report.stat().st_size > 0
        n_run += 1
    assert n_run >= 2 + 3 + 1  # partial_return and noisy; the controls but shaped-gold; another agent
