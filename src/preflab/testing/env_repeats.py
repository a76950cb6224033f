"""Laws of environments about time, seeds, saved states, copies and pictures; `check_env` of `envs` checks them all."""

from __future__ import annotations

from typing import Any

import numpy as np

from preflab.testing.driving import (
    Env,
    EnvFacts,
    MakeEnv,
    Row,
    difference,
    drive,
    numbers,
    played,
    reset,
    sampled_actions,
    secrets_of,
    step,
)
from preflab.testing.laws import LawBroken, SaysNothing, hold
from preflab.types import AnyArray

N_SEEDS = 6
MOST_STEPS_TO_A_LIMIT = 300  # an episode of a vectorized environment is waited for if it is at most this long


def is_simulator(env: Env) -> bool:
    """Tells whether the full state of `env` can be saved and restored."""
    return env.has_wrapper_attr("save_state") and env.has_wrapper_attr("restore_state")


def law_a_time_limit_truncates(make: MakeEnv, facts: EnvFacts) -> None:
    """An episode that the time limit ends is truncated at exactly `horizon` steps, and not terminated.

    In the fixed form nothing terminates. A reset starts the clock anew.
    """
    env = make()
    reset(env, 0)
    drive(env, facts, sampled_actions(env.action_space, 3, 0))
    if facts.form == "fixed":
        length, terminated, truncated = _episode(env, facts)
        hold(not terminated, f"step {length} of an episode terminates, in the fixed form")
        hold(truncated, f"an episode goes on after {length} steps, with a horizon of {facts.horizon}")
        hold(length == facts.horizon, f"an episode is cut at {length} steps, with a horizon of {facts.horizon}")
        return
    reached = [one for seed in range(N_SEEDS) for one in (_checked_episode(env, facts, seed),) if one is not None]
    if not reached:
        raise SaysNothing(f"no random episode reached the time limit of {facts.horizon} steps; give facts.set_elapsed")
    hold(not all(reached), f"each of {len(reached)} episodes that reached the time limit of {facts.horizon} terminates there")


def law_a_seed_decides_everything(make: MakeEnv, facts: EnvFacts) -> None:
    """After equal seeds, equal actions lead to equal observations, gold and ends, in another instance and in the same one."""
    first = played(make, facts, 3)
    found = difference(first, played(make, facts, 3))
    hold(not found, f"two environments reset with one seed differ: {found}")
    env = make()
    reset(env, 8)
    drive(env, facts, sampled_actions(env.action_space, 5, 8))
    found = difference(first, played(lambda: env, facts, 3))
    hold(not found, f"an environment that was used before differs from a new one after a reset with the same seed: {found}")


def law_other_seeds_differ(make: MakeEnv, facts: EnvFacts) -> None:
    """Of six seeds, not all give the same trajectory, where anything is random at all."""
    if not _is_random(make, facts):
        raise SaysNothing("neither seeds nor resets change anything: the environment is not random")
    hold(_seeds_matter(make, facts), f"{N_SEEDS} different seeds give one and the same trajectory")


def law_a_reset_without_seed_goes_on(make: MakeEnv, facts: EnvFacts) -> None:
    """A reset without seed goes on with the generator, where anything is random at all: it does not repeat the episode."""
    if not _is_random(make, facts):
        raise SaysNothing("neither seeds nor resets change anything: the environment is not random")
    hold(_resets_matter(make, facts), f"{N_SEEDS} resets without seed repeat one and the same episode")


def law_instances_are_independent(make: MakeEnv, facts: EnvFacts) -> None:
    """What another instance does in between changes nothing."""
    alone = played(make, facts, 3)
    other = make()
    reset(other, 5)
    disturbing = iter(sampled_actions(other.action_space, 3 * len(alone), 5))

    def disturb(*_: Any) -> None:
        _, _, terminated, truncated, _ = step(other, next(disturbing))
        if terminated or truncated:
            reset(other)

    found = difference(alone, played(make, facts, 3, after=disturb))
    hold(not found, f"another instance changes what this one does: {found}")


