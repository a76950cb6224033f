"""Algorithms that learn from what they just did: PPO, A2C, TRPO."""

from __future__ import annotations

from typing import Any, TypeVar

from stable_baselines3 import A2C, PPO
from stable_baselines3.common.vec_env import VecEnv

from preflab.agents.agent import Course, SB3Agent
from preflab.agents.proxy import ProxyRewardCallback, ProxyVecEnv
from preflab.agents.reference import HeldPolicy, IndexedRolloutBuffer, OnPolicyKL
from preflab.agents.rollouts import EpisodeCounter
from preflab.agents.settings import AgentSettings
from preflab.errors import Refused
from preflab.interfaces import TrainReport

_S = TypeVar("_S", bound=AgentSettings)


class OnPolicyAgent(SB3Agent[_S]):
    """Trains on whole rollouts, each scored in one batch when it is full."""

    def _piece(self, model: Any) -> int:
        return int(model.n_steps * model.n_envs)

    def _proxy_env(self, vec: VecEnv) -> ProxyVecEnv:
        return ProxyVecEnv(vec, int(self._learner.n_steps))  # type: ignore[attr-defined]

    @property
    def _has_held_loss(self) -> bool:
        return self.kl.is_on and self.kl.place == "loss"

    def _policy_name(self) -> Any:
        return HeldPolicy if self._has_held_loss else super()._policy_name()

    def _training_keywords(self) -> dict[str, Any]:
        keywords = super()._training_keywords()
        if not self._has_held_loss:
            return keywords
        if not issubclass(self.settings.algorithm, PPO | A2C):
            name = self.settings.algorithm.__name__
            raise Refused(f"a KL loss term is known for PPO and A2C, not for {name}; use kl.place=reward")
        return keywords | {"ent_coef": 1.0, "rollout_buffer_class": IndexedRolloutBuffer}

    def _learn(self, course: Course) -> TrainReport:
        model, penalty = course.model, None
        if self.kl.is_on:
            penalty = OnPolicyKL(self.kl, self._frozen_reference(), self._kl_coefficient)
        if isinstance(model.policy, HeldPolicy):
            model.policy.ent_coef = float(self.settings.keywords().get("ent_coef", 0.0))
        callback = ProxyRewardCallback(course.proxy_env, course.source, self.settings.reward_scale, penalty)
        episodes = EpisodeCounter(self.settings.n_envs)
        scalars: dict[str, float] = {}
        i_piece, goes_on = 0, True
        while i_piece < course.n_pieces and goes_on:
            # One call a rollout can stop between two updates, and SB3 keeps its last observations. A call has one
            # iteration, so that a log interval of 2 never prints.
            model.learn(self._piece(model), callback, log_interval=2, reset_num_timesteps=False)
            i_piece += 1
            scalars = episodes.scalars(callback.last_rewards, callback.last_dones)
            scalars |= {name: float(value) for name, value in model.logger.name_to_value.items()}
            if penalty is not None:
                scalars |= {"rollout/kl_to_reference": penalty.mean_kl, "rollout/kl_coefficient": self._kl_coefficient}
                self._kl_coefficient = penalty.coefficient
            goes_on = self._told(course, i_piece, scalars)
        return self._reported(course, i_piece, episodes, callback.reward_seconds, scalars, goes_on)
