"""Everything from a proxy reward to a policy: Stable-Baselines3, unmodified, fed by one mechanism for the proxy."""

from preflab.agents.build import AGENTS, build
from preflab.agents.ppo import PPOAgent
from preflab.agents.proxy import ProxyRewardCallback, ProxyVecEnv
from preflab.agents.rollouts import RolloutInfo, TrainReport
from preflab.agents.settings import PPOSettings

__all__ = [
    "AGENTS",
    "PPOAgent",
    "PPOSettings",
    "ProxyRewardCallback",
    "ProxyVecEnv",
    "RolloutInfo",
    "TrainReport",
    "build",
]
