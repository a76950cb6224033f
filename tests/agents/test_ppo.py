import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from stable_baselines3 import PPO

from preflab.agents import PPOAgent, PPOSettings, RolloutInfo, build, settings_from
from preflab.agents.actor import Categorical, Gaussian, choose, kl
from preflab.agents.ppo import resolve_device
from preflab.errors import InvalidArgument, UnknownName
from preflab.interfaces import Policy
from preflab.storage import load_tensors, save_tensors
from preflab.types import Transitions

State = dict[str, torch.Tensor]


def proxy(transitions: Transitions) -> npt.NDArray[np.float32]:
    """Likes small next observations, whatever the task."""
    return np.asarray(-np.abs(transitions.next_obs.reshape(len(transitions), -1)).sum(-1), dtype=np.float32)


def trained(tasks: Any, task: str, n_env_steps: int = 64, **changes: Any) -> PPOAgent:
    agent = PPOAgent(tasks.make_vec(task), tasks.settings(**changes), seed=0)
    agent.train(n_env_steps, proxy, seed=1, steps_done=0, steps_total=n_env_steps)
    return agent


def some_obs(agent: PPOAgent, n: int = 9) -> npt.NDArray[Any]:
    agent.observation_space.seed(0)
    scale = {"Box": 3.0}.get(type(agent.observation_space).__name__)
    rng = np.random.default_rng(0)
    if scale is None:
        return rng.integers(5, size=n)
    return (scale * rng.standard_normal((n, *(agent.observation_space.shape or ())))).astype(np.float32)


def assert_equal(first: State, second: State) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize("task", ["pendulum", "cartpole", "ring"])
def test_training_is_a_pure_function_of_state_and_seed(tasks: Any, task: str) -> None:
    agent = trained(tasks, task, normalize_obs=True)
    before, ends = agent.state(), []
    for seed in (5, 5, 6):
        agent.load_state(before)
        agent.train(64, proxy, seed=seed, steps_done=64, steps_total=128)
        ends.append(agent.state())
    assert_equal(ends[0], ends[1])
    assert any(not torch.equal(ends[0][name], ends[2][name]) for name in ends[0])
    assert int(ends[0]["n_env_steps"]) == 128 and int(ends[0]["n_updates"]) == 8


@pytest.mark.parametrize("task", ["pendulum", "ring"])
def test_an_agent_restored_from_files_trains_on_as_if_never_saved(tasks: Any, task: str, tmp_path: Path) -> None:
    agent = trained(tasks, task, normalize_obs=True)
    save_tensors(tmp_path / "agent.safetensors", agent.state())
    restored = PPOAgent(tasks.make_vec(task), tasks.settings(normalize_obs=True), seed=99)
    restored.load_state(load_tensors(tmp_path / "agent.safetensors"))
    assert_equal(agent.state(), restored.state())
    for each in (agent, restored):
        each.train(32, proxy, seed=7, steps_done=64, steps_total=96)
    assert_equal(agent.state(), restored.state())


def test_a_state_is_a_copy_that_later_training_does_not_touch(tasks: Any) -> None:
    agent = trained(tasks, "pendulum", 32, normalize_obs=True)
    state = agent.state()
    kept = {name: value.clone() for name, value in state.items()}
    agent.train(32, proxy, seed=2, steps_done=32, steps_total=64)
    assert_equal(state, kept)


def test_a_state_with_a_missing_or_foreign_tensor_is_refused_and_changes_nothing(tasks: Any) -> None:
    agent = trained(tasks, "pendulum", 32)
    state = agent.state()
    missing = {name: value for name, value in state.items() if name != "policy.log_std"}
    wider = PPOAgent(tasks.make_vec("pendulum"), tasks.settings(hidden=(8, 8)), seed=0).state()
    for broken, said in ((missing, "policy.log_std"), (state | {"extra": torch.zeros(1)}, "extra"), (wider, "shape")):
        with pytest.raises(InvalidArgument, match=said):
            agent.load_state(broken)
        assert_equal(agent.state(), state)


def test_initial_weights_are_those_of_plain_sb3_with_the_same_seed(tasks: Any) -> None:
    agent = PPOAgent(tasks.make_vec("cartpole"), tasks.settings(hidden=(64, 64), log_std_init=0.0), seed=11)
    plain = PPO("MlpPolicy", tasks.make_vec("cartpole")(1, 0), seed=11, device="cpu").policy.state_dict()
    assert_equal({f"policy.{name}": value for name, value in plain.items()},
                 {name: value for name, value in agent.state().items() if name.startswith("policy.")})


