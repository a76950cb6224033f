"""Rewards that learn nothing: a result that does not beat them is no result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from preflab.errors import NotFitted
from preflab.interfaces import FitReport, LearnerContext, RewardLearner, RewardModel
from preflab.networks import EnsembleModule
from preflab.rewards.bradley_terry import BradleyTerryLearner
from preflab.rewards.metrics import fit_report
from preflab.rewards.pairs import PairBatch
from preflab.rewards.settings import RewardSettings
from preflab.seeding import torch_generator
from preflab.types import AnyArray, Comparisons, FloatArray, IntArray, Segments, Transitions


class ConstantReward(RewardModel):
    """Pays 1 on every real step, 0 on absorbing ones: in a terminating task, the wish to go on."""

    def step_rewards(self, segments: Segments, annotator: IntArray | None = None) -> FloatArray:
        """Returns (N, L): 1, or 0 on absorbing steps."""
        return np.where(segments.absorbing, 0.0, 1.0)

    def rewards(self, transitions: Transitions) -> npt.NDArray[np.float32]:
        """Returns (B,) ones."""
        return np.ones(len(transitions), dtype=np.float32)

    def prob_first(self, first: Segments, second: Segments, annotator: IntArray | None = None) -> FloatArray:
        """Returns (M,) σ(number of real steps of first − of second)."""
        steps = (~first.absorbing).sum(1) - (~second.absorbing).sum(1)
        return np.asarray(np.exp(-np.logaddexp(0.0, -steps.astype(np.float64))))


class ConstantLearner(RewardLearner):
    """Answers with `ConstantReward` whatever it is told."""

    def __init__(self) -> None:
        """Starts unfitted, like any learner."""
        self._is_fitted = False

    @property
    def model(self) -> ConstantReward:
        """The constant reward; raises `NotFitted` before `fit`."""
        if not self._is_fitted:
            raise NotFitted("the reward has not been fitted yet: call fit first")
        return ConstantReward()

    def fit(self, comparisons: Comparisons, context: LearnerContext, rng: np.random.Generator) -> FitReport:
        """Learns nothing and reports how well nothing predicts."""
        self._is_fitted = True
        return fit_report(self.model, comparisons, context, n_steps=0)

    def state(self) -> dict[str, Any]:
        """Returns whether it was fitted."""
        return {"is_fitted": torch.tensor([self._is_fitted])}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned."""
        self._is_fitted = bool(state["is_fitted"][0])


class RandomLearner(BradleyTerryLearner):
    """A random ensemble, drawn once and kept: of a learned reward's shape and scale, and of no information."""

    def __init__(
        self, observation_space: gym.Space[AnyArray], action_space: gym.Space[AnyArray],
        settings: RewardSettings | None = None, is_fixed_horizon: bool = True, *, seed: int = 0,
    ) -> None:
        """Takes the arguments of the learner it is compared with; `seed` draws the networks."""
        kept = replace(
            settings or RewardSettings(), warm_start=True, refit_inputs=False, data="shared", early_stopping=False,
            diversity="seed", average_weights=False, robust="none",
        )
        super().__init__(observation_space, action_space, kept, is_fixed_horizon)
        self._seed = seed

    def _fresh(self, generator: torch.Generator) -> EnsembleModule:
        return super()._fresh(torch_generator(self._seed, "random reward"))

    def _train(
        self, network: EnsembleModule, data: PairBatch, weight: torch.Tensor, generator: torch.Generator
    ) -> tuple[int, dict[str, float]]:
        return 0, {}

    def _warn(self, n_comparisons: int, n_weights: int) -> None:
        """Says nothing: nothing is trained."""
