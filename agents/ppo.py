"""SB3's PPO with the settings that this project has tuned; see `preflab.agents.agent` for how an agent works."""

from preflab.agents.agent import MakeVec, resolve_device
from preflab.agents.on_policy import OnPolicyAgent
from preflab.agents.settings import PPOSettings
from preflab.interfaces import OnRollout, RolloutInfo, TrainReport

__all__ = ["MakeVec", "OnRollout", "PPOAgent", "PPOSettings", "RolloutInfo", "TrainReport", "resolve_device"]


class PPOAgent(OnPolicyAgent[PPOSettings]):
    """A PPO policy that trains on a proxy reward and acts on raw observations."""
