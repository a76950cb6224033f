"""The regret likelihood for control: networks Q̂ whose soft value V̂ moves with them.

Knox et al. 2022 (https://arxiv.org/abs/2206.02231): a human prefers the segment of lower regret Σ_t [V(s_t) − Q(s_t, a_t)].
Here V̂(s) = α log mean_a exp(Q̂(s, a) / α) over actions that are uniform in the action space, gradients flow through Q̂ and
V̂ alike, and r̂ = Q̂(s, a) − γ V̂(s') is the reward of which Q̂ is the soft optimal action value. Contrastive preference
learning (Hejna et al. 2023, https://arxiv.org/abs/2310.13639) is the case in which a policy stands for both,
Q̂ − V̂ = α log π.

What the loss cannot see: Q̂(s, a) + Φ(s) has the score of Q̂ for every Φ, because V̂ moves along. It adds Φ(s) − γ Φ(s')
to r̂, a potential shaping that leaves optimal policies alone where the agent's discount is γ (V̂ of a terminal is 0). Which
of them is learned is left to the initial weights and to weight decay, which prefers small Φ. All else is fixed: the soft
maximum pins the level of Q̂ − V̂ in each state (the mean of exp((Q̂ − V̂) / α) is 1), so that, unlike under partial return,
no constant can be added to it.

Experimental: within a state, one action differs little from another, and a segment shows one action a state; few answers tell
Q̂ − V̂ less of a task than they tell a (misspecified) sum of rewards. On Pendulum, with 200 answers by regret, it predicts
held-out answers no worse than partial return and leads to a worse policy; `experiments/conf/reward/regret.yaml` has the figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from preflab.errors import InvalidArgument, Refused
from preflab.inputs import in_memory, vectors_of
from preflab.interfaces import ActionSampler, LearnerContext
from preflab.networks import EnsembleModule, Normalizer, encode
from preflab.rewards import averaging
from preflab.rewards.bradley_terry import BradleyTerryLearner
from preflab.rewards.encoding import StepEncoder
from preflab.rewards.ensemble import EnsembleReward
from preflab.rewards.pairs import PairBatch, StepFunction, segment_scores
from preflab.rewards.settings import RewardSettings
from preflab.types import AnyArray, Comparisons, Segments, TrajectoryStore, Transitions

_ROWS = 4_096  # (state, action) rows in one forward pass
_FINER = 4  # a reward averages over so many times the actions of a gradient step, drawn once for good


@dataclass(frozen=True, eq=False, kw_only=True)
class RegretBatch(PairBatch):
    """Comparisons with the actions that V̂ is averaged over.

    Attributes:
        actions: (m, n_a) encoded like the last n_a columns of `inputs`.
        log_weight: (m,) log importance weights against the uniform density.
    """

    actions: torch.Tensor
    log_weight: torch.Tensor

    @classmethod
    def of_pairs(cls, pairs: PairBatch, actions: torch.Tensor, log_weight: torch.Tensor) -> RegretBatch:
        """Returns `pairs` with these actions, whatever they had before."""
        kept = {item.name: getattr(pairs, item.name) for item in fields(PairBatch)}
        return cls(**kept, actions=actions, log_weight=log_weight)


def soft_values(
    q: StepFunction, states: torch.Tensor, actions: torch.Tensor, log_weight: torch.Tensor, alpha: float
) -> torch.Tensor:
    """Returns (K, B) V̂(s) = α log (1/m) Σ_i w_i exp(Q̂(s, a_i) / α), differentiable in Q̂.

    With w_i = uniform density / density of a_i the mean estimates the uniform one; its logarithm is biased downward by
    about α/2 times the relative variance of the mean (Jensen), exact where the actions are all there are.

    Args:
        q: (B, n) → (K, B).
        states: (B, n_s) inputs.
        actions: (m, n_a) inputs; n_s + n_a = n.
        log_weight: (m,) log w_i.
        alpha: softness, in units of Q̂: 0 would be the maximum, ∞ the mean.
    """
    n_actions = len(actions)
    values = []
    for part in torch.split(states, max(1, _ROWS // n_actions)):
        grid = torch.cat([part.repeat_interleave(n_actions, 0), actions.repeat(len(part), 1)], dim=1)
        outputs = q(grid)
        exponents = outputs.reshape(len(outputs), len(part), n_actions) / alpha + log_weight
        values.append(alpha * (torch.logsumexp(exponents, dim=-1) - math.log(n_actions)))
    return torch.cat(values, dim=1)


class RegretReward(EnsembleReward):
    """K networks Q̂: the reward is Q̂(s, a) − γ V̂(s'), V̂ of a terminal 0; a segment's score is Σ_t w_t [Q̂ − V̂]."""

    def __init__(
        self, encoder: StepEncoder, normalizer: Normalizer, network: EnsembleModule, is_fixed_horizon: bool,
        belief: tuple[float, float, bool], actions: torch.Tensor, log_weight: torch.Tensor,
    ) -> None:
        """Wraps trained parts.

        Args:
            encoder: of inputs "obs_action".
            normalizer: of its output.
            network: Q̂.
            is_fixed_horizon: which form of the task.
            belief: (α, γ, whether w_t = γ^t instead of 1).
            actions: (m, n_a) encoded actions that V̂ is averaged over.
            log_weight: (m,) their log importance weights.
        """
        super().__init__(encoder, normalizer, network, is_fixed_horizon)
        self.alpha, self.gamma, self.is_discounted = belief
        self.actions, self.log_weight = actions, log_weight

    def raw_rewards(self, transitions: Transitions) -> torch.Tensor:
        """Returns (K, B) Q̂(s, a) − γ V̂(s')."""
        after = self.values(transitions.next_obs) * torch.as_tensor(~transitions.terminated)
        return super().raw_rewards(transitions) - self.gamma * after

    def raw_scores(self, transitions: Transitions) -> torch.Tensor:
        """Returns (K, B) Q̂(s, a) − V̂(s)."""
        return super().raw_rewards(transitions) - self.values(transitions.obs)

    def step_weights(self, length: int) -> torch.Tensor:
        """Returns (L,) w_t."""
        return _step_weights(length, self.gamma, self.is_discounted)

    def values(self, obs: AnyArray) -> torch.Tensor:
        """Returns (K, B) V̂ of observations (B, *obs)."""
        states = encode(self.encoder.observation_space, obs)
        with torch.no_grad():
            return soft_values(
                lambda rows: self.network(self.normalizer(rows)), states, self.actions, self.log_weight, self.alpha
            )

    def state(self) -> dict[str, torch.Tensor]:
        """Returns what an ensemble does, and the actions of V̂."""
        return super().state() | {"actions": self.actions.clone(), "log_weight": self.log_weight.clone()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `state` returned, bit for bit."""
        super().load_state(state)
        self.actions, self.log_weight = state["actions"].clone(), state["log_weight"].clone()


class RegretLearner(BradleyTerryLearner):
    """Fits Q̂ to comparisons by a human who minimizes regret; the module says what follows and what stays open.

    Each gradient step draws its own actions for V̂.
    """

    needs = frozenset({"action_sampler"})

    streams = False  # V̂ reads every state of a segment at once

    def __init__(
        self, observation_space: gym.Space[AnyArray], action_space: gym.Space[AnyArray],
        settings: RewardSettings | None = None, is_fixed_horizon: bool = True,
    ) -> None:
        """Learns Q̂ of steps in these spaces; raises `InvalidArgument` unless its inputs are observation and action."""
        super().__init__(observation_space, action_space, settings, is_fixed_horizon)
        cfg = self.settings
        if cfg.inputs != "obs_action":
            raise InvalidArgument("inputs", "must be what Q̂(s, a) depends on", cfg.inputs, "obs_action")
        if self.encoder.image_shapes:
            raise Refused("the regret likelihood reads numbers, not images; use reward=ensemble, or leave the images out")
        if cfg.gamma is None:
            raise InvalidArgument("gamma", "must be the discount of the agent that the reward is for", None, "0 to 1")
        self._gamma = cfg.gamma
        self._sampler: ActionSampler | None = None
        self._final = torch.empty(0), torch.empty(0)  # actions of the fitted reward's V̂, and their log weights

    def provide(self, extras: Mapping[str, Any]) -> None:
        """Takes the action sampler."""
        self._sampler = extras.get("action_sampler", self._sampler)

    def scores(self, params: StepFunction, minibatch: PairBatch) -> torch.Tensor:
        """Returns (K, 2, M) Σ_t w_t [Q̂(s_t, a_t) − V̂(s_t)] over real steps."""
        if not isinstance(minibatch, RegretBatch):
            raise InvalidArgument("minibatch", "must hold actions for V̂", type(minibatch).__name__, "RegretBatch")
        states = vectors_of(in_memory(minibatch.inputs))[:, : -minibatch.actions.shape[1]]
        values = soft_values(params, states, minibatch.actions, minibatch.log_weight, self.settings.alpha)
        return segment_scores(params(minibatch.inputs) - values, minibatch)

    def batch(self, comparisons: Comparisons, pool: TrajectoryStore, normalizer: Normalizer | None = None) -> RegretBatch:
        """Returns all comparisons as one batch, with the same actions for V̂ each time."""
        plain = super().batch(comparisons, pool, normalizer)
        length = comparisons.first.length
        weights = _step_weights(length, self._gamma, self.settings.regret_weighting == "discounted")
        actions, log_weight = self._actions(self.settings.n_action_samples, np.random.default_rng(0))
        weighted = replace(plain, real=plain.real * weights)
        return RegretBatch.of_pairs(weighted, self._on_inputs(actions, normalizer), log_weight)

    def data(self, comparisons: Comparisons, context: LearnerContext, anchor: Segments, rng: np.random.Generator) -> PairBatch:
        """Returns all comparisons with standardized inputs, and draws the actions of the fitted reward."""
        self._final = self._actions(_FINER * self.settings.n_action_samples, rng)
        batch = super().data(comparisons, context, anchor, rng)
        actions, log_weight = self._actions(self.settings.n_action_samples, rng)
        return RegretBatch.of_pairs(batch, self._on_inputs(actions, self._normalizer), log_weight)

    def prepared(self, minibatch: PairBatch, generator: torch.Generator) -> PairBatch:
        """Returns `minibatch` with actions of its own."""
        seed = int(torch.randint(2**62, (1,), generator=generator))
        actions, log_weight = self._actions(self.settings.n_action_samples, np.random.default_rng(seed))
        own = RegretBatch.of_pairs(minibatch, self._on_inputs(actions, self._normalizer), log_weight)
        return super().prepared(own, generator)

    def fitted_model(self, network: EnsembleModule) -> RegretReward:
        """Returns the reward of a trained Q̂."""
        cfg = self.settings
        belief = (cfg.alpha, self._gamma, cfg.regret_weighting == "discounted")
        return RegretReward(self.encoder, self._normalizer, network, self.is_fixed_horizon, belief, *self._final)

    def empty_model(self, state: Mapping[str, Any]) -> RegretReward:
        """Returns a reward that can load `state`."""
        self._normalizer = Normalizer(self.encoder.size)
        self._final = state["actions"], state["log_weight"]
        network = self._fresh(torch.Generator())
        return self.fitted_model(averaging.first_member(network) if self.settings.average_weights else network)

    def _actions(self, n: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns encoded actions (m, n_a), not standardized, and their log weights (m,)."""
        if self._sampler is None:
            raise InvalidArgument("action_sampler", "must be provided before comparisons are read", None)
        actions, log_weight = self._sampler.sample(n, rng)
        return encode(self.encoder.action_space, actions), torch.as_tensor(np.asarray(log_weight)).float()

    def _on_inputs(self, actions: torch.Tensor, normalizer: Normalizer | None) -> torch.Tensor:
        """Returns encoded actions standardized as the last columns of inputs are."""
        if normalizer is None:
            return actions
        padded = torch.zeros(len(actions), self.encoder.size)
        padded[:, -actions.shape[1] :] = actions
        return vectors_of(normalizer(padded))[:, -actions.shape[1] :]


def _step_weights(length: int, gamma: float, is_discounted: bool) -> torch.Tensor:
    return torch.pow(torch.full((length,), gamma if is_discounted else 1.0), torch.arange(length))
