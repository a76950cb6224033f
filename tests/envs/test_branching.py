"""Branching: what follows a restored state repeats to the bit, knows no clock, and adds up to the exact value."""

from collections.abc import Callable

import numpy as np
import pytest

from preflab import envs, tabular
from preflab.envs import BranchedValue, BranchSettings, branched_value, follow
from preflab.errors import InvalidArgument
from preflab.experts import TabularExpert, load_expert
from preflab.types import AnyArray, FloatArray, IntArray

Copies = Callable[..., list[envs.HiddenGold]]


class Swaying:
    """Acts by a fixed linear rule within ±0.4, the same for the same observation."""

    def __init__(self, n_obs: int, n_act: int) -> None:
        self._weights = np.random.default_rng(0).normal(size=(n_obs, n_act))

    def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
        return np.asarray(0.4 * np.tanh((obs[:, :, None] * self._weights).sum(axis=1)), dtype=np.float32)


@pytest.fixture
def copies() -> Copies:
    """Returns a maker of copies of a task that pay gold and have been reset."""

    def make(name: str, form: str, n: int, seed: int = 0) -> list[envs.HiddenGold]:
        made = [envs.make(name, form, reveal_gold=True) for _ in range(n)]
        for i, each in enumerate(made):
            each.reset(seed=seed + i)
        return made

    return make


def exact(name: str, form: str) -> tuple[TabularExpert, FloatArray]:
    """Returns the optimal policy and V* (S,), 0 in terminals."""
    mdp = envs.task(name).mdp(form)
    assert mdp is not None
    return TabularExpert(mdp), np.where(mdp.terminal, 0.0, tabular.optimal_values(mdp)[0])


def on_the_board(form: str, v: FloatArray) -> tuple[IntArray, FloatArray]:
    """Returns every cell that is worth something, and its simulator state."""
    env = envs.make("delivery-gridworld", form)
    env.reset(seed=0)
    live = np.flatnonzero(v)
    states = np.repeat(env.save_state()[None], len(live), axis=0)
    states[:, -1] = live
    return live, states


