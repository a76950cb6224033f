"""Preferences that may go in a circle: the general preference model, and the reward that it is against given opponents.

A segment has an embedding v(τ) = Σ_t φ(s_t, a_t) in R^2d, a sum over its real steps, and

    log odds of τ ≻ τ'  =  s(τ, τ') = Σ_i [v_{2i} v'_{2i+1} − v_{2i+1} v'_{2i}] / T

(Zhang et al. 2024, https://arxiv.org/abs/2410.02197: ⟨R v, v'⟩ / T, R turning d planes by 90°; T = 0.1). s is antisymmetric
whatever φ is, and Bradley-Terry is the case v = (r, 1). Published embeddings are of length 1; here they are not, so that s stays
linear in the steps of τ: against opponents O, the mean of s(τ, o) over o in O is a sum of step rewards
⟨R φ(s_t, a_t), mean of v(o)⟩ / T.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from preflab.errors import InvalidArgument, Refused
from preflab.inputs import Inputs
from preflab.interfaces import LearnerContext, PreferenceModel
from preflab.networks import EnsembleMLP, EnsembleModule, Normalizer
from preflab.rewards.bradley_terry import BradleyTerryLearner
from preflab.rewards.encoding import StepEncoder
from preflab.rewards.ensemble import EnsembleReward, InChunks, on_steps
from preflab.rewards.pairs import PairBatch, StepFunction, segment_sums
from preflab.types import Comparisons, FloatArray, IntArray, Segments, Transitions

TEMPERATURE = 0.1  # T


class EmbeddingMLP(EnsembleMLP):
    """K perceptrons with 2d outputs each."""

    def __init__(
        self, n_members: int, n_inputs: int, hidden: tuple[int, ...], activation: str, n_planes: int, generator: torch.Generator
    ) -> None:
        """Draws all weights from `generator`; the last layer's are normal with a spread of 1 / √width."""
        super().__init__(n_members, n_inputs, hidden, activation, generator)
        width = hidden[-1]
        self.weights[-1] = nn.Parameter(torch.randn(n_members, width, 2 * n_planes, generator=generator) / width**0.5)
        self.biases[-1] = nn.Parameter(torch.zeros(n_members, 1, 2 * n_planes))


def log_odds(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Returns (…) s of embeddings (…, 2d): 0 of a segment against itself, and −s with sides swapped."""
    return (first[..., 0::2] * second[..., 1::2] - first[..., 1::2] * second[..., 0::2]).sum(-1) / TEMPERATURE


class GeneralPreferenceModel(PreferenceModel):
    """K embeddings of segments. It says who would win, and has no reward of its own."""

    def __init__(self, encoder: StepEncoder, normalizer: Normalizer, network: EnsembleModule) -> None:
        """Wraps trained parts."""
        self.encoder, self.normalizer, self.network = encoder, normalizer, network

    def step_embeddings(self, transitions: Transitions) -> torch.Tensor:
        """Returns (K, B, 2d) φ of real steps."""
        def embedded(inputs: Inputs) -> torch.Tensor:
            return torch.as_tensor(self.network(self.normalizer(inputs)))

        with torch.no_grad():
            return InChunks(embedded)(self.encoder(transitions))

    def embeddings(self, segments: Segments) -> torch.Tensor:
        """Returns (K, N, 2d) v of segments."""
        return on_steps(self.step_embeddings, segments).sum(2)

    def member_prob_first(self, first: Segments, second: Segments) -> FloatArray:
        """Returns (K, M) probabilities of members."""
        odds = log_odds(self.embeddings(first).double(), self.embeddings(second).double())
        return np.asarray(torch.sigmoid(odds).numpy())

    def prob_first(self, first: Segments, second: Segments, annotator: IntArray | None = None) -> FloatArray:
        """Returns (M,) means of the members' probabilities."""
        return np.asarray(self.member_prob_first(first, second).mean(0))


class RewardAgainst(EnsembleReward):
    """What a general preference model pays: a step's share in the mean log odds of its segment against fixed opponents.

    Other opponents make another reward: as a policy gets better, it should be against better ones. Answers are predicted by the
    model itself, in circles if it learned so.
    """

    def __init__(self, model: GeneralPreferenceModel, opponents: Segments | torch.Tensor, is_fixed_horizon: bool) -> None:
        """Takes the model and (N,) opponents, or the (K, 2d) mean of their embeddings."""
        self.preferences = model
        super().__init__(model.encoder, model.normalizer, model.network, is_fixed_horizon)
        if isinstance(opponents, Segments):
            if not len(opponents):
                raise InvalidArgument("opponents", "must be at least one segment", 0)
            opponents = model.embeddings(opponents).mean(1)
        self.opponents = opponents

    def with_network(self, network: EnsembleModule) -> Self:
        """Refuses: of opponents only the mean of their embeddings is kept, and that is by the old network."""
        raise Refused(
            "a reward against opponents holds them as its own network embeds them, and no other network can read that: fit with "
            "reward.average_weights=true, or build RewardAgainst of the other network's GeneralPreferenceModel"
        )

    def raw_rewards(self, transitions: Transitions) -> torch.Tensor:
        """Returns (K, B) ⟨R φ, mean of v(o)⟩ / T."""
        return log_odds(self.preferences.step_embeddings(transitions), self.opponents[:, None])

    def member_prob_first(self, first: Segments, second: Segments) -> FloatArray:
        """Returns (K, M) probabilities of the general preference model."""
        return self.preferences.member_prob_first(first, second)

    def state(self) -> dict[str, torch.Tensor]:
        """Returns what an ensemble does, and the opponents' mean embeddings."""
        return super().state() | {"opponents": self.opponents.clone()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned, bit for bit."""
        super().load_state(state)
        self.opponents = state["opponents"].clone()


class GeneralPreferenceLearner(BradleyTerryLearner):
    """Fits embeddings to comparisons; its reward is against the segments of the fit's anchor: what was done lately."""

    _opponents: Segments | None = None

    def scores(self, params: StepFunction, minibatch: PairBatch) -> torch.Tensor:
        """Returns (K, 2, M) ± half the log odds of each pair: no scores of segments, but their differences are log odds."""
        sums = segment_sums(params(minibatch.inputs), minibatch)
        half = log_odds(sums[:, 0], sums[:, 1]) / 2
        scores = torch.stack([half, -half], dim=1)
        return scores if minibatch.offset is None else scores + minibatch.offset

    def data(self, comparisons: Comparisons, context: LearnerContext, anchor: Segments, rng: np.random.Generator) -> PairBatch:
        """Returns all comparisons with standardized inputs, and takes the context's anchor for opponents."""
        self._opponents = context.pool.gather(context.anchor)
        return super().data(comparisons, context, anchor, rng)

    def fitted_model(self, network: EnsembleModule) -> EnsembleReward:
        """Returns the reward of trained embeddings against the latest opponents."""
        model = GeneralPreferenceModel(self.encoder, self._normalizer, network)
        nobody = torch.zeros(network.n_members, 2 * self.settings.n_planes)
        return RewardAgainst(model, nobody if self._opponents is None else self._opponents, self.is_fixed_horizon)

    def _fresh(self, generator: torch.Generator) -> EnsembleModule:
        cfg = self.settings
        if self.encoder.image_shapes:
            raise Refused("general preferences read numbers, not images; use reward=ensemble, or leave the images out")
        return EmbeddingMLP(cfg.n_members, self.encoder.size, cfg.hidden, cfg.activation, cfg.n_planes, generator)
