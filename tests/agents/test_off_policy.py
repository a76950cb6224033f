"""Off-policy algorithms of SB3 on a buffer whose rewards are the proxy's of now."""

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, SAC, TD3
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv

from preflab.agents import OffPolicyAgent, SB3Settings
from preflab.agents.replay import ProxyNStepReplayBuffer, ProxyReplayBuffer
from preflab.errors import InvalidArgument, UnknownName
from preflab.storage import load_tensors, save_tensors
from preflab.types import Transitions

State = dict[str, torch.Tensor]
CLASSES = {
    "sac": ("stable_baselines3.SAC", "pendulum"), "tqc": ("sb3_contrib.TQC", "pendulum"),
    "td3": ("stable_baselines3.TD3", "pendulum"), "dqn": ("stable_baselines3.DQN", "cartpole"),
    "qrdqn": ("sb3_contrib.QRDQN", "ring"),
}


def proxy(transitions: Transitions) -> npt.NDArray[np.float32]:
    return np.asarray(-np.abs(transitions.next_obs.reshape(len(transitions), -1)).sum(-1), dtype=np.float32)


def other(transitions: Transitions) -> npt.NDArray[np.float32]:
    return np.asarray(transitions.actions.reshape(len(transitions), -1).sum(-1) + transitions.terminated, dtype=np.float32)


def made(tasks: Any, name: str, wrapper: Any = None, **changes: Any) -> OffPolicyAgent:
    path, task = CLASSES[name]
    values = {
        "path": path, "n_envs": 2, "hidden": (8, 8), "learning_starts": 12, "batch_size": 8, "report_every": 10,
        "max_buffer_size": 60, "train_freq": 1, "gradient_steps": 1,
    }
    values |= {"action_noise": 0.1} if name == "td3" else {}
    vec = tasks.make_vec(task) if wrapper is None else tasks.make_vec(task, wrapper)
    return OffPolicyAgent(vec, SB3Settings.from_mapping(values | changes), seed=0)


def train(agent: OffPolicyAgent, n: int = 40, source: Any = proxy, seed: int = 1) -> OffPolicyAgent:
    agent.train(n, source, seed=seed, steps_done=0, steps_total=100)
    return agent


def assert_equal(first: State, second: State) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize("name", list(CLASSES))
def test_training_is_a_pure_function_of_state_and_seed_and_survives_files(tasks: Any, name: str, tmp_path: Path) -> None:
    agent = train(made(tasks, name))
    save_tensors(tmp_path / "agent.safetensors", agent.state())
    restored = made(tasks, name)
    restored.load_state(load_tensors(tmp_path / "agent.safetensors"))
    assert_equal(agent.state(), restored.state())
    ends = [train(each, 20, other, seed).state() for each, seed in ((agent, 5), (restored, 5))]
    assert_equal(*ends)
    assert int(ends[0]["n_env_steps"]) == 60 and int(ends[0]["n_updates"]) > 0


@pytest.mark.parametrize("name", list(CLASSES))
def test_rewards_and_infos_of_the_env_poisoned_by_nan_change_no_bit(tasks: Any, name: str) -> None:
    assert_equal(train(made(tasks, name)).state(), train(made(tasks, name, tasks.poison)).state())


@pytest.mark.parametrize(("name", "n_returns"), [("sac", 1), ("sac", 3), ("dqn", 1), ("dqn", 2), ("qrdqn", 1)])
def test_a_relabelled_buffer_equals_a_freshly_collected_one(tasks: Any, name: str, n_returns: int) -> None:
    """Trained with nothing learned (no gradient step), the policy collects the same steps under either source."""
    frozen = {"n_steps": n_returns, "gradient_steps": 0}
    once = train(made(tasks, name, **frozen), source=other)
    twice = train(made(tasks, name, **frozen), source=proxy)
    before = twice.state()["buffer.rewards"]
    twice.load_state(twice.state())
    train(twice, 2, other, seed=9)
    rows = len(once.state()["buffer.rewards"])
    for part in ("observations", "next_observations", "actions", "dones", "rewards"):
        assert torch.equal(once.state()[f"buffer.{part}"], twice.state()[f"buffer.{part}"][:rows]), part
    assert not torch.equal(before, once.state()["buffer.rewards"])


