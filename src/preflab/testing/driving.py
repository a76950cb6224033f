"""How laws of environments drive one: what they know of it, what they do to it, and what they write down."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from preflab.errors import InvalidArgument
from preflab.testing.laws import hold
from preflab.types import AnyArray, FloatArray

Env = gym.Env[Any, Any]
MakeEnv = Callable[[], Env]
Row = tuple[Any, ...]


class GoldOfStep(Protocol):
    """What `preflab.envs.gold` returns."""

    @property
    def reward(self) -> float:
        """The gold reward of the last step."""
        ...

    @property
    def factors(self) -> FloatArray:
        """(F,) its parts."""
        ...


@dataclass(frozen=True)
class EnvFacts:
    """What laws must know of an environment besides its spaces. `facts_of` reads them off one of ours.

    Attributes:
        horizon: steps after which the time limit ends an episode.
        form: "fixed" (nothing terminates) or "terminating".
        gold: reads gold of the last step of an environment; None where it cannot be read.
        factor_names: of the F parts of gold, in their order.
        factors_sum_to_gold: the parts add up to the gold reward.
        set_elapsed: set_elapsed(env, n) sets the clock of an episode to n steps and leaves the rest; None if there is no way,
            and then only episodes that reach the time limit by themselves tell how it is shown.
        draw: returns a picture (height, width, 3) of the present state; None if there is none.
        make_vec: builds the same environment as an SB3 `VecEnv` from (n_envs, seed); None if there is none.
        n_steps: steps that most laws take.
    """

    horizon: int
    form: str = "fixed"
    gold: Callable[[Env], GoldOfStep] | None = None
    factor_names: tuple[str, ...] = ()
    factors_sum_to_gold: bool = True
    set_elapsed: Callable[[Env, int], None] | None = None
    draw: Callable[[Env], AnyArray] | None = None
    make_vec: Callable[[int, int], Any] | None = None
    n_steps: int = 60

    def __post_init__(self) -> None:
        """Checks form, horizon and number of steps."""
        if self.form not in ("fixed", "terminating"):
            raise InvalidArgument("form", "must be one of two", self.form, "'fixed', 'terminating'")
        if self.horizon < 2 or self.n_steps < 2:
            raise InvalidArgument("horizon, n_steps", "must be at least 2", (self.horizon, self.n_steps))


def facts_of(make: MakeEnv) -> EnvFacts:
    """Returns the facts of an environment made by `preflab.envs.make`, wrapped or not.

    Raises:
        InvalidArgument: it is another one; `EnvFacts` must then be written by hand.
    """
    from preflab import envs  # deferred: the laws are also for environments of others

    env = make()
    inner = env.unwrapped
    env.close()
    if not isinstance(inner, envs.HiddenGold):
        rule = "must be given for an environment that preflab.envs.make did not make"
        raise InvalidArgument("facts", rule, None, f"EnvFacts(horizon=…) of {type(inner).__name__}")
    task, form = inner.task, inner.form

    def set_elapsed(env: Env, n_elapsed: int) -> None:
        hidden: Any = env.unwrapped
        hidden.restore_state(hidden.save_state(), n_elapsed=n_elapsed)

    def draw(env: Env) -> AnyArray:
        hidden: Any = env.unwrapped
        return np.asarray(hidden.draw(64, 48))

    return EnvFacts(
        inner.horizon, form, envs.gold, task.factor_names, task.factors_sum_to_gold, set_elapsed, draw,
        lambda n_envs, seed: envs.make_vec(task.name, form, n_envs, seed),
    )


def sampled_actions(space: gym.Space[Any], n: int, seed: int) -> list[Any]:
    """Returns n actions drawn from `space` by a generator of their own, uniformly where it is bounded."""
    if isinstance(space, gym.spaces.Box) and space.is_bounded() and np.issubdtype(space.dtype, np.floating):
        drawn = np.random.default_rng(seed).uniform(space.low, space.high, (n, *space.shape))
        return list(drawn.astype(space.dtype))
    own = copy.deepcopy(space)
    own.seed(seed)
    return [own.sample() for _ in range(n)]


def step(env: Env, action: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Returns (obs, reward, terminated, truncated, info) of a step, if it is these five."""
    given = env.step(action)
    n = len(given) if isinstance(given, tuple) else 1
    hold(n == 5, f"step returns {n} things, not (obs, reward, terminated, truncated, info)")
    return given


