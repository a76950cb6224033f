"""SB3's PPO, unmodified, as a pure function: (state, seed, reward source) in, state out."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv

from preflab.agents import actor, observing, tensors
from preflab.agents.generators import preserved_generators
from preflab.agents.proxy import ProxyRewardCallback, ProxyVecEnv
from preflab.agents.rollouts import EpisodeCounter, RolloutInfo, TrainReport
from preflab.agents.settings import ACTIVATIONS, Decay, PPOSettings
from preflab.errors import InvalidArgument
from preflab.interfaces import RewardSource
from preflab.storage import save_tensors, write_atomically
from preflab.types import AnyArray, FloatArray

__all__ = ["MakeVec", "OnRollout", "PPOAgent", "PPOSettings", "RolloutInfo", "TrainReport", "resolve_device"]

MakeVec = Callable[[int, int], VecEnv]
OnRollout = Callable[[RolloutInfo], bool | None]


class PPOAgent:
    """A PPO policy that trains on a proxy reward and acts on raw observations.

    `train` is a pure function of (`state()`, its arguments): environments are built afresh from its seed, every
    generator SB3 uses is derived from it, and the global generators are put back afterward.
    """

    def __init__(
        self, make_vec: MakeVec, settings: PPOSettings, *, seed: int, device: str | torch.device = "cpu"
    ) -> None:
        """Draws the initial weights from `seed`, as `PPO(seed=seed)` would.

        Args:
            make_vec: builds vectorized environments from (n_envs, seed); one is built here to read its spaces.
            settings: of PPO.
            seed: of the initial weights, in [0, 2³²).
            device: "cpu", "cuda", or "auto" for a GPU where there is one.

        Raises:
            InvalidArgument: `device` is not there, `seed` is out of range, or a space is not supported.
        """
        _check_seed(seed)
        self.settings = settings
        self.device = resolve_device(device)
        self._make_vec = make_vec
        probe = make_vec(1, seed)
        self.observation_space, self.action_space = probe.observation_space, probe.action_space
        probe.close()
        observing.check_observations(self.observation_space)
        actor.check_space("action space", self.action_space)
        self.is_normalized = settings.normalize_obs and bool(observing.normalized_keys(self.observation_space))
        self.n_env_steps = 0
        self._n_updates = 0
        self._statistics = observing.new_statistics(self.observation_space)
        self._policy = self._new_policy(seed)

    def train(
        self, n_env_steps: int, source: RewardSource, *, seed: int, steps_done: int, steps_total: int,
        on_rollout: OnRollout | None = None,
    ) -> TrainReport:
        """Trains on the rewards of `source` for `n_env_steps`, rounded up to whole rollouts.

        Args:
            n_env_steps: steps over all environments, at least 1.
            source: scores each rollout in one batch.
            seed: of environments (SB3 seeds them again, with seed, seed + 1, …), action noise and minibatches, in
                [0, 2³²).
            steps_done: steps of the run before this call; with `steps_total` it places the learning-rate decay.
            steps_total: steps of the whole run.
            on_rollout: called after each update; `act` is then the updated policy. Returning False stops.

        Raises:
            InvalidArgument: an argument breaks its rule, `make_vec` gives other environments than before, or a reward
                is not finite. The agent is then as it was before the call.
        """
        _check_seed(seed)
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
                n_rollouts = -(-n_env_steps // self.settings.rollout_size)
                return self._learn(vec, source, n_rollouts, seed, (steps_done, steps_total), on_rollout, started)
        except BaseException:
            self.load_state(before)
            raise
        finally:
            vec.close()

    def _learn(
        self, vec: VecEnv, source: RewardSource, n_rollouts: int, seed: int, place: tuple[int, int],
        on_rollout: OnRollout | None, started: float,
    ) -> TrainReport:
        proxy_env = ProxyVecEnv(vec, self.settings.n_steps)
        model, first_step = self._model(proxy_env, seed), self.n_env_steps
        steps_done, steps_total = place
        schedule = Decay(self.settings, lambda: steps_done + model.num_timesteps - first_step, steps_total)
        model.learning_rate = model.lr_schedule = schedule
        callback = ProxyRewardCallback(proxy_env, source, self.settings.reward_scale)
        episodes = EpisodeCounter(self.settings.n_envs)
        scalars: dict[str, float] = {}
        seconds_callback, i_rollout, is_stopped = 0.0, 0, False
        while i_rollout < n_rollouts and not is_stopped:
            # One call a rollout can stop between two updates, and SB3 keeps its last observations. A call has one
            # iteration, so that a log interval of 2 never prints.
            model.learn(self.settings.rollout_size, callback, log_interval=2, reset_num_timesteps=False)
            i_rollout += 1
            self.n_env_steps, self._n_updates = model.num_timesteps, model._n_updates
            scalars = episodes.scalars(callback.last_rewards, callback.last_dones)
            scalars |= {name: float(value) for name, value in model.logger.name_to_value.items()}
            info = RolloutInfo(i_rollout, n_rollouts, self.n_env_steps - first_step, self.n_env_steps, scalars)
            called = time.perf_counter()
            with preserved_generators():
                is_stopped = on_rollout is not None and on_rollout(info) is False
            seconds_callback += time.perf_counter() - called
        return TrainReport(
            self.n_env_steps - first_step, i_rollout, episodes.n_episodes, is_stopped and i_rollout < n_rollouts,
            time.perf_counter() - started, proxy_env.env_seconds, callback.reward_seconds, seconds_callback, scalars,
        )

    def _model(self, proxy_env: ProxyVecEnv, seed: int) -> PPO:
        """Returns SB3's PPO on `proxy_env`, seeded, that continues from and writes into this agent's state."""
        env: VecEnv = proxy_env
        if self.is_normalized:
            env = observing.normalized(proxy_env, self._statistics)  # live: `act` in on_rollout uses them
        model = self._plain_model(env, seed)
        model.policy.load_state_dict(self._policy.state_dict())
        model.policy.optimizer.load_state_dict(self._policy.optimizer.state_dict())
        model.num_timesteps, model._n_updates = self.n_env_steps, self._n_updates
        model.set_logger(Logger(folder=None, output_formats=[]))
        self._policy = model.policy
        return model

    def _plain_model(self, env: VecEnv | None, seed: int | None) -> PPO:
        shared = (
            "learning_rate", "n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "clip_range", "ent_coef",
            "vf_coef", "max_grad_norm", "target_kl",
        )
        named: dict[str, Any] = {name: getattr(self.settings, name) for name in shared}
        named |= {"policy_kwargs": self._policy_kwargs(), "seed": seed, "device": self.device}
        return PPO(observing.policy_name(self.observation_space), cast(VecEnv, env), _init_setup_model=env is not None, **named)

    def _new_policy(self, seed: int = 0) -> ActorCriticPolicy:
        """Returns a policy with the initial weights that `PPO(seed=seed)` draws."""
        with preserved_generators():
            set_random_seed(seed)
            rate, named = self.settings.learning_rate, self._policy_kwargs()
            space = observing.policy_space(self.observation_space)
            policy = ActorCriticPolicy(space, self.action_space, lambda _: rate, **named)
        return policy.to(self.device)

    def _policy_kwargs(self) -> dict[str, Any]:
        hidden = list(self.settings.hidden)
        return {
            "net_arch": {"pi": hidden, "vf": list(hidden)}, "activation_fn": ACTIVATIONS[self.settings.activation],
            "log_std_init": self.settings.log_std_init, **observing.extractor_settings(self.observation_space),
        }

    def _check_env(self, vec: VecEnv) -> None:
        if vec.num_envs != self.settings.n_envs:
            raise InvalidArgument("make_vec", f"must make {self.settings.n_envs} environments", vec.num_envs)
        if (vec.observation_space, vec.action_space) != (self.observation_space, self.action_space):
            valid = f"{self.observation_space}, {self.action_space}"
            raise InvalidArgument("make_vec", "must keep its spaces", (vec.observation_space, vec.action_space), valid)

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        """Returns (N, *act) actions for raw (N, *obs): the mode if `rng` is None, else sampled; clipped to the Box."""
        outputs = actor.outputs(self._policy, self._normalizers(self._statistics), obs)
        return actor.choose(outputs, self.action_space, rng)

    def kl_to(self, other_state: Mapping[str, torch.Tensor], obs: AnyArray) -> FloatArray:
        """Returns (N,) KL(this policy ‖ the policy of `other_state`) in nats at raw (N, *obs).

        Of the unclipped Gaussian summed over action dimensions, or of the Categorical; each policy sees observations
        through its own frozen normalizer. `kl_to(agent.state(), obs)` is exactly 0.
        """
        other, statistics = self._new_policy(), observing.new_statistics(self.observation_space)
        tensors.load(other_state, other, statistics)
        ours = actor.outputs(self._policy, self._normalizers(self._statistics), obs)
        return actor.kl(ours, actor.outputs(other, self._normalizers(statistics), obs))

    def _normalizers(self, statistics: observing.Statistics) -> Mapping[str, actor.Normalizer]:
        return observing.frozen(statistics, self.observation_space) if self.is_normalized else {}

    def state(self) -> dict[str, torch.Tensor]:
        """Returns named CPU tensors, copies, from which `load_state` restores the agent bit for bit.

        "policy.*", Adam's "optimizer.*", "normalizer.mean|var|count" (float64; "normalizer.<key>.mean|…" for a Dict),
        "n_env_steps" and "n_updates".
        """
        return tensors.dump(self._policy, self._statistics, self.n_env_steps, self._n_updates)

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restores what `state` returned.

        Raises:
            InvalidArgument: a tensor is missing, unknown, or of another shape; the agent is then unchanged.
        """
        policy, statistics = self._new_policy(), observing.new_statistics(self.observation_space)
        self.n_env_steps, self._n_updates = tensors.load(state, policy, statistics)
        self._policy, self._statistics = policy, statistics

    def save(self, path: Path) -> None:
        """Writes SB3's own `path` (…zip), which plain `PPO.load(path)` reads.

        That policy expects observations as it was trained: if `is_normalized`, `<stem>.vecnormalize.safetensors` beside
        it holds `mean` and `var` (`<key>.mean` and `<key>.var` for a Dict), and obs becomes
        clip((obs − mean) / √(var + 1e-8), ±10) as float32, as `act` does.
        """
        if path.suffix != ".zip":
            raise InvalidArgument("path", "must end in .zip", str(path))
        model = self._plain_model(None, None)
        model.observation_space = observing.policy_space(self.observation_space)
        model.action_space = self.action_space
        model.n_envs = self.settings.n_envs
        with preserved_generators():
            model._setup_model()
        model.policy.load_state_dict(self._policy.state_dict())
        model.policy.optimizer.load_state_dict(self._policy.optimizer.state_dict())
        model.num_timesteps, model._n_updates = self.n_env_steps, self._n_updates
        write_atomically(path, model.save)
        if self.is_normalized:
            named = {
                name.removeprefix("normalizer."): tensors.tensor(getattr(self._statistics[key], part))
                for name, (key, part) in observing.tensor_names(self._statistics).items()
            }
            clip = actor.CLIP_OBS
            formula = f"clip((obs - mean) / sqrt(var + {actor.EPSILON}), -{clip}, {clip}) as float32"
            save_tensors(path.with_name(f"{path.stem}.vecnormalize.safetensors"), named, {"formula": formula})


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


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise InvalidArgument("seed", "must be in [0, 2**32), as numpy's global generator takes it", seed)
