"""Is gold really hidden? A check for every environment that is made here, and for those of others."""

from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from preflab.envs.hidden import gold
from preflab.errors import Refused

_ALLOWED = {"TimeLimit.truncated", "terminal_observation", "episode"}
_COUNTED_BY_MONITOR = {"episode.l", "episode.t"}  # steps and seconds, which may equal a count of healthy steps


def check_gold_is_hidden(env: gym.Env[Any, Any], n_steps: int = 60, seed: int = 0) -> None:
    """Steps `env` at random and raises `Refused` as soon as gold shows anywhere but in `gold(env)`.

    Looks at the reward, at the keys of every info, at every number in it (also nested) and at what Monitor puts into
    `episode`. Equality is exact, 0 and 1 are not taken for leaks; an observation is free to determine gold.

    Args:
        env: made by `preflab.envs.make`, wrapped or not.
        n_steps: steps to take, through resets.
        seed: of the reset and of the random actions.
    """
    env.action_space.seed(seed)
    _, info = env.reset(seed=seed)
    _check_keys(info)
    episode_gold = 0.0
    for _ in range(n_steps):
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        last = gold(env)
        episode_gold += last.reward
        if float(reward) != 0.0:
            raise Refused(f"the reward of a step is {float(reward)!r}, where a learner must see 0.0")
        _check_keys(info)
        secrets = {value for value in (last.reward, episode_gold, *last.factors.tolist()) if value not in (0.0, 1.0)}
        for path, value in _numbers(info):
            if path in _COUNTED_BY_MONITOR:
                continue
            if value in secrets or (path.endswith("episode.r") and value != 0.0):
                raise Refused(f"info[{path!r}] shows the gold reward or one of its factors, {value!r}")
        if terminated or truncated:
            _, info = env.reset()
            _check_keys(info)
            episode_gold = 0.0


def _check_keys(info: Mapping[str, Any]) -> None:
    unknown = sorted(key for key in info if key not in _ALLOWED)
    if unknown:
        raise Refused(f"info has {unknown}, where a learner may see only {sorted(_ALLOWED)}")


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _numbers(item, f"{path}.{i}")
    elif isinstance(value, np.ndarray):
        if "terminal_observation" not in path and value.dtype != object:
            for number in value.ravel():
                yield path, float(number)
    elif isinstance(value, int | float | np.generic) and not isinstance(value, bool | np.bool_):
        yield path, float(value)
