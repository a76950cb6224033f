"""Every preset keeps every law of the kit; regret keeps its own laws too, and partial return breaks them."""

from typing import Any

import pytest

from preflab import oracles
from preflab.experts import TabularExpert
from preflab.interfaces import Oracle
from preflab.oracles import Human
from preflab.tabular import TabularMDP
from preflab.testing import LawBroken
from preflab.testing.oracles import (
    FACTOR_NAMES,
    ORACLE_LAWS,
    REGRET_LAWS,
    Law,
    World,
    law_regret_ignores_shaping,
    random_world,
    regolded,
)
from preflab.types import FloatArray

SETTINGS: dict[str, dict[str, object]] = {
    "partial_return": {"gamma": 1.0}, "noisy": {"gamma": 0.9}, "regret": {},
    "regret expected": {"regret_form": "expected"}, "regret discounted": {"regret_weighting": "discounted"},
    "regret_branching": {"regret_by": "branching", "regret_weighting": "discounted"},
    "pluralistic": {"humans": (Human("a", 0.5, {"one": 1}), Human("b", 0.3, {"other": 2}), Human("c", 0.2, {"one": -1}))},
}
WORLD = random_world()


class ExactStateValue:
    """V* of simulator states that are state numbers."""

    n_env_steps, share_bootstrapped = 0, 0.0

    def __init__(self, mdp: TabularMDP) -> None:
        self._expert, self.gamma = TabularExpert(mdp), mdp.gamma

    def values_of_states(self, states: FloatArray) -> FloatArray:
        return self._expert.values(states[:, 0])

    def card(self) -> dict[str, Any]:
        return {"beyond": "nothing: exact"}


class Preset:
    """Builds a preset for an MDP, as the kit asks for it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(
        self, mdp: TabularMDP, *, seed: int = 0, beta: float | None = None, mistake_rate: float | None = None
    ) -> Oracle:
        settings = oracles.OracleSettings(
            target_accuracy=0.85 if beta is None else None, beta=beta, mistake_rate=mistake_rate,
            **SETTINGS[self.name],  # type: ignore[arg-type]
        )
        return oracles.build(
            self.name.split()[0], settings, seed=seed, calibration=regolded(WORLD.pool, mdp), value=TabularExpert(mdp),
            state_value=ExactStateValue(mdp), value_card={"task": "random", "form": "terminating"}, task="random",
            form="terminating", factor_names=FACTOR_NAMES,
        )


@pytest.fixture
def world() -> World:
    return WORLD


@pytest.mark.parametrize("law", ORACLE_LAWS.values(), ids=ORACLE_LAWS)
@pytest.mark.parametrize("name", SETTINGS)
def test_every_preset_keeps_every_law(name: str, law: Law, world: World) -> None:
    law(Preset(name), world)


@pytest.mark.parametrize("law", REGRET_LAWS.values(), ids=REGRET_LAWS)
@pytest.mark.parametrize("name", ["regret", "regret expected"])
def test_regret_keeps_its_own_laws_in_both_forms(name: str, law: Law, world: World) -> None:
    law(Preset(name), world)


@pytest.mark.parametrize("name", ["regret discounted", "regret_branching"])
def test_discounted_regret_ignores_potential_shaping_too(name: str, world: World) -> None:
    law_regret_ignores_shaping(Preset(name), world)


@pytest.mark.parametrize("name", ["partial_return", "noisy"])
def test_partial_return_does_not_ignore_potential_shaping(name: str, world: World) -> None:
    with pytest.raises(LawBroken, match="potential shaping"):
        law_regret_ignores_shaping(Preset(name), world)


def test_the_world_of_the_laws_has_terminated_and_cut_segments_and_padding(world: World) -> None:
    terminated = world.pool.segments.terminated.any(axis=1)
    assert terminated.sum() > 20 and (~terminated).sum() > 20
    assert world.pool.segments.absorbing.sum() > 50