@pytest.mark.parametrize("task", ["pendulum", "ring"])
def test_global_generators_stay_where_they_were(tasks: Any, task: str) -> None:
    def states() -> tuple[Any, ...]:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]

    before = states()
    agent = trained(tasks, task, 32)
    agent.act(some_obs(agent), np.random.default_rng(0))
    agent.kl_to(agent.state(), some_obs(agent))
    agent.load_state(agent.state())
    assert states() == before


def test_a_source_or_callback_that_draws_from_global_generators_cannot_shift_training(tasks: Any) -> None:
    def noisy_source(transitions: Transitions) -> npt.NDArray[np.float32]:
        np.random.rand(3)
        torch.rand(3)
        return proxy(transitions)

    def noisy_callback(info: RolloutInfo) -> None:
        np.random.rand(info.i_rollout)
        torch.rand(info.i_rollout)

    quiet = trained(tasks, "pendulum")
    noisy = PPOAgent(tasks.make_vec("pendulum"), tasks.settings(), seed=0)
    noisy.train(64, noisy_source, seed=1, steps_done=0, steps_total=64, on_rollout=noisy_callback)
    assert_equal(quiet.state(), noisy.state())


def test_steps_are_rounded_up_to_whole_rollouts_and_reported(tasks: Any) -> None:
    infos: list[RolloutInfo] = []
    agent = PPOAgent(tasks.make_vec("pendulum"), tasks.settings(), seed=0)
    report = agent.train(33, proxy, seed=1, steps_done=0, steps_total=33, on_rollout=infos.append)
    assert (report.n_env_steps, report.n_rollouts, report.is_stopped) == (64, 2, False)
    assert [(info.i_rollout, info.n_rollouts, info.n_env_steps) for info in infos] == [(1, 2, 32), (2, 2, 64)]
    # 2 environments, 32 steps each, cut every 10 steps: 3 episodes each.
    assert report.n_episodes == 6 and infos[0].scalars["rollout/episode_length"] == 10
    assert report.seconds_agent > 0 and min(report.seconds_env, report.seconds_reward, report.seconds_callback) > 0


def test_the_proxy_return_of_an_episode_runs_across_rollouts(tasks: Any) -> None:
    infos: list[RolloutInfo] = []
    agent = PPOAgent(tasks.make_vec("pendulum"), tasks.settings(n_steps=8), seed=0)
    agent.train(
        32, lambda transitions: np.full(len(transitions), 0.5, np.float32), seed=1, steps_done=0, steps_total=32,
        on_rollout=infos.append,
    )
    assert "rollout/proxy_return" not in infos[0].scalars
    assert infos[1].scalars["rollout/proxy_return"] == 10 * 0.5


def test_a_false_from_on_rollout_stops_between_two_updates(tasks: Any) -> None:
    stopped = PPOAgent(tasks.make_vec("pendulum"), tasks.settings(), seed=0)
    report = stopped.train(320, proxy, seed=1, steps_done=0, steps_total=64, on_rollout=lambda info: info.i_rollout < 2)
    assert report.is_stopped and report.n_rollouts == 2
    assert_equal(stopped.state(), trained(tasks, "pendulum", 64).state())


def test_inside_on_rollout_the_agent_acts_with_the_updated_policy(tasks: Any) -> None:
    agent = PPOAgent(tasks.make_vec("pendulum"), tasks.settings(normalize_obs=True), seed=0)
    obs, acted = some_obs(agent), []
    agent.train(32, proxy, seed=1, steps_done=0, steps_total=32, on_rollout=lambda info: acted.append(agent.act(obs)))
    np.testing.assert_array_equal(acted[0], agent.act(obs))


def test_the_learning_rate_decays_over_the_whole_run_across_calls(tasks: Any) -> None:
    agent = PPOAgent(tasks.make_vec("pendulum"), tasks.settings(learning_rate=0.01, learning_rate_final=0.2), seed=0)
    rates = [
        agent.train(32, proxy, seed=1, steps_done=done, steps_total=128).scalars["train/learning_rate"]
        for done in (0, 32, 64, 96)
    ]
    np.testing.assert_allclose(rates, [0.008, 0.006, 0.004, 0.002], rtol=1e-9)