def law_a_saved_state_repeats(make: MakeEnv, facts: EnvFacts) -> None:
    """What follows a restored state equals what followed when it was saved, here and in another instance, to the bit.

    Observations, gold, ends, the time left and what the generator draws at the next reset.
    """
    for elapsed in (None, facts.horizon - 5):
        if elapsed is not None and (facts.set_elapsed is None or elapsed < 1):
            continue
        env, other = make(), make()
        if not is_simulator(env):
            raise SaysNothing("the environment has no save_state and restore_state")
        reset(env, 3)
        obs = [row[0] for row in drive(env, facts, sampled_actions(env.action_space, 7, 3))][-1]
        if elapsed is not None and facts.set_elapsed is not None:
            facts.set_elapsed(env, elapsed)
        state = env.get_wrapper_attr("save_state")()
        expected = _followed(env, facts)
        reset(other, 99)
        drive(other, facts, sampled_actions(env.action_space, 2, 99))
        for again, where in ((env, "the same instance"), (other, "another instance")):
            restored = again.get_wrapper_attr("restore_state")(state)
            hold(np.array_equal(restored, obs), f"a restored state shows {restored}, not {obs}, in {where}")
            is_same = np.array_equal(again.get_wrapper_attr("save_state")(), state)
            hold(is_same, f"a restored state is saved as another one in {where}")
            found = difference(expected, _followed(again, facts))
            hold(not found, f"what follows a restored state differs in {where}: {found}")


def law_saving_changes_nothing(make: MakeEnv, facts: EnvFacts) -> None:
    """Saving a state does not change what follows, and a saved state keeps its numbers."""
    if not is_simulator(make()):
        raise SaysNothing("the environment has no save_state and restore_state")
    kept: list[tuple[Any, AnyArray]] = []

    def save(env: Env, _: Any) -> None:
        state = env.get_wrapper_attr("save_state")()
        kept.append((state, np.array(state)))

    found = difference(played(make, facts, 3), played(make, facts, 3, after=save))
    hold(not found, f"saving a state changes what follows: {found}")
    n_changed = sum(not np.array_equal(live, copy) for live, copy in kept)
    hold(n_changed == 0, f"{n_changed} of {len(kept)} saved states changed after they were saved")


def law_drawing_changes_nothing(make: MakeEnv, facts: EnvFacts) -> None:
    """A picture is (height, width, 3) of uint8, and drawing does not change what follows."""
    draw = facts.draw
    if draw is None:
        raise SaysNothing("the environment draws no pictures")
    from preflab.errors import Refused

    n_drawn = [0]

    def look(env: Env, _: Any) -> None:
        n_drawn[0] += 1
        if n_drawn[0] <= 5:
            frame = np.asarray(draw(env))
            is_picture = frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3
            hold(is_picture, f"a picture is {frame.dtype} {frame.shape}, not uint8 (height, width, 3)")

    try:
        watched = played(make, facts, 3, after=look)
    except Refused as refusal:
        raise SaysNothing(str(refusal)) from refusal
    found = difference(played(make, facts, 3), watched)
    hold(not found, f"drawing changes what follows: {found}")


def law_vectorized_equals_single(make: MakeEnv, facts: EnvFacts) -> None:
    """Copies in an SB3 `VecEnv` do what single environments do, and hide what they hide.

    Copy i of `venv.seed(s)` is `reset(seed=s + i)`. Where an episode ends the observation is that of the next episode,
    `info["terminal_observation"]` is the final one and `info["TimeLimit.truncated"]` tells a time limit from an end.
    """
    if facts.make_vec is None:
        raise SaysNothing("no vectorized form was given")
    venv, singles = facts.make_vec(2, 0), [make(), make()]
    venv.seed(11)
    shown = venv.reset()
    kept = [(shown, np.array(shown))]
    _hold_same(shown, [reset(env, 11 + i)[0] for i, env in enumerate(singles)], "a reset shows")
    n = facts.n_steps if facts.horizon > MOST_STEPS_TO_A_LIMIT else max(facts.horizon + 3, facts.n_steps)
    chosen = [sampled_actions(venv.action_space, n, seed) for seed in (0, 1)]
    for actions in zip(*chosen, strict=True):
        shown, rewards, dones, infos = venv.step(np.stack(actions))
        kept.append((shown, np.array(shown)))
        expected = []
        for i, env in enumerate(singles):
            obs, reward, terminated, truncated, info = step(env, actions[i])
            known = {value for value in secrets_of(env, facts) if not value.is_integer()}
            leaks = {path for path, value in numbers(infos[i]) if value in known} - {path for path, _ in numbers(info)}
            hold(rewards[i] == np.float32(reward) and not leaks, f"a copy pays {rewards[i]}, shows gold in {sorted(leaks)}")
            hold(bool(dones[i]) == bool(terminated or truncated), f"a copy's episode is over: {dones[i]}; alone it differs")
            if terminated or truncated:
                _hold_same([infos[i].get("terminal_observation")], [obs], "a final observation is")
                is_cut, told = bool(truncated and not terminated), infos[i].get("TimeLimit.truncated", False)
                hold(bool(told) == is_cut, f"an episode is cut by its time limit: {told}; alone: {is_cut}")
                obs, _ = reset(env)
            expected.append(obs)
        _hold_same(shown, expected, "a step shows")
    venv.close()
    n_changed = sum(not np.array_equal(live, copy) for live, copy in kept)
    hold(n_changed == 0, f"{n_changed} of {len(kept)} batches of observations changed after they were returned")


