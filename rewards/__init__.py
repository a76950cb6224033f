"""From answers to a proxy reward: networks, likelihoods, learners and what is measured of them."""

from preflab.rewards.bradley_terry import BradleyTerryLearner, PairBatch
from preflab.rewards.build import build
from preflab.rewards.controls import ConstantLearner, ConstantReward, RandomLearner
from preflab.rewards.ensemble import EnsembleReward
from preflab.rewards.settings import FewComparisonsWarning, RewardSettings

__all__ = [
    "BradleyTerryLearner", "ConstantLearner", "ConstantReward", "EnsembleReward", "FewComparisonsWarning", "PairBatch",
    "RandomLearner", "RewardSettings", "build",
]