def test_a_reward_that_breaks_in_the_second_rollout_leaves_the_agent_as_it_was(tasks: Any) -> None:
    calls: list[int] = []

    def breaks(transitions: Transitions) -> npt.NDArray[np.float32]:
        calls.append(len(transitions))
        return np.full(len(transitions), np.nan if len(calls) > 1 else 0.0, dtype=np.float32)

    agent = trained(tasks, "pendulum", 32, normalize_obs=True)
    before = agent.state()
    with pytest.raises(InvalidArgument, match="breaks"):
        agent.train(64, breaks, seed=3, steps_done=32, steps_total=96)
    assert calls == [32, 32]
    assert_equal(agent.state(), before)
    np.testing.assert_array_equal(agent.kl_to(before, some_obs(agent)), 0.0)


@pytest.mark.parametrize(
    ("task", "is_normalized"), [("pendulum", True), ("pendulum", False), ("cartpole", True), ("ring", False)]
)
def test_actions_equal_sb3s_own_predict_on_the_saved_policy(
    tasks: Any, task: str, is_normalized: bool, tmp_path: Path
) -> None:
    agent = trained(tasks, task, normalize_obs=is_normalized)
    agent.save(tmp_path / "policy.zip")
    obs = some_obs(agent)
    shown = obs
    if is_normalized:
        kept = load_tensors(tmp_path / "policy.vecnormalize.safetensors")
        mean, var = kept["mean"].numpy(), kept["var"].numpy()
        shown = np.clip((obs - mean) / np.sqrt(var + 1e-8), -10, 10).astype(np.float32)
    model = PPO.load(tmp_path / "policy.zip", device="cpu")
    np.testing.assert_array_equal(agent.act(obs), model.predict(shown, deterministic=True)[0])
    assert model.num_timesteps == 64
    assert isinstance(agent, Policy)


def test_sampled_actions_repeat_with_the_generator_and_stay_in_bounds(tasks: Any) -> None:
    agent = PPOAgent(tasks.make_vec("pendulum"), tasks.settings(log_std_init=1.0), seed=0)
    obs = some_obs(agent, 200)
    sampled = agent.act(obs, np.random.default_rng(0))
    np.testing.assert_array_equal(sampled, agent.act(obs, np.random.default_rng(0)))
    assert sampled.shape == (200, 1) and sampled.dtype == np.float32
    assert sampled.min() == -2.0 and sampled.max() == 2.0  # e¹ = 2.7 wide: about half of the draws are clipped


def test_sampled_gaussian_actions_have_the_policys_mean_and_spread(tasks: Any) -> None:
    n = 40_000
    space = tasks.envs["counter"]().action_space
    gaussian = Gaussian(np.full((n, 1), 0.1, np.float32), np.full(1, np.log(0.1), np.float32))
    drawn = choose(gaussian, space, np.random.default_rng(0))
    # 5 standard errors (0.1/√n and 0.1/√(2n)) a side: a false alarm less than once in 800,000 seeds.
    assert abs(drawn.mean() - 0.1) < 5 * 0.1 / np.sqrt(n)
    assert abs(drawn.std() - 0.1) < 5 * 0.1 / np.sqrt(2 * n)


def test_sampled_discrete_actions_have_the_policys_frequencies(tasks: Any) -> None:
    n, p = 40_000, np.array([0.2, 0.5, 0.3])
    space = tasks.envs["ring"]().action_space
    drawn = choose(Categorical(np.tile(np.log(p), (n, 1)).astype(np.float32)), space, np.random.default_rng(0))
    counts = np.bincount(drawn, minlength=3)
    # χ² with 2 degrees of freedom exceeds 27.6 with probability e^−13.8 = 1e-6.
    assert ((counts - n * p) ** 2 / (n * p)).sum() < 27.6


def test_kl_by_hand() -> None:
    one, zero = np.zeros(1, np.float32), np.zeros((1, 1), np.float32)
    # Equal spread 1, means 2 apart: 2²/2. Spread e against 1: ½ (e² − 1 − 2).
    assert kl(Gaussian(zero + 2, one), Gaussian(zero, one)) == 2.0
    np.testing.assert_allclose(kl(Gaussian(zero, one + 1), Gaussian(zero, one)), 0.5 * (np.e**2 - 3), rtol=1e-12)
    half = Categorical(np.log(np.array([[0.5, 0.5]], np.float32)))
    skewed = Categorical(np.log(np.array([[0.25, 0.75]], np.float32)))
    np.testing.assert_allclose(kl(half, skewed), 0.5 * np.log(2) + 0.5 * np.log(2 / 3), rtol=1e-6)


