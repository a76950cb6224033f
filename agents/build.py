"""Names of agents, and the agent a name stands for."""

from collections.abc import Mapping
from typing import Any

import torch

from preflab.agents.ppo import MakeVec, PPOAgent
from preflab.agents.settings import PPOSettings
from preflab.errors import UnknownName

AGENTS: Mapping[str, str] = {
    "ppo": "proximal policy optimization by Stable-Baselines3; Schulman et al. 2017, https://arxiv.org/abs/1707.06347",
}


def build(
    name: str, settings: Mapping[str, Any], make_vec: MakeVec, *, seed: int, device: str | torch.device = "cpu"
) -> PPOAgent:
    """Returns the agent called `name`, untrained.

    Args:
        name: one of `AGENTS`.
        settings: its settings by name; what is left out keeps its default.
        make_vec: builds the training environments from (n_envs, seed).
        seed: of the initial weights.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.

    Raises:
        UnknownName: `name` or a setting is not known.
        InvalidArgument: a setting breaks its rule, or `device` is not there.
    """
    if name not in AGENTS:
        raise UnknownName("agent", name, AGENTS)
    return PPOAgent(make_vec, PPOSettings.from_mapping(settings), seed=seed, device=device)
