"""From a policy to scored trajectories, without preferring short ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from preflab.envs.task_vec_env import TaskVecEnv, step_vec
from preflab.errors import InvalidArgument
from preflab.interfaces import Policy
from preflab.observations import pack
from preflab.types import AnyArray, FloatArray, ScoredTrajectory, Trajectory


@dataclass(frozen=True)
class RandomPolicy:
    """Acts uniformly at random: over a bounded Box, or over a Discrete space."""

    action_space: gym.Space[Any]

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        """Returns (N, *act) actions for (N, *obs); there is no deterministic one, so `rng` is required."""
        if rng is None:
            raise InvalidArgument("rng", "must be a generator: a random policy has no deterministic action", rng)
        space, n = self.action_space, len(obs)
        if isinstance(space, gym.spaces.Discrete):
            return rng.integers(space.start, space.start + space.n, size=n)
        if isinstance(space, gym.spaces.Box) and space.is_bounded():
            return rng.uniform(space.low, space.high, size=(n, *space.shape)).astype(space.dtype)
        raise InvalidArgument("action_space", "must be a bounded Box or Discrete", space)


class _Recorder:
    """What one copy has done since its last reset."""

    def __init__(self, obs: AnyArray, state: FloatArray | None) -> None:
        self.observations, self.states = [obs], [] if state is None else [state]
        self.actions: list[AnyArray] = []
        self.gold: list[float] = []
        self.factors: list[FloatArray] = []

    def finished(self, terminated: bool) -> ScoredTrajectory:
        trajectory = Trajectory(np.stack(self.observations), np.stack(self.actions), terminated)
        states = np.stack(self.states) if self.states else None
        return ScoredTrajectory(trajectory, np.array(self.gold), np.stack(self.factors), states)


def collect(
    venv: TaskVecEnv, policy: Policy, n_trajectories: int, rng: np.random.Generator | None, *, keep_states: bool = False
) -> list[ScoredTrajectory]:
    """Resets `venv`, runs `policy` and returns `n_trajectories` complete trajectories.

    Every copy contributes its first ⌈n / n_envs⌉ episodes, however long they take, in (episode, copy) order: taking
    whichever episodes end first would over-represent short ones. A copy that is done stands idle. Observations are
    packed (float32, int64, uint8 images, structured for a Dict: see `preflab.observations`), and the policy sees exactly
    those; the last one of a trajectory is its final observation, never the next episode's first. Box actions are clipped
    to the action space and stored as given.

    Args:
        venv: from `make_vec`; reset here, and to be reset by whoever uses it next.
        policy: acts on (n_envs, *obs).
        n_trajectories: at least 1.
        rng: for the policy; None lets it act deterministically.
        keep_states: also keep the full simulator state of every step (large: 5 kB a step for the humanoid).
    """
    if n_trajectories < 1:
        raise InvalidArgument("n_trajectories", "must be at least 1", n_trajectories)
    n_each = -(-n_trajectories // venv.num_envs)
    is_idle_before, keep_before = venv.is_idle, venv.keep_terminal_states
    venv.is_idle, venv.keep_terminal_states = np.zeros(venv.num_envs, dtype=np.bool_), keep_states
    try:
        done = _run(venv, policy, n_each, rng, keep_states)
    finally:
        venv.is_idle, venv.keep_terminal_states = is_idle_before, keep_before
    return [done[i][episode] for episode in range(n_each) for i in range(venv.num_envs)][:n_trajectories]


def _run(
    venv: TaskVecEnv, policy: Policy, n_each: int, rng: np.random.Generator | None, keep_states: bool
) -> list[list[ScoredTrajectory]]:
    space = venv.observation_space
    obs = pack(space, venv.reset())
    states = _states(venv, keep_states)
    recorders = [_Recorder(obs[i], states[i]) for i in range(venv.num_envs)]
    done: list[list[ScoredTrajectory]] = [[] for _ in range(venv.num_envs)]
    while not venv.is_idle.all():
        actions = _legal(venv.action_space, policy.act(obs, rng))
        obs, dones, infos = step_vec(venv, actions)
        states = _states(venv, keep_states)
        for i in np.flatnonzero(~venv.is_idle).tolist():
            recorder = recorders[i]
            recorder.actions.append(actions[i])
            recorder.gold.append(float(venv.last_gold[i]))
            recorder.factors.append(venv.last_factors[i].copy())
            final = infos[i]["terminal_observation"] if dones[i] else None
            recorder.observations.append(obs[i] if final is None else pack(space, final))
            if keep_states:
                recorder.states.append(np.asarray(venv.terminal_states[i] if dones[i] else states[i]))
            if dones[i]:
                done[i].append(recorder.finished(not infos[i]["TimeLimit.truncated"]))
                recorders[i] = _Recorder(obs[i], states[i])
                venv.is_idle[i] = len(done[i]) == n_each
    return done


def _states(venv: TaskVecEnv, keep_states: bool) -> Sequence[FloatArray | None]:
    return list(venv.save_states()) if keep_states else [None] * venv.num_envs


def _legal(space: gym.Space[Any], actions: AnyArray) -> AnyArray:
    """Returns actions as the environment may be given them."""
    if isinstance(space, gym.spaces.Box):
        return np.clip(actions, space.low, space.high).astype(space.dtype)
    return np.asarray(actions, dtype=np.int64)
