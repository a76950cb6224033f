"""One network whose weights are the mean of members': of such as were fine-tuned from one trunk, and of no others.

Weights that started as one and were trained a little further stay in one basin, where the mean of weights computes nearly the
mean of outputs at the cost of one network, and forgets what single members memorized: model soups (Wortsman et al. 2022,
https://arxiv.org/abs/2203.05482), WARM for rewards (Ramé et al. 2024, https://arxiv.org/abs/2401.12187). Networks of different
initial weights have hidden units in different orders, and the mean of these computes nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from preflab.errors import Refused
from preflab.networks import EnsembleModule
from preflab.rewards.ensemble import EnsembleReward
from preflab.types import Segments


def recast(network: EnsembleModule, change: Callable[[torch.Tensor], torch.Tensor]) -> EnsembleModule:
    """Returns a copy of K members whose parameters (K, …) are `change` of these, as many members as that gives."""
    other = copy.deepcopy(network)
    n_members = network.n_members
    for module in other.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            changed = torch.nn.Parameter(change(parameter.detach()).clone())
            setattr(module, name, changed)
            n_members = len(changed)
    for module in other.modules():
        if hasattr(module, "n_members"):
            module.__dict__["n_members"] = n_members
    return other


def first_member(network: EnsembleModule) -> EnsembleModule:
    """Returns the first member alone."""
    return recast(network, lambda parameter: parameter[:1])


def copies(network: EnsembleModule, n_members: int) -> EnsembleModule:
    """Returns `n_members` equal members of a network of one."""
    return recast(network, lambda parameter: parameter.expand(n_members, *parameter.shape[1:]))


def mean_member(network: EnsembleModule) -> EnsembleModule:
    """Returns the one member whose weights are the mean of all members'."""
    return recast(network, lambda parameter: parameter.mean(0, keepdim=True))


def weight_averaged(model: EnsembleReward, anchor: Segments) -> EnsembleReward:
    """Returns the reward of the mean of the members' weights, put on the scale of `anchor`.

    Raises:
        Refused: the members were not fine-tuned from one trunk, or the reward is against opponents that they embedded.
    """
    if not model.shares_trunk:
        raise Refused(
            f"the weights of {model.n_members} members that were trained from different initial weights cannot be averaged: their "
            "hidden units come in different orders, and the mean computes nothing like any of them; average their rewards "
            "(pessimism=mean), or train them with reward.diversity=trunk"
        )
    averaged = model.with_network(mean_member(model.network))
    averaged.anchor(anchor)
    return averaged
