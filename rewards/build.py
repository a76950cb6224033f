"""Reward learners by name."""

from __future__ import annotations

import gymnasium as gym

from preflab.errors import UnknownName
from preflab.interfaces import RewardLearner
from preflab.rewards.bradley_terry import BradleyTerryLearner
from preflab.rewards.controls import ConstantLearner, RandomLearner
from preflab.rewards.settings import RewardSettings
from preflab.types import AnyArray

NAMES = ("constant", "ensemble", "random")


def build(
    name: str,
    settings: RewardSettings | None,
    observation_space: gym.Space[AnyArray],
    action_space: gym.Space[AnyArray],
    *,
    is_fixed_horizon: bool = True,
    seed: int = 0,
) -> RewardLearner:
    """Returns the learner called `name`; raises `UnknownName` with the nearest names otherwise.

    Args:
        name: "ensemble" (Bradley-Terry), or a control: "constant", "random".
        settings: what the networks are and how they are fitted; None takes the defaults.
        observation_space: Box or Discrete.
        action_space: Box or Discrete.
        is_fixed_horizon: which form of the task the reward is anchored for.
        seed: draws the random reward; a fitted one draws from the generator given to `fit` only.
    """
    if name == "ensemble":
        return BradleyTerryLearner(observation_space, action_space, settings, is_fixed_horizon)
    if name == "constant":
        return ConstantLearner()
    if name == "random":
        return RandomLearner(observation_space, action_space, settings, is_fixed_horizon, seed=seed)
    raise UnknownName("reward", name, NAMES)
