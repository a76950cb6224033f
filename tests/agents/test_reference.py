"""KL to a reference: what it costs, where it acts, and that it is exactly 0 at the reference itself."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from preflab.agents import KLSettings, OffPolicyAgent, OnPolicyAgent, PPOAgent, SB3Agent, SB3Settings
from preflab.agents.reference import HeldPolicy, OffPolicyKL
from preflab.errors import InvalidArgument, Refused
from preflab.storage import load_tensors, save_tensors
from preflab.types import Transitions


def speed(transitions: Transitions) -> npt.NDArray[np.float32]:
    """Wants the first action dimension large (or action 1), which every task has."""
    return np.asarray(transitions.actions.reshape(len(transitions), -1)[:, 0], dtype=np.float32)


def ppo(tasks: Any, task: str, kl: KLSettings | None, **changes: Any) -> PPOAgent:
    return PPOAgent(tasks.make_vec(task), tasks.settings(**({"normalize_obs": True} | changes)), seed=0, kl=kl)


def sac(tasks: Any, kl: KLSettings | None, **changes: Any) -> OffPolicyAgent:
    values = {"path": "stable_baselines3.SAC", "hidden": (16, 16), "learning_starts": 10, "batch_size": 32, "report_every": 50,
              "learning_rate": 3e-3, "max_buffer_size": 1000}
    return OffPolicyAgent(tasks.make_vec("pendulum"), SB3Settings.from_mapping(values | changes), seed=0, kl=kl)


def trained(agent: SB3Agent[Any], n: int = 320, seed: int = 1) -> SB3Agent[Any]:
    agent.train(n, speed, seed=seed, steps_done=0, steps_total=n)
    return agent


def distance(agent: SB3Agent[Any], reference: dict[str, torch.Tensor]) -> float:
    obs = np.random.default_rng(0).standard_normal((200, *(agent.observation_space.shape or ()))).astype(np.float32)
    return float(agent.kl_to(reference, obs).mean())


def weights(agent: SB3Agent[Any]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in agent.state().items() if name.startswith("policy.")}


@pytest.mark.parametrize("place", ["reward", "loss"])
@pytest.mark.parametrize("task", ["pendulum", "cartpole"])
def test_ppo_with_a_large_coefficient_stays_at_its_reference(tasks: Any, task: str, place: str) -> None:
    free, held = (ppo(tasks, task, kl) for kl in (None, KLSettings(place, 50.0)))
    start = free.state()
    distances = [distance(trained(agent, 960), start) for agent in (free, held)]
    assert distances[1] < 0.5 * distances[0]


@pytest.mark.parametrize("place", ["reward", "loss"])
def test_sac_with_a_large_coefficient_stays_at_its_reference(tasks: Any, place: str) -> None:
    free, held = (sac(tasks, kl) for kl in (None, KLSettings(place, 30.0)))
    start = free.state()
    distances = [distance(trained(agent, 300), {k: v for k, v in start.items()}) for agent in (free, held)]
    assert distances[1] < 0.2 * distances[0]


@pytest.mark.parametrize("place", ["reward", "loss"])
def test_kl_of_the_reference_to_itself_is_exactly_zero(tasks: Any, place: str) -> None:
    """With learning rate ~0 and no change of statistics, the first rollout is the reference's own."""
    agent = ppo(tasks, "pendulum", KLSettings(place, 1.0), normalize_obs=False)
    report = agent.train(32, speed, seed=1, steps_done=0, steps_total=32)
    assert report.scalars["rollout/kl_to_reference"] == 0.0
    plain = ppo(tasks, "pendulum", None, normalize_obs=False)
    plain.train(32, lambda moves: speed(moves), seed=1, steps_done=0, steps_total=32)
    if place == "reward":  # its penalty was exactly nothing, so the update was plain PPO's
        assert all(torch.equal(value, weights(plain)[name]) for name, value in weights(agent).items())


def test_the_reference_sees_observations_through_its_own_frozen_normalizer(tasks: Any) -> None:
    agent = trained(ppo(tasks, "pendulum", KLSettings("reward", 1.0)), 64)
    frozen = agent.state()
    agent.set_reference(frozen)
    obs = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    np.testing.assert_array_equal(agent.kl_to(frozen, obs), 0.0)
    held = agent._frozen_reference()
    agent._statistics[""].mean = agent._statistics[""].mean + 1.0  # the agent's own statistics move on, the reference's do not
    assert agent.kl_to(frozen, obs).min() > 0
    np.testing.assert_array_equal(held.normalizers[""].mean, frozen["normalizer.mean"].numpy())


