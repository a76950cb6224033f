"""KL to a reference policy, as a penalty in the reward or as a term of the loss, with a fixed or adaptive coefficient.

c is the coefficient, π_0 the reference behind its own frozen observation normalizer.

* reward, on-policy: r(s, a) − c · (log π(a|s) − log π_0(a|s)), the sampled form of Ziegler et al. 2019
  (https://arxiv.org/abs/1909.08593), whose expected gradient is that of −c KL.
* loss, on-policy: + c · KL(π(·|s) ‖ π_0(·|s)) on every minibatch, in closed form.
* reward, SAC and TQC: BRAC's value penalty (Wu et al. 2019, https://arxiv.org/abs/1911.11361): targets lose
  c γ KL(π(·|s') ‖ π_0(·|s')) at states that are no terminals, and the actor's loss gains c KL.
* loss, SAC and TQC: BRAC's policy regularization: only the actor's loss.

Adaptive (Ziegler et al. 2019, section 2.2): after each update c ← c · (1 + 0.1 · clip(KL / target − 1, ±0.2)).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from preflab.agents import actor
from preflab.agents.actor import Gaussian, Normalizer
from preflab.agents.proxy import Penalty
from preflab.errors import InvalidArgument, Refused
from preflab.types import AnyArray

PLACES = ("none", "reward", "loss")
_GAIN, _CLIP = 0.1, 0.2  # Ziegler et al. 2019
_SMALLEST = 1e-8


@dataclass(frozen=True, slots=True)
class KLSettings:
    """How strongly an agent is held to a reference policy.

    Attributes:
        place: "none", "reward" or "loss".
        coefficient: c, in units of the scaled proxy per nat; where `target` is given, at the start.
        target: KL per step, in nats, that an adaptive coefficient steers to; None keeps the coefficient.
    """

    place: str = "none"
    coefficient: float = 0.0
    target: float | None = None

    def __post_init__(self) -> None:
        if self.place not in PLACES:
            raise InvalidArgument("kl.place", "is not known", self.place, ", ".join(PLACES))
        if not 0 <= self.coefficient < float("inf"):
            raise InvalidArgument("kl.coefficient", "must be at least 0 and finite", self.coefficient)
        if self.target is not None and not (0 < self.target < float("inf") and self.coefficient > 0):
            rule = "must be positive and finite, with a coefficient above 0 to start from"
            raise InvalidArgument("kl.target", rule, (self.target, self.coefficient), "target=0.05 coefficient=0.1")

    @property
    def is_on(self) -> bool:
        """Whether there is anything to do."""
        return self.place != "none" and self.coefficient > 0

    def adapted(self, coefficient: float, kl: float) -> float:
        """Returns the coefficient after an update at which the mean KL per step was `kl`.

        >>> KLSettings("reward", 0.1, target=1.0).adapted(0.1, 2.0)
        0.10200000000000001
        """
        if self.target is None or not np.isfinite(kl):
            return coefficient
        return max(coefficient * (1 + _GAIN * float(np.clip(kl / self.target - 1, -_CLIP, _CLIP))), _SMALLEST)


@dataclass(frozen=True, eq=False)
class FrozenPolicy:
    """A policy that no longer changes, behind the observation statistics it was trained with."""

    policy: BasePolicy
    normalizers: Mapping[str, Normalizer]

    def outputs(self, obs: AnyArray) -> actor.Outputs:
        """Returns its action distributions at raw (N, *obs)."""
        return actor.outputs(self.policy, self.normalizers, obs)


class OnPolicyKL(Penalty):
    """Holds PPO, A2C or TRPO to a reference. One instance per call of `train`."""

    def __init__(self, settings: KLSettings, reference: FrozenPolicy, coefficient: float) -> None:
        """Starts from `coefficient`, which an earlier call may have adapted."""
        self.settings, self.reference, self.coefficient = settings, reference, coefficient
        self.mean_kl = float("nan")

    def on_rollout(self, policy: ActorCriticPolicy, buffer: RolloutBuffer, raw_obs: AnyArray) -> npt.NDArray[np.float32]:
        """Returns (n_steps, n_envs) what the rewards of a full `buffer` lose; adapts the coefficient for the next.

        Args:
            policy: as it collected the rollout.
            buffer: holds the observations that the policy saw and its unclipped actions.
            raw_obs: (n_steps · n_envs, *obs) the same observations as the env gave them.
        """
        shape = buffer.rewards.shape
        seen = buffer.observations.reshape(shape[0] * shape[1], *buffer.observations.shape[2:])
        current, held = actor.outputs(policy, {}, seen.reshape(raw_obs.shape)), self.reference.outputs(raw_obs)
        coefficient, self.mean_kl = self.coefficient, float(actor.kl(current, held).mean())
        self.coefficient = self.settings.adapted(coefficient, self.mean_kl)
        if self.settings.place == "loss":
            if not isinstance(policy, HeldPolicy) or not isinstance(buffer, IndexedRolloutBuffer):
                raise Refused(f"a KL loss term needs a policy and a buffer that know of it, not {type(policy).__name__}")
            policy.hold(held, buffer, coefficient)
            return np.zeros(shape, dtype=np.float32)
        actions = buffer.actions.reshape(shape[0] * shape[1], -1)
        ratio = actor.log_prob(current, actions) - actor.log_prob(held, actions)
        return (coefficient * ratio.reshape(shape)).astype(np.float32)


class IndexedRolloutBuffer(RolloutBuffer):
    """SB3's rollout buffer that says which of its flattened rows the last minibatch was."""

    def _get_samples(self, batch_inds: AnyArray, env: Any = None) -> Any:
        self.last_rows = batch_inds
        return super()._get_samples(batch_inds, env)


