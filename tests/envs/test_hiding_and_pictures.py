"""Liars that let gold out are caught, and pictures show what a state is."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor

from preflab import envs
from preflab.envs import drawing, mujoco_drawing
from preflab.errors import InvalidArgument, Refused


class TellsInInfo(envs.HiddenGold):
    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        *rest, _ = super().step(action)
        return *rest, {"reward_forward": envs.gold(self).reward}


class TellsUnderAnInnocentKey(envs.HiddenGold):
    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        *rest, _ = super().step(action)
        return *rest, {"episode": {"l": 1, "t": [envs.gold(self).factors[0]]}}


class TellsInTheReward(gym.Wrapper[Any, Any, Any, Any]):
    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, _, terminated, truncated, info = self.env.step(action)
        return obs, envs.gold(self.env).reward, terminated, truncated, info


class TellsAtReset(envs.HiddenGold):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return super().reset(seed=seed)[0], {"x_velocity": 1.0}


@pytest.mark.parametrize(("liar", "sentence"), [
    (lambda: TellsInInfo("pendulum"), "reward_forward"),
    (lambda: TellsUnderAnInnocentKey("pendulum"), "shows the gold reward"),
    (lambda: TellsInTheReward(envs.make("pendulum")), "must see 0.0"),
    (lambda: Monitor(TellsInTheReward(envs.make("pendulum"))), "must see 0.0"),
    (lambda: TellsAtReset("pendulum"), "x_velocity"),
    (lambda: envs.make("pendulum", reveal_gold=True), "must see 0.0"),
])
def test_an_environment_that_lets_gold_out_is_caught(liar: Any, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        envs.check_gold_is_hidden(liar(), n_steps=10)


@pytest.mark.parametrize("name", [
    "pendulum", "cartpole", "mountain-car-continuous", "delivery-gridworld", "random-mdp",
])
def test_each_state_has_its_own_picture_and_rendering_repeats(name: str) -> None:
    venv = envs.make_vec(name, "fixed", 1, 1)
    item = envs.collect(venv, envs.RandomPolicy(venv.action_space), 1, np.random.default_rng(1), keep_states=True)[0]
    assert item.sim_states is not None
    frames = envs.render_states(name, "fixed", item.sim_states[[0, 20, 0]], 96, 64)
    assert frames.shape == (3, 64, 96, 3) and frames.dtype == np.uint8
    assert np.array_equal(frames[0], frames[2]) and not np.array_equal(frames[0], frames[1])
    env = envs.make(name, render_mode="rgb_array")
    env.restore_state(item.sim_states[0])
    frame = env.render()
    assert frame is not None and frame.shape == (240, 240, 3)


def test_a_pendulum_that_stands_points_up() -> None:
    frame = drawing.pendulum(0.0, 100, 100).astype(int)
    is_rod = np.abs(frame - drawing.ACCENT).sum(-1) < 30
    rows, columns = np.nonzero(is_rod)
    assert rows.max() < 60 and abs(columns.mean() - 49.5) < 0.5
    left = drawing.pendulum(np.pi / 2, 100, 100).astype(int)
    assert np.nonzero(np.abs(left - drawing.ACCENT).sum(-1) < 30)[1].max() < 60


def test_a_disc_has_its_area() -> None:
    canvas = drawing.Canvas(100, 100, (0, 0, 0))
    canvas.disc((0.1, -0.2), 0.5, (255, 255, 255))
    assert abs(canvas.frame()[..., 0].sum() / 255 - np.pi * 25**2) < 10


def test_drawing_a_body_leaves_its_simulation_alone_and_follows_it() -> None:
    env, twin = envs.make("mujoco-hopper"), envs.make("mujoco-hopper")
    env.reset(seed=0)
    twin.reset(seed=0)
    try:
        first = env.draw(64, 48)
    except Refused as error:
        assert mujoco_drawing.PACKAGES in str(error)
        pytest.skip("no GL library here")
    action = np.full(3, 0.5, dtype=np.float32)
    for _ in range(4):
        frame = env.draw(64, 48)
        assert np.array_equal(env.step(action)[0], twin.step(action)[0])
    assert first.shape == (48, 64, 3) and first.std() > 5 and not np.array_equal(first, frame)
    state = env.save_state()
    state[1 + 10 + 1] += 1000.0  # x, after elapsed steps, generator words and time
    far = envs.render_states("mujoco-hopper", "fixed", np.stack([env.save_state(), state]), 64, 48)
    assert np.abs(far[0].astype(int) - far[1]).mean() < 2  # the same picture, a kilometer on
    env.close()
    env.close()


def test_without_a_gl_library_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mujoco_drawing, "BACKENDS", ("no_such_backend",))
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    with pytest.raises(Refused, match="apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri libopengl0"):
        mujoco_drawing.Camera("no matter", mujoco_drawing.Aim(), 32, 32)


def test_states_to_draw_are_checked() -> None:
    with pytest.raises(InvalidArgument, match="states"):
        envs.render_states("pendulum", "fixed", np.zeros(13))