@pytest.mark.parametrize("task", ["pendulum", "cartpole"])
def test_the_held_loss_is_ppos_plus_c_times_the_mean_kl(tasks: Any, task: str) -> None:
    """evaluate_actions gives ε H − c KL; torch's own divergence is the witness."""
    agent = ppo(tasks, task, KLSettings("loss", 0.7), ent_coef=0.3, normalize_obs=False)
    seen: list[tuple[torch.Tensor, ...]] = []
    original = HeldPolicy.evaluate_actions

    def spy(self: Any, obs: Any, actions: torch.Tensor) -> Any:
        found = original(self, obs, actions)
        distribution = self.get_distribution(obs).distribution
        plain: Any = super(HeldPolicy, self).evaluate_actions(obs, actions)
        if len(self._held) == 2:
            rows = torch.as_tensor(self._buffer.last_rows)
            reference: Any = torch.distributions.Normal(self._held[0][rows], self._held[1][rows].exp())
            kl = torch.distributions.kl_divergence(distribution, reference).sum(-1)
        else:
            reference = torch.distributions.Categorical(logits=self._held[0][torch.as_tensor(self._buffer.last_rows)])
            kl = torch.distributions.kl_divergence(distribution, reference)
        assert found[2] is not None
        seen.append((found[2].detach(), (0.3 * plain[2] - 0.7 * kl).detach()))
        return found

    HeldPolicy.evaluate_actions = spy  # type: ignore[method-assign]
    try:
        trained(agent, 96)
    finally:
        HeldPolicy.evaluate_actions = original  # type: ignore[method-assign]
    assert len(seen) == 12
    for found, expected in seen:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert max(float((expected - found[0]).abs().max()) for found, expected in seen) > 0


def test_the_rows_a_minibatch_is_held_to_are_those_of_its_own_observations(tasks: Any) -> None:
    """The reference's distribution at a minibatch's observations, computed afresh, is the one it is held to."""
    agent = ppo(tasks, "pendulum", KLSettings("loss", 0.7), normalize_obs=False)
    reference = agent._frozen_reference()
    original, n_seen = HeldPolicy.evaluate_actions, []

    def spy(self: Any, obs: Any, actions: torch.Tensor) -> Any:
        expected: Any = reference.outputs(obs.numpy())
        rows = torch.as_tensor(self._buffer.last_rows)
        np.testing.assert_allclose(self._held[0][rows].numpy(), expected.mean, rtol=1e-4, atol=1e-6)
        n_seen.append(len(rows))
        return original(self, obs, actions)

    HeldPolicy.evaluate_actions = spy  # type: ignore[method-assign]
    try:
        trained(agent, 64)
    finally:
        HeldPolicy.evaluate_actions = original  # type: ignore[method-assign]
    assert sum(n_seen) == 128


def test_sacs_actor_gradient_gains_exactly_that_of_c_times_kl(tasks: Any) -> None:
    agent = trained(sac(tasks, None), 100)
    reference = sac(tasks, None)._frozen_reference()
    model: Any = agent._learner
    held = OffPolicyKL(KLSettings("loss", 0.4), reference, 0.4, model)
    obs = torch.as_tensor(np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32))
    held._obs = obs
    parameters = list(model.policy.actor.parameters())
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    held._add_gradient(model.policy.actor.optimizer, (), {})
    found = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
    actors: list[Any] = [model.policy.actor, reference.policy.actor]
    means = [net.get_action_dist_params(obs) for net in actors]
    normals = [torch.distributions.Normal(mean, log_std.exp()) for mean, log_std, _ in means]
    kl = torch.distributions.kl_divergence(normals[0], normals[1]).sum(-1).mean()
    for own, expected in zip(found, torch.autograd.grad(0.4 * kl, parameters), strict=True):
        torch.testing.assert_close(own, 1 + expected, rtol=1e-3, atol=1e-5)
    held.close()


def test_sacs_targets_lose_c_gamma_kl_at_next_states_that_are_no_terminals(tasks: Any) -> None:
    agent = trained(sac(tasks, None), 100)
    model: Any = agent._learner
    held = OffPolicyKL(KLSettings("reward", 0.4), sac(tasks, None)._frozen_reference(), 0.4, model)
    samples = model.replay_buffer.sample(8)
    samples = samples._replace(dones=torch.tensor([[0.0]] * 4 + [[1.0]] * 4))
    changed = held.on_samples(samples)
    expected = 0.4 * 0.99 * held.kl(samples.next_observations).detach()
    torch.testing.assert_close((samples.rewards - changed.rewards)[:4, 0], expected[:4])
    assert torch.equal(samples.rewards[4:], changed.rewards[4:]) and float(expected.min()) > 0
    n_step = samples._replace(discounts=torch.full((8, 1), 0.5))
    torch.testing.assert_close((samples.rewards - held.on_samples(n_step).rewards)[:4, 0], expected[:4] * 0.5 / 0.99)
    held.close()