def _episode(env: Env, facts: EnvFacts) -> tuple[int, bool, bool]:
    """Returns length and both flags of a whole episode from an unseeded reset, at most one step over the horizon."""
    reset(env)
    for i, action in enumerate(sampled_actions(env.action_space, facts.horizon + 1, 1)):
        _, _, terminated, truncated, _ = step(env, action)
        if terminated or truncated:
            return i + 1, bool(terminated), bool(truncated)
    return facts.horizon + 1, False, False


def _checked_episode(env: Env, facts: EnvFacts, seed: int) -> bool | None:
    """Returns whether an episode "terminates" at its time limit; None if it ends before."""
    start = 0
    reset(env, seed)
    if facts.set_elapsed is not None:
        start = facts.horizon - 2
        facts.set_elapsed(env, start)
    for i, action in enumerate(sampled_actions(env.action_space, facts.horizon + 1 - start, seed)):
        _, _, terminated, truncated, _ = step(env, action)
        n = start + i + 1
        hold(n >= facts.horizon or not truncated, f"an episode is cut at {n} steps, with a horizon of {facts.horizon}")
        is_over = bool(terminated or truncated)
        hold(n < facts.horizon or is_over, f"an episode goes on after {n} steps, with a horizon of {facts.horizon}")
        if is_over:
            return bool(terminated) and not truncated if n == facts.horizon else None
    return None


def _followed(env: Env, facts: EnvFacts) -> list[Row]:
    """Returns what random actions and one reset lead to from here."""
    actions = sampled_actions(env.action_space, facts.n_steps, 5)
    rows = drive(env, facts, actions)
    return [*rows, (np.array(reset(env)[0]),), *drive(env, facts, actions[:3])]


def _seeds_matter(make: MakeEnv, facts: EnvFacts) -> bool:
    first = played(make, facts, 0, 20)
    return any(difference(first, played(make, facts, seed, 20)) for seed in range(1, N_SEEDS))


def _resets_matter(make: MakeEnv, facts: EnvFacts) -> bool:
    env = make()
    actions = sampled_actions(env.action_space, min(20, facts.horizon - 1), 0)
    episodes = []
    for seed in (0, *[None] * (N_SEEDS - 1)):
        rows: list[Row] = [(np.array(reset(env, seed)[0]),)]
        for action in actions:
            given = step(env, action)
            rows.append((np.array(given[0]),))
            if given[2] or given[3]:
                break
        episodes.append(rows)
    return any(difference(episodes[0], other) for other in episodes[1:])


def _is_random(make: MakeEnv, facts: EnvFacts) -> bool:
    return _seeds_matter(make, facts) or _resets_matter(make, facts)


def _hold_same(shown: Any, expected: list[Any], what: str) -> None:
    for i, (one, other) in enumerate(zip(shown, expected, strict=True)):
        if one is None or not np.array_equal(one, other):
            raise LawBroken(f"{what} {one} in copy {i}, and {other} alone")


LAWS = (
    law_a_time_limit_truncates, law_a_seed_decides_everything, law_other_seeds_differ, law_a_reset_without_seed_goes_on,
    law_instances_are_independent, law_a_saved_state_repeats, law_saving_changes_nothing, law_drawing_changes_nothing,
    law_vectorized_equals_single,
)
