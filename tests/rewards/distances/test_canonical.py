"""Which canonical form is blind to what: the table of docs/distances.md, to 1e-12; forms by definition; forms that forget."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from preflab.errors import InvalidArgument
from preflab.rewards.distances import CANONICAL, canonical, shaped_by
from preflab.tabular import Dynamics, TabularMDP, evaluate_policy
from preflab.types import FloatArray

Form = Callable[[FloatArray, Dynamics], FloatArray]
DOCS = Path(__file__).resolve().parents[3] / "docs" / "distances.md"
EXACT, SEEN = 1e-12, 0.1  # what is removed leaves no more, what is not leaves no less


class World(NamedTuple):
    """A finite task, two rewards on it (2, S, A, S), and what no policy notices."""

    dynamics: Dynamics
    rewards: FloatArray
    potential: FloatArray
    redistribution: FloatArray


@pytest.fixture
def world(dynamics: Dynamics, rewards: FloatArray, potential: FloatArray, redistribution: FloatArray) -> World:
    return World(dynamics, rewards, potential, redistribution)


def blind_to_shaping(form: Form, world: World) -> float:
    """Returns the largest trace that γΦ(s') − Φ(s) leaves."""
    shaped = shaped_by(world.rewards, world.potential, world.dynamics.gamma)
    return float(np.abs(form(shaped, world.dynamics) - form(world.rewards, world.dynamics)).max())


def blind_to_redistribution(form: Form, world: World) -> float:
    moved = world.rewards + world.redistribution
    return float(np.abs(form(moved, world.dynamics) - form(world.rewards, world.dynamics)).max())


def blind_to_shift(form: Form, world: World) -> float:
    return float(np.abs(form(world.rewards + 2.0, world.dynamics) - form(world.rewards, world.dynamics)).max())


def linear(form: Form, world: World) -> float:
    first, second = world.rewards
    whole = form(3 * first - 2 * second, world.dynamics)
    return float(np.abs(whole - 3 * form(first, world.dynamics) + 2 * form(second, world.dynamics)).max())


def stays_in_the_class(form: Form, world: World) -> float:
    """Returns the spread over all deterministic policies, at each state, of what the form adds to their value less a Φ(s)."""
    added = form(world.rewards[0], world.dynamics) - world.rewards[0]
    n_states, n_actions = world.dynamics.n_states, world.dynamics.n_actions
    mdp = TabularMDP(
        world.dynamics.transitions, added, world.dynamics.gamma, world.dynamics.terminal, world.dynamics.initial
    )
    chosen = itertools.product(range(n_actions), repeat=n_states)
    values = np.array([evaluate_policy(mdp, np.eye(n_actions)[list(policy)]) for policy in chosen])
    return float(np.ptp(values, axis=0).max())


LAWS = {
    "scaling": linear, "shaping": blind_to_shaping, "S'-redistribution": blind_to_redistribution, "constant shift": blind_to_shift,
    "stays in the class": stays_in_the_class,
}


def documented() -> dict[str, dict[str, bool]]:
    """Returns the table of docs/distances.md: form × what it is blind to."""
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in DOCS.read_text(encoding="utf-8").splitlines()]
    first = next(i for i, row in enumerate(rows) if "S'-redistribution" in row)
    body = itertools.takewhile(lambda row: len(row) > 1, rows[first + 2 :])
    return {row[0]: dict(zip(rows[first][1:], [cell == "yes" for cell in row[1:]], strict=True)) for row in body}


TABLE = documented()


def test_the_documented_table_has_a_row_for_every_form() -> None:
    assert set(TABLE) == set(CANONICAL)
    assert all(set(LAWS) < set(row) for row in TABLE.values())


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", CANONICAL)
def test_a_form_is_blind_to_what_the_table_says_and_to_nothing_else(name: str, law: str, world: World) -> None:
    trace = LAWS[law](CANONICAL[name], world)
    assert trace <= EXACT if TABLE[name][law] else trace >= SEEN


@pytest.mark.parametrize("name", CANONICAL)
def test_valid_forms_are_those_that_agree_exactly_on_a_class(name: str, world: World) -> None:
    laws = TABLE[name]
    assert laws["valid"] == all(laws[law] for law in ("scaling", "shaping", "S'-redistribution", "stays in the class"))
    first, second = CANONICAL[name](world.rewards, world.dynamics)
    assert np.abs(first - second).max() >= SEEN


# What each form is by its definition, in loops over what it averages, and which of all rewards it chooses.


