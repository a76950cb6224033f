"""Making experts: returns by hand, critics against closed forms, training that stops and goes on, SB3's own actions."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

from preflab.envs import TASKS, make_vec
from preflab.errors import InvalidArgument, UnknownName
from preflab.experiments.experts.__main__ import main
from preflab.experiments.experts.convert import convert
from preflab.experiments.experts.critic import FitConfig, _agreement, fit_critic, quality_of_fit, residuals, rows, spearman
from preflab.experiments.experts.gather import Continuations, GatherConfig, gather
from preflab.experiments.experts.making import middle_of
from preflab.experiments.experts.presets import PRESETS, Preset, preset
from preflab.experiments.experts.training import Trained, train
from preflab.experts import Critic, policy_from
from preflab.storage import load_tensors, save_tensors
from preflab.types import AnyArray, FloatArray

DECAY = 0.9


class Decaying:
    """x moves to .9 x + action, pays x before the step, and terminates below a threshold: a closed form."""

    def __init__(self, threshold: float = -np.inf) -> None:
        self._threshold = threshold
        self._x = 0.0

    def reset(self, *, seed: int | None = None) -> tuple[AnyArray, dict[str, object]]:
        self._x = float(np.random.default_rng(seed).uniform(1.0, 2.0))
        return self._obs(), {}

    def step(self, action: AnyArray) -> tuple[AnyArray, float, bool, bool, dict[str, object]]:
        reward, self._x = self._x, DECAY * self._x + float(action[0])
        return self._obs(), reward, self._x < self._threshold, True, {}

    def save_state(self) -> FloatArray:
        return np.array([self._x])

    def restore_state(self, state: FloatArray) -> AnyArray:
        self._x = float(state[0])
        return self._obs()

    def _obs(self) -> AnyArray:
        return np.array([self._x])


class Pushing:
    """Acts with a given mean and spread."""

    def __init__(self, mean: float, spread: float) -> None:
        self._mean, self._spread = mean, spread

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        noise = 0.0 if rng is None else rng.normal(scale=self._spread, size=(len(obs), 1))
        return np.full((len(obs), 1), self._mean) + noise


QUICK = FitConfig(hidden=(16,), n_steps=200, n_refits=1, batch_size=256, learning_rate=5e-3)
CONFIG = GatherConfig(horizon=20, gamma=0.9, n_trajectories=8, n_starts=48, short_steps=5, n_envs=8)


def gathered(folder: Path, make_env: Callable[[], Decaying] = Decaying, config: GatherConfig = CONFIG) -> Continuations:
    others = {"random": Pushing(0.0, 1.0), "middle": Pushing(0.1, 0.3)}
    return gather(make_env, Pushing(0.0, 0.1), others, config, folder, report=lambda _: None)


@pytest.fixture
def sb3(tmp_path: Path) -> Callable[[str], tuple[PPO, VecNormalize, Path, Path]]:
    def build(task: str) -> tuple[PPO, VecNormalize, Path, Path]:
        venv = VecNormalize(make_vec(task, "fixed", 2, 0, reveal_gold=True))
        model = PPO("MlpPolicy", venv, n_steps=16, batch_size=16, seed=0, device="cpu").learn(64)
        model.save(tmp_path / "model.zip")
        venv.save(str(tmp_path / "norm.pkl"))
        return model, venv, tmp_path / "model.zip", tmp_path / "norm.pkl"

    return build


def test_returns_and_tails_are_those_computed_by_hand() -> None:
    data = Continuations(
        observations=np.arange(7.0)[:, None], rewards=np.array([1.0, 2.0, 4.0, 8.0, 16.0]), lengths=np.array([3, 2]),
        terminated=np.array([False, True]), quality=np.array([0, 3]), source=np.array([0, 0]),
        held_out=np.array([False, False]), is_long=np.array([True, True]),
    )
    table = rows(data, 0.5)
    assert table.partial.tolist() == [1 + 1 + 1, 2 + 2, 4, 8 + 8, 16]
    assert table.tail_weight.tolist() == [0.125, 0.25, 0.5, 0.0, 0.0]
    assert table.row.tolist() == [0, 1, 2, 4, 5]
    assert table.tail_row.tolist() == [3, 3, 3, 6, 6]
    assert table.ends.tolist() == [False, False, False, False, True]


def test_a_critic_recovers_the_closed_form_value_and_its_residual_vanishes(tmp_path: Path) -> None:
    data = gathered(tmp_path)
    critic = Critic(fit_critic(data, 0.9, QUICK))
    x = np.linspace(-1.0, 2.0, 31)[:, None]
    truth = x[:, 0] / (1 - 0.9 * DECAY)  # V(x) = Σ (γ · .9)^t x
    assert np.abs(critic.values(x) - truth).max() < 0.03 * np.ptp(truth)
    found = quality_of_fit(critic, data)
    assert found["random"]["explained_variance"] > 0.99 and found["all"]["rank_correlation"] > 0.99
    level = 100.0 + 1e-6 * np.arange(5.0)
    assert np.isnan(_agreement(critic.values(x[:5]), level)["explained_variance"])  # nothing varies, so nothing is explained
    path: FloatArray = np.asarray(1.5 * DECAY ** np.arange(11), dtype=np.float64)
    assert np.abs(residuals(critic, path[:, None], path[:-1], terminated=False)).max() < 0.15


def test_a_critic_counts_nothing_after_a_termination(tmp_path: Path) -> None:
    data = gathered(tmp_path, lambda: Decaying(threshold=0.5), replace(CONFIG, short_steps=44))
    assert data.terminated.all() and data.is_long.all()
    critic = Critic(fit_critic(data, 0.9, replace(QUICK, hidden=(32, 32), n_steps=300, n_refits=0)))
    # From 1.2 the expert passes 1.2, 1.08, … and terminates on the step that reaches .9^9 · 1.2 < .5.
    path = 1.2 * DECAY ** np.arange(20)
    steps = int(np.argmax(path < 0.5))
    truth = (0.9 ** np.arange(steps) * path[:steps]).sum()
    assert critic.values(np.array([[1.2]]))[0] == pytest.approx(truth, rel=0.06)
    assert truth < 0.98 * 1.2 / (1 - 0.9 * DECAY)


def test_a_critic_resolves_the_experts_states_beside_others_that_stray_far(tmp_path: Path) -> None:
    data = gathered(tmp_path)
    strayed = np.where((data.quality == 0)[np.repeat(np.arange(len(data)), data.lengths + 1), None], 1e4, 1.0)
    far = replace(data, observations=np.concatenate([data.observations, data.observations * strayed], axis=1))
    tensors = fit_critic(far, 0.9, replace(QUICK, n_steps=1, n_refits=0))
    of_expert = data.observations[data.first[data.quality == 3]].std()
    assert float(tensors["normalizer.var"][1]) ** 0.5 < 6 * of_expert  # all states together: thousands of times as far


def test_continuations_ignore_the_time_limit_and_last_until_the_rest_weighs_nothing(tmp_path: Path) -> None:
    data = gathered(tmp_path)  # Decaying says "truncated" at every step
    assert CONFIG.long_steps == 44 and 0.9**44 <= 0.01 < 0.9**43
    assert set(data.lengths.tolist()) == {5, 44}
    assert (data.lengths[data.held_out] == 44).all() and 0 < data.held_out.mean() < 0.3


def test_an_interrupted_gathering_goes_on_and_gives_the_same_data(tmp_path: Path) -> None:
    whole = gathered(tmp_path / "whole")
    stopped = _Stopping(after=3)
    with pytest.raises(KeyboardInterrupt):
        gather(Decaying, Pushing(0.0, 0.1), {"random": Pushing(0.0, 1.0), "middle": Pushing(0.1, 0.3)}, CONFIG,
               tmp_path / "parts", report=stopped)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
    resumed = gathered(tmp_path / "parts")
    for name in ("observations", "rewards", "lengths", "quality", "source", "held_out"):
        assert np.array_equal(getattr(whole, name), getattr(resumed, name)), name
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())


def test_fitting_and_gathering_move_no_global_generator(tmp_path: Path) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state(legacy=False)
    first = fit_critic(gathered(tmp_path), 0.9, FitConfig(hidden=(8,), n_steps=20, batch_size=32))
    assert torch.equal(torch_state, torch.get_rng_state())
    assert str(numpy_state) == str(np.random.get_state(legacy=False))
    torch.manual_seed(123)
    again = fit_critic(gathered(tmp_path), 0.9, FitConfig(hidden=(8,), n_steps=20, batch_size=32))
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("task", ["pendulum", "cartpole"])
def test_a_converted_policy_acts_as_sb3_does(
    task: str, sb3: Callable[[str], tuple[PPO, VecNormalize, Path, Path]], tmp_path: Path
) -> None:
    model, venv, policy_zip, normalizer = sb3(task)
    convert(policy_zip, normalizer, tmp_path / "policy.safetensors")
    policy = policy_from(load_tensors(tmp_path / "policy.safetensors"))
    obs = np.random.default_rng(0).normal(size=(200, *(venv.observation_space.shape or ()))).astype(np.float32)
    theirs, _ = model.predict(np.asarray(venv.normalize_obs(obs)), deterministic=True)
    np.testing.assert_allclose(policy.act(obs), theirs, atol=1e-5)


def test_training_that_was_interrupted_ends_with_the_same_weights(tmp_path: Path) -> None:
    tiny = Preset(steps=384, n_steps=64, batch_size=32, n_envs=2, n_epochs=1, hidden=(8,), target=0.0, source="test")
    whole = train("cartpole", "terminating", tiny, tmp_path / "whole", n_pieces=3, report=lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        train("cartpole", "terminating", tiny, tmp_path / "parts", n_pieces=3, report=_Stopping(after=2))
    resumed = train("cartpole", "terminating", tiny, tmp_path / "parts", n_pieces=3, report=lambda _: None)
    assert resumed.steps == whole.steps == [128, 256, 384]
    assert resumed.returns[-1] > 0
    ours, theirs = load_tensors(resumed.policies[-1]), load_tensors(whole.policies[-1])
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_middle_policy_is_the_one_that_earns_about_half(tmp_path: Path) -> None:
    names = ["idle", "half", "good"]
    for name, gain in zip(names, (0.0, 1.0, 30.0), strict=True):  # pushes the pole's way, ever more often
        save_tensors(tmp_path / f"{name}.safetensors", {
            "normalizer.mean": torch.zeros(4), "normalizer.var": torch.ones(4), "normalizer.epsilon": torch.tensor(0.0),
            "normalizer.clip": torch.tensor(10.0), "layers.0.bias": torch.zeros(2),
            "layers.0.weight": gain * torch.tensor([[0.0] * 4, [0.0, 0.0, 4.0, 1.0]]),
        })
    done = Trained([tmp_path / f"{name}.safetensors" for name in names], [0.0] * 3, [1, 2, 3])
    assert names[middle_of("cartpole", "fixed", done)] == "half"


def test_rank_correlation_equals_scipys_with_ties() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, 60).astype(float), rng.normal(size=60)
    assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)
    assert np.isnan(spearman(np.zeros(4), np.arange(4.0)))


def test_every_preset_is_of_a_task_and_form_that_exist_and_cites_its_source() -> None:
    for (task, form), settings in PRESETS.items():
        assert TASKS[task].checked_form(form) == form
        assert settings.source and settings.steps >= settings.n_envs * settings.n_steps
    with pytest.raises(UnknownName, match="mujoco-humanoid"):
        preset("mujoco-humanoit", "fixed")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["form=fixed"], "env is required"), (["env=pendulum", "step=3"], "did you mean steps"),
        (["pendulum"], "key=value"), (["env=pendulum", "steps=few"], "steps must be a positive"),
        (["env=pendulun"], "pendulum fixed"),
    ],
)
def test_the_command_line_names_what_is_wrong(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert part in capsys.readouterr().err


def test_meaningless_gathering_is_refused() -> None:
    for change in ({"gamma": 1.0}, {"n_starts": 0}):
        values: dict[str, Any] = change
        with pytest.raises(InvalidArgument):
            replace(CONFIG, **values)


class _Stopping:
    """A report that interrupts, as a user would."""

    def __init__(self, after: int) -> None:
        self._left = after

    def __call__(self, _: str) -> None:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt
