"""With the environment's own reward as the proxy, PPO is plain SB3's to the bit; two liars show that this can fail."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from preflab.agents import PPOAgent, ProxyRewardCallback

SEED, N_ROLLOUTS = 3, 3
Weights = dict[str, torch.Tensor]


def plain_weights(tasks: Any, task: str, is_normalized: bool, final: float = 1.0) -> Weights:
    """Trains PPO without anything of preflab's and returns its weights."""
    env: VecEnv = tasks.make_vec(task)(2, SEED)
    if is_normalized:
        env = VecNormalize(env, norm_reward=False)
    rate: float | Callable[[float], float] = 3e-3 if final == 1.0 else lambda remaining: 3e-3 * remaining
    model = PPO(
        "MlpPolicy", env, learning_rate=rate, n_steps=16, batch_size=16, n_epochs=2, seed=SEED, device="cpu",
        policy_kwargs={"net_arch": {"pi": [16, 16], "vf": [16, 16]}, "log_std_init": -1.0},
    )
    model.learn(N_ROLLOUTS * 32)
    return dict(model.policy.state_dict())


def proxy_weights(tasks: Any, task: str, is_normalized: bool, final: float = 1.0) -> Weights:
    """Trains through the proxy on rewards recorded below it and returns the weights."""
    own = tasks.own_reward()
    settings = tasks.settings(normalize_obs=is_normalized, learning_rate_final=final)
    agent = PPOAgent(tasks.make_vec(task, own.wrap), settings, seed=SEED)
    total = N_ROLLOUTS * 32
    report = agent.train(total, own, seed=SEED, steps_done=0, steps_total=total)
    assert report.n_episodes >= 2
    return {name.removeprefix("policy."): value for name, value in agent.state().items() if name.startswith("policy.")}


def is_equal(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("task", "is_normalized"),
    [("pendulum", False), ("pendulum", True), ("cartpole", False), ("cartpole", True), ("ring", True)],
)
def test_weights_equal_plain_sb3_to_the_bit(tasks: Any, task: str, is_normalized: bool) -> None:
    is_box = task != "ring"  # plain VecNormalize refuses discrete observations; the agent skips it for them
    assert is_equal(plain_weights(tasks, task, is_normalized and is_box), proxy_weights(tasks, task, is_normalized))


def test_a_linear_decay_to_zero_equals_sb3s_linear_schedule(tasks: Any) -> None:
    plain, through_proxy = (train(tasks, "cartpole", False, final=0.0) for train in (plain_weights, proxy_weights))
    assert is_equal(plain, through_proxy)


def forgets_advantages(self: ProxyRewardCallback, buffer: RolloutBuffer, rewards: npt.NDArray[np.float32]) -> None:
    buffer.rewards += rewards


def overwrites_bootstrap(self: ProxyRewardCallback, buffer: RolloutBuffer, rewards: npt.NDArray[np.float32]) -> None:
    buffer.rewards[:] = rewards
    buffer.compute_returns_and_advantage(last_values=self.locals["values"], dones=self.locals["dones"])


@pytest.mark.parametrize("liar", [forgets_advantages, overwrites_bootstrap])
def test_a_liar_about_rewards_is_caught_on_the_truncating_task(
    tasks: Any, liar: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProxyRewardCallback, "_give", liar)
    assert not is_equal(plain_weights(tasks, "pendulum", False), proxy_weights(tasks, "pendulum", False))