def test_an_adaptive_coefficient_steers_to_its_target_and_is_part_of_the_state(tasks: Any) -> None:
    settings = KLSettings("reward", 0.1, target=0.5)
    assert settings.adapted(1.0, 0.5) == 1.0 and settings.adapted(1.0, 5.0) == 1.02 and settings.adapted(1.0, 0.0) == 0.98
    assert KLSettings("reward", 0.1).adapted(0.1, 99.0) == 0.1
    agent = trained(ppo(tasks, "pendulum", KLSettings("loss", 0.1, target=1e-6)), 160)
    found = float(agent.state()["kl_coefficient"])
    assert found == pytest.approx(0.1 * 1.02**5)  # above its tiny target after each of five rollouts
    restored = ppo(tasks, "pendulum", KLSettings("loss", 0.1, target=1e-6))
    restored.load_state(agent.state())
    ends = [trained(each, 64, seed=5).state() for each in (agent, restored)]
    assert ends[0].keys() == ends[1].keys() and all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


@pytest.mark.parametrize("kind", ["sac", "tqc"])
def test_an_adaptive_coefficient_moves_off_policy_too_and_survives_files(tasks: Any, kind: str, tmp_path: Any) -> None:
    changes = {"path": "sb3_contrib.TQC"} if kind == "tqc" else {}
    agents = [sac(tasks, KLSettings("loss", 0.1, target=1e-9), **changes) for _ in range(2)]
    trained(agents[0], 100)
    assert float(agents[0].state()["kl_coefficient"]) == pytest.approx(0.1 * 1.02**2)
    save_tensors(tmp_path / "agent.safetensors", agents[0].state())
    agents[1].load_state(load_tensors(tmp_path / "agent.safetensors"))
    ends = [trained(each, 60, seed=5).state() for each in agents]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_parts_that_cannot_be_held_are_refused_in_a_sentence(tasks: Any) -> None:
    trpo = SB3Settings.from_mapping({"path": "sb3_contrib.TRPO", "n_envs": 2, "n_steps": 16, "batch_size": 16, "hidden": (8,)})
    with pytest.raises(Refused, match=r"PPO and A2C, not for TRPO"):
        trained(OnPolicyAgent(tasks.make_vec("pendulum"), trpo, seed=0, kl=KLSettings("loss", 1.0)))
    with pytest.raises(Refused, match="normalize_obs=false"):
        trained(sac(tasks, KLSettings("loss", 1.0), normalize_obs=True))
    dqn = SB3Settings.from_mapping({"path": "stable_baselines3.DQN", "hidden": (8,)})
    with pytest.raises(Refused, match="Gaussian actor"):
        trained(OffPolicyAgent(tasks.make_vec("cartpole"), dqn, seed=0, kl=KLSettings("loss", 1.0)))
    for bad, said in (({"place": "rewards"}, "place"), ({"place": "loss", "coefficient": -1}, "coefficient"),
                      ({"place": "loss", "target": 1.0}, "target")):
        with pytest.raises(InvalidArgument, match=said):
            KLSettings(**bad)


@pytest.mark.parametrize("path", ["stable_baselines3.A2C", "sb3_contrib.TRPO", "stable_baselines3.PPO"])
def test_any_on_policy_class_trains_by_its_path_and_may_be_held_in_the_reward(tasks: Any, path: str) -> None:
    options = {"n_steps": 8} | ({"batch_size": 16} if "A2C" not in path else {})
    settings = SB3Settings.from_mapping({"path": path, "n_envs": 2, "hidden": (8,), "normalize_obs": True, **options})
    agents = [OnPolicyAgent(tasks.make_vec("ring"), settings, seed=0, kl=kl) for kl in (None, KLSettings("reward", 0.5))]
    for agent in agents:
        start = agent.state()
        trained(agent, 64)
        assert any(not torch.equal(value, agent.state()[name]) for name, value in start.items() if name.startswith("policy."))
        restored = OnPolicyAgent(tasks.make_vec("ring"), settings, seed=9, kl=agent.kl)
        restored.load_state(agent.state())
        ends = [trained(each, 32, seed=5).state() for each in (agent, restored)]
        assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
