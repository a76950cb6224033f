"""Laws that every environment with hidden gold keeps, as plain functions: `check_env(make)` for your own.

A law takes a factory of environments and what is known of them (`EnvFacts`), and raises `LawBroken` with the figures if
it is broken, or `SaysNothing` if it does not apply. Observations are a Box or a Discrete. This file has what a single
environment shows and keeps to itself; `env_repeats` has time, seeds, saved states and copies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from preflab.testing import env_repeats
from preflab.testing.driving import (
    EnvFacts,
    MakeEnv,
    Row,
    difference,
    drive,
    facts_of,
    numbers,
    reset,
    sampled_actions,
    secrets_of,
    step,
)
from preflab.testing.laws import LawBroken, SaysNothing, checked, global_states, hold
from preflab.types import AnyArray

Law = Callable[[MakeEnv, EnvFacts], None]


def check_env(make: MakeEnv, facts: EnvFacts | None = None, laws: dict[str, Law] | None = None) -> dict[str, str]:
    """Checks every law of `ENV_LAWS` (or those given); raises `LawBroken` at the first one broken.

    Args:
        make: returns a new environment whose generator is its own.
        facts: what laws must know of it; read off the environment if `preflab.envs.make` made it.
        laws: by name.

    Returns:
        The laws that say nothing of this environment, each with the reason.

    Raises:
        InvalidArgument: facts are missing for an environment of another maker.
    """
    known = facts_of(make) if facts is None else facts

    def bound(law: Law) -> Callable[[], None]:
        return lambda: law(make, known)

    return checked({name: bound(law) for name, law in (ENV_LAWS if laws is None else laws).items()})


def law_the_interface_is_gymnasiums(make: MakeEnv, facts: EnvFacts) -> None:
    """`reset` returns (obs, dict), `step` returns (obs, number, truth value, truth value, dict)."""
    env = make()
    spaces = {"observation": env.observation_space, "action": env.action_space}
    for name, space in spaces.items():
        hold(isinstance(space, gym.spaces.Box | gym.spaces.Discrete), f"the {name} space is {space}, not Box or Discrete")
    _, info = reset(env, 0)
    hold(isinstance(info, dict), f"the info of a reset is {info!r}, not a dict")
    for action in sampled_actions(env.action_space, 5, 0):
        _, reward, terminated, truncated, info = step(env, action)
        is_number = isinstance(reward, int | float | np.integer | np.floating) and not isinstance(reward, bool)
        hold(is_number, f"the reward is {reward!r}, not a number")
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            hold(isinstance(flag, bool | np.bool_), f"{name} is {flag!r}, not a truth value")
        hold(isinstance(info, dict), f"info is {info!r}, not a dict")
        if terminated or truncated:
            reset(env)


def law_observations_are_in_their_space(make: MakeEnv, facts: EnvFacts) -> None:
    """Every observation is finite and in its space: bounds, shape and dtype."""
    env = make()
    space = env.observation_space

    def look(_: Any, obs: Any) -> None:
        array = np.asarray(obs)
        found, declared = (f"{one.dtype} {one.shape}" for one in (array, space))
        hold(found == declared, f"an observation is {found}, its space {declared}")
        if not (np.isfinite(array).all() and space.contains(obs)):
            raise LawBroken(f"an observation is not finite or leaves its space {space}: {array}")

    look(env, reset(env, 0)[0])
    drive(env, facts, sampled_actions(env.action_space, facts.n_steps, 0), look)


def law_the_reward_shown_is_zero(make: MakeEnv, facts: EnvFacts) -> None:
    """Every step pays exactly 0.0, whatever gold it earned."""
    env = make()
    reset(env, 0)
    for row in drive(env, facts, sampled_actions(env.action_space, facts.n_steps, 0)):
        hold(len(row) == 1 or row[1] == 0.0, f"a step pays {row[1] if len(row) > 1 else 0.0!r}, where a learner must see 0.0")


def law_infos_hold_no_gold(make: MakeEnv, facts: EnvFacts) -> None:
    """No number in an info is gold, one of its factors or their sum so far, nor an increasing or decreasing function of one.

    Equal whole numbers are not taken for a leak (a count may meet gold by chance), equal orders of all steps are, unless
    the number only rises or only falls in time. Observations are free to determine gold.
    """
    if facts.gold is None:
        raise SaysNothing("gold of this environment cannot be read, so it cannot be looked for")
    env = make()
    told: dict[str, list[float]] = {}
    secrets: list[list[float]] = []
    is_first: list[bool] = [True]
    total = 0.0
    reset(env, 0)
    for action in sampled_actions(env.action_space, facts.n_steps, 0):
        _, _, terminated, truncated, info = step(env, action)
        secrets.append(secrets_of(env, facts))
        total += secrets[-1][0]
        known = {value for value in (*secrets[-1], total) if not value.is_integer()}
        _hold_secret(info, known, "an info")
        for path, value in numbers(info):
            told.setdefault(path, [np.nan] * (len(secrets) - 1)).append(value)
        for series in told.values():
            series.extend([np.nan] * (len(secrets) - len(series)))
        is_first.append(bool(terminated or truncated))
        if terminated or truncated:
            _hold_secret(reset(env)[1], known, "the info of a reset")
            total = 0.0
    for path, series in told.items():
        for i, values in enumerate(np.array(secrets).T):
            name = f"factor {i - 1}" if i else "gold"
            is_leak = _tells(np.array(series), values, np.array(is_first[:-1]))
            hold(not is_leak, f"info[{path!r}] orders the steps as {name} does: a learner could read gold there")


def law_gold_is_readable(make: MakeEnv, facts: EnvFacts) -> None:
    """After every step gold is a finite number and its factors are (F,) finite numbers, one a name, that add up to it."""
    if facts.gold is None:
        raise SaysNothing("gold of this environment cannot be read")
    names = facts.factor_names
    hold(len(set(names)) == len(names), f"factor names repeat: {names}")
    env = make()
    reset(env, 0)
    for row in drive(env, facts, sampled_actions(env.action_space, facts.n_steps, 0)):
        if len(row) == 1:
            continue
        reward, factors = row[-2:]
        hold(factors.ndim == 1, f"factors are {factors.shape}, not (F,)")
        hold(not names or len(factors) == len(names), f"{len(factors)} factors for the names {names}")
        hold(bool(np.isfinite(reward) and np.isfinite(factors).all()), f"gold is {reward}, of {factors}: not finite")
        gap = abs(factors.sum() - reward) if facts.factors_sum_to_gold else 0.0
        hold(gap <= 1e-9 * max(1.0, abs(reward)), f"factors miss gold by {gap:.2g}")


def law_earlier_observations_stay(make: MakeEnv, facts: EnvFacts) -> None:
    """An observation that was returned keeps its numbers, whatever the environment does next."""
    env = _with_arrays(make)
    kept: list[tuple[AnyArray, AnyArray]] = []

    def keep(_: Any, obs: AnyArray) -> None:
        kept.append((obs, obs.copy()))

    keep(env, reset(env, 0)[0])
    drive(env, facts, sampled_actions(env.action_space, facts.n_steps, 0), keep)
    n_changed = sum(not np.array_equal(live, copy) for live, copy in kept)
    hold(n_changed == 0, f"{n_changed} of {len(kept)} observations changed after they were returned: they share memory")


def law_written_observations_change_nothing(make: MakeEnv, facts: EnvFacts) -> None:
    """Writing into a returned observation changes neither the environment nor a later observation."""
    records = []
    for is_written in (False, True):
        env = _with_arrays(make)

        def write(_: Any, obs: AnyArray, is_written: bool = is_written) -> None:
            if is_written and obs.flags.writeable:
                obs[...] = obs + 7

        write(env, reset(env, 0)[0])
        records.append(drive(env, facts, sampled_actions(env.action_space, facts.n_steps, 0), write))
    found = difference(*records)
    hold(not found, f"the environment goes on from an observation that its reader wrote to: {found}")


def law_earlier_gold_stays(make: MakeEnv, facts: EnvFacts) -> None:
    """Factors that were read keep their numbers, whatever the environment does next."""
    if facts.gold is None:
        raise SaysNothing("gold of this environment cannot be read")
    env, kept = make(), []
    reset(env, 0)
    for action in sampled_actions(env.action_space, facts.n_steps, 0):
        _, _, terminated, truncated, _ = step(env, action)
        factors = facts.gold(env).factors
        kept.append((factors, np.array(factors)))
        if terminated or truncated:
            reset(env)
    n_changed = sum(not np.array_equal(live, copy, equal_nan=True) for live, copy in kept)
    hold(n_changed == 0, f"{n_changed} of {len(kept)} readings of factors changed after they were read")


def law_actions_are_left_alone(make: MakeEnv, facts: EnvFacts) -> None:
    """The array of an action is not written to, also outside its bounds, and not read again after its step."""
    space = make().action_space
    if not isinstance(space, gym.spaces.Box):
        raise SaysNothing("actions are single numbers")
    records = []
    for is_spoiled in (False, True):
        env = make()
        reset(env, 0)
        rows = []
        for action in sampled_actions(space, min(facts.n_steps, facts.horizon - 1), 0):
            given = action.copy()
            rows += drive(env, facts, [given])
            if not np.array_equal(given, action):
                raise LawBroken(f"the environment wrote {given} over the action {action}")
            if is_spoiled:
                given[...] = space.low
        records.append(rows)
    hold(not difference(*records), f"an action is read again after its step: {difference(*records)}")
    for outside in _outside(space):
        given = outside.copy()
        _moved(make, [given])
        hold(np.array_equal(given, outside), f"the environment wrote {given} over the action {outside}")


def law_actions_outside_are_clipped_or_refused(make: MakeEnv, facts: EnvFacts) -> None:
    """An action outside its space raises, or (in a Box) moves the environment as the clipped action does.

    Only observations are compared: a task may well charge for the action as it was meant.
    """
    space = make().action_space
    if isinstance(space, gym.spaces.Discrete):
        for number in (int(space.start) - 1, int(space.start) + int(space.n)):
            hold(_moved(make, [np.array(number)]) is None, f"action {number} is taken, of {space}")
    for outside in _outside(space):
        inside = np.clip(outside, space.low, space.high) if isinstance(space, gym.spaces.Box) else outside
        moved, expected = (_moved(make, [action.copy(), action.copy()]) for action in (outside, inside))
        is_same = moved is None or not difference(moved, expected or [])
        hold(is_same, f"action {outside} moves otherwise than {inside}, the nearest inside its bounds")


def law_global_generators_rest(make: MakeEnv, facts: EnvFacts) -> None:
    """No global generator (random, numpy, torch) moves, whatever is called."""
    before = global_states()
    env = make()
    reset(env)
    reset(env, 0)
    drive(env, facts, sampled_actions(env.action_space, facts.n_steps, 0))
    if env_repeats.is_simulator(env):
        env.get_wrapper_attr("restore_state")(env.get_wrapper_attr("save_state")())
    env.close()
    moved = [name for name, state in global_states().items() if state != before[name]]
    hold(not moved, f"the environment moves the global generator of {', '.join(moved)}")


def _hold_secret(info: Any, known: set[float], where: str) -> None:
    for path, value in numbers(info):
        hold(value not in known, f"{where} holds gold, one of its factors or their sum: {path!r} is {value!r}")


def _tells(told: AnyArray, secret: AnyArray, is_first: AnyArray) -> bool:
    """Tells whether `told`, or its growth from step to step, orders the steps as `secret` does, or backward."""
    grown = np.where(is_first, np.nan, np.diff(told, prepend=np.nan))
    within = grown[np.isfinite(grown)]
    is_clock = bool((within >= 0).all() or (within <= 0).all())
    return (not is_clock and _is_ordered(told, secret)) or _is_ordered(np.round(grown, 9), np.round(secret, 9))


def _is_ordered(told: AnyArray, secret: AnyArray) -> bool:
    there = np.isfinite(told)
    if there.sum() < 8:
        return False
    one, other = (np.unique(values[there], return_inverse=True)[1] for values in (told, secret))
    return bool(other.max() > 0 and (np.array_equal(one, other) or np.array_equal(one.max() - one, other)))


def _with_arrays(make: MakeEnv) -> Any:
    env = make()
    if not isinstance(env.observation_space, gym.spaces.Box):
        raise SaysNothing("observations are single numbers")
    return env


def _outside(space: gym.Space[Any]) -> list[AnyArray]:
    """Returns actions beyond each bound of a bounded Box."""
    if not isinstance(space, gym.spaces.Box):
        return []
    if not space.is_bounded():
        raise SaysNothing("actions are not bounded")
    span = space.high - space.low
    return [np.asarray(action, dtype=space.dtype) for action in (space.high + span, space.low - span)]


def _moved(make: MakeEnv, actions: list[AnyArray]) -> list[Row] | None:
    """Returns the observations that `actions` lead to from a reset; None if one is refused."""
    env = make()
    reset(env, 0)
    try:
        return [(np.array(step(env, action)[0]),) for action in actions]
    except LawBroken:
        raise
    except Exception:  # whatever an environment refuses with
        return None


ENV_LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        law_the_interface_is_gymnasiums, law_observations_are_in_their_space, law_the_reward_shown_is_zero,
        law_infos_hold_no_gold, law_gold_is_readable, law_earlier_observations_stay, law_written_observations_change_nothing,
        law_earlier_gold_stays, law_actions_are_left_alone, law_actions_outside_are_clipped_or_refused,
        law_global_generators_rest, *env_repeats.LAWS,
    )
}
