"""Every agent keeps every law of the kit, with each kind of action that it takes; a new one gets a line here first."""

from typing import Any

import pytest
from stable_baselines3 import PPO

from preflab import agents
from preflab.testing import AgentCase, check_agent

SMALL_PPO: dict[str, Any] = {
    "n_envs": 2, "n_steps": 16, "batch_size": 16, "n_epochs": 2, "hidden": (16, 16), "target_kl": None, "learning_rate": 1e-2,
    "gamma": 0.5, "normalize_obs": True,
}
TRIED: dict[str, tuple[str, dict[str, Any], AgentCase]] = {
    "ppo": ("ppo", SMALL_PPO, AgentCase(sb3_class=PPO)),
    "ppo, discrete": ("ppo", SMALL_PPO, AgentCase(is_discrete=True, sb3_class=PPO)),
}


def test_every_agent_is_tried() -> None:
    assert {name for name, _, _ in TRIED.values()} == set(agents.AGENTS)


@pytest.mark.slow
@pytest.mark.parametrize("tried", TRIED)
def test_every_agent_keeps_the_laws_of_agents(tried: str) -> None:
    name, settings, case = TRIED[tried]
    assert check_agent(lambda make_vec, seed: agents.build(name, settings, make_vec, seed=seed), case) == {}
