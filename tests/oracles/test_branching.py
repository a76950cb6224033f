"""Regret by branching, on numbers that can be checked by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from preflab import oracles
from preflab.errors import InvalidArgument, Refused
from preflab.experts import TabularExpert, tabular_expert
from preflab.oracles import BranchedRegret, OracleSettings, Regret
from preflab.testing.oracles import random_world
from preflab.types import FloatArray, ScoredSegments

MakeSegments = Callable[..., ScoredSegments]
WORLD = random_world()


class TableOfStates:
    """V(s) = 10 s under γ = ½, and a note of what was asked."""

    gamma = 0.5
    n_env_steps, share_bootstrapped = 7, 0.25

    def __init__(self) -> None:
        self.asked: list[float] = []

    def values_of_states(self, states: FloatArray) -> FloatArray:
        self.asked += states[:, 0].tolist()
        return np.asarray(10.0 * states[:, 0], dtype=np.float64)

    def card(self) -> dict[str, Any]:
        return {"tail": 0.01}


def with_states(scored: ScoredSegments) -> ScoredSegments:
    return replace(scored, sim_states=scored.segments.observations[..., None].astype(np.float64))


def test_branched_regret_by_hand(make_segments: MakeSegments) -> None:
    # V: 10 and 40 at the ends; 1 + 2/2 + 4/4 + 40/8 − 10 = −2
    table = TableOfStates()
    assert BranchedRegret(table).values(with_states(make_segments([[1, 2, 4]], states=[[1, 2, 3, 4]]))) == [-2]
    assert table.asked == [1, 4]


def test_a_segment_that_terminated_inside_is_branched_from_its_start_only(make_segments: MakeSegments) -> None:
    table = TableOfStates()
    scored = make_segments([[1, 2, 800, 800], [1, 2, 4, 8]], states=[[1, 2, 9, 9, 9], [1, 2, 3, 4, 5]], real=[2, 4])
    # 1 + 2/2 − 10, and 1 + 2/2 + 4/4 + 8/8 + 50/16 − 10
    assert BranchedRegret(table).values(with_states(scored)).tolist() == [-8, 4 + 3.125 - 10]
    assert table.asked == [1, 1, 5]
    ended = make_segments([[1, 2]], states=[[1, 2, 9]], terminated=[True])
    assert BranchedRegret(table).values(with_states(ended)) == [1 + 1 - 10]


def test_it_equals_discounted_regret_by_the_same_values() -> None:
    expert = TabularExpert(WORLD.mdp)

    class Exact(TableOfStates):
        gamma = WORLD.mdp.gamma

        def values_of_states(self, states: FloatArray) -> FloatArray:
            return expert.values(states[:, 0])

    by_critic = Regret(expert, weighting="discounted").values(WORLD.pool)
    np.testing.assert_allclose(BranchedRegret(Exact()).values(WORLD.pool), by_critic, atol=1e-12)
    assert BranchedRegret(Exact()).values(WORLD.pool[np.zeros(0, np.int64)]).shape == (0,)


def test_segments_without_states_are_refused_and_both_ends_are_enough(make_segments: MakeSegments) -> None:
    scored = make_segments([[1, 2, 4]], states=[[1, 2, 3, 4]])
    with pytest.raises(InvalidArgument, match="sim_states must be there for a judgment that branches"):
        BranchedRegret(TableOfStates()).values(scored)
    whole = with_states(scored)
    assert whole.sim_states is not None
    ends = replace(whole, sim_states=whole.sim_states[:, [0, -1]])
    assert BranchedRegret(TableOfStates()).values(ends) == BranchedRegret(TableOfStates()).values(whole)


def test_the_oracle_says_that_it_needs_states_and_its_card_says_what_it_cost() -> None:
    expert = tabular_expert("random", "terminating", WORLD.mdp)
    settings = OracleSettings(regret_by="branching", regret_weighting="discounted")
    built = {
        name: oracles.build(
            name, given, seed=0, calibration=WORLD.pool, value=expert.value, value_card=expert.card,
            state_value=TableOfStates(), task="random", form="terminating",
        )
        for name, given in (("regret_branching", settings), ("regret", OracleSettings()), ("partial_return", settings))
    }
    assert [oracle.needs_sim_states for oracle in built.values()] == [True, False, False]
    said = [oracles.needs_sim_states(name, settings) for name in ("regret_branching", "regret", "partial_return")]
    assert said == [True, True, False] and not oracles.needs_sim_states("regret", OracleSettings())
    card = built["regret_branching"].card()
    assert (card["calibration"]["n_env_steps"], card["calibration"]["share_bootstrapped"]) == (7, 0.25)
    assert card["judgment"]["branching"] == {"tail": 0.01} and card["expert"] == expert.card
    with pytest.raises(Refused, match=r"`make experts ENV=random ARGS=form=terminating`"):
        oracles.build("regret_branching", settings, seed=0, calibration=WORLD.pool, task="random", form="terminating")


@pytest.mark.parametrize("changes", [
    {"regret_by": "branching"}, {"regret_by": "branching", "regret_weighting": "discounted", "regret_form": "expected"},
    {"regret_by": "critics"}, {"branch_tail": 0.0}, {"branch_steps": 0},
])
def test_settings_that_do_not_telescope_or_never_end_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        OracleSettings(**changes)