@pytest.mark.parametrize(("name", "form"), [
    ("mujoco-hopper", "terminating"), ("mujoco-humanoid", "fixed"), ("mujoco-reacher", "fixed"), ("pendulum", "fixed"),
])
def test_a_branch_repeats_the_rest_of_a_trajectory_to_the_bit(name: str, form: str, copies: Copies) -> None:
    venv = envs.make_vec(name, form, 1, 0)
    obs, act = venv.observation_space.shape, venv.action_space.shape
    assert obs and act
    policy = Swaying(obs[0], act[0])
    whole = envs.collect(venv, policy, 1, None, keep_states=True)[0]
    assert whole.sim_states is not None
    middles = [0, len(whole.trajectory) // 3, len(whole.trajectory) - 2]
    left = [len(whole.trajectory) - middle for middle in middles]
    branches = follow(copies(name, form, 2, seed=9), policy, whole.sim_states[middles], left, keep=("observations", "states"))
    for middle, branch in zip(middles, branches, strict=True):
        np.testing.assert_array_equal(branch.rewards, whole.gold_rewards[middle:])
        np.testing.assert_array_equal(branch.observations, whole.trajectory.observations[middle:])
        assert branch.states is not None and branch.terminated == whole.trajectory.terminated
        np.testing.assert_array_equal(branch.states[:, 1:], whole.sim_states[middle:, 1:])


def test_neither_other_branches_nor_copies_nor_threads_change_a_bit(copies: Copies) -> None:
    expert = load_expert("mujoco-halfcheetah", "fixed").policy
    starts = np.stack([copy.save_state() for copy in copies("mujoco-halfcheetah", "fixed", 7)])
    limits = [5, 12, 3, 9, 1, 12, 7]
    reference = follow(copies("mujoco-halfcheetah", "fixed", 7), expert, starts, limits)
    assert [len(branch.rewards) for branch in reference] == limits
    for n_copies, n_threads in ((1, 1), (3, 2), (9, 1)):
        again = follow(copies("mujoco-halfcheetah", "fixed", n_copies), expert, starts, limits, n_threads=n_threads)
        assert all(np.array_equal(one.rewards, two.rewards) for one, two in zip(reference, again, strict=True))
        assert all(np.array_equal(one.observations, two.observations) for one, two in zip(reference, again, strict=True))


def test_a_branch_knows_no_time_limit_and_ends_at_a_true_termination(copies: Copies) -> None:
    class Left:
        def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
            return np.zeros(len(obs), dtype=np.int64)

    late = copies("cartpole", "fixed", 1)[0]
    late.restore_state(late.save_state(), n_elapsed=249)
    (branch,) = follow(copies("cartpole", "fixed", 1), Left(), [late.save_state()], 300)
    assert len(branch.rewards) == 300 and not branch.terminated and branch.observations.shape == (1, 4)
    (fallen,) = follow(copies("cartpole", "terminating", 1), Left(), [copies("cartpole", "terminating", 1)[0].save_state()], 300)
    assert fallen.terminated and 5 < len(fallen.rewards) < 15


def test_a_random_policy_draws_the_same_again_and_nothing_is_followed_for_no_steps(copies: Copies) -> None:
    made = copies("random-mdp", "fixed", 2)
    policy, starts = envs.RandomPolicy(made[0].action_space), [made[0].save_state()] * 3
    one, two = ([branch.rewards.sum() for branch in follow(made, policy, starts, 9, np.random.default_rng(0))] for _ in range(2))
    assert one == two and len(set(one)) == 3
    assert follow(made, policy, [], 9) == []
    for n_steps, keep in ((0, ()), (1, ("gold",))):
        with pytest.raises(InvalidArgument, match="at least 1 step"):
            follow(made, policy, starts, n_steps, keep=keep)


@pytest.mark.parametrize("form", ["fixed", "terminating"])
def test_values_on_the_board_are_the_exact_ones_in_every_cell(form: str) -> None:
    expert, v = exact("delivery-gridworld", form)
    live, states = on_the_board(form, v)
    value = branched_value("delivery-gridworld", form, expert, BranchSettings(expert.gamma, tail=0.9), n_copies=5)
    np.testing.assert_allclose(value.values_of_states(states), v[live], atol=1e-9)  # the driver arrives within 106 steps
    assert value.share_bootstrapped == 0


@pytest.mark.parametrize("form", ["fixed", "terminating"])
def test_where_transitions_are_random_values_are_right_in_the_mean(form: str) -> None:
    expert, v = exact("random-mdp", form)
    value = branched_value("random-mdp", form, expert, BranchSettings(expert.gamma, tail=1e-4))
    env, states = envs.make("random-mdp", form), []
    for seed in range(300):
        env.reset(seed=seed)
        states.append(np.append(env.save_state()[:-1], seed % 3))
    found, cell = value.values_of_states(np.stack(states)), np.arange(300) % 3
    for state in range(3):
        mine = found[cell == state]
        assert abs(mine.mean() - v[state]) < 4 * mine.std() / np.sqrt(len(mine))  # false alarms: 2e-4 of seeds; seeds are fixed


def test_a_branch_is_as_long_as_the_discount_asks_or_the_cap_allows() -> None:
    assert BranchSettings(0.9).n_steps == 44 and 0.9**44 <= 0.01 < 0.9**43
    assert [BranchSettings(gamma).n_steps for gamma in (0.98, 0.99, 0.9999)] == [228, 459, 46_050]
    assert BranchSettings(0.1, tail=0.01).n_steps == 2  # γ^h = tail exactly
    assert BranchSettings(0.9999, max_steps=1000).n_steps == 1000 and BranchSettings(0.9, max_steps=1000).n_steps == 44
    for gamma, tail, max_steps in ((1.0, 0.01, None), (0.9, 0.0, None), (0.9, 1.0, None), (0.9, 0.01, 0)):
        with pytest.raises(InvalidArgument):
            BranchSettings(gamma, tail, max_steps)


@pytest.mark.parametrize("form", ["fixed", "terminating"])
def test_beyond_the_cap_the_critic_stands_in_and_is_counted(form: str, copies: Copies) -> None:
    expert, v = exact("delivery-gridworld", form)
    live, states = on_the_board(form, v)
    settings = BranchSettings(expert.gamma, max_steps=4)
    capped = BranchedValue(copies("delivery-gridworld", form, 3), expert, settings, expert)
    np.testing.assert_allclose(capped.values_of_states(states), v[live], atol=1e-9)
    near = (capped.state()["n_steps"] < 4).mean()  # those that delivered within three steps
    assert (0 < near < 0.2 and capped.share_bootstrapped < 1 - near) if form == "terminating" else capped.share_bootstrapped == 1
    assert capped.card()["beyond"] == "the critic's value" and capped.card()["steps_of_a_branch"] == 4
    with pytest.raises(InvalidArgument, match=r"max_steps needs a critic: γ = 0\.999 takes 4603 steps"):
        BranchedValue(copies("delivery-gridworld", form, 1), expert, settings)


def test_a_state_is_paid_for_once_whatever_its_clock_and_what_is_remembered_survives() -> None:
    expert, _ = exact("random-mdp", "fixed")
    value = branched_value("random-mdp", "fixed", expert, BranchSettings(expert.gamma), n_copies=3)
    env, states = envs.make("random-mdp", "fixed"), []
    for seed in range(4):
        env.reset(seed=seed)
        states.append(env.save_state())
    late = np.stack(states)
    late[:, 0] = 49.0
    first = value.values_of_states(np.stack([*states, states[0]]))
    assert value.n_env_steps == 4 * 90 and first[4] == first[0]
    np.testing.assert_array_equal(value.values_of_states(late), first[:4])
    assert value.n_env_steps == 4 * 90 and (late[:, 0] == 49).all()
    other = branched_value("random-mdp", "fixed", expert, BranchSettings(expert.gamma), n_copies=8)
    other.load_state({name: array.copy() for name, array in value.state().items()})
    assert other.n_env_steps == 360
    np.testing.assert_array_equal(other.values_of_states(late[::-1]), first[3::-1])
    assert other.n_env_steps == 360
    alone = branched_value("random-mdp", "fixed", expert, BranchSettings(expert.gamma), n_copies=1)
    np.testing.assert_array_equal(np.concatenate([alone.values_of_states(state[None]) for state in late]), first[:4])
    assert value.values_of_states(np.zeros((0, 12))).shape == (0,)
