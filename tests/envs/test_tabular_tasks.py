"""The finite tasks agree with their arrays, and the board follows Knox et al.'s rules."""

import numpy as np
import pytest
from scipy import stats

from preflab import envs, tabular
from preflab.envs import delivery
from preflab.tabular import TabularMDP

UP, DOWN, LEFT, RIGHT = range(4)


def solved(name: str, form: str) -> TabularMDP:
    mdp = envs.task(name).mdp(form)
    assert mdp is not None
    return mdp


def test_only_finite_tasks_have_arrays() -> None:
    finite = {name for name, task in envs.TASKS.items() if task.mdp() is not None}
    assert finite == {"delivery-gridworld", "random-mdp"}


@pytest.mark.parametrize("form", ["fixed", "terminating"])
def test_transition_frequencies_follow_the_arrays(form: str) -> None:
    mdp, env = solved("random-mdp", form), envs.make("random-mdp", form)
    counts = np.zeros_like(mdp.transitions)
    first = np.zeros(mdp.n_states)
    rng = np.random.default_rng(0)
    state, _ = env.reset(seed=0)
    for action in rng.integers(mdp.n_actions, size=8_000):
        after, _, terminated, truncated, _ = env.step(action)
        counts[state, action, after] += 1
        assert envs.gold(env).reward == mdp.rewards[state, action, after]
        assert terminated == bool(mdp.terminal[after])
        state = after
        if terminated or truncated:
            state, _ = env.reset()
            first[state] += 1
    assert not counts[mdp.transitions == 0].any() and not first[mdp.initial == 0].any()
    expected = counts.sum(-1, keepdims=True) * mdp.transitions
    is_enough = expected > 5
    statistic = ((counts - expected)[is_enough] ** 2 / expected[is_enough]).sum()
    freedom = (is_enough.sum(-1) - 1).clip(min=0).sum()
    assert stats.chi2.sf(statistic, freedom) > 1e-4  # false alarms: about 1e-4 of seeds; the seed is fixed
    assert stats.chisquare(first[mdp.initial > 0]).pvalue > 1e-4


@pytest.mark.parametrize("form", ["fixed", "terminating"])
def test_every_move_on_the_board_is_the_one_in_the_arrays(form: str) -> None:
    mdp, env = solved("delivery-gridworld", form), envs.make("delivery-gridworld", form)
    env.reset(seed=0)
    head = env.save_state()[:-1]
    for state in range(mdp.n_states):
        for action in range(4):
            assert env.restore_state(np.append(head, state)) == state
            after, _, terminated, _, _ = env.step(action)
            assert mdp.transitions[state, action, after] == 1.0
            assert envs.gold(env).reward == mdp.rewards[state, action, after]
            assert terminated == mdp.terminal[after]


def test_the_board_pays_as_knox_et_al_say() -> None:
    places = delivery.cells()
    mdp, is_end = solved("delivery-gridworld", "fixed"), solved("delivery-gridworld", "terminating").terminal

    def pay(place: tuple[int, int], action: int) -> tuple[tuple[int, int], float]:
        state = places.index(place)
        after = int(mdp.transitions[state, action].argmax())
        return places[after], float(mdp.rewards[state, action, after])

    assert (len(places), is_end.sum(), (mdp.initial > 0).sum()) == (97, 5, 92)
    assert pay((0, 0), RIGHT) == ((0, 1), -1.0)  # road
    assert pay((0, 0), UP) == ((0, 0), -1.0)  # the edge blocks
    assert pay((1, 2), RIGHT) == ((1, 2), -1.0)  # a house blocks
    assert pay((1, 0), RIGHT) == ((1, 1), 0.0)  # coin: 1 − 1
    assert pay((3, 1), RIGHT) == ((3, 2), -2.0)  # roadblock: −1 − 1
    assert pay((0, 4), RIGHT) == ((0, 5), -2.0)  # mud instead of gas
    assert pay((0, 5), UP) == ((0, 5), -2.0)  # blocked in mud
    assert pay((1, 5), RIGHT) == ((1, 6), -1.0)  # coin on mud: 1 − 2
    assert pay((3, 5), RIGHT) == ((3, 6), -3.0)  # roadblock on mud: −1 − 2
    assert pay((6, 8), RIGHT) == ((6, 9), 50.0)  # the goal costs no gas
    assert pay((2, 8), RIGHT) == ((2, 9), -50.0)  # nor does a sheep
    assert pay((6, 9), LEFT) == ((6, 9), 0.0)  # held at reward 0
    assert delivery.BOARD[9][2] == "c" and pay((9, 2), DOWN) == ((9, 2), -1.0)  # no second coin for bumping


def test_an_optimal_driver_reaches_the_goal_from_everywhere() -> None:
    for form in ("fixed", "terminating"):
        mdp, env = solved("delivery-gridworld", form), envs.make("delivery-gridworld", form)
        _, q = tabular.optimal_values(mdp)
        actions = tabular.greedy(q)
        head_env = env.reset(seed=0)
        assert head_env[1] == {}
        head = env.save_state()[:-1]
        for start in np.flatnonzero(mdp.initial):
            state, total, terminated, truncated = env.restore_state(np.append(head, start)), 0.0, False, False
            while not (terminated or truncated):
                state, _, terminated, truncated, _ = env.step(actions[int(state)])
                total += envs.gold(env).reward
            place = delivery.cells()[int(state)]
            assert delivery.BOARD[place[0]][place[1]] == "G" and total > 0
            assert terminated == (form == "terminating")


def test_the_forms_of_the_random_mdp_differ_in_the_last_state_alone() -> None:
    fixed, ending = solved("random-mdp", "fixed"), solved("random-mdp", "terminating")
    assert not fixed.terminal.any() and ending.terminal.tolist() == [False] * 11 + [True]
    assert np.array_equal(fixed.transitions[:-1], ending.transitions[:-1])
    assert np.array_equal(fixed.rewards[:-1], ending.rewards[:-1])
    assert (ending.transitions[-1, :, -1] == 1).all() and not ending.rewards[-1].any()
