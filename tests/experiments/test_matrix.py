"""Every cell of ENV × ORACLE × REWARD × AGENT runs one smoke round or is refused in a sentence, before any training."""

import dataclasses
import itertools
from pathlib import Path

import pytest

import preflab
from preflab.errors import Refused
from preflab.experiments.config import compose_run, names
from preflab.experiments.stages import check

CELLS = list(itertools.product(names("env"), names("oracle"), names("reward"), names("agent")))
TABULAR = ("delivery-gridworld", "random-mdp")


def says_what_plans(refusal: str) -> bool:
    return "reward=regret_tabular plans with exact dynamics" in refusal and all(name in refusal for name in TABULAR)


def test_every_cell_is_checked_before_training_and_refused_only_for_want_of_an_expert() -> None:
    # Composing takes half a second, so each preset is composed once and the cells are put together from them.
    by_env = {env: compose_run([f"env={env}", "budget=smoke"])[0] for env in names("env")}
    by_oracle = {oracle: compose_run([f"oracle={oracle}"])[0].oracle for oracle in names("oracle")}
    by_reward = {reward: compose_run([f"reward={reward}"])[0].reward for reward in names("reward")}
    for env, oracle, reward, _ in CELLS:
        config = dataclasses.replace(
            by_env[env], oracle_name=oracle, oracle=by_oracle[oracle], reward_name=reward, reward=by_reward[reward]
        )
        try:
            check(config)
        except Refused as refusal:
            is_planner = reward == "regret_tabular" and env not in TABULAR
            assert is_planner or "regret" in oracle or reward in ("shaped-gold", "regret_frozen_critic"), (env, oracle, reward)
            assert env in str(refusal) and (f"make experts ENV={env}" in str(refusal) or says_what_plans(str(refusal)))
        else:
            assert reward != "regret_tabular" or env in TABULAR


def test_a_shipped_or_exact_expert_lets_regret_run_and_names_those_shipped_elsewhere() -> None:
    for env in ("pendulum", *TABULAR):
        check(compose_run([f"env={env}", "oracle=regret"])[0])
    with pytest.raises(Refused, match="pendulum"):
        check(compose_run(["env=mujoco-swimmer", "oracle=regret"])[0])


@pytest.mark.slow
@pytest.mark.parametrize("env", names("env"))
def test_every_cell_of_an_env_runs_one_smoke_round_or_is_refused(env: str, tmp_path: Path) -> None:
    n_run = 0
    for _, oracle, reward, agent in (cell for cell in CELLS if cell[0] == env):
        try:
            run = preflab.run(
                ["budget.n_collect=4", "budget.n_eval_episodes=1", "env.segment_length=2"], env=env, oracle=oracle, reward=reward,
                agent=agent, budget="smoke", video=False, out=str(tmp_path),
            )
        except Refused as refusal:
            assert f"make experts ENV={env}" in str(refusal) or says_what_plans(str(refusal))
            continue
        assert run.record["n_env_steps"] == 128 and run.report.stat().st_size > 0
        n_run += 1
    assert n_run >= 2 * 4  # partial_return and noisy, with all but shaped-gold
