"""Every agent keeps every law of the kit, with each kind of action that it takes; a new one gets a line here first."""

from pathlib import Path
from typing import Any

import pytest

from preflab import agents
from preflab.experiments.config import names
from preflab.testing import AgentCase, check_agent

PPO: dict[str, Any] = {
    "n_envs": 2, "n_steps": 16, "batch_size": 16, "n_epochs": 2, "hidden": (16, 16), "target_kl": None, "learning_rate": 1e-2,
    "gamma": 0.5, "normalize_obs": True,
}
SAC: dict[str, Any] = {
    "path": "stable_baselines3.SAC", "n_envs": 2, "hidden": (32, 32), "learning_rate": 3e-3, "learning_starts": 16,
    "batch_size": 64, "report_every": 16, "gamma": 0.5,
}
DQN: dict[str, Any] = {
    **SAC, "path": "stable_baselines3.DQN", "train_freq": 1, "target_update_interval": 8, "exploration_final_eps": 0.1,
    "exploration_fraction": 0.3,
}
A2C: dict[str, Any] = {
    "path": "stable_baselines3.A2C", "n_envs": 2, "n_steps": 16, "hidden": (16, 16), "learning_rate": 2e-2, "gamma": 0.5,
}
# What is tried of each yaml in conf/agent, and with which actions.
TRIED: dict[str, tuple[dict[str, Any], bool]] = {
    "ppo": (PPO, False), "ppo, discrete": (PPO, True), "sac": (SAC, False),
    "pebble-sac": ({**SAC, "target_update_interval": 2}, False),
    "tqc": ({**SAC, "path": "sb3_contrib.TQC"}, False), "dqn": (DQN, True), "sb3": (A2C, False),
}


def test_every_agent_is_tried() -> None:
    assert {name.partition(",")[0] for name in TRIED} == set(names("agent"))


@pytest.mark.slow
@pytest.mark.parametrize("tried", TRIED)
def test_every_agent_keeps_the_laws_of_agents(tried: str, tmp_path: Path) -> None:
    values, is_discrete = TRIED[tried]
    settings = agents.settings_from(values)
    is_on_policy = tried.startswith(("ppo", "sb3"))
    case = AgentCase(is_discrete=is_discrete, is_on_policy=is_on_policy, sb3_class=settings.algorithm)
    assert check_agent(lambda make_vec, seed: agents.build(settings, make_vec, seed=seed), case) == {}
