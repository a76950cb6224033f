"""Stage two of a critic: a network fitted to discounted gold returns of the deterministic expert.

Targets are G_t = Σ_{k<T−t} γ^k r_{t+k} + γ^{T−t} V(s_T), V of a terminal 0, for every state along every continuation.
The first fit sees only states whose tail weighs next to nothing; then the tail's V is the last fit, `n_refits` times.
Policy and physics are deterministic, so G is V itself up to the tail, and the squared Bellman residual
(V(s) − r − γ V(s'))² (Baird 1995, https://doi.org/10.1016/B978-1-55860-377-6.50013-X) can be added without the bias
that it has where next states are random: it is what a regret oracle sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from preflab import seeding
from preflab.experiments.experts.gather import QUALITIES, Continuations
from preflab.experts import Critic
from preflab.types import AnyArray, BoolArray, FloatArray, IntArray

Tensors = dict[str, torch.Tensor]

FLAT = 1e-3  # values that vary by less than this share of their mean are one value, up to the error of a tail


@dataclass(frozen=True)
class FitConfig:
    """How a critic is fitted. `residual_weight` is the weight of the Bellman residual beside the squared error."""

    hidden: tuple[int, ...] = (256, 256)
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    batch_size: int = 1024
    n_steps: int = 2000
    n_refits: int = 2
    residual_weight: float = 1.0
    early_halving: float = 30.0
    clip: float = 10.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Rows:
    """One row per step of every continuation.

    Attributes:
        row: (R,) row of the state in `Continuations.observations`; its successor is the next row.
        continuation: (R,) which continuation it is in.
        offset: (R,) steps since the continuation's start.
        rewards: (R,) gold of the step that leaves the state.
        ends: (R,) the step reaches a true terminal.
        partial: (R,) Σ γ^k r over the rest of the continuation.
        tail_weight: (R,) γ^(T−t), 0 if the continuation terminated.
        tail_row: (R,) row of the state that the tail's value is of.
    """

    row: IntArray
    continuation: IntArray
    offset: IntArray
    rewards: FloatArray
    ends: BoolArray
    partial: FloatArray
    tail_weight: FloatArray
    tail_row: IntArray


def rows(data: Continuations, gamma: float) -> Rows:
    """Returns every state that the expert left, with what it earned from there."""
    offset = np.concatenate([np.arange(length) for length in data.lengths])
    continuation = np.repeat(np.arange(len(data)), data.lengths)
    remaining = data.lengths[continuation] - offset
    partial = np.empty(len(offset))
    stop = np.cumsum(data.lengths)
    for first, last in zip(stop - data.lengths, stop, strict=True):
        total = 0.0
        for i in range(last - 1, first - 1, -1):
            total = data.rewards[i] + gamma * total
            partial[i] = total
    terminated = data.terminated[continuation]
    return Rows(
        row=data.first[continuation] + offset, continuation=continuation, offset=offset, rewards=data.rewards,
        ends=terminated & (remaining == 1), partial=partial,
        tail_weight=np.where(terminated, 0.0, gamma ** remaining.astype(np.float64)),
        tail_row=data.first[continuation] + data.lengths[continuation],
    )


def fit_critic(data: Continuations, gamma: float, config: FitConfig | None = None) -> Tensors:
    """Returns the tensors of a `Critic`, fitted to `data` but for held-out continuations; moves no global generator."""
    config = config or FitConfig()
    table = rows(data, gamma)
    flat = data.observations.reshape(len(data.observations), -1)
    used = ~data.held_out[table.continuation]
    validation = _validation(data, config)[table.continuation] & used
    train = used & ~validation
    known = table.tail_weight <= 0.05 if (train & (table.tail_weight <= 0.05)).sum() >= 200 else table.tail_weight < 2.0
    early = train & (table.offset < config.early_halving)
    by_expert = early & (data.quality[table.continuation] == QUALITIES.index("expert"))
    normalizer = _normalizer(flat[table.row[early]], flat[table.row[by_expert]], config.clip)
    inputs = _normalized(flat, normalizer)
    targets = table.partial
    fit = _Fit(inputs, table, gamma, config, targets[train & known])
    fit.run(targets, train & known, validation & known)
    for _ in range(config.n_refits):
        tails = fit.values(table.tail_row)
        targets = table.partial + table.tail_weight * tails
        fit.run(targets, train, validation)
    return {**normalizer, **fit.tensors(), "gamma": torch.tensor(gamma, dtype=torch.float64)}


def quality_of_fit(critic: Critic, data: Continuations) -> dict[str, dict[str, float]]:
    """Returns, per quality, how well `critic` predicts held-out starts: n, explained variance, rank correlation, rmse.

    The truth is the return to the end of the long continuation, its tail (weight ≤ 1 %) valued by the critic itself.
    """
    table = rows(data, critic.gamma)
    starts = (table.offset == 0) & data.held_out[table.continuation] & data.is_long[table.continuation]
    tails = critic.values(data.observations[table.tail_row[starts]])
    truth = table.partial[starts] + table.tail_weight[starts] * tails
    found = critic.values(data.observations[table.row[starts]])
    quality = data.quality[table.continuation[starts]]
    groups = {name: quality == i for i, name in enumerate(QUALITIES)} | {"all": np.ones(len(quality), dtype=bool)}
    return {name: _agreement(found[rows_], truth[rows_]) for name, rows_ in groups.items() if rows_.any()}


def residuals(critic: Critic, observations: AnyArray, rewards: FloatArray, terminated: bool) -> FloatArray:
    """Returns V(s_t) − r_t − γ V(s_{t+1}), (T,), along a trajectory of observations (T + 1, *obs); V(terminal) = 0."""
    values = critic.values(observations)
    if terminated:
        values[-1] = 0.0
    return np.asarray(values[:-1] - rewards - critic.gamma * values[1:])


def spearman(first: FloatArray, second: FloatArray) -> float:
    """Returns Spearman's rank correlation, ties sharing their mean rank; nan if either is constant.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 8.0, 27.0]))
    1.0
    """
    ranks = np.stack([_ranks(first), _ranks(second)])
    centered = ranks - ranks.mean(-1, keepdims=True)
    norms = np.sqrt((centered**2).sum(-1))
    return float(centered[0] @ centered[1] / norms.prod()) if norms.min() > 0 else float("nan")


class _Fit:
    """A network under training: one optimizer run per call of `run`, the best weights on validation rows kept."""

    def __init__(self, inputs: torch.Tensor, table: Rows, gamma: float, config: FitConfig, targets: FloatArray) -> None:
        self._inputs, self._table, self._gamma, self._config = inputs, table, gamma, config
        self._mean, self._scale = float(targets.mean()), float(max(targets.std(), 1e-6))
        self._generator = torch.Generator().manual_seed(seeding.key(config.seed, "critic") >> 1)
        self._rng = seeding.generator(config.seed, "critic", "batches")
        self._net = _network(inputs.shape[1], config.hidden, self._generator)

    def run(self, targets: FloatArray, train: BoolArray, validation: BoolArray) -> None:
        """Fits to `targets` (R,) on the `train` rows."""
        config, table = self._config, self._table
        rows_, goal = np.flatnonzero(train), self._standardized(targets)
        weights = 1.0 / (1.0 + table.offset[rows_] / config.early_halving)
        chances = np.cumsum(weights / weights.sum())
        optimizer = torch.optim.AdamW(self._net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.n_steps)
        best, best_state = np.inf, self._copy()
        for step in range(config.n_steps):
            picked = rows_[np.searchsorted(chances, self._rng.random(config.batch_size)).clip(max=len(rows_) - 1)]
            loss = self._loss(picked, goal)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            if (step + 1) % 200 == 0 or step + 1 == config.n_steps:
                error = self._validation_error(validation if validation.any() else train, goal)
                if error < best:
                    best, best_state = error, self._copy()
        self._net.load_state_dict(best_state)

    def values(self, rows_: IntArray) -> FloatArray:
        """Returns V, (R,), of stored states."""
        with torch.no_grad():
            at = torch.as_tensor(rows_)
            parts = [self._net(self._inputs[at[i : i + 65_536]]) for i in range(0, len(at), 65_536)]
        return self._mean + self._scale * torch.cat(parts)[:, 0].double().numpy()

    def tensors(self) -> Tensors:
        """Returns layers and output scale under the names that `Critic` reads."""
        linear = [module for module in self._net if isinstance(module, nn.Linear)]
        named = {f"layers.{i}.weight": layer.weight.detach() for i, layer in enumerate(linear)}
        named |= {f"layers.{i}.bias": layer.bias.detach() for i, layer in enumerate(linear)}
        return named | {
            "output.mean": torch.tensor(self._mean, dtype=torch.float64),
            "output.scale": torch.tensor(self._scale, dtype=torch.float64),
        }

    def _loss(self, picked: IntArray, goal: torch.Tensor) -> torch.Tensor:
        table, at = self._table, torch.as_tensor(self._table.row[picked])
        both = self._net(torch.cat([self._inputs[at], self._inputs[at + 1]]))[:, 0]
        value, following = both.chunk(2)
        loss = nn.functional.mse_loss(value, goal[picked])
        if self._config.residual_weight:
            gap = self._standardized(table.rewards[picked], shift=self._mean * (1 - self._gamma))
            alive = torch.as_tensor(~table.ends[picked])
            # V = m + c·f, so (V − r − γV')/c = f − γf' − (r − (1 − γ)m)/c; at a terminal V' = 0 is f' = −m/c.
            after = torch.where(alive, following, torch.full_like(following, -self._mean / self._scale))
            loss = loss + self._config.residual_weight * ((value - self._gamma * after - gap) ** 2).mean()
        return loss

    def _validation_error(self, validation: BoolArray, goal: torch.Tensor) -> float:
        picked = np.flatnonzero(validation)[:: max(1, int(validation.sum()) // 20_000)]
        error = (self._standardized(self.values(self._table.row[picked])) - goal[picked]).numpy() ** 2
        return float(np.average(error, weights=1.0 / (1.0 + self._table.offset[picked] / self._config.early_halving)))

    def _standardized(self, targets: FloatArray, shift: float | None = None) -> torch.Tensor:
        shift = self._mean if shift is None else shift
        return torch.as_tensor((targets - shift) / self._scale, dtype=torch.float32)

    def _copy(self) -> Tensors:
        return {name: tensor.clone() for name, tensor in self._net.state_dict().items()}


def _validation(data: Continuations, config: FitConfig) -> BoolArray:
    """Returns (C,): a tenth of the source trajectories that may be fitted, by (quality, source), for early stopping."""
    chosen = {
        (q, s) for q, s in zip(data.quality.tolist(), data.source.tolist(), strict=True)
        if seeding.generator(config.seed, "validation", q, s).random() < 0.1
    }
    pairs = zip(data.quality.tolist(), data.source.tolist(), strict=True)
    return np.array([pair in chosen for pair in pairs]) & ~data.held_out


def _normalizer(everyone: AnyArray, by_expert: AnyArray, clip: float) -> Tensors:
    """Returns mean and variance of the inputs; the expert's own (fivefold spread) where others stray farther than that.

    A fallen cart-pole is hundreds of meters away; its spread would make all upright states look alike.
    """
    mean, variance = everyone.astype(np.float64).mean(0), everyone.astype(np.float64).var(0)
    if len(by_expert):
        narrow = 25.0 * by_expert.astype(np.float64).var(0)
        strays = (narrow > 1e-8) & (narrow < variance)
        mean = np.where(strays, by_expert.astype(np.float64).mean(0), mean)
        variance = np.where(strays, narrow, variance)
    variance = np.where(variance > 1e-8, variance, 1.0)  # an input that never moves
    return {
        "normalizer.mean": torch.as_tensor(mean), "normalizer.var": torch.as_tensor(variance),
        "normalizer.epsilon": torch.tensor(1e-8, dtype=torch.float64), "normalizer.clip": torch.tensor(clip),
    }


def _normalized(flat: AnyArray, normalizer: Tensors) -> torch.Tensor:
    scale = (normalizer["normalizer.var"] + normalizer["normalizer.epsilon"]).sqrt().float()
    clip = float(normalizer["normalizer.clip"])
    centered = torch.as_tensor(flat, dtype=torch.float32) - normalizer["normalizer.mean"].float()
    return (centered / scale).clamp(-clip, clip)


def _network(n_inputs: int, hidden: tuple[int, ...], generator: torch.Generator) -> nn.Sequential:
    layers: list[nn.Module] = []
    sizes = [n_inputs, *hidden, 1]
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        layer = nn.Linear(fan_in, fan_out, device="meta").to_empty(device="cpu")  # torch's own init would draw globally
        is_last = i == len(hidden)
        nn.init.zeros_(layer.bias)
        nn.init.orthogonal_(layer.weight, gain=0.1 if is_last else 2**0.5, generator=generator)
        layers += [layer] if is_last else [layer, nn.SiLU()]
    return nn.Sequential(*layers)


def _agreement(found: FloatArray, truth: FloatArray) -> dict[str, float]:
    """Returns how `found` agrees with `truth`; where the truth hardly varies there is no variance or order to explain: nan."""
    is_flat = float(truth.std()) <= FLAT * abs(float(truth.mean()))
    return {
        "n": float(len(truth)), "mean": float(truth.mean()), "std": float(truth.std()),
        "explained_variance": float("nan") if is_flat else 1.0 - float((truth - found).var() / truth.var()),
        "rank_correlation": float("nan") if is_flat else spearman(found, truth),
        "rmse": float(np.sqrt(((truth - found) ** 2).mean())),
    }


def _ranks(values: FloatArray) -> FloatArray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
