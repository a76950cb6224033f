"""Stable-Baselines3's algorithms, unmodified, as pure functions: (state, seed, reward source) in, state out."""

from __future__ import annotations

import abc
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from preflab.agents import actor, observing, tensors
from preflab.agents.generators import preserved_generators
from preflab.agents.nowhere import Nowhere
from preflab.agents.proxy import ProxyVecEnv
from preflab.agents.reference import FrozenPolicy, KLSettings
from preflab.agents.rollouts import EpisodeCounter
from preflab.agents.settings import AgentSettings, Decay
from preflab.errors import InvalidArgument
from preflab.interfaces import Agent, OnRollout, RewardSource, RolloutInfo, TrainReport
from preflab.storage import save_tensors, write_atomically
from preflab.types import AnyArray, FloatArray

MakeVec = Callable[[int, int], VecEnv]
Tensors = dict[str, torch.Tensor]
_S = TypeVar("_S", bound=AgentSettings)


class SB3Agent(Agent, Generic[_S]):
    """A policy of Stable-Baselines3 that trains on a proxy reward and acts on raw observations.

    `train` is a pure function of (`state()`, its arguments): environments are built afresh from its seed, every
    generator SB3 uses is derived from it, and the global generators are put back afterward.
    """

    def __init__(
        self, make_vec: MakeVec, settings: _S, *, seed: int, device: str | torch.device = "cpu",
        kl: KLSettings | None = None,
    ) -> None:
        """Draws the initial weights from `seed`, as the algorithm itself would.

        Args:
            make_vec: builds vectorized environments from (n_envs, seed); one is built here to read its spaces.
            settings: of the algorithm.
            seed: of the initial weights, in [0, 2³²).
            device: "cpu", "cuda", or "auto" for a GPU where there is one.
            kl: how strongly it is held to a reference, at first its own initial policy; None: not at all.

        Raises:
            InvalidArgument: `device` is not there, `seed` is out of range, or a space is not supported.
        """
        check_seed(seed)
        self.settings = settings
        self.device = resolve_device(device)
        self.kl = kl or KLSettings()
        self._make_vec = make_vec
        probe = make_vec(1, seed)
        self.observation_space, self.action_space = probe.observation_space, probe.action_space
        probe.close()
        observing.check_observations(self.observation_space)
        actor.check_space("action space", self.action_space)
        self.is_normalized = settings.normalize_obs and bool(observing.normalized_keys(self.observation_space))
        self.n_env_steps = 0
        self._statistics = self._no_statistics()
        self._kl_coefficient = self.kl.coefficient
        self._learner = self._blank(seed)
        self._reference: Tensors = self._dumped()

    @abc.abstractmethod
    def _piece(self, model: Any) -> int:
        """Returns the env steps after which training is reported."""

    @abc.abstractmethod
    def _proxy_env(self, vec: VecEnv) -> ProxyVecEnv:
        """Returns `vec` with its reward and infos hidden."""

    @abc.abstractmethod
    def _learn(self, course: Course) -> TrainReport:
        """Trains `course.model` piece by piece."""

    def train(
        self, n_env_steps: int, source: RewardSource, *, seed: int, steps_done: int, steps_total: int,
        on_rollout: OnRollout | None = None,
    ) -> TrainReport:
        """Trains on the rewards of `source` for `n_env_steps`, rounded up to whole pieces; see `Agent.train`.

        Raises:
            InvalidArgument: an argument breaks its rule, `make_vec` gives other environments than before, or a reward
                is not finite. The agent is then as it was before the call.
        """
        check_seed(seed)
        if n_env_steps < 1:
            raise InvalidArgument("n_env_steps", "must be at least 1", n_env_steps)
        if not 0 <= steps_done <= steps_total or steps_total < 1:
            raise InvalidArgument("steps_done", "must be in 0…steps_total", steps_done, f"0…{steps_total}")
        started = time.perf_counter()
        before = self.state()
        # One thread per process: parallelism is over seeds, and results must not depend on the number of cores.
        torch.set_num_threads(1)
        vec = self._make_vec(self.settings.n_envs, seed)
        try:
            with preserved_generators():
                self._check_env(vec)
                proxy_env = self._proxy_env(vec)
                model = self._model(proxy_env, seed)
                n_pieces = -(-n_env_steps // self._piece(model))
                first_step = self.n_env_steps
                schedule = Decay(self.settings, lambda: steps_done + model.num_timesteps - first_step, steps_total)
                model.learning_rate = model.lr_schedule = schedule
                course = Course(model, proxy_env, source, n_pieces, first_step, schedule.progress, on_rollout, started)
                return self._learn(course)
        except BaseException:
            self.load_state(before)
            raise
        finally:
            vec.close()

    def _told(self, course: Course, i_piece: int, scalars: Mapping[str, float]) -> bool:
        """Takes over the counters of `course.model` and calls `on_rollout`; returns whether training goes on."""
        self.n_env_steps = course.model.num_timesteps
        steps = self.n_env_steps - course.first_step
        info = RolloutInfo(i_piece, course.n_pieces, steps, self.n_env_steps, scalars)
        called = time.perf_counter()
        with preserved_generators():
            goes_on = course.on_rollout is None or course.on_rollout(info) is not False
        course.seconds_callback += time.perf_counter() - called
        return goes_on

    def _reported(
        self, course: Course, i_piece: int, episodes: EpisodeCounter, seconds_reward: float, scalars: Mapping[str, float],
        goes_on: bool,
    ) -> TrainReport:
        return TrainReport(
            self.n_env_steps - course.first_step, i_piece, episodes.n_episodes, not goes_on and i_piece < course.n_pieces,
            time.perf_counter() - course.started, course.proxy_env.env_seconds, seconds_reward, course.seconds_callback,
            scalars,
        )

    def _model(self, proxy_env: ProxyVecEnv, seed: int) -> Any:
        """Returns SB3's algorithm on `proxy_env`, seeded, that continues from this agent's state and becomes it."""
        env: VecEnv = proxy_env
        if self.is_normalized:
            env = observing.normalized(proxy_env, self._statistics)  # live: `act` in on_rollout uses them
        model: Any = self.settings.algorithm(
            self._policy_name(), env, seed=seed, device=self.device, **self._training_keywords()
        )
        tensors.copy_model(self._learner, model)
        model.num_timesteps = self.n_env_steps
        model.set_logger(Logger(folder=None, output_formats=[]))
        self._learner = model
        return model

    def _policy_name(self) -> Any:
        return observing.policy_name(self.observation_space)

    def _keywords(self) -> dict[str, Any]:
        """Returns the settings' arguments for the algorithm, with the extractor that these observations need."""
        named = self.settings.keywords()
        return named | {"policy_kwargs": named["policy_kwargs"] | observing.extractor_settings(self.observation_space)}

    def _training_keywords(self) -> dict[str, Any]:
        return self._keywords()

    def _blank_keywords(self) -> dict[str, Any]:
        return self._keywords()

    def _blank(self, seed: int | None) -> BaseAlgorithm:
        """Returns the algorithm without an env, with the initial weights that `seed` draws."""
        env = Nowhere(self.observation_space, self.action_space, self.settings.n_envs)
        with preserved_generators(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SB3 on the size of a buffer that is never filled
            name = observing.policy_name(self.observation_space)
            return self.settings.algorithm(name, env, seed=seed, device=self.device, **self._blank_keywords())

    def _no_statistics(self) -> observing.Statistics:
        return observing.new_statistics(self.observation_space)

    def _check_env(self, vec: VecEnv) -> None:
        if vec.num_envs != self.settings.n_envs:
            raise InvalidArgument("make_vec", f"must make {self.settings.n_envs} environments", vec.num_envs)
        if (vec.observation_space, vec.action_space) != (self.observation_space, self.action_space):
            valid = f"{self.observation_space}, {self.action_space}"
            raise InvalidArgument("make_vec", "must keep its spaces", (vec.observation_space, vec.action_space), valid)

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        """Returns (N, *act) actions for raw (N, *obs): the mode if `rng` is None, else sampled; clipped to the Box."""
        return actor.choose(self._outputs(self._learner, self._statistics, obs), self.action_space, rng)

    def kl_to(self, other_state: Mapping[str, torch.Tensor], obs: AnyArray) -> FloatArray:
        """Returns (N,) KL(this policy ‖ the policy of `other_state`) in nats at raw (N, *obs).

        Of the unclipped Gaussian summed over action dimensions, or of the Categorical; each policy sees observations
        through its own frozen normalizer. `kl_to(agent.state(), obs)` is exactly 0.
        """
        other, statistics = self._blank(0), self._no_statistics()
        tensors.load(_networks(other_state), other, statistics)
        return actor.kl(self._outputs(self._learner, self._statistics, obs), self._outputs(other, statistics, obs))

    def _outputs(self, model: BaseAlgorithm, statistics: observing.Statistics, obs: AnyArray) -> actor.Outputs:
        exploration = float(getattr(model, "exploration_final_eps", 0.0))  # DQN's and QR-DQN's once they are trained
        return actor.outputs(model.policy, self._normalizers(statistics), obs, exploration)

    def _normalizers(self, statistics: observing.Statistics) -> Mapping[str, actor.Normalizer]:
        return observing.frozen(statistics, self.observation_space) if self.is_normalized else {}

    def set_reference(self, state: Mapping[str, torch.Tensor]) -> None:
        """Holds the agent, from its next training on, to the policy of `state`; raises `InvalidArgument` if it is no such."""
        kept = {name: value.clone() for name, value in _networks(state).items()}
        tensors.load(kept, self._blank(0), self._no_statistics())
        self._reference = kept

    def _frozen_reference(self) -> FrozenPolicy:
        model, statistics = self._blank(0), self._no_statistics()
        tensors.load(self._reference, model, statistics)
        model.policy.requires_grad_(False)
        return FrozenPolicy(model.policy, self._normalizers(statistics))

    def state(self) -> Tensors:
        """Returns named CPU tensors, copies, from which `load_state` restores the agent bit for bit.

        Those of `preflab.agents.tensors.dump`; "kl_coefficient" and, where that matters, the reference as "reference.*".
        """
        state = self._dumped()
        if self.kl.is_on:
            state |= {"kl_coefficient": tensors.tensor(self._kl_coefficient)}
            state |= {f"reference.{name}": value.clone() for name, value in self._reference.items()}
        return state

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restores what `state` returned.

        Raises:
            InvalidArgument: a tensor is missing, unknown, or of another shape; the agent is then unchanged.
        """
        model, statistics = self._blank(0), self._no_statistics()
        n_env_steps = tensors.load(_networks(state), model, statistics)
        reference = {name.removeprefix("reference."): value for name, value in state.items() if name.startswith("reference.")}
        if reference:
            self.set_reference(reference)
        if "kl_coefficient" in state:
            self._kl_coefficient = float(state["kl_coefficient"])
        self._learner, self._statistics, self.n_env_steps = model, statistics, n_env_steps

    def reset_critic(self, seed: int, *, forgets: bool = False) -> None:
        """Draws every parameter of the value networks and their targets anew, and empties their optimizer's moments.

        What acts stays: PPO's policy half (whose one optimizer starts afresh), SAC's actor with its optimizer. DQN's only
        network is its value network.
        """
        fresh = self._blank(seed)
        own, drawn = self._dumped(), tensors.dump(fresh, self._statistics, 0)
        state = {
            name: drawn[name] if name.startswith("policy.") and not _acts(name.removeprefix("policy.")) else value
            for name, value in own.items() if not name.startswith(("optimizer.critic.", "optimizer.policy."))
        }
        tensors.load(state, fresh, self._statistics)
        self._learner = fresh

    def save(self, path: Path) -> None:
        """Writes SB3's own `path` (…zip), which the plain algorithm's `load(path)` reads.

        That policy expects observations as it was trained: if `is_normalized`, `<stem>.vecnormalize.safetensors` beside
        it holds `mean` and `var` (`<key>.mean` and `<key>.var` for a Dict), and obs becomes
        clip((obs − mean) / √(var + 1e-8), ±10) as float32, as `act` does.
        """
        if path.suffix != ".zip":
            raise InvalidArgument("path", "must end in .zip", str(path))
        model = self._blank(None)
        tensors.copy_model(self._learner, model)
        model.num_timesteps = self.n_env_steps
        write_atomically(path, model.save)
        if self.is_normalized:
            named = {
                name.removeprefix("normalizer."): tensors.tensor(getattr(self._statistics[key], part))
                for name, (key, part) in observing.tensor_names(self._statistics).items()
            }
            clip = actor.CLIP_OBS
            formula = f"clip((obs - mean) / sqrt(var + {actor.EPSILON}), -{clip}, {clip}) as float32"
            save_tensors(path.with_name(f"{path.stem}.vecnormalize.safetensors"), named, {"formula": formula})

    def _dumped(self) -> Tensors:
        return tensors.dump(self._learner, self._statistics, self.n_env_steps)


class Course:
    """One call of `train`: what is trained, on what, how long, and who is told."""

    def __init__(
        self, model: Any, proxy_env: ProxyVecEnv, source: RewardSource, n_pieces: int, first_step: int,
        progress: Callable[[], float], on_rollout: OnRollout | None, started: float,
    ) -> None:
        """Takes SB3's model, its innermost env, the proxy, the number of pieces, and the agent's steps so far."""
        self.model, self.proxy_env, self.source, self.n_pieces = model, proxy_env, source, n_pieces
        self.first_step, self.progress, self.on_rollout, self.started = first_step, progress, on_rollout, started
        self.seconds_callback = 0.0


def resolve_device(device: str | torch.device) -> torch.device:
    """Returns the torch device; "auto" is a GPU where there is one.

    Raises:
        InvalidArgument: the device is unknown, or "cuda" where there is no GPU (SB3 would quietly take the CPU).
    """
    has_gpu = torch.cuda.is_available()
    valid = "auto, cpu, cuda" if has_gpu else "auto, cpu (torch finds no GPU here)"
    if device == "auto":
        return torch.device("cuda" if has_gpu else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise InvalidArgument("device", "is not known", device, valid) from error
    is_gpu_there = (resolved.index or 0) < torch.cuda.device_count()
    if resolved.type not in ("cpu", "cuda") or (resolved.type == "cuda" and not is_gpu_there):
        raise InvalidArgument("device", "is not available", str(device), valid)
    return resolved


def check_seed(seed: int) -> None:
    """Raises InvalidArgument unless numpy's global generator takes `seed`."""
    if not 0 <= seed < 2**32:
        raise InvalidArgument("seed", "must be in [0, 2**32), as numpy's global generator takes it", seed)


def box_unscale(policy: Any, space: gym.Space[Any]) -> Callable[[AnyArray], AnyArray] | None:
    """Returns what turns a replay buffer's actions into the env's: SB3's own function for a Box, nothing otherwise."""
    return policy.unscale_action if isinstance(space, spaces.Box) else None


def _networks(state: Mapping[str, torch.Tensor]) -> Tensors:
    """Returns the part of an agent's state that `tensors.load` reads."""
    others = ("buffer.", "reference.", "kl_coefficient")
    return {name: value for name, value in state.items() if not name.startswith(others)}


def _acts(name: str) -> bool:
    """Tells whether a parameter acts: it is in the actor, or in an actor-critic's policy half."""
    halves = ("action_net.", "mlp_extractor.policy_net.", "log_std", "features_extractor.", "pi_features_extractor.")
    return name.startswith(("actor.", "actor_target.", *halves))
