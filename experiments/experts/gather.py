"""Stage one of a critic: what the frozen deterministic expert earns from states that others reached.

Random, middle, noisy-expert, expert and calm trajectories are recorded with their simulator states; from sampled states of
them the expert takes over and is followed. The time limit is ignored there (a value is about the infinite horizon).
Every batch of continuations is a pure function of the seed and its number and is its own file, so an interrupted
gathering goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from preflab import seeding
from preflab.envs.copies import Copy
from preflab.envs.following import follow
from preflab.errors import InvalidArgument
from preflab.interfaces import Policy
from preflab.storage import load_arrays, save_arrays
from preflab.types import AnyArray, BoolArray, FloatArray, IntArray

QUALITIES = ("random", "middle", "noisy", "expert", "calm")


class Env(Copy, Protocol):
    """An environment that pays gold, and whose physics can be saved and restored."""

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        ...


@dataclass(frozen=True)
class GatherConfig:
    """How much to gather. One environment step each: n_trajectories · 4 · horizon + starts · 4 · their steps.

    Attributes:
        horizon: steps after which a source trajectory is cut (the task's time limit).
        gamma: the expert's discount.
        n_trajectories: source trajectories per quality.
        n_starts: states per quality from which the expert is followed.
        long_share: share of the starts, apart from those held out, followed until γ^h ≤ `tail`; the others for
            `short_steps`, after which a fitted value stands in.
        held_out_share: share of the source trajectories that no fit sees; starts on them are followed to the end.
    """

    horizon: int
    gamma: float
    n_trajectories: int = 20
    n_starts: int = 200
    long_share: float = 0.2
    short_steps: int = 100
    tail: float = 0.01
    held_out_share: float = 0.15
    n_envs: int = 16
    n_threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.gamma < 1:
            raise InvalidArgument("gamma", "must be in (0, 1)", self.gamma)
        if min(self.horizon, self.n_trajectories, self.n_starts, self.short_steps, self.n_envs) < 1:
            raise InvalidArgument("GatherConfig", "must have positive counts", self)

    @property
    def long_steps(self) -> int:
        """The first h with γ^h ≤ tail."""
        return int(np.ceil(np.log(self.tail) / np.log(self.gamma)))


@dataclass(frozen=True, eq=False)
class Continuations:
    """C continuations of the deterministic expert, their steps one after another.

    Attributes:
        observations: (Σ (T_c + 1), *obs).
        rewards: (Σ T_c,) gold.
        lengths: (C,) T_c.
        terminated: (C,) the continuation ended in a true terminal state.
        quality: (C,) index into `QUALITIES` of who reached the start.
        source: (C,) number of the source trajectory within its quality.
        held_out: (C,) kept from every fit.
        is_long: (C,) followed until the rest weighs next to nothing (or to termination).
    """

    observations: AnyArray
    rewards: FloatArray
    lengths: IntArray
    terminated: BoolArray
    quality: IntArray
    source: IntArray
    held_out: BoolArray
    is_long: BoolArray

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def first(self) -> IntArray:
        """(C,) row of each continuation's first observation."""
        return np.cumsum(self.lengths + 1) - (self.lengths + 1)

    @staticmethod
    def concatenate(parts: Sequence[dict[str, AnyArray]]) -> Continuations:
        """Joins stored batches."""
        return Continuations(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


class NoisyPolicy:
    """A policy whose actions are replaced by another's on a random share of steps, drawn per step."""

    def __init__(self, policy: Policy, other: Policy, share: float = 0.3) -> None:
        """Follows the stochastic `policy` but for a `share` of steps, which follow `other`."""
        self._policy, self._other, self._share = policy, other, share

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        """Returns (N, *act) actions."""
        ours = self._policy.act(obs, rng)
        if rng is None:
            return ours
        swap = rng.random(len(ours)) < self._share
        return np.where(swap.reshape(-1, *[1] * (ours.ndim - 1)), self._other.act(obs, rng), ours)


class CalmPolicy:
    """Gaussian actions around the middle of a Box, as an untrained network's: spreads of 0.2, 0.4 and 0.7 half ranges by row."""

    def __init__(self, space: gym.spaces.Box) -> None:
        """Acts in `space`, which is bounded."""
        self._low, self._high = space.low.astype(np.float64), space.high.astype(np.float64)

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        """Returns (N, *act) actions, clipped; the middle without `rng`."""
        middle, half = 0.5 * (self._low + self._high), 0.5 * (self._high - self._low)
        noise = np.zeros((len(obs), *middle.shape)) if rng is None else rng.standard_normal((len(obs), *middle.shape))
        spread = np.array([0.2, 0.4, 0.7])[np.arange(len(obs)) % 3].reshape(-1, *[1] * middle.ndim)
        return np.asarray(np.clip(middle + half * spread * noise, self._low, self._high), dtype=np.float32)


def gather(
    make_env: Callable[[], Env], expert: Policy, others: Mapping[str, Policy], config: GatherConfig, folder: Path,
    report: Callable[[str], None] = print,
) -> Continuations:
    """Gathers continuations of `expert` from states of itself and of `others`; resumable.

    Args:
        make_env: makes one environment that pays gold.
        expert: followed deterministically from every start, and stochastically as the source called "expert".
        others: the policies called "random", "middle" and, where actions are numbers, "calm"; "noisy" is a mixture of the
            expert and "random".
        config: how much.
        folder: where sources and batches are kept; what is there already is not gathered again.
        report: told about progress.
    """
    envs = [make_env() for _ in range(config.n_envs)]
    policies = {**others, "noisy": NoisyPolicy(expert, others["random"]), "expert": expert}
    sources = _sources(envs, policies, config, folder)
    batches, parts = _batches(sources, config), []
    for i, batch in enumerate(batches):
        path = folder / f"continuations-{i:04d}.npz"
        if not path.is_file():
            save_arrays(path, _continue(envs, expert, batch, config))
            report(f"critic: batch {i + 1} of {len(batches)}")
        parts.append(load_arrays(path))
    return Continuations.concatenate(parts)


@dataclass(frozen=True, eq=False)
class _Start:
    """A state from which the expert is to be followed."""

    state: FloatArray
    quality: int
    source: int
    n_steps: int
    is_held_out: bool


def _sources(
    envs: Sequence[Env], policies: Mapping[str, Policy], config: GatherConfig, folder: Path
) -> dict[str, list[FloatArray]]:
    """Returns, per quality, the states (T + 1, S) of its source trajectories."""
    kept = {}
    for quality in (each for each in QUALITIES if each in policies):
        path = folder / f"source-{quality}.npz"
        if not path.is_file():
            states = [
                state for first in range(0, config.n_trajectories, len(envs))
                for state in _from_reset(envs, policies[quality], config, quality, first)
            ]
            save_arrays(path, {"states": np.concatenate(states), "lengths": np.array([len(s) for s in states])})
        stored = load_arrays(path)
        kept[quality] = np.split(stored["states"], np.cumsum(stored["lengths"])[:-1])
    return kept


def _from_reset(
    envs: Sequence[Env], policy: Policy, config: GatherConfig, quality: str, first: int
) -> list[FloatArray]:
    """Returns the states (T + 1, S) of one trajectory per environment, or of the few that are still wanted."""
    numbers = range(first, min(first + len(envs), config.n_trajectories))
    starts = []
    for env, i in zip(envs, numbers, strict=False):
        env.reset(seed=seeding.small_seed(config.seed, "source", quality, i))
        starts.append(env.save_state())
    rng = seeding.generator(config.seed, "source", quality, first)
    followed = follow(envs, policy, starts, config.horizon, rng, keep=("states",), n_threads=config.n_threads)
    return [branch.states for branch in followed if branch.states is not None]


def _batches(sources: dict[str, list[FloatArray]], config: GatherConfig) -> list[list[_Start]]:
    """Returns batches of starts of equal length, in an order that mixes lengths and qualities."""
    rng = seeding.generator(config.seed, "starts")
    starts = [
        start for number, quality in enumerate(QUALITIES) if quality in sources
        for start in _starts(sources[quality], number, config, rng)
    ]
    order, batches = rng.permutation(len(starts)), []
    for n_steps in sorted({start.n_steps for start in starts}, reverse=True):
        of_length = [starts[i] for i in order if starts[i].n_steps == n_steps]
        batches += [of_length[first : first + config.n_envs] for first in range(0, len(of_length), config.n_envs)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _starts(
    states: list[FloatArray], quality: int, config: GatherConfig, rng: np.random.Generator
) -> Iterator[_Start]:
    """Yields starts spread evenly over source trajectories; half uniform in time, half early, where bodies fall."""
    n_held_out = max(1, round(config.held_out_share * len(states)))
    for i in range(config.n_starts):
        source = i % len(states)
        power = 1 if (i // len(states)) % 2 == 0 else 3
        time = int((len(states[source]) - 1) * rng.random() ** power)
        is_held_out = source < n_held_out
        is_long = rng.random() < config.long_share or is_held_out
        n_steps = config.long_steps if is_long else min(config.short_steps, config.long_steps)
        yield _Start(states[source][time], quality, source, n_steps, is_held_out)


def _continue(envs: Sequence[Env], expert: Policy, batch: list[_Start], config: GatherConfig) -> dict[str, AnyArray]:
    for env in envs:
        env.reset(seed=0)
    branches = follow(
        envs, expert, [start.state for start in batch], [start.n_steps for start in batch], keep=("observations",),
        n_threads=config.n_threads,
    )
    return {
        "observations": np.concatenate([branch.observations for branch in branches]),
        "rewards": np.concatenate([branch.rewards for branch in branches]),
        "lengths": np.array([len(branch.rewards) for branch in branches], dtype=np.int64),
        "terminated": np.array([branch.terminated for branch in branches]),
        "quality": np.array([start.quality for start in batch], dtype=np.int64),
        "source": np.array([start.source for start in batch], dtype=np.int64),
        "held_out": np.array([start.is_held_out for start in batch]),
        "is_long": np.array([
            start.n_steps >= config.long_steps or branch.terminated for start, branch in zip(batch, branches, strict=True)
        ]),
    }
