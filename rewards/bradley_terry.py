"""Bradley-Terry on partial returns: the probability that a segment is preferred grows with its summed reward."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from preflab.errors import InvalidArgument, NotFitted, Refused
from preflab.inputs import Inputs, vectors_of, with_vectors
from preflab.interfaces import FitReport, LearnerContext, RewardLearner
from preflab.networks import Normalizer
from preflab.networks_image import EnsembleNetwork, ensemble_network
from preflab.rewards.ensemble import EnsembleReward, StepEncoder, in_chunks
from preflab.rewards.metrics import fit_report
from preflab.rewards.settings import FewComparisonsWarning, RewardSettings
from preflab.types import AnyArray, Comparisons, SegmentIndex, TrajectoryStore

StepFunction = Callable[[Any], torch.Tensor]  # Inputs of B steps → (K, B)
_WEIGHTS_PER_COMPARISON = 100  # beyond this many the learner warns
_CHECKS = 25  # how often a full fit with early stopping looks at the comparisons that were left out
_PATIENCE = 8  # it ends after so many looks that showed no member improved


@dataclass(frozen=True, eq=False)
class PairBatch:
    """M comparisons, ready for the loss.

    Attributes:
        inputs: (B, n) standardized inputs of steps, or `StepInputs` with their images.
        rows: (2, M, L) which row of `inputs` each step of the first and of the second segment is.
        real: (2, M, L) 1 on real steps, 0 on absorbing ones.
        p_first: (M,) target probability that the first segment is better.
        weight: (M,), or (K, M) with one row a member.
    """

    inputs: Inputs
    rows: torch.Tensor
    real: torch.Tensor
    p_first: torch.Tensor
    weight: torch.Tensor

    def __len__(self) -> int:
        return len(self.p_first)

    def take(self, pairs: torch.Tensor) -> PairBatch:
        """Returns the comparisons (m,) named by `pairs`, with only their own inputs if these are fewer."""
        inputs, rows = self.inputs, self.rows[:, pairs]
        if rows.numel() < len(inputs):
            inputs, rows = inputs[rows.reshape(-1)], torch.arange(rows.numel()).reshape(rows.shape)
        return PairBatch(inputs, rows, self.real[:, pairs], self.p_first[pairs], self.weight[..., pairs])


def scores(network: StepFunction, batch: PairBatch) -> torch.Tensor:
    """Returns (K, 2, M) raw segment scores Σ_t r̂_k over real steps, of first and second segments."""
    steps = network(batch.inputs)[:, batch.rows]
    return (steps * batch.real).sum(-1)


def losses(network: StepFunction, batch: PairBatch, label_smoothing: float = 0.0) -> torch.Tensor:
    """Returns (K,) weighted mean cross-entropies in nats, one a member; 0 for a member whose weights are all 0.

    −Σ_m w_m [p_m log σ(Δ_m) + (1 − p_m) log σ(−Δ_m)] / Σ_m w_m with Δ = Σ_t r̂(first) − Σ_t r̂(second), p = ½ for a tie
    (Christiano et al. 2017, section 2.2.3, https://arxiv.org/abs/1706.03741). Absorbing steps count 0.
    """
    both = scores(network, batch)
    logits = both[:, 0] - both[:, 1]
    target = batch.p_first * (1 - label_smoothing) + label_smoothing / 2
    # −p log σ(Δ) − (1 − p) log σ(−Δ) = softplus(Δ) − p Δ
    nats = nn.functional.softplus(logits) - target * logits
    weight = batch.weight.expand_as(nats)
    return (nats * weight).sum(1) / weight.sum(1).clamp_min(1e-12)


class BradleyTerryLearner(RewardLearner):
    """Fits an ensemble of networks to comparisons by maximum likelihood."""

    def __init__(
        self, observation_space: gym.Space[AnyArray], action_space: gym.Space[AnyArray],
        settings: RewardSettings | None = None, is_fixed_horizon: bool = True,
    ) -> None:
        """Learns rewards of steps in these spaces; nothing is drawn before `fit`."""
        self.settings = settings or RewardSettings()
        self.is_fixed_horizon = is_fixed_horizon
        self.encoder = StepEncoder(observation_space, action_space, self.settings.inputs)
        self._model: EnsembleReward | None = None
        self._anchor: SegmentIndex | None = None

    @property
    def model(self) -> EnsembleReward:
        """The learned reward; raises `NotFitted` before `fit`."""
        if self._model is None:
            raise NotFitted("the reward has not been fitted yet: call fit first")
        return self._model

    def loss(self, params: StepFunction, minibatch: PairBatch) -> torch.Tensor:
        """Returns the sum over members of `losses`, a scalar; pure in both arguments.

        Args:
            params: the network, any callable from (B, n) inputs to (K, B) rewards.
            minibatch: the comparisons.
        """
        return losses(params, minibatch, self.settings.label_smoothing).sum()

    def batch(self, comparisons: Comparisons, pool: TrajectoryStore, normalizer: Normalizer | None = None) -> PairBatch:
        """Returns all comparisons as one batch; every distinct step is gathered and encoded once.

        Args:
            comparisons: M answers about segments of `pool`.
            pool: where their segments are.
            normalizer: standardizes the inputs; None leaves them raw.
        """
        steps, rows, real = _distinct_steps(comparisons, pool)
        inputs = self.encoder(pool.gather(steps).transitions())
        return PairBatch(
            inputs if normalizer is None else normalizer(inputs), torch.as_tensor(rows), torch.as_tensor(real).float(),
            torch.as_tensor(comparisons.p_first).float(), torch.as_tensor(comparisons.weight.copy()).float(),
        )

    def fit(self, comparisons: Comparisons, context: LearnerContext, rng: np.random.Generator) -> FitReport:
        """Learns from M `comparisons`; see `RewardSettings` for how.

        Raises:
            InvalidArgument: there are no comparisons, or none has weight.
            Refused: the context is of the other form of the task.
        """
        if not len(comparisons) or not comparisons.weight.any():
            raise InvalidArgument("comparisons", "must hold at least one answer with weight", len(comparisons))
        if context.is_fixed_horizon != self.is_fixed_horizon:
            raise Refused(
                f"this learner anchors rewards for is_fixed_horizon={self.is_fixed_horizon} and the context says "
                f"is_fixed_horizon={context.is_fixed_horizon}; build both for one form of the task"
            )
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        if self._anchor is None or not self.settings.freeze_scale:
            self._anchor = context.anchor
        anchor = context.pool.gather(self._anchor)
        raw = self.batch(comparisons, context.pool)
        network = self._network(generator)
        self._warn(len(comparisons), network.n_weights)
        normalizer = self._normalizer(raw, self.encoder.vectors(anchor.transitions()[~anchor.absorbing.reshape(-1)]))
        data = replace(raw, inputs=normalizer(raw.inputs), weight=self._weights(raw.weight, rng))
        n_steps, scalars = self._train(network, data, raw.weight, generator)
        model = EnsembleReward(self.encoder, normalizer, network, self.is_fixed_horizon)
        model.anchor(anchor)
        self._model = model
        return fit_report(model, comparisons, context, n_steps, scalars)

    def state(self) -> dict[str, Any]:
        """Returns the model's tensors and the frozen anchor's segment index; nothing before `fit`."""
        if self._model is None or self._anchor is None:
            return {}
        return {
            **self._model.state(), "anchor.trajectory": torch.as_tensor(self._anchor.trajectory.copy()),
            "anchor.start": torch.as_tensor(self._anchor.start.copy()),
            "anchor.length": torch.tensor([self._anchor.length]),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned, bit for bit."""
        if not state:
            self._model, self._anchor = None, None
            return
        network = self._fresh(torch.Generator())
        model = EnsembleReward(self.encoder, Normalizer(self.encoder.size), network, self.is_fixed_horizon)
        model.load_state({name: tensor for name, tensor in state.items() if not name.startswith("anchor.")})
        trajectory, start = (state[f"anchor.{name}"].numpy().copy() for name in ("trajectory", "start"))
        self._anchor = SegmentIndex(trajectory, start, int(state["anchor.length"][0]))
        self._model = model

    def _fresh(self, generator: torch.Generator) -> EnsembleNetwork:
        cfg, encoder = self.settings, self.encoder
        return ensemble_network(cfg.n_members, encoder.size, encoder.image_shapes, cfg.hidden, cfg.activation, generator)

    def _network(self, generator: torch.Generator) -> EnsembleNetwork:
        if self.settings.warm_start and self._model is not None:
            return copy.deepcopy(self._model.network)
        return self._fresh(generator)

    def _normalizer(self, raw: PairBatch, anchor_inputs: torch.Tensor) -> Normalizer:
        """Returns the standardization of inputs: kept from before, or set on this fit's and the anchor's steps."""
        keeps = self.settings.warm_start or not self.settings.refit_inputs
        if self._model is not None and keeps:
            return self._model.normalizer
        normalizer = Normalizer(self.encoder.size)
        seen = torch.cat([vectors_of(raw.inputs), anchor_inputs]) if self.settings.refit_inputs else anchor_inputs
        normalizer.set(*self.encoder.statistics(seen))
        return normalizer

    def _weights(self, weight: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Returns (M,) or (K, M) training weights; a comparison of weight 0 there was left out by that member."""
        n, n_members = len(weight), self.settings.n_members
        if self.settings.data == "bootstrap":
            counts = rng.multinomial(n, np.full(n, 1 / n), size=n_members)
            return weight * torch.as_tensor(counts).float()
        if self.settings.data == "folds":
            fold = rng.permutation(n) % n_members
            return weight * torch.as_tensor(fold != np.arange(n_members)[:, None]).float()
        return weight

    def _train(
        self, network: EnsembleNetwork, data: PairBatch, weight: torch.Tensor, generator: torch.Generator
    ) -> tuple[int, dict[str, float]]:
        """Takes gradient steps on `network`; returns their number and figures of early stopping."""
        cfg = self.settings
        optimizer = torch.optim.AdamW(network.parameters(), lr=cfg.learning_rate, weight_decay=cfg.weight_decay)
        best = _Best(network, replace(data, weight=weight * (data.weight == 0)))
        n_batches = -(-len(data) // cfg.batch_size)
        n_steps = min(cfg.max_steps, cfg.n_epochs * n_batches)
        every = max(1, n_steps // _CHECKS)
        pairs = torch.empty(0, dtype=torch.int64)
        for step in range(n_steps):
            if not len(pairs):
                pairs = torch.randperm(len(data), generator=generator)
            minibatch = data.take(pairs[: cfg.batch_size])
            pairs = pairs[cfg.batch_size :]
            if cfg.input_noise:
                vectors = vectors_of(minibatch.inputs)
                noise = cfg.input_noise * torch.randn(vectors.shape, generator=generator)
                minibatch = replace(minibatch, inputs=with_vectors(minibatch.inputs, vectors + noise))
            optimizer.zero_grad()
            torch.autograd.backward(self.loss(network, minibatch))
            optimizer.step()
            if cfg.early_stopping and (step + 1) % every == 0 and best.look(step + 1) >= _PATIENCE:
                n_steps = step + 1
                break
        scalars = {"comparisons_per_weight": len(data) / network.n_weights}
        return n_steps, scalars | (best.restore() if cfg.early_stopping else {})

    def _warn(self, n_comparisons: int, n_weights: int) -> None:
        if n_weights > _WEIGHTS_PER_COMPARISON * n_comparisons:
            warnings.warn(
                f"reward training sees {n_comparisons:,} comparisons for {n_weights:,} weights in each of "
                f"{self.settings.n_members} networks",
                FewComparisonsWarning, stacklevel=3,
            )


class _Best:
    """Keeps the weights at which comparisons left out of each member's training were predicted best."""

    def __init__(self, network: EnsembleNetwork, left_out: PairBatch) -> None:
        """Watches `network` on `left_out`, whose weight is (K, M)."""
        self._network, self._left_out = network, left_out
        self._loss = torch.full((network.n_members,), torch.inf)
        self._step = torch.zeros(network.n_members)
        self._weights = [parameter.detach().clone() for parameter in network.parameters()]
        self._judges_nothing = left_out.weight.expand(network.n_members, -1).sum(1) == 0
        self._n_vain = 0

    @torch.no_grad()
    def look(self, step: int) -> int:
        """Keeps members that predict better than before, or have nothing to judge by; returns looks in vain so far."""
        loss = losses(in_chunks(self._network), self._left_out)
        better = (loss < self._loss) | self._judges_nothing
        self._n_vain = 0 if better.any() else self._n_vain + 1
        self._loss = torch.where(better, loss, self._loss)
        self._step[better] = step
        for kept, parameter in zip(self._weights, self._network.parameters(), strict=True):
            kept[better] = parameter[better]
        return self._n_vain

    @torch.no_grad()
    def restore(self) -> dict[str, float]:
        """Puts the kept weights back; returns their mean log loss on what was left out, and their mean step."""
        for kept, parameter in zip(self._weights, self._network.parameters(), strict=True):
            parameter.copy_(kept)
        return {"left_out_log_loss": float(self._loss.mean()), "stopped_at_step": float(self._step.mean())}


def _distinct_steps(comparisons: Comparisons, pool: TrajectoryStore) -> tuple[SegmentIndex, AnyArray, AnyArray]:
    """Returns each step that was judged once, (2, M, L) rows into these, and (2, M, L) which steps are real."""
    sides = (comparisons.first, comparisons.second)
    trajectory = np.stack([side.trajectory for side in sides])[..., None]
    offsets = np.stack([side.start for side in sides])[..., None] + np.arange(comparisons.first.length)
    ends = pool.lengths[trajectory]
    keys = np.stack([np.broadcast_to(trajectory, offsets.shape), np.minimum(offsets, ends - 1)], axis=-1)
    distinct, rows = np.unique(keys.reshape(-1, 2), axis=0, return_inverse=True)
    return SegmentIndex(distinct[:, 0], distinct[:, 1], 1), rows.reshape(offsets.shape), offsets < ends
