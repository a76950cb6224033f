"""A task made of a registered Gymnasium environment, a user's own among them: gold is its ordinary reward."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from preflab import observations
from preflab.envs.gymnasium_physics import EnvSource, GymnasiumPhysics
from preflab.envs.physics import Physics
from preflab.envs.tasks import Task
from preflab.errors import InvalidArgument


def gymnasium_task(
    name: str, source: EnvSource, *, horizon: int | None = None, never_terminates: bool = False,
    factors: Sequence[str] = ("reward",), description: str = "", origin: str = "",
) -> Task:
    """Returns the task called `name`; `preflab.envs.register_task` makes it known by that name.

    An environment that never terminates has the form "fixed" only, any other one the form "terminating" only: nobody but its
    author can say how it would go on after an end.

    Args:
        name: of the task.
        source: the environment.
        horizon: steps after which an episode is cut; None takes the time limit that it is registered with.
        never_terminates: its author's word that no episode ends before the horizon; a step that ends one is refused.
        factors: keys of its infos that are the parts of gold, for the report; "reward" is the reward itself.
        description: one line.
        origin: where its rules come from.

    Raises:
        InvalidArgument: it has no time limit and `horizon` is None, or a space is not supported.
        Refused: it cannot be made.
    """
    env = source.make()
    try:
        observations.check(env.observation_space, f"the observation space of {source.id}")
        _check_actions(env.action_space, f"the action space of {source.id}")
        limit = source.max_episode_steps(env) if horizon is None else horizon
    finally:
        env.close()
    if limit is None or limit < 1:
        rule = f"must be at least 1; {source.id} is registered without a time limit" if limit is None else "must be at least 1"
        raise InvalidArgument("env.horizon", rule, horizon, "steps after which an episode is cut, as horizon: 200 in its yaml")
    if not factors:
        raise InvalidArgument("env.factors", "must name at least one", factors, "reward, or keys of info")
    build = partial(_build, source, tuple(factors), limit)
    return Task(
        name, {"fixed" if never_terminates else "terminating": limit}, tuple(factors), description or f"Gymnasium's {source.id}",
        origin, build, factors_sum_to_gold=tuple(factors) == ("reward",),
    )


def _build(source: EnvSource, factors: tuple[str, ...], horizon: int, form: str) -> Physics:
    return GymnasiumPhysics(source, factors, form, horizon=horizon)


def _check_actions(space: gym.Space[Any], name: str) -> None:
    if isinstance(space, gym.spaces.Discrete) and space.start == 0:
        return
    if isinstance(space, gym.spaces.Box) and space.is_bounded() and np.issubdtype(space.dtype, np.floating):
        return
    raise InvalidArgument(name, "is not supported", space, "a Discrete that starts at 0, or a bounded floating-point Box")