@pytest.mark.parametrize(("task", "is_normalized"), [("pendulum", True), ("cartpole", True), ("ring", False)])
def test_kl_equals_torchs_between_the_two_saved_policies(
    tasks: Any, task: str, is_normalized: bool, tmp_path: Path
) -> None:
    agent = trained(tasks, task, normalize_obs=is_normalized)
    reference, obs = agent.state(), some_obs(agent)
    distributions: list[torch.distributions.Distribution] = []
    for i in range(2):
        agent.save(tmp_path / f"{i}.zip")
        shown: npt.NDArray[Any] = obs
        if is_normalized:
            kept = load_tensors(tmp_path / f"{i}.vecnormalize.safetensors")
            mean, var = kept["mean"].numpy(), kept["var"].numpy()
            shown = np.clip((obs - mean) / np.sqrt(var + 1e-8), -10, 10).astype(np.float32)
        policy = PPO.load(tmp_path / f"{i}.zip", device="cpu").policy
        with torch.no_grad():
            distribution = policy.get_distribution(policy.obs_to_tensor(shown)[0]).distribution
        assert isinstance(distribution, torch.distributions.Distribution)
        distributions.append(distribution)
        if i == 0:
            agent.train(64, proxy, seed=4, steps_done=64, steps_total=128)
    expected = torch.distributions.kl_divergence(distributions[1], distributions[0])
    expected = expected.sum(-1) if task == "pendulum" else expected
    found = agent.kl_to(reference, obs)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-6)
    assert found.dtype == np.float64 and found.shape == (9,) and (found > 0).all()
    np.testing.assert_array_equal(agent.kl_to(agent.state(), obs), 0.0)


def test_observations_of_another_shape_are_refused(tasks: Any) -> None:
    agent = PPOAgent(tasks.make_vec("pendulum"), tasks.settings(), seed=0)
    for wrong in (np.zeros(3), np.zeros((2, 4)), np.zeros((1, 2, 3))):
        with pytest.raises(InvalidArgument, match="obs must be"):
            agent.act(wrong)


def test_a_make_vec_that_gives_another_number_of_environments_is_refused(tasks: Any) -> None:
    agent = PPOAgent(lambda n_envs, seed: tasks.make_vec("pendulum")(1, seed), tasks.settings(), seed=0)
    with pytest.raises(InvalidArgument, match="must make 2 environments"):
        agent.train(32, proxy, seed=0, steps_done=0, steps_total=32)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_steps": 0}, "n_steps"),
        ({"batch_size": 30}, "must divide n_steps · n_envs = 32, got 30; valid: 4, 8, 16, 32"),
        ({"batch_size": 1}, "batch_size"), ({"gamma": 0.0}, "gamma"), ({"gae_lambda": 1.1}, "gae_lambda"),
        ({"learning_rate": float("nan")}, "learning_rate"), ({"learning_rate_final": 2.0}, "learning_rate_final"),
        ({"target_kl": 0.0}, "target_kl"), ({"hidden": (0,)}, "hidden"), ({"activation": "tan"}, "did you mean tanh"),
        ({"normalize_obs": 1}, "normalize_obs"), ({"clip_range": True}, "clip_range"),
    ],
)
def test_a_setting_that_breaks_its_rule_is_refused_by_name(tasks: Any, change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        tasks.settings(**change)
    assert said in str(raised.value)


def test_build_reads_settings_by_name_and_refuses_unknown_ones_with_the_nearest(tasks: Any) -> None:
    agent = build(settings_from({"n_envs": 2, "n_steps": 16, "batch_size": 16, "hidden": [8]}), tasks.make_vec("pendulum"), seed=0)
    assert isinstance(agent, PPOAgent) and agent.settings == PPOSettings(n_envs=2, n_steps=16, batch_size=16, hidden=(8,))
    with pytest.raises(UnknownName, match="did you mean n_steps"):
        settings_from({"n_step": 8})


def test_a_gpu_that_is_not_there_is_refused_at_once_and_auto_takes_what_is() -> None:
    if torch.cuda.is_available():
        assert resolve_device("auto").type == "cuda"
    else:
        assert resolve_device("auto").type == "cpu"
        with pytest.raises(InvalidArgument, match="no GPU"):
            resolve_device("cuda")
    for wrong in ("gpu", "cuda:99", "meta"):
        with pytest.raises(InvalidArgument, match="device"):
            resolve_device(wrong)


def test_a_seed_that_numpys_global_generator_cannot_take_is_refused(tasks: Any) -> None:
    for seed in (-1, 2**32):
        with pytest.raises(InvalidArgument, match="seed"):
            PPOAgent(tasks.make_vec("pendulum"), tasks.settings(), seed=seed)