class HeldPolicy(ActorCriticPolicy):
    """SB3's actor-critic whose "entropy" is ε H(π) − c KL(π ‖ π_0), so that a loss with ent_coef = 1 has both terms.

    PPO and A2C subtract ent_coef · mean(entropy) from nothing else; with ent_coef = 1 and the entropy bonus ε moved in
    here, their loss is exactly the original plus c · mean KL. The weights and the acting are SB3's.
    """

    ent_coef = 0.0
    _held: tuple[torch.Tensor, ...] = ()

    def hold(self, held: actor.Outputs, buffer: IndexedRolloutBuffer, coefficient: float) -> None:
        """Sets what the minibatches of `buffer` are held to: (n_steps · n_envs) distributions in (step, env) order."""
        n_steps, n_envs = buffer.rewards.shape

        def by_env(array: AnyArray) -> torch.Tensor:  # RolloutBuffer flattens as (env, step)
            rows = array.reshape(n_steps, n_envs, -1).swapaxes(0, 1).reshape(n_steps * n_envs, -1)
            return torch.as_tensor(np.ascontiguousarray(rows)).to(self.device)

        if isinstance(held, Gaussian):
            self._held = by_env(held.mean), by_env(np.broadcast_to(held.log_std, held.mean.shape))
        elif isinstance(held, actor.Categorical):
            self._held = (by_env(held.log_p),)
        self._buffer, self._coefficient = buffer, coefficient

    def evaluate_actions(
        self, obs: Any, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Returns SB3's values and log probabilities, and ε H − c KL in place of the entropy."""
        values, log_prob, entropy = super().evaluate_actions(obs, actions)
        bonus = self.ent_coef * (-log_prob if entropy is None else entropy)
        if not self._held:
            return values, log_prob, bonus
        rows = torch.as_tensor(self._buffer.last_rows, device=self.device)
        held = [part[rows] for part in self._held]
        distribution: Any = self.get_distribution(obs).distribution
        if len(held) == 2:
            each = torch.distributions.kl_divergence(distribution, torch.distributions.Normal(held[0], held[1].exp()))
        else:
            each = distribution.probs * (distribution.logits - held[0])
        return values, log_prob, bonus - self._coefficient * each.sum(-1)


class OffPolicyKL:
    """Holds SAC or TQC to a reference, through their samples and their actor's optimizer. One per call of `train`."""

    def __init__(self, settings: KLSettings, reference: FrozenPolicy, coefficient: float, model: Any) -> None:
        """Hooks into `model`, whose batches must then pass through `on_samples`."""
        actors = [getattr(getattr(policy, "actor", None), "get_action_dist_params", None)
                  for policy in (model.policy, reference.policy)]
        if None in actors or model.use_sde:
            raise Refused(f"KL to a reference needs a Gaussian actor, as SAC and TQC have it without gSDE: {type(model).__name__}")
        if reference.normalizers:
            raise Refused("KL to a reference needs normalize_obs=false for off-policy agents: their batches are normalized")
        self.settings, self.coefficient, self.model = settings, coefficient, model
        self._current: Any = actors[0]
        self._held: Any = actors[1]
        self._obs: torch.Tensor | None = None
        self._sums = [0.0, 0.0]
        self._hook = model.actor.optimizer.register_step_pre_hook(self._add_gradient)

    def on_samples(self, samples: ReplayBufferSamples) -> ReplayBufferSamples:
        """Returns a batch whose rewards lose c · discount · KL at next states that are no terminals, if so asked."""
        self._obs = samples.observations
        if self.settings.place != "reward":
            return samples
        with torch.no_grad():
            kl = self.kl(samples.next_observations)[:, None]
        discounts = self.model.gamma if samples.discounts is None else samples.discounts
        return samples._replace(rewards=samples.rewards - self.coefficient * discounts * (1 - samples.dones) * kl)

    def kl(self, obs: torch.Tensor) -> torch.Tensor:
        """Returns (N,) KL(π ‖ π_0) in nats: of the Gaussians before the tanh, which a bijection keeps."""
        mean, log_std, _ = self._current(obs)
        with torch.no_grad():
            held_mean, held_log_std, _ = self._held(obs)
        ratio = log_std - held_log_std
        each = 0.5 * (torch.expm1(2 * ratio) - 2 * ratio + ((mean - held_mean) * torch.exp(-held_log_std)) ** 2)
        return torch.as_tensor(each.sum(-1))

    def adapt(self) -> float:
        """Adapts the coefficient to the KL since the last call, and returns that KL (nan if there was no update)."""
        mean = self._sums[0] / self._sums[1] if self._sums[1] else float("nan")
        self.coefficient = self.settings.adapted(self.coefficient, mean)
        self._sums = [0.0, 0.0]
        return mean

    def close(self) -> None:
        """Lets go of the model."""
        self._hook.remove()

    def _add_gradient(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """Adds the gradient of c · mean KL to the actor's, just before its optimizer steps."""
        if self._obs is None:
            return
        kl = self.kl(self._obs).mean()
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        for parameter, gradient in zip(parameters, torch.autograd.grad(self.coefficient * kl, parameters, allow_unused=True),
                                       strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        self._sums = [self._sums[0] + float(kl.detach()), self._sums[1] + 1.0]