def by_enumeration(name: str, reward: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Returns EPIC's and DARD's forms by sums over every S, A, S', S'' in turn, uniform over states and actions."""
    n, m, gamma, t = dynamics.n_states, dynamics.n_actions, dynamics.gamma, dynamics.transitions
    found = np.zeros_like(reward)
    for s, a, after in itertools.product(range(n), range(m), range(n)):
        total = 0.0
        for action, x, y in itertools.product(range(m), range(n), range(n)):
            if name == "epic":
                terms = gamma * reward[after, action, y] - reward[s, action, y] - gamma * reward[x, action, y]
                total += terms / (m * n * n)
            else:
                terms = gamma * reward[after, action, y] - reward[s, action, x] - gamma * reward[x, action, y]
                total += terms * t[s, action, x] * t[after, action, y] / m
        found[s, a, after] = reward[s, a, after] + total
    return found


def fits_its_definition(form: Form, world: World, name: str) -> bool:
    """Returns whether the form is the average that defines it, or the least of its class, or level under the policy."""
    reward, dynamics = world.rewards[0], world.dynamics
    found = form(reward, dynamics)
    if name in ("epic", "dard"):
        return bool(np.abs(found - by_enumeration(name, reward, dynamics)).max() <= EXACT)
    if name.startswith("val"):  # the mean of an advantage under its own policy is 0 at every state
        return bool(np.abs((found * dynamics.transitions).sum(-1).mean(-1)).max() <= EXACT)
    weight = dynamics.transitions if name == "minimal_weighted" else np.ones_like(found)
    shifts = [shaped_by(np.zeros_like(found), each, dynamics.gamma) for each in np.eye(dynamics.n_states)]
    moves = shifts if name == "minimal_potential" else [*shifts, world.redistribution]
    # Least norm: no member of the class lies in a direction that is not orthogonal to it.
    return all(abs((weight * found * move).sum()) <= 1e-11 for move in moves)


@pytest.mark.parametrize("name", [name for name in CANONICAL if name != "none"])
def test_a_form_is_what_defines_it(name: str, world: World) -> None:
    assert fits_its_definition(CANONICAL[name], world, name)


# Liars: forms that forget one term each.


def epic_without_the_mean(reward: FloatArray, dynamics: Dynamics) -> FloatArray:
    return shaped_by(reward, reward.mean((-2, -1)), dynamics.gamma)


def epic_without_what_is_ahead(reward: FloatArray, dynamics: Dynamics) -> FloatArray:
    p = reward.mean((-2, -1))
    return np.asarray(reward - p[..., None, None] - dynamics.gamma * p.mean(-1)[..., None, None, None])


def dard_without_what_is_between(reward: FloatArray, dynamics: Dynamics) -> FloatArray:
    return shaped_by(reward, canonical.expected(reward, dynamics).mean(-1), dynamics.gamma)


def dard_with_actions_of_its_own(reward: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Draws an A for each of its means: invariant to all that DARD is, and not DARD."""
    flow = dynamics.transitions.mean(1)
    met = flow @ reward.mean(-2) @ flow.T
    p = canonical.expected(reward, dynamics).mean(-1)
    return np.asarray(shaped_by(reward, p, dynamics.gamma) - dynamics.gamma * met[..., :, None, :])


def val_without_what_is_ahead(reward: FloatArray, dynamics: Dynamics) -> FloatArray:
    mean = canonical.expected(reward, dynamics)
    level = mean - canonical.policy_values(mean, dynamics)[..., None]
    return np.repeat(level[..., None], dynamics.n_states, -1)


def val_without_discount(reward: FloatArray, dynamics: Dynamics) -> FloatArray:
    mean = canonical.expected(reward, dynamics)
    values = canonical.policy_values(mean, dynamics)
    after = np.einsum("ijk,...k->...ij", dynamics.transitions, values)
    return np.repeat((mean + after - values[..., None])[..., None], dynamics.n_states, -1)


def val_without_levelling(reward: FloatArray, dynamics: Dynamics) -> FloatArray:
    return np.repeat(canonical.expected(reward, dynamics)[..., None], dynamics.n_states, -1)


def minimal_without_weights(reward: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Spreads the right way a potential fitted without 1 / ‖T_sa‖²: valid, and not the least."""
    left = canonical.minimal_weighted(reward, dynamics)
    size = (dynamics.transitions**2).sum(-1, keepdims=True)
    return np.asarray(left * dynamics.transitions / size)


def minimal_without_spreading(reward: FloatArray, dynamics: Dynamics) -> FloatArray:
    return np.asarray(canonical.minimal(reward, dynamics) / dynamics.transitions)


def minimal_without_the_state_left(reward: FloatArray, dynamics: Dynamics) -> FloatArray:
    mean = canonical.expected(reward, dynamics)
    design = dynamics.gamma * dynamics.transitions.reshape(-1, dynamics.n_states)
    flat = mean.reshape(-1, len(design))
    left = flat - (design @ np.linalg.lstsq(design, flat.T, rcond=None)[0]).T
    return np.repeat(left.reshape(*mean.shape, 1), dynamics.n_states, -1)


def potential_of_possible_steps(reward: FloatArray, dynamics: Dynamics) -> FloatArray:
    """Takes the potential of `minimal_weighted`, so that it is as invariant, and not the least."""
    left = canonical.minimal_weighted(reward, dynamics)[..., 0]
    gap = canonical.expected(reward, dynamics) - left
    design = np.eye(dynamics.n_states)[:, None] - dynamics.gamma * dynamics.transitions
    flat = gap.reshape(-1, design.shape[0] * design.shape[1])
    potential = np.linalg.lstsq(design.reshape(-1, dynamics.n_states), flat.T, rcond=None)[0].T
    return shaped_by(reward, np.asarray(potential, np.float64).reshape(*gap.shape[:-1]), dynamics.gamma)


FORGETFUL: list[tuple[str, Form, set[str]]] = [
    ("epic", epic_without_the_mean, {"shaping", "constant shift", "definition"}),
    ("epic", epic_without_what_is_ahead, {"shaping", "constant shift", "stays in the class", "definition"}),
    ("dard", dard_without_what_is_between, {"shaping", "constant shift", "stays in the class", "definition"}),
    ("dard", dard_with_actions_of_its_own, {"definition"}),
    ("val", val_without_what_is_ahead, {"shaping", "constant shift", "stays in the class", "definition"}),
    ("val", val_without_discount, {"shaping", "constant shift", "stays in the class", "definition"}),
    ("val", canonical.val_potential, {"S'-redistribution"}),
    ("val", val_without_levelling, {"shaping", "constant shift", "definition"}),
    ("minimal", minimal_without_weights, {"definition"}),
    ("minimal", minimal_without_spreading, {"stays in the class", "definition"}),
    ("minimal_weighted", minimal_without_the_state_left, {"shaping", "stays in the class", "definition"}),
    ("minimal_potential", potential_of_possible_steps, {"definition"}),
]


def broken(form: Form, name: str, world: World) -> set[str]:
    """Returns what of the row `name` of the table a form does not keep."""
    found = {law for law, trace in LAWS.items() if (trace(form, world) <= EXACT) != TABLE[name][law]}
    return found if fits_its_definition(form, world, name) else {*found, "definition"}


@pytest.mark.parametrize(("name", "form", "laws"), FORGETFUL, ids=[form.__name__ for _, form, _ in FORGETFUL])
def test_a_form_that_forgets_one_term_is_caught(name: str, form: Form, laws: set[str], world: World) -> None:
    assert broken(form, name, world) == laws


def test_no_form_of_ours_forgets_anything(world: World) -> None:
    assert not {name for name, form in CANONICAL.items() if name != "none" and broken(form, name, world)}


# Terminals.


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row["shaping"]])
def test_shaping_that_is_zero_in_terminals_leaves_no_trace_there_either(
    name: str, ending: Dynamics, rewards: FloatArray, potential: FloatArray
) -> None:
    zero_at_the_end = np.where(ending.terminal, 0.0, potential)
    shaped = shaped_by(rewards, zero_at_the_end, ending.gamma)
    found, again = (CANONICAL[name](each, ending) for each in (rewards, shaped))
    assert np.abs(found - again).max() <= EXACT
    assert not found[:, ending.terminal].any()


