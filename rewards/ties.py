"""Likelihoods of three answers, FIRST, SECOND and TIE, whose tie parameter is learned with the network.

With Δ the difference of scores,

    Rao-Kupper   P(FIRST) = σ(Δ − η),  P(SECOND) = σ(−Δ − η),  P(TIE) = (e^{2η} − 1) P(FIRST) P(SECOND),   η = ln θ ≥ 0
    Davidson     P(FIRST) : P(SECOND) : P(TIE) = e^{Δ/2} : e^{−Δ/2} : ν,   ν ≥ 0

(Rao & Kupper 1967, https://doi.org/10.1080/01621459.1967.10482901; Davidson 1970,
https://doi.org/10.1080/01621459.1970.10481082). Without ties, η = 0 and ν = 0, both are Bradley-Terry, which reads a tie as
half a victory for either: that draws Δ to 0 but does not say how often close pairs are called even. Under Davidson the odds of
FIRST against SECOND are those of Bradley-Terry; under Rao-Kupper a larger θ makes strict answers surer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from preflab.networks import EnsembleModule
from preflab.rewards.bradley_terry import BradleyTerryLearner
from preflab.rewards.ensemble import EnsembleReward
from preflab.rewards.pairs import PairBatch, StepFunction
from preflab.types import FloatArray, Segments

_FASTER = 10.0  # the tie parameter's step size, in those of a weight: it is one number, and has as far to go


def rao_kupper(difference: torch.Tensor, tie: torch.Tensor) -> torch.Tensor:
    """Returns (…, 3) log probabilities of FIRST, SECOND, TIE at score differences (…); η = softplus(`tie`)."""
    eta = nn.functional.softplus(tie)
    first, second = (nn.functional.logsigmoid(sign * difference - eta) for sign in (1, -1))
    return torch.stack([first, second, torch.log(torch.expm1(2 * eta)) + first + second], dim=-1)


def davidson(difference: torch.Tensor, tie: torch.Tensor) -> torch.Tensor:
    """Returns (…, 3) log probabilities of FIRST, SECOND, TIE at score differences (…); ν = exp(`tie`)."""
    half, even = difference / 2 + torch.zeros_like(tie), tie + torch.zeros_like(difference)
    return torch.log_softmax(torch.stack([half, -half, even], dim=-1), dim=-1)


FORMULAS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {"rao_kupper": rao_kupper, "davidson": davidson}


def initial_tie(kind: str, share: float) -> float:
    """Returns the tie parameter under which equal segments tie with chance `share`, which is kept in [0.01, 0.9].

    At Δ = 0 that chance is tanh(η / 2) under Rao-Kupper and ν / (ν + 2) under Davidson.
    """
    share = min(max(share, 0.01), 0.9)
    if kind == "davidson":
        return math.log(2 * share / (1 - share))
    return math.log(math.expm1(2 * math.atanh(share)))


class TieReward(EnsembleReward):
    """K networks, each with its own tie parameter."""

    kind: str

    def member_probabilities(self, first: Segments, second: Segments) -> FloatArray:
        """Returns (K, M, 3) probabilities of FIRST, SECOND, TIE."""
        difference = torch.as_tensor(self.member_scores(first) - self.member_scores(second))
        return np.asarray(FORMULAS[self.kind](difference, tie_of(self.network).detach().double()).exp().numpy())

    def member_prob_first(self, first: Segments, second: Segments) -> FloatArray:
        """Returns (K, M) probabilities of FIRST among strict answers."""
        probabilities = self.member_probabilities(first, second)
        return np.asarray(probabilities[..., 0] / probabilities[..., :2].sum(-1))

    def probabilities(self, first: Segments, second: Segments) -> FloatArray:
        """Returns (M, 3) means of the members' probabilities of FIRST, SECOND, TIE."""
        return np.asarray(self.member_probabilities(first, second).mean(0))


class TieLearner(BradleyTerryLearner):
    """Fits r̂ and a tie parameter a member; `settings.likelihood` says which of both formulas is believed."""

    def nats(self, params: StepFunction, scores: torch.Tensor, minibatch: PairBatch) -> torch.Tensor:
        """Returns (K, M) −log P(answer); a network without a tie parameter is given that of equal pairs tying one time in five."""
        kind = self.settings.likelihood
        logs = FORMULAS[kind](scores[:, 0] - scores[:, 1], tie_of(params, initial_tie(kind, 0.2)))
        strict = minibatch.p_first * logs[..., 0] + (1 - minibatch.p_first) * logs[..., 1]
        return -torch.where(minibatch.is_tie, logs[..., 2], strict)

    def parameter_groups(self, network: EnsembleModule) -> list[dict[str, Any]]:
        """Returns weights as ever, and tie parameters, which take longer steps and do not decay."""
        weights = [parameter for name, parameter in network.named_parameters() if name != "tie"]
        tie = {"params": [tie_of(network)], "weight_decay": 0.0, "lr": _FASTER * self.settings.learning_rate}
        return [{"params": weights}, tie]

    def fitted_model(self, network: EnsembleModule) -> EnsembleReward:
        """Returns the ensemble's reward, with what it believes of ties."""
        model = TieReward(self.encoder, self._normalizer, network, self.is_fixed_horizon)
        model.kind = self.settings.likelihood
        return model

    def _fresh(self, generator: torch.Generator) -> EnsembleModule:
        network = super()._fresh(generator)
        network.register_parameter("tie", nn.Parameter(torch.zeros(network.n_members, 1)))
        return network

    def _train(
        self, network: EnsembleModule, data: PairBatch, weight: torch.Tensor, generator: torch.Generator
    ) -> tuple[int, dict[str, float]]:
        """Starts the tie parameter where equal pairs tie as often as all do, and trains on."""
        if not self._goes_on:
            share = float(weight[data.is_tie].sum() / weight.sum())
            with torch.no_grad():
                tie_of(network).fill_(initial_tie(self.settings.likelihood, share))
        n_steps, scalars = super()._train(network, data, weight, generator)
        logs = FORMULAS[self.settings.likelihood](torch.zeros(1), tie_of(network).detach())
        return n_steps, scalars | {"tie_rate_if_equal": float(logs[..., 2].exp().mean())}


def tie_of(params: Any, default: float = 0.0) -> torch.Tensor:
    """Returns the (K, 1) tie parameter of a network, or of what calls one; (1, 1) `default` where there is none."""
    tie = getattr(getattr(params, "network", params), "tie", None)
    return tie if isinstance(tie, torch.Tensor) else torch.full((1, 1), default)