def reset(env: Env, seed: int | None = None) -> tuple[Any, Any]:
    """Returns (obs, info) of a reset, if it is these two."""
    given = env.reset(seed=seed)
    n = len(given) if isinstance(given, tuple) else 1
    hold(n == 2, f"reset returns {n} things, not (obs, info)")
    return given


def row_after(env: Env, facts: EnvFacts, given: Row) -> Row:
    """Returns copies of what a step showed, and of its gold."""
    obs, reward, terminated, truncated, _ = given
    shown = (np.array(obs), float(reward), bool(terminated), bool(truncated))
    return shown if facts.gold is None else (*shown, *gold_values(env, facts))


def gold_values(env: Env, facts: EnvFacts) -> Row:
    """Returns copies of (reward, factors) of the last step; nothing if gold cannot be read."""
    if facts.gold is None:
        return ()
    read = facts.gold(env)
    return float(read.reward), np.array(read.factors)


def secrets_of(env: Env, facts: EnvFacts) -> list[float]:
    """Returns gold and its factors of the last step as single numbers; none if gold cannot be read."""
    return [float(value) for part in gold_values(env, facts) for value in np.ravel(part)]


def drive(
    env: Env, facts: EnvFacts, actions: list[Any], after: Callable[[Env, Any], None] = lambda env, obs: None
) -> list[Row]:
    """Takes `actions`, through unseeded resets where an episode ends, and returns copies of what came, row by row.

    `after` is called with the environment and each observation as it was returned, after it was copied.
    """
    rows: list[Row] = []
    for action in actions:
        given = step(env, action)
        rows.append(row_after(env, facts, given))
        after(env, given[0])
        if given[2] or given[3]:
            obs, _ = reset(env)
            rows.append((np.array(obs),))
            after(env, obs)
    return rows


def played(
    make: MakeEnv, facts: EnvFacts, seed: int, n: int | None = None,
    after: Callable[[Env, Any], None] = lambda env, obs: None,
) -> list[Row]:
    """Returns what a fresh environment shows from a reset by `seed` through n steps and one unseeded reset at their end."""
    env = make()
    actions = sampled_actions(env.action_space, facts.n_steps if n is None else n, 1)
    rows: list[Row] = [(np.array(reset(env, seed)[0]),), *drive(env, facts, actions, after)]
    rows += [(np.array(reset(env)[0]),), *drive(env, facts, actions[:3], after)]
    env.close()
    return rows


def difference(first: list[Row], second: list[Row]) -> str:
    """Returns where two records part, in words; "" if they are equal to the bit."""
    if len(first) != len(second):
        return f"{len(first)} rows against {len(second)}"
    for i, (one, other) in enumerate(zip(first, second, strict=True)):
        if len(one) != len(other):
            return f"an episode ends in row {i} of one only"
        for a, b in zip(one, other, strict=True):
            if not np.array_equal(a, b, equal_nan=True):
                return f"row {i}: {_short(a)} against {_short(b)}"
    return ""


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yields every number in nested `value` with its path; truth values and final observations are none."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in ("terminal_observation", "final_obs", "final_observation"):
                yield from numbers(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from numbers(item, f"{path}.{i}")
    elif isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
        for i, number in enumerate(value.ravel()):
            yield f"{path}.{i}", float(number)
    elif isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        yield path, float(value)


def _short(value: Any) -> str:
    return np.array2string(np.asarray(value), precision=6, threshold=6)
