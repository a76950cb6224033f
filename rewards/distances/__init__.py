"""How far apart two rewards are: exact in finite tasks, from sampled steps in others. Only this part of rewards/ sees gold."""

from preflab.rewards.distances.canonical import CANONICAL, shaped_by
from preflab.rewards.distances.episodes import RankCorrelations, episode_return_distance, episode_returns, rank_correlations
from preflab.rewards.distances.features import Features, FourierFeatures, one_hot
from preflab.rewards.distances.points import Draws, Reached, Sample, Step, branched_sample, recorded_sample
from preflab.rewards.distances.regret import mutual_regret, policy_regret
from preflab.rewards.distances.resampling import Estimate
from preflab.rewards.distances.results import SampledDistance, SampledSettings
from preflab.rewards.distances.sampled_pearson import dard_sampled, epic_sampled
from preflab.rewards.distances.sampled_starc import minimal_sampled, val_sampled
from preflab.rewards.distances.starc import NORMS, dard_distance, epic_distance, norm, standardized, starc_distance

__all__ = [
    "CANONICAL", "NORMS", "dard_distance", "epic_distance", "norm", "shaped_by", "standardized", "starc_distance",
    "mutual_regret", "policy_regret",
    "Draws", "Features", "FourierFeatures", "Reached", "Sample", "Step", "branched_sample", "one_hot", "recorded_sample",
    "SampledDistance", "SampledSettings", "dard_sampled", "epic_sampled", "minimal_sampled", "val_sampled",
    "Estimate", "RankCorrelations", "episode_return_distance", "episode_returns", "rank_correlations",
]
