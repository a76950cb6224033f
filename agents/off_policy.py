"""Algorithms that learn from what they remember: SAC, TQC, TD3, DDPG, DQN, QR-DQN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import VecEnv

from preflab.agents.agent import Course, SB3Agent, Tensors, box_unscale
from preflab.agents.proxy import ProxyVecEnv
from preflab.agents.reference import OffPolicyKL
from preflab.agents.replay import ProxyNStepReplayBuffer, ProxyReplayBuffer
from preflab.agents.replay_dict import ProxyDictReplayBuffer
from preflab.agents.rollouts import EpisodeCounter
from preflab.agents.sb3_settings import SB3Settings
from preflab.errors import Refused
from preflab.interfaces import TrainReport


class OffPolicyAgent(SB3Agent[SB3Settings]):
    """Trains on a replay buffer whose rewards are the proxy's of now: all of it is scored again at every `train`.

    The buffer is part of the state, in float32 (images in uint8). Each call of `train` starts new episodes.
    """

    _memory: Tensors

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes what `SB3Agent` takes."""
        self._memory = {}
        super().__init__(*args, **kwargs)

    def _blank(self, seed: int | None) -> Any:
        """Returns the algorithm without an env, and with next to no memory: it is not trained."""
        check_returns(self.settings, self.observation_space)
        model: Any = super()._blank(seed)
        model.replay_buffer, model.buffer_size = None, self.settings.max_buffer_size
        return model

    def _blank_keywords(self) -> dict[str, Any]:
        return super()._blank_keywords() | {"buffer_size": self.settings.n_envs}

    def _piece(self, model: Any) -> int:
        """Returns `report_every` rounded up to whole collections of `train_freq` steps."""
        collected = model.n_envs * (model.train_freq.frequency if model.train_freq.unit.value == "step" else 1)
        return int(-(-self.settings.report_every // collected) * collected)

    def _proxy_env(self, vec: VecEnv) -> ProxyVecEnv:
        return ProxyVecEnv(vec, 0)

    def _training_keywords(self) -> dict[str, Any]:
        keywords = super()._training_keywords()
        size, n_returns = self.settings.max_buffer_size, keywords.pop("n_steps", 1)
        named: dict[str, Any] = {"buffer_size": size, "replay_buffer_class": ProxyReplayBuffer}
        named["replay_buffer_kwargs"] = {"shown_space": self.observation_space}
        if isinstance(self.observation_space, spaces.Dict):
            named["replay_buffer_class"] = ProxyDictReplayBuffer
        elif n_returns > 1:
            named["replay_buffer_class"] = ProxyNStepReplayBuffer
            named["replay_buffer_kwargs"] |= {"n_steps": n_returns, "gamma": self.settings.gamma}
        if self.settings.action_noise:
            size = int(np.prod(self.action_space.shape or (1,)))
            named["action_noise"] = NormalActionNoise(np.zeros(size), np.full(size, self.settings.action_noise))
        return keywords | named

    def _learn(self, course: Course) -> TrainReport:
        model, buffer = course.model, course.model.replay_buffer
        buffer.fill(self._memory)
        buffer.use(course.source, self.settings.reward_scale, box_unscale(model.policy, self.action_space))
        if hasattr(model, "exploration_schedule"):  # DQN's, over the whole run and not over one call of `learn`
            own_schedule = model.exploration_schedule
            model.exploration_schedule = lambda _: own_schedule(course.progress())
        held = None
        if self.kl.is_on:
            held = OffPolicyKL(self.kl, self._frozen_reference(), self._kl_coefficient, model)
            buffer.on_samples = held.on_samples
        episodes = EpisodeCounter(self.settings.n_envs)
        scalars: dict[str, float] = {}
        i_piece, goes_on = 0, True
        while i_piece < course.n_pieces and goes_on:
            steps = model.num_timesteps
            model.learn(self._piece(model), log_interval=None, reset_num_timesteps=False)
            i_piece += 1
            buffer.score_pending()
            n_rows = min((model.num_timesteps - steps) // model.n_envs, buffer.buffer_size)
            scalars = episodes.scalars(*buffer.last_rewards(n_rows))
            scalars |= {name: float(value) for name, value in model.logger.name_to_value.items()}
            if held is not None:
                scalars["rollout/kl_coefficient"] = held.coefficient
                scalars["rollout/kl_to_reference"] = held.adapt()
                self._kl_coefficient = held.coefficient
            goes_on = self._told(course, i_piece, scalars)
        if held is not None:
            held.close()
        buffer.cut()
        self._memory = buffer.dump()
        return self._reported(course, i_piece, episodes, buffer.reward_seconds, scalars, goes_on)

    def state(self) -> Tensors:
        """Returns what every agent's state holds, and the replay buffer as "buffer.*", oldest step first."""
        return super().state() | {name: value.clone() for name, value in self._memory.items()}

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restores what `state` returned."""
        super().load_state(state)
        self._memory = {name: value.clone() for name, value in state.items() if name.startswith("buffer.")}

    def reset_critic(self, seed: int, *, forgets: bool = False) -> None:
        """Draws critic and target anew; `forgets` empties the replay buffer."""
        super().reset_critic(seed, forgets=forgets)
        if forgets:
            self._memory = {}


def check_returns(settings: SB3Settings, observation_space: spaces.Space[Any]) -> None:
    """Refuses n-step returns of Dict observations, for which SB3 has no buffer."""
    n_returns = settings.options.get("n_steps", 1)
    if isinstance(observation_space, spaces.Dict) and n_returns > 1:
        raise Refused(f"agent.n_steps={n_returns}: Stable-Baselines3 has no n-step returns of Dict observations; use n_steps=1")
