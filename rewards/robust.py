"""Which `Trust` in answers the settings ask for."""

from __future__ import annotations

from dataclasses import replace

import torch

from preflab.rewards import votes
from preflab.rewards.filtering import Filter
from preflab.rewards.minimum_norm import MinimumNorm
from preflab.rewards.pairs import PairBatch
from preflab.rewards.reliability import Reliability
from preflab.rewards.settings import VOTES, RewardSettings
from preflab.rewards.trust import Trust


def trust_in(
    data: PairBatch, weight: torch.Tensor, settings: RewardSettings, generator: torch.Generator, train: votes.Train,
    differences: votes.Differences,
) -> Trust:
    """Returns what a fit starts out believing of its answers.

    Args:
        data: the comparisons, of weight 0 for members that leave them out.
        weight: (M,) before that.
        settings: `robust` and what belongs to it.
        generator: draws who votes on what.
        train: trains new networks to vote; not called for other kinds of trust.
        differences: (K, M) score differences of networks.
    """
    if settings.robust == "reliability":
        return Reliability(data, weight)
    if settings.robust == "filter":
        return Filter(data)
    if settings.robust == "min_norm":
        return MinimumNorm(data, settings.n_members)
    trust = Trust(data)
    if settings.robust in VOTES:
        n_members, n_rounds, whole = settings.n_members, settings.n_vote_rounds, replace(data, weight=weight)
        strength = votes.strengths(whole, n_members, n_rounds, generator, train, differences)
        share = settings.flip_share if "flip" in settings.robust else 0.0
        trust.data = votes.believed(data, strength, share, "margin" in settings.robust)
    return trust