def test_a_source_that_scores_only_what_is_new_keeps_the_old_labels(tasks: Any) -> None:
    class Tape:
        scores_only_new = True

        def __call__(self, transitions: Transitions) -> npt.NDArray[np.float32]:
            return np.full(len(transitions), 7.0, dtype=np.float32)

    agent = train(made(tasks, "sac"), 20, proxy)
    before = agent.state()["buffer.rewards"]
    after = train(agent, 20, Tape(), seed=2).state()["buffer.rewards"]
    assert torch.equal(after[: len(before)], before) and (after[len(before) :] == 7.0).all()


def test_sources_see_the_envs_own_actions_the_real_final_observation_and_true_terminals_only(tasks: Any) -> None:
    """Counter: episodes of 3 steps, even ones terminate, odd ones are cut; pendulum's actions reach ±2."""
    seen: list[Transitions] = []

    def source(transitions: Transitions) -> npt.NDArray[np.float32]:
        seen.append(transitions)
        return np.zeros(len(transitions), dtype=np.float32)

    values = {"path": "stable_baselines3.SAC", "learning_starts": 100, "report_every": 12, "hidden": (4,)}
    settings = SB3Settings.from_mapping(values)
    OffPolicyAgent(tasks.make_vec("counter"), settings, seed=0).train(12, source, seed=0, steps_done=0, steps_total=12)
    moves = seen[0]
    np.testing.assert_array_equal(moves.obs[:4], [[0, 0], [0, 1], [0, 2], [1, 0]])
    np.testing.assert_array_equal(moves.next_obs[:6], [[0, 1], [0, 2], [0, 3], [1, 1], [1, 2], [1, 3]])
    assert moves.terminated.tolist() == [False, False, True, False, False, False] * 2
    seen.clear()
    train(made(tasks, "sac", learning_starts=1000), source=source)
    actions = np.concatenate([each.actions for each in seen])
    assert actions.shape[1:] == (1,) and 1.5 < np.abs(actions).max() <= 2.0  # drawn uniformly from ±2: not in ±1


