"""Shared by the tests of the room `envs`: every task in every form, and how to drive one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from preflab import envs
from preflab.types import AnyArray

Drive = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def drive() -> Drive:
    """Steps an environment with given actions and returns (obs, gold, factors, terminated, truncated) of each step."""

    def run(env: envs.HiddenGold, actions: list[AnyArray]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for action in actions:
            obs, _, terminated, truncated, _ = env.step(action)
            last = envs.gold(env)
            rows.append((np.array(obs), last.reward, last.factors, terminated, truncated))
            if terminated or truncated:
                rows.append((np.array(env.reset()[0]),))
        return rows

    return run


@pytest.fixture
def random_actions() -> Callable[[envs.HiddenGold, int, int], list[AnyArray]]:
    """Draws actions uniformly from an environment's action space."""

    def draw(env: envs.HiddenGold, n: int, seed: int) -> list[AnyArray]:
        actions = envs.RandomPolicy(env.action_space).act(np.zeros((n, 1)), np.random.default_rng(seed))
        return list(actions)

    return draw
