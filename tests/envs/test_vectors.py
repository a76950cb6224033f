"""Many copies at once: the same as one by one, and trajectories without length bias."""

from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from preflab import envs
from preflab.errors import InvalidArgument
from preflab.types import AnyArray


class LeftThenRight:
    """Acts on cart-poles by a rule, with a coin if there is one."""

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        chosen = (obs[:, 2] + 0.3 * obs[:, 3] > 0).astype(np.int64)
        return chosen if rng is None else np.where(rng.random(len(obs)) < 0.3, 1 - chosen, chosen)


def run(venv: Any, n_steps: int, seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    policy = envs.RandomPolicy(venv.action_space)
    obs, rows = venv.reset(), []
    for _ in range(n_steps):
        obs, rewards, dones, infos = venv.step(policy.act(obs, rng))
        rows.append((obs, rewards, dones, infos))
    return rows


def assert_equal(one: list[Any], two: list[Any]) -> None:
    for (obs_1, rewards_1, dones_1, infos_1), (obs_2, rewards_2, dones_2, infos_2) in zip(one, two, strict=True):
        assert np.array_equal(obs_1, obs_2) and obs_1.dtype == obs_2.dtype
        assert np.array_equal(rewards_1, rewards_2) and np.array_equal(dones_1, dones_2)
        for info_1, info_2 in zip(infos_1, infos_2, strict=True):
            assert info_1.keys() == info_2.keys()
            assert all(np.array_equal(info_1[key], info_2[key]) for key in info_1)


@pytest.mark.parametrize(("name", "form", "n_steps", "reveal_gold"), [
    ("mujoco-humanoid", "terminating", 30, False), ("mujoco-hopper", "terminating", 40, True),
    ("mujoco-reacher", "fixed", 60, False), ("cartpole", "terminating", 60, False),
    ("cartpole", "terminating", 60, True), ("random-mdp", "terminating", 60, True),
])
def test_threads_change_nothing_and_neither_does_our_vec_env(
    name: str, form: str, n_steps: int, reveal_gold: bool
) -> None:
    plain = DummyVecEnv([lambda: envs.make(name, form, reveal_gold=reveal_gold) for _ in range(3)])
    plain.seed(4)
    expected = run(plain, n_steps, 4)
    for n_threads in (1, 2):
        venv = envs.make_vec(name, form, 3, 0, n_threads, reveal_gold=reveal_gold)
        venv.seed(4)
        assert_equal(expected, run(venv, n_steps, 4))
        assert np.array_equal(venv.last_gold.astype(np.float32), expected[-1][1]) or not reveal_gold
        venv.close()
    if name in ("cartpole", "random-mdp"):
        assert any(dones.any() for _, _, dones, _ in expected)


def test_a_learner_sees_sb3s_two_keys_and_nothing_else() -> None:
    rows = run(envs.make_vec("cartpole", "terminating", 2, 0), 60, 0)
    keys = [set(info) for _, _, _, infos in rows for info in infos]
    assert {frozenset(each) for each in keys} == {
        frozenset({"TimeLimit.truncated"}), frozenset({"TimeLimit.truncated", "terminal_observation"}),
    }
    assert all((rewards == 0).all() for _, rewards, _, _ in rows)


def test_copies_of_one_seed_repeat_and_neighboring_seeds_share_nothing() -> None:
    first, again = (np.asarray(envs.make_vec("pendulum", "fixed", 3, 0).reset()) for _ in range(2))
    neighbor = np.asarray(envs.make_vec("pendulum", "fixed", 3, 1).reset())
    assert np.array_equal(first, again)
    assert not any(np.array_equal(one, two) for one in first for two in neighbor)


def test_states_of_all_copies_are_saved_and_restored() -> None:
    venv, other = envs.make_vec("mujoco-reacher", "fixed", 2, 0), envs.make_vec("mujoco-reacher", "fixed", 2, 5)
    obs, *_ = run(venv, 7, 0)[-1]
    states = venv.save_states()
    assert np.array_equal(other.restore_states(states), obs)
    actions = np.full((2, 2), 0.3, dtype=np.float32)
    assert np.array_equal(np.asarray(venv.step(actions)[0]), np.asarray(other.step(actions)[0]))
    assert np.array_equal(venv.last_gold, other.last_gold)
    with pytest.raises(InvalidArgument, match="one per copy"):
        venv.restore_states(states[:1])


def test_collected_trajectories_replay_to_the_bit() -> None:
    venv = envs.make_vec("cartpole", "terminating", 3, 0)
    for item in envs.collect(venv, LeftThenRight(), 5, np.random.default_rng(0), keep_states=True):
        assert item.sim_states is not None
        env, trajectory = envs.make("cartpole", "terminating"), item.trajectory
        assert np.array_equal(env.restore_state(item.sim_states[0]), trajectory.observations[0])
        terminated = truncated = False
        for t, action in enumerate(trajectory.actions):
            assert not terminated and not truncated
            obs, _, terminated, truncated, _ = env.step(action)
            assert np.array_equal(obs, trajectory.observations[t + 1])
            assert np.array_equal(env.save_state(), item.sim_states[t + 1])
            assert envs.gold(env).reward == item.gold_rewards[t]
            assert np.array_equal(envs.gold(env).factors, item.factors[t])
        assert terminated or truncated
        assert trajectory.terminated == terminated
        assert trajectory.observations.dtype == np.float32 and trajectory.actions.dtype == np.int64


def test_collecting_takes_each_copys_first_episodes_whatever_their_length() -> None:
    n_envs, n = 4, 8
    collected = envs.collect(envs.make_vec("cartpole", "terminating", n_envs, 3), envs.RandomPolicy(
        envs.make("cartpole").action_space), n, np.random.default_rng(1))
    lengths = np.array([len(item.trajectory) for item in collected]).reshape(2, n_envs)
    venv = envs.make_vec("cartpole", "terminating", n_envs, 3)
    policy, rng = envs.RandomPolicy(venv.action_space), np.random.default_rng(1)
    seen: list[list[int]] = [[] for _ in range(n_envs)]
    obs, steps = np.asarray(venv.reset()), np.zeros(n_envs, dtype=int)
    while min(len(each) for each in seen) < 2:
        raw, _, dones, _ = venv.step(policy.act(obs, rng))
        obs = np.asarray(raw)
        steps += 1
        for i in np.flatnonzero(dones):
            seen[i].append(int(steps[i]))
            steps[i] = 0
    assert lengths.tolist() == [[each[0] for each in seen], [each[1] for each in seen]]
    finished_first = sorted(length for each in seen for length in np.cumsum(each))[:n]
    assert len(set(lengths.ravel())) > 1 and sum(finished_first) != lengths.sum()


def test_the_mean_length_of_collected_trajectories_is_unbiased() -> None:
    # Random MDP, terminating: the mean length under the uniform policy follows from the arrays, time limit included.
    mdp = envs.task("random-mdp").mdp("terminating")
    assert mdp is not None
    flow, alive, expected = mdp.transitions.mean(1), mdp.initial.copy(), 0.0
    for _ in range(50):
        expected += alive.sum()
        alive = np.where(mdp.terminal, 0.0, alive @ flow)
    venv = envs.make_vec("random-mdp", "terminating", 10, 0)
    collected = envs.collect(venv, envs.RandomPolicy(venv.action_space), 200, np.random.default_rng(0))
    lengths = np.array([len(item.trajectory) for item in collected])
    error = lengths.std() / np.sqrt(len(lengths))
    assert abs(lengths.mean() - expected) < 4 * error  # false alarms: 6e-5 of seeds; the seed is fixed


def test_box_actions_are_clipped_and_stored_as_given() -> None:
    class TooStrong:
        def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
            return np.full((len(obs), 1), 9.0)

    item = envs.collect(envs.make_vec("pendulum", "fixed", 1, 0), TooStrong(), 1, None)[0]
    assert item.trajectory.actions.dtype == np.float32 and (item.trajectory.actions == 2.0).all()
    assert not item.trajectory.terminated and len(item.trajectory) == 200 and item.sim_states is None


def test_a_random_policy_needs_a_generator_and_covers_its_space() -> None:
    policy = envs.RandomPolicy(envs.make("pendulum").action_space)
    with pytest.raises(InvalidArgument, match="rng"):
        policy.act(np.zeros((2, 3)))
    actions = policy.act(np.zeros((2000, 3)), np.random.default_rng(0))
    assert actions.shape == (2000, 1) and actions.min() < -1.9 and actions.max() > 1.9
    with pytest.raises(InvalidArgument, match="n_trajectories"):
        envs.collect(envs.make_vec("pendulum", "fixed", 1, 0), policy, 0, None)
