"""Every cell of ENV × ORACLE × REWARD × AGENT runs one smoke round or is refused in a sentence, before any training."""

import contextlib
import dataclasses
import itertools
from dataclasses import dataclass
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
from preflab.oracles import OracleSettings
from preflab.oracles.population import humans_of
from preflab.rewards import RewardSettings

CELLS = list(itertools.product(names("env"), names("oracle"), names("reward"), names("agent")))
TABULAR = ("delivery-gridworld", "random-mdp")
DISCRETE = (*TABULAR, "cartpole")
THOROUGH = ("pendulum", "cartpole", "delivery-gridworld")  # every part beside the plain ones, and every reward beside regret
Cell = tuple[str, str, str]  # oracle, reward, agent
PLAIN = ("partial_return", "ensemble", "ppo")


def says_what_plans(refusal: str) -> bool:
    return "reward=regret_tabular plans with exact dynamics" in refusal and all(name in refusal for name in TABULAR)


@dataclass(frozen=True)
class Composed:
    """Every name of every group, composed once: half a second each."""

    envs: dict[str, tuple[RunConfig, list[dict[str, Any]]]]  # with the humans that the env's yaml names
    oracles: dict[str, OracleSettings]
    rewards: dict[str, RewardSettings]
    agents: dict[str, Any]

    def check(self, env: str, oracle: str, reward: str, agent: str) -> None:
        """Raises `Refused` if a run of these would be."""
        config, humans = self.envs[env]
        settings = dataclasses.replace(self.oracles[oracle], humans=tuple(humans))  # type: ignore[arg-type]
        config = dataclasses.replace(config, agent_name=agent, agent=self.agents[agent], reward=self.rewards[reward])
        check(dataclasses.replace(config, oracle_name=oracle, oracle=settings, reward_name=reward))

    def allowed(self, env: str) -> list[Cell]:
        """Returns (oracle, reward, agent) of every cell of `env` that is not refused."""
        cells: list[Cell] = []
        for cell in (cell for cell in CELLS if cell[0] == env):
            with contextlib.suppress(Refused):
                self.check(*cell)
                cells.append((cell[1], cell[2], cell[3]))
        return cells


@pytest.fixture(scope="module")
def composed() -> Composed:
    envs = {}
    for env in names("env"):
        config, tree = compose_run([f"env={env}", "budget=smoke"])
        envs[env] = config, tree["env"]["overlays"].get("oracle.pluralistic", {}).get("humans", [])
    return Composed(
        envs, {name: compose_run([f"oracle={name}"])[0].oracle for name in names("oracle")},
        {name: compose_run([f"reward={name}"])[0].reward for name in names("reward")},
        {name: compose_run([f"agent={name}", "budget=smoke"])[0].agent for name in names("agent")},
    )


def test_every_cell_is_checked_before_training_and_refused_only_for_want_of_an_expert(composed: Composed) -> None:
    for env, oracle, reward, agent in CELLS:
        humans = composed.envs[env][1]
        try:
            composed.check(env, oracle, reward, agent)
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


def test_every_task_whose_gold_has_two_factors_names_humans_who_differ(composed: Composed) -> None:
    assert compose_run(["env=pendulum", "oracle=pluralistic"])[0].oracle.humans == humans_of(composed.envs["pendulum"][1])
    for env, (_, said) in composed.envs.items():
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


def is_near_plain(oracle: str, reward: str, agent: str) -> bool:
    """Tells whether at most one part is not plain, or the plain agent meets a human who regrets."""
    n_other = sum(a != b for a, b in zip((oracle, reward, agent), PLAIN, strict=True))
    return n_other <= 1 or (oracle == "regret" and agent == "ppo")


def covering(cells: list[Cell]) -> list[Cell]:
    """Returns few of `cells` in which every part of all of them occurs, chosen greedily in their order."""
    left, chosen = {part for cell in cells for part in enumerate(cell)}, []
    while left:
        chosen.append(max(cells, key=lambda cell: len(left & set(enumerate(cell)))))
        left -= set(enumerate(chosen[-1]))
    return chosen


def test_a_covering_holds_every_part_and_few_cells() -> None:
    cells: list[Cell] = list(itertools.product("ab", "cdef", "gh"))
    assert covering(cells) == [("a", "c", "g"), ("b", "d", "h"), ("a", "e", "g"), ("a", "f", "g")]


@pytest.mark.slow
@pytest.mark.parametrize("env", names("env"))
def test_every_oracle_reward_and_agent_of_an_env_runs_one_smoke_round(env: str, composed: Composed, tmp_path: Path) -> None:
    cells = composed.allowed(env)
    n_oracles, n_rewards, n_agents = (len(set(part)) for part in zip(*cells, strict=True))
    assert n_oracles >= 2 and n_rewards >= 5 and n_agents >= 2  # both noise models; controls and ensemble; ppo and another
    chosen = [cell for cell in cells if is_near_plain(*cell)] if env in THOROUGH else covering(cells)
    for oracle, reward, agent in chosen:
        run = preflab.run(
            ["budget.n_collect=4", "budget.n_eval_episodes=1", "env.segment_length=2"], env=env, oracle=oracle, reward=reward,
            agent=agent, budget="smoke", video=False, out=str(tmp_path),
        )
        assert run.record["n_env_steps"] == 128 and run.report.stat().st_size > 0