@pytest.mark.parametrize("name", ["val", "minimal", "minimal_weighted"])
def test_a_constant_shift_is_seen_where_episodes_may_end(name: str, ending: Dynamics, rewards: FloatArray) -> None:
    assert np.abs(CANONICAL[name](rewards + 2.0, ending) - CANONICAL[name](rewards, ending)).max() >= SEEN


@pytest.mark.parametrize("name", CANONICAL)
def test_a_batch_is_canonicalized_as_each_alone(name: str, world: World) -> None:
    together = CANONICAL[name](world.rewards, world.dynamics)
    alone = [CANONICAL[name](each, world.dynamics) for each in world.rewards]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-13)


def test_distributions_may_be_given_and_shaping_is_removed_under_any(world: World) -> None:
    dynamics = world.dynamics
    shaped = shaped_by(world.rewards, world.potential, dynamics.gamma)
    states, actions = np.array([0.5, 0.3, 0.2, 0.0, 0.0, 0.0]), np.array([0.7, 0.3, 0.0])
    policy = np.tile([0.0, 0.2, 0.8], (6, 1))
    forms: list[Callable[[FloatArray], FloatArray]] = [
        lambda each: canonical.epic(each, dynamics, states, actions), lambda each: canonical.dard(each, dynamics, actions),
        lambda each: canonical.val(each, dynamics, policy),
    ]
    for form in forms:
        np.testing.assert_allclose(form(world.rewards), form(shaped), rtol=0, atol=EXACT)
    assert np.abs(canonical.val(world.rewards, dynamics, policy) - canonical.val(world.rewards, dynamics)).max() >= SEEN


def test_what_does_not_fit_the_task_is_refused_by_name(world: World) -> None:
    dynamics = world.dynamics
    with pytest.raises(InvalidArgument, match=r"rewards must end in \(S, A, S\)"):
        canonical.val(world.rewards[..., 0], dynamics)
    with pytest.raises(InvalidArgument, match="rewards must be finite"):
        canonical.epic(np.full_like(world.rewards, np.nan), dynamics)
    with pytest.raises(InvalidArgument, match="policy must be"):
        canonical.val(world.rewards, dynamics, np.ones((6, 3)))
    with pytest.raises(InvalidArgument, match=r"states must be \(6,\) probabilities"):
        canonical.epic(world.rewards, dynamics, states=np.ones(6))
