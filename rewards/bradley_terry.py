"""Bradley-Terry on partial returns: the probability that a segment is preferred grows with its summed reward."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from preflab.errors import Refused
from preflab.inputs import Inputs, LazyInputs, rows_of
from preflab.interfaces import LearnerContext
from preflab.networks import EnsembleModule, Normalizer
from preflab.networks_image import ensemble_network
from preflab.rewards import averaging, diversity
from preflab.rewards.encoding import StepEncoder
from preflab.rewards.ensemble import EnsembleReward
from preflab.rewards.learner import PairLearner
from preflab.rewards.pairs import PairBatch, StepFunction, distinct_steps, segment_scores
from preflab.rewards.settings import RewardSettings
from preflab.types import AnyArray, Comparisons, IntArray, SegmentIndex, Segments, TrajectoryStore


class BradleyTerryLearner(PairLearner[EnsembleReward]):
    """Fits an ensemble of networks to comparisons: the score of a segment is Σ_t r̂(s_t, a_t) over its real steps.

    Christiano et al. 2017, section 2.2.3 (https://arxiv.org/abs/1706.03741).
    """

    streams = True  # whether inputs beyond `memory_mb` may be left in the pool, which may lie on disk

    def __init__(
        self, observation_space: gym.Space[AnyArray], action_space: gym.Space[AnyArray],
        settings: RewardSettings | None = None, is_fixed_horizon: bool = True,
    ) -> None:
        """Learns rewards of steps in these spaces; nothing is drawn before `fit`."""
        super().__init__(settings, is_fixed_horizon)
        self.encoder = StepEncoder(observation_space, action_space, self.settings.inputs)
        if self.encoder.image_shapes and self.settings.diversity in ("features", "architecture"):
            raise Refused(
                f"diversity={self.settings.diversity} gives members other numbers to read, and these steps have images: use "
                "diversity=seed or trunk, or data=bootstrap"
            )
        self._normalizer = Normalizer(self.encoder.size)

    def scores(self, params: StepFunction, minibatch: PairBatch) -> torch.Tensor:
        """Returns (K, 2, M) sums of r̂ over real steps."""
        return segment_scores(params(minibatch.inputs), minibatch)

    def batch(self, comparisons: Comparisons, pool: TrajectoryStore, normalizer: Normalizer | None = None) -> PairBatch:
        """Returns all comparisons as one batch; every distinct step is gathered and encoded once.

        Args:
            comparisons: M answers about segments of `pool`.
            pool: where their segments are.
            normalizer: standardizes the inputs; None leaves them raw.
        """
        steps, rows, real = distinct_steps(comparisons, pool)
        inputs = self._inputs(steps, pool)
        return PairBatch(
            inputs if normalizer is None else standardized(inputs, normalizer), torch.as_tensor(rows),
            torch.as_tensor(real).float(), torch.as_tensor(comparisons.p_first).float(),
            torch.as_tensor(comparisons.weight.copy()).float(), annotator=torch.as_tensor(comparisons.annotator.copy()),
        )

    def data(self, comparisons: Comparisons, context: LearnerContext, anchor: Segments, rng: np.random.Generator) -> PairBatch:
        """Returns all comparisons with standardized inputs."""
        raw = self.batch(comparisons, context.pool)
        self._normalizer = self._fit_normalizer(raw, self.encoder.vectors(anchor.transitions()[~anchor.absorbing.reshape(-1)]))
        return replace(raw, inputs=standardized(raw.inputs, self._normalizer))

    def fitted_model(self, network: EnsembleModule) -> EnsembleReward:
        """Returns the ensemble's reward."""
        return EnsembleReward(self.encoder, self._normalizer, network, self.is_fixed_horizon)

    def empty_model(self, state: Mapping[str, Any]) -> EnsembleReward:
        """Returns an ensemble that can load `state`."""
        self._normalizer = Normalizer(self.encoder.size)
        network = self._fresh(torch.Generator())
        return self.fitted_model(averaging.first_member(network) if self.settings.average_weights else network)

    def _fresh(self, generator: torch.Generator) -> EnsembleModule:
        cfg, encoder = self.settings, self.encoder
        if cfg.diversity in ("features", "architecture"):
            n, has_subsets = cfg.n_members, cfg.diversity == "features"
            seen = diversity.feature_subsets(n, encoder.size, cfg.feature_share if has_subsets else 1.0, generator)
            widths = [list(cfg.hidden)] * n if has_subsets else diversity.member_widths(n, cfg.hidden)
            return diversity.MaskedMLP(seen, widths, cfg.activation, generator)
        return ensemble_network(cfg.n_members, encoder.size, encoder.image_shapes, cfg.hidden, cfg.activation, generator)

    def _fit_normalizer(self, raw: PairBatch, anchor_inputs: torch.Tensor) -> Normalizer:
        """Returns the standardization of inputs: kept from before, or set on this fit's and the anchor's steps."""
        keeps = self.settings.warm_start or not self.settings.refit_inputs
        if self._model is not None and keeps:
            return self._model.normalizer
        normalizer = Normalizer(self.encoder.size)
        seen = (raw.inputs, anchor_inputs) if self.settings.refit_inputs else (anchor_inputs,)
        normalizer.set(*self.encoder.statistics(*seen))
        return normalizer

    def _inputs(self, steps: SegmentIndex, pool: TrajectoryStore) -> Inputs | LazyInputs:
        """Returns the inputs of `steps`: kept, or, if that would take more than `memory_mb`, gathered whenever they are read."""
        def made(rows: IntArray) -> Inputs:
            return self.encoder(pool.gather(steps[rows]).transitions())

        n_pixels = sum(math.prod(shape) for shape in self.encoder.image_shapes)
        n_bytes = len(steps) * (4 * self.encoder.size + n_pixels)
        if not self.streams or n_bytes <= self.settings.memory_mb * 2**20:
            return self.encoder(pool.gather(steps).transitions())
        return LazyInputs(len(steps), made, rows_of(n_pixels) if n_pixels else rows_of(1))


def standardized(inputs: Inputs | LazyInputs, normalizer: Normalizer) -> Inputs | LazyInputs:
    """Returns `inputs` standardized by `normalizer`, now or whenever they are read."""
    return inputs.then(normalizer) if isinstance(inputs, LazyInputs) else normalizer(inputs)