class Flagged(gym.Env[npt.NDArray[np.float32], npt.NDArray[np.float32]]):
    """Raises a flag in its final observation only, which running statistics never see."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.n_steps = 0
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.n_steps += 1
        return np.full(1, self.n_steps == 5, dtype=np.float32), 0.0, self.n_steps == 5, False, {}


def test_a_final_observation_beyond_the_clip_of_standardized_ones_reaches_the_source_as_shown() -> None:
    seen: list[Transitions] = []

    def source(transitions: Transitions) -> npt.NDArray[np.float32]:
        seen.append(transitions)
        return np.zeros(len(transitions), dtype=np.float32)

    values = {"path": "stable_baselines3.SAC", "n_envs": 2, "learning_starts": 100, "report_every": 20, "hidden": (4,)}
    settings = SB3Settings.from_mapping({**values, "normalize_obs": True})
    agent = OffPolicyAgent(lambda n_envs, seed: DummyVecEnv([Flagged] * n_envs), settings, seed=0)
    agent.train(20, source, seed=0, steps_done=0, steps_total=20)
    for moves in seen:
        np.testing.assert_array_equal(moves.next_obs[:, 0], moves.terminated)
    assert sum(moves.terminated.sum() for moves in seen) == 4


def test_the_envs_reward_as_the_proxy_gives_plain_sb3s_weights(tasks: Any) -> None:
    """With float32 observations SAC through the proxy is plain SAC to the bit."""
    own = tasks.own_reward()
    agent = made(tasks, "sac", own.wrap)
    train(agent, 40, own, seed=3)
    plain = SAC(
        "MlpPolicy", tasks.make_vec("pendulum")(2, 3), seed=3, device="cpu", learning_starts=12, batch_size=8, buffer_size=60,
        policy_kwargs={"net_arch": [8, 8], "activation_fn": torch.nn.ReLU}, learning_rate=3e-4,
    )
    plain.policy.load_state_dict(made(tasks, "sac")._learner.policy.state_dict())
    plain.learn(40)
    for name, value in plain.policy.state_dict().items():
        assert torch.equal(value, agent.state()[f"policy.{name}"]), name


def test_n_step_returns_end_where_an_episode_ended_and_where_training_was_interrupted() -> None:
    space, actions = spaces.Box(-9, 9, (1,), np.float64), spaces.Box(-1, 1, (1,), np.float32)
    buffer = ProxyNStepReplayBuffer(8, space, actions, device="cpu", n_envs=1, n_steps=3, gamma=0.5)
    assert buffer.observations.dtype == np.float32
    for i, is_done in enumerate([False, False, True, False, False]):
        step = np.array([[float(i)]])
        buffer.add(step, step + 0.5, np.zeros((1, 1)), np.zeros(1), np.array([is_done]), [{"TimeLimit.truncated": is_done}])
    buffer.cut()
    buffer.use(lambda transitions: transitions.obs[:, 0].astype(np.float32) + 1, 1.0, None)
    buffer.score_pending()
    for i, (total, last, discount) in enumerate([(1 + 1 + 0.75, 2.5, 0.125), (2 + 1.5, 2.5, 0.25), (3, 2.5, 0.5),
                                                 (4 + 2.5, 4.5, 0.25), (5, 4.5, 0.5)]):
        samples = buffer._get_samples(np.array([i]))
        assert (float(samples.rewards), float(samples.next_observations), float(samples.dones)) == (total, last, 0.0)
        assert samples.discounts is not None and float(samples.discounts) == discount


def test_the_buffer_is_capped_keeps_the_newest_steps_and_restores_oldest_first(tasks: Any) -> None:
    agent = train(made(tasks, "sac", gradient_steps=0, learning_starts=1000), 100)
    state = agent.state()
    assert state["buffer.rewards"].shape == (30, 2) and state["buffer.observations"].dtype == torch.float32
    restored = made(tasks, "sac", gradient_steps=0, learning_starts=1000)
    restored.load_state(state)
    after = train(restored, 20, seed=4).state()  # 10 more rows
    assert torch.equal(after["buffer.actions"][:20], state["buffer.actions"][10:])


def test_resetting_the_critic_keeps_the_actor_and_its_optimizer(tasks: Any) -> None:
    agent = train(made(tasks, "sac"))
    before = agent.state()
    agent.reset_critic(3)
    after = agent.state()
    for name, value in before.items():
        if name.startswith("optimizer.critic"):
            assert name not in after
        elif name.startswith(("policy.critic.", "policy.critic_target.")):
            assert not torch.equal(value, after[name]) or value.dim() == 1, name
        else:
            assert torch.equal(value, after[name]), name
    assert torch.equal(after["policy.critic.qf0.0.weight"], after["policy.critic_target.qf0.0.weight"])
    agent.reset_critic(3, forgets=True)
    assert not any(name.startswith("buffer.") for name in agent.state())
    train(agent, 20, seed=8)


def test_dqns_exploration_falls_over_the_whole_run_and_not_over_one_call(tasks: Any) -> None:
    agent = made(tasks, "dqn", exploration_fraction=0.5, exploration_initial_eps=1.0, exploration_final_eps=0.1)
    found = []
    for done in (0, 20, 40, 60):
        report = agent.train(20, proxy, seed=1, steps_done=done, steps_total=80)
        found.append(report.scalars["rollout/exploration_rate"])
    np.testing.assert_allclose(found, [0.55, 0.1, 0.1, 0.1], atol=0.03)


@pytest.mark.parametrize(("name", "plain"), [("sac", SAC), ("td3", TD3), ("dqn", DQN)])
def test_the_saved_policy_is_plain_sb3s_and_acts_alike(tasks: Any, name: str, plain: Any, tmp_path: Path) -> None:
    agent = train(made(tasks, name))
    agent.save(tmp_path / "policy.zip")
    obs = np.random.default_rng(0).standard_normal((50, *(agent.observation_space.shape or ()))).astype(np.float32)
    model = plain.load(tmp_path / "policy.zip", device="cpu")
    assert type(model.replay_buffer) in (ReplayBuffer, type(None))
    np.testing.assert_array_equal(agent.act(obs), model.predict(obs, deterministic=True)[0])
    sampled = agent.act(obs, np.random.default_rng(0))
    np.testing.assert_array_equal(sampled, agent.act(obs, np.random.default_rng(0)))
    assert agent.action_space.contains(sampled[0]) or name == "dqn"


def test_sampled_sac_actions_have_sb3s_distribution(tasks: Any) -> None:
    agent = made(tasks, "sac")
    obs = np.tile(np.array([[0.3, -0.2, 1.0]], dtype=np.float32), (20_000, 1))
    ours = np.sort(agent.act(obs, np.random.default_rng(0))[:, 0])
    torch.manual_seed(0)
    theirs = np.sort(agent._learner.predict(obs, deterministic=False)[0][:, 0])
    # Kolmogorov-Smirnov of two samples of 20,000: above 0.0195 less than once in a thousand seeds.
    grid = np.linspace(-2, 2, 200)
    gap = np.abs(np.searchsorted(ours, grid) - np.searchsorted(theirs, grid)).max() / 20_000
    assert gap < 0.0195


def test_kl_between_sac_policies_is_torchs_and_zero_with_itself(tasks: Any) -> None:
    agent = train(made(tasks, "sac"))
    reference, obs = agent.state(), np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32)
    np.testing.assert_array_equal(agent.kl_to(reference, obs), 0.0)
    held: Any = copy.deepcopy(agent._learner.policy.actor)
    train(agent, 20, other, seed=4)
    actors: list[Any] = [agent._learner.policy.actor, held]
    parts = [net.get_action_dist_params(torch.as_tensor(obs)) for net in actors]
    normals = [torch.distributions.Normal(mean, log_std.exp()) for mean, log_std, _ in parts]
    expected = torch.distributions.kl_divergence(*normals).sum(-1).detach().numpy()
    np.testing.assert_allclose(agent.kl_to(reference, obs), expected, rtol=1e-3)


@pytest.mark.parametrize(("values", "said"), [
    ({"path": "stable_baselines3.SACK"}, "did you mean|names no class|SAC"), ({"path": "no_such.SAC"}, "names no class"),
    ({"path": "numpy.ndarray"}, "on-policy or off-policy"), ({"path": "stable_baselines3.SAC", "tua": 0.1}, "did you mean tau"),
    ({"path": "stable_baselines3.SAC", "gamma": 1.5}, "gamma"), ({"path": "stable_baselines3.SAC", "action_noise": -1.0}, "noise"),
    ({"path": "stable_baselines3.PPO", "action_noise": 0.1}, "explores by itself"), ({}, "path is required"),
    ({"path": "stable_baselines3.SAC", "hidden": (0,)}, "hidden"),
], ids=["class", "module", "kind", "option", "gamma", "noise", "explores", "path", "hidden"])
def test_settings_that_break_a_rule_are_refused_by_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises((InvalidArgument, UnknownName), match=said):
        SB3Settings.from_mapping(values)


def test_a_reward_that_is_not_finite_leaves_the_agent_as_it_was(tasks: Any) -> None:
    agent = train(made(tasks, "sac"))
    before = agent.state()
    with pytest.raises(InvalidArgument, match="finite"):
        train(agent, 20, lambda transitions: np.full(len(transitions), np.nan, dtype=np.float32), seed=2)
    assert_equal(before, agent.state())


class _OldLabels(ProxyReplayBuffer):
    def use(self, source: Any, scale: float, unscale: Any) -> None:
        kept = self.n_pending
        super().use(source, scale, unscale)
        self.n_pending = kept


class _ScaledActions(ProxyReplayBuffer):
    def use(self, source: Any, scale: float, unscale: Any) -> None:
        super().use(source, scale, None)


@pytest.mark.parametrize("liar", [_OldLabels, _ScaledActions], ids=["old-labels", "scaled-actions"])
def test_a_liar_about_relabelling_is_caught(tasks: Any, liar: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = train(train(made(tasks, "sac"), 20, proxy), 20, other, seed=2).state()["buffer.rewards"]
    monkeypatch.setattr("preflab.agents.off_policy.ProxyReplayBuffer", liar)
    lied = train(train(made(tasks, "sac"), 20, proxy), 20, other, seed=2).state()["buffer.rewards"]
    assert not torch.equal(honest, lied)
