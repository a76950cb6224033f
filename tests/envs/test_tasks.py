"""Every task in every form keeps its promises."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check
from stable_baselines3.common.monitor import Monitor

from preflab import envs
from preflab.errors import InvalidArgument, Refused, UnknownName
from preflab.types import AnyArray

EVERY = [(name, form) for name, task in envs.TASKS.items() for form in task.forms]
GYMNASIUM = {
    "mujoco-humanoid": "Humanoid-v5", "mujoco-halfcheetah": "HalfCheetah-v5", "mujoco-hopper": "Hopper-v5",
    "mujoco-walker2d": "Walker2d-v5", "mujoco-ant": "Ant-v5", "mujoco-swimmer": "Swimmer-v5",
    "mujoco-reacher": "Reacher-v5", "mujoco-inverted-pendulum": "InvertedPendulum-v5", "pendulum": "Pendulum-v1",
    "cartpole": "CartPole-v1", "mountain-car-continuous": "MountainCarContinuous-v0",
}
HORIZONS = {
    "mujoco-humanoid": (250, 1000), "mujoco-halfcheetah": (1000,), "mujoco-hopper": (250, 1000),
    "mujoco-walker2d": (250, 1000), "mujoco-ant": (250, 1000), "mujoco-swimmer": (1000,), "mujoco-reacher": (50,),
    "mujoco-inverted-pendulum": (250, 1000), "pendulum": (200,), "cartpole": (250, 500),
    "mountain-car-continuous": (250, 999), "delivery-gridworld": (60, 200), "random-mdp": (50, 50),
}
Actions = Callable[[envs.HiddenGold, int, int], list[AnyArray]]
Drive = Callable[..., list[tuple[Any, ...]]]


def test_the_tasks_and_their_horizons_are_those_of_the_issue() -> None:
    assert {name: tuple(task.horizon(form) for form in task.forms) for name, task in envs.TASKS.items()} == HORIZONS


@pytest.mark.parametrize(("name", "form"), EVERY)
def test_both_checkers_accept_every_task_in_every_form(name: str, form: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on ranges that Gymnasium's own tasks do not follow either
        env = gym.make(f"preflab.envs:preflab/{name}-{form}-v0", disable_env_checker=True)
        gymnasium_check(env.unwrapped, skip_render_check=True)
        sb3_check(envs.make(name, form), warn=False)
    assert env.unwrapped.spec is not None


def test_an_id_without_a_form_is_the_fixed_horizon_form() -> None:
    env = gym.make("preflab.envs:preflab/cartpole-v0").unwrapped
    assert isinstance(env, envs.HiddenGold)
    assert (env.task.name, env.form, env.reveal_gold) == ("cartpole", "fixed", False)
    revealed = gym.make("preflab.envs:preflab/cartpole-terminating-v0", reveal_gold=True)
    revealed.reset(seed=0)
    assert revealed.step(0)[1] == 1.0


@pytest.mark.parametrize(("name", "form"), EVERY)
def test_gold_shows_nowhere_in_what_a_learner_sees(name: str, form: str) -> None:
    envs.check_gold_is_hidden(Monitor(envs.make(name, form)), n_steps=60)


@pytest.mark.parametrize("name", list(envs.TASKS))
def test_revealed_gold_is_the_reward_and_its_factors_in_order(name: str, random_actions: Actions) -> None:
    env = envs.make(name, reveal_gold=True)
    assert env.reset(seed=1)[1] == {}
    for action in random_actions(env, 5, 1):
        _, reward, _, _, info = env.step(action)
        last = envs.gold(env)
        assert reward == last.reward
        assert list(info) == [f"reward_{factor}" for factor in env.task.factor_names]
        assert list(info.values()) == last.factors.tolist()


@pytest.mark.parametrize(("name", "form"), EVERY)
def test_factors_sum_to_gold(name: str, form: str, random_actions: Actions) -> None:
    env = envs.make(name, form)
    assert env.task.factors_sum_to_gold
    env.reset(seed=3)
    for action in random_actions(env, 70, 3):
        _, _, terminated, truncated, _ = env.step(action)
        last = envs.gold(env)
        assert last.factors.shape == (len(env.task.factor_names),)
        assert abs(last.factors.sum() - last.reward) < 1e-9
        if terminated or truncated:
            env.reset()


@pytest.mark.parametrize(("name", "form"), [each for each in EVERY if each[0] in GYMNASIUM and each[1] != "fixed"])
def test_the_terminating_form_is_gymnasiums_task_to_the_bit(name: str, form: str, random_actions: Actions) -> None:
    theirs, ours = gym.make(GYMNASIUM[name]), envs.make(name, form, reveal_gold=True)
    assert theirs.spec is not None and theirs.spec.max_episode_steps == ours.horizon
    assert np.array_equal(theirs.reset(seed=11)[0], ours.reset(seed=11)[0])
    n_resets = 0
    for action in random_actions(ours, 120, 11):
        expected, got = theirs.step(action), ours.step(action)
        assert np.array_equal(expected[0], got[0])
        assert expected[1:4] == got[1:4]
        if expected[2] or expected[3]:
            n_resets += 1
            assert np.array_equal(theirs.reset()[0], ours.reset()[0])
    assert n_resets > 0 or name in ("mujoco-ant", "mountain-car-continuous")


@pytest.mark.parametrize("name", ["mujoco-halfcheetah", "mujoco-swimmer", "mujoco-reacher", "pendulum"])
def test_the_fixed_form_of_a_never_ending_task_is_gymnasiums_too(
    name: str, random_actions: Actions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo logs a remark on Gymnasium's cheetah there
    theirs, ours = gym.make(GYMNASIUM[name]), envs.make(name, reveal_gold=True)
    assert theirs.spec is not None and theirs.spec.max_episode_steps == ours.horizon
    assert np.array_equal(theirs.reset(seed=5)[0], ours.reset(seed=5)[0])
    for action in random_actions(ours, 60, 5):
        expected, got = theirs.step(action), ours.step(action)
        assert np.array_equal(expected[0], got[0])
        assert expected[1:4] == got[1:4]
    with pytest.raises(Refused, match="never terminates"):
        envs.make(name, "terminating")


@pytest.mark.parametrize("name", [
    "mujoco-hopper", "mujoco-inverted-pendulum", "mujoco-reacher", "pendulum", "cartpole", "mountain-car-continuous",
    "delivery-gridworld", "random-mdp", pytest.param("mujoco-humanoid", marks=pytest.mark.slow),
    pytest.param("mujoco-walker2d", marks=pytest.mark.slow), pytest.param("mujoco-ant", marks=pytest.mark.slow),
    pytest.param("mujoco-halfcheetah", marks=pytest.mark.slow), pytest.param("mujoco-swimmer", marks=pytest.mark.slow),
])
def test_the_fixed_form_never_terminates_and_has_exactly_its_length(name: str, random_actions: Actions) -> None:
    env = envs.make(name)
    env.reset(seed=2)
    flags = [env.step(action)[2:4] for action in random_actions(env, env.horizon, 2)]
    assert flags == [(False, False)] * (env.horizon - 1) + [(False, True)]


def test_a_fallen_body_goes_unpaid_in_the_fixed_form(random_actions: Actions) -> None:
    env = envs.make("mujoco-humanoid")
    env.reset(seed=0)
    survive = []
    for action in random_actions(env, 80, 0):
        env.step(action)
        survive.append(envs.gold(env).factors[env.task.factor_names.index("survive")])
    assert survive[0] == 5.0 and survive[-1] == 0.0 and set(survive) == {0.0, 5.0}


def test_a_fallen_pole_goes_unpaid_and_the_physics_goes_on() -> None:
    env, standard = envs.make("cartpole"), envs.make("cartpole", "terminating")
    env.reset(seed=0)
    standard.reset(seed=0)
    n_paid = 0
    terminated = False
    while not terminated:
        obs, expected = env.step(1)[0], standard.step(1)
        terminated = expected[2]
        assert np.array_equal(obs, expected[0])
        assert envs.gold(env).reward == float(not terminated)
        n_paid += not terminated
    positions = [env.step(1)[0][0] for _ in range(100)]
    assert n_paid > 3 and max(positions) > 4.8 and envs.gold(env).reward == 0.0


def test_the_mountain_car_parks_at_the_goal_and_is_paid_once() -> None:
    env = envs.make("mountain-car-continuous")
    obs, _ = env.reset(seed=0)
    rewards, places = [], []
    for _ in range(env.horizon):
        obs, _, terminated, _, _ = env.step(np.array([1.0 if obs[1] >= 0 else -1.0], dtype=np.float32))
        rewards.append(envs.gold(env).reward)
        places.append(obs.tolist())
        assert not terminated
    entered = int(np.argmax(rewards))
    assert rewards[:entered] == [-0.1] * entered and abs(rewards[entered] - 99.9) < 1e-12
    assert rewards[entered + 1 :] == [0.0] * (env.horizon - entered - 1)
    assert places[entered][0] >= 0.45 and all(place == places[entered] for place in places[entered:])


@pytest.mark.parametrize(("name", "form"), EVERY)
def test_a_restored_state_continues_to_the_bit_here_and_elsewhere(
    name: str, form: str, drive: Drive, random_actions: Actions
) -> None:
    env, other = envs.make(name, form), envs.make(name, form)
    obs, _ = env.reset(seed=7)
    for action in random_actions(env, 13, 7):
        obs, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            obs, _ = env.reset()
    state = env.save_state()
    assert state.dtype == np.float64 and state.ndim == 1
    actions = random_actions(env, 60, 8)
    expected = drive(env, actions)
    other.reset(seed=99)
    other.step(actions[0])
    for again in (env, other):
        assert np.array_equal(again.restore_state(state), obs)
        assert np.array_equal(again.save_state(), state)
        for one, two in zip(expected, drive(again, actions), strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_state_saved_at_a_reset_or_a_parked_car_restores_too(drive: Drive) -> None:
    env = envs.make("mountain-car-continuous")
    obs, _ = env.reset(seed=0)
    states, chosen = [env.save_state()], []
    for _ in range(200):
        chosen.append(np.array([1.0 if obs[1] >= 0 else -1.0], dtype=np.float32))
        obs = env.step(chosen[-1])[0]
    states.append(env.save_state())
    assert states[1][-1] == 1.0  # parked
    fresh = envs.make("mountain-car-continuous")
    fresh.restore_state(states[0])
    assert np.array_equal(drive(fresh, chosen)[-1][0], obs)
    fresh.restore_state(states[1])
    assert drive(fresh, [np.ones(1, np.float32)] * 3)[-1][1] == 0.0


def test_restoring_keeps_the_elapsed_steps_unless_told_otherwise(random_actions: Actions) -> None:
    env = envs.make("random-mdp")
    env.reset(seed=0)
    actions = random_actions(env, 50, 0)
    for action in actions[:45]:
        env.step(action)
    state = env.save_state()

    def steps_left(n_elapsed: int | None) -> int:
        env.restore_state(state, n_elapsed=n_elapsed)
        return 1 + [env.step(action)[3] for action in actions].index(True)

    assert steps_left(None) == 5 and steps_left(0) == 50


def test_errors_say_what_would_be_valid() -> None:
    with pytest.raises(UnknownName, match="did you mean mujoco-humanoid"):
        envs.make("mujoco-humanod")
    with pytest.raises(UnknownName, match="fixed"):
        envs.make("pendulum", "fixd")
    with pytest.raises(InvalidArgument, match="render_mode"):
        envs.make("pendulum", render_mode="human")
    with pytest.raises(InvalidArgument, match=r"shape \(13,\)"):
        envs.make("pendulum").restore_state(np.zeros(5))
    with pytest.raises(InvalidArgument, match="action"):
        env = envs.make("random-mdp")
        env.reset(seed=0)
        env.step(7)
    with pytest.raises(Refused, match="first step"):
        envs.gold(envs.make("pendulum"))
    with pytest.raises(InvalidArgument, match=r"preflab\.envs\.make"):
        envs.gold(gym.make("CartPole-v1"))


def test_making_a_task_leaves_no_log_and_moves_no_global_generator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = np.random.get_state(legacy=False)
    env = envs.make("mujoco-halfcheetah")
    env.reset()
    env.step(env.action_space.sample())
    assert list(tmp_path.iterdir()) == []
    assert str(before) == str(np.random.get_state(legacy=False))
