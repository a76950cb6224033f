"""Every preset in conf/oracle keeps every law of the kit: a new yaml is tested by existing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from omegaconf import OmegaConf

from preflab import oracles
from preflab.experiments.config import CONF, _settings, names
from preflab.experts import TabularExpert
from preflab.interfaces import Oracle
from preflab.oracles import OracleSettings
from preflab.tabular import TabularMDP
from preflab.testing import LawBroken, check_oracle
from preflab.testing.oracle_laws import LAWS, OracleCase, law_regret_ignores_shaping
from preflab.testing.oracles import FACTOR_NAMES, OracleTags, random_world, regolded, tags_of
from preflab.types import FloatArray, ScoredSegments

WORLD = random_world()
FOR_THIS_WORLD: dict[str, dict[str, Any]] = {  # what an env's yaml says for the tasks that we ship
    "pluralistic": {"humans": (
        {"name": "a", "share": 0.5, "weights": {"one": 1}}, {"name": "b", "share": 0.3, "weights": {"other": 2}},
        {"name": "c", "share": 0.2, "weights": {"one": -1}},
    )},
    "condorcet": {"levels": (
        {"feature": "one", "margin": 0.5}, {"feature": "other", "margin": 0.3}, {"feature": "act_0", "sign": -1, "margin": 0.1},
    )},
    "drift": {"drift_to": {"other": 1, "one": -0.5}},
    "heron": {"levels": ({"feature": "one", "margin": 0.5}, {"feature": "other", "sign": -1, "margin": 0.2})},
}
SWEEP_SLOW = ("law_answers_are_the_same_elsewhere",)  # another process, once


class ExactStateValue:
    """V* of simulator states that are state numbers."""

    n_env_steps, share_bootstrapped = 0, 0.0

    def __init__(self, mdp: TabularMDP) -> None:
        self._expert, self.gamma = TabularExpert(mdp), mdp.gamma

    def values_of_states(self, states: FloatArray) -> FloatArray:
        return self._expert.values(states[:, 0])

    def card(self) -> dict[str, Any]:
        return {"beyond": "nothing: exact"}


@dataclass(frozen=True)
class Preset:
    """Builds a preset for an MDP, as the kit asks for it."""

    name: str
    settings: OracleSettings
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __call__(
        self, mdp: TabularMDP, *, seed: int = 0, beta: float | None = None, mistake_rate: float | None = None,
        pool: ScoredSegments | None = None,
    ) -> Oracle:
        settings = replace(self.settings, **self.changes)
        if beta is not None:
            settings = replace(settings, beta=beta, target_accuracy=None)
        if mistake_rate is not None:
            settings = replace(settings, mistake_rate=mistake_rate)
        return oracles.build(
            self.name, settings, seed=seed, calibration=regolded(WORLD.pool, mdp) if pool is None else pool,
            value=TabularExpert(mdp), state_value=ExactStateValue(mdp), value_card={"task": "random", "form": "terminating"},
            task="random", form="terminating", factor_names=FACTOR_NAMES,
        )

    def tags(self) -> OracleTags:
        """Returns what the preset claims: what its parts show, and what its settings take."""
        settings, seen = replace(self.settings, **self.changes), tags_of(self(WORLD.mdp))
        kinds = oracles.judgments(self.name, settings)
        return replace(
            seen, has_order=not kinds & {"cells", "hierarchy"},
            takes_beta="cells" not in kinds and settings.people != "alpacafarm" and settings.mistakes == "iid",
            takes_mistakes=settings.mistakes == "iid" and settings.population == "mixture",
            tie_rate=settings.tie_rate if settings.ties else None, skip_rate=settings.skip_rate or None,
            is_hierarchy="hierarchy" in kinds,
        )


def earned(scored: ScoredSegments) -> FloatArray:
    """Returns (N,) gold of the steps that really happened, twice."""
    return 2 * oracles.PartialReturn().values(scored)


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns the path of reward code."""
    file = tmp_path_factory.mktemp("code") / "my_reward.py"
    file.write_text("def compute(obs, act, next_obs, info):\n    return info['one'] - 0.1 * act + 0.3 * (next_obs == 2)\n", "utf-8")
    return str(file)


@pytest.fixture(scope="module")
def presets(code: str) -> dict[str, Preset]:
    """Returns every preset, told what this world needs."""
    found = {}
    for name in names("oracle"):
        changes = dict(FOR_THIS_WORLD.get(name, {}))
        changes |= {"callable": {"function": "statistics:mean"}, "reward_code": {"code": code}}.get(name, {})
        said = OmegaConf.to_container(OmegaConf.load(CONF / "oracle" / f"{name}.yaml"))
        assert isinstance(said, dict)
        settings = _settings(OracleSettings, "oracle", {str(key): value for key, value in said.items()})
        found[name] = Preset(name, settings, {key: oracles_tuple(value) for key, value in changes.items()})
    return found


def oracles_tuple(value: Any) -> Any:
    """Returns lists as the tuples that settings hold."""
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize("name", names("oracle"))
def test_every_preset_keeps_every_law(name: str, presets: dict[str, Preset], monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "callable":
        monkeypatch.setattr("preflab.oracles.building.imported", lambda path: earned)
    laws = {law: check for law, check in LAWS.items() if law not in SWEEP_SLOW or name in ("noisy", "heron", "pluralistic")}
    rows = check_oracle(presets[name], presets[name].tags(), world=WORLD, laws=laws)
    assert sum(row.status == "passed" for row in rows) >= 10


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(names("oracle")) - {"callable"}))
def test_every_preset_answers_alike_in_another_process(name: str, presets: dict[str, Preset]) -> None:
    check_oracle(presets[name], presets[name].tags(), world=WORLD, laws={law: LAWS[law] for law in SWEEP_SLOW})


@pytest.mark.parametrize("changes", [
    {"regret_form": "expected"}, {"regret_weighting": "discounted"}, {"regret_form": "expected", "regret_weighting": "discounted"},
], ids=str)
def test_regret_keeps_its_laws_in_every_form(changes: dict[str, Any], presets: dict[str, Preset]) -> None:
    preset = replace(presets["regret"], changes=changes)
    rows = check_oracle(preset, preset.tags(), laws={name: law for name, law in LAWS.items() if "regret" in name})
    assert [row.status for row in rows] == ["passed"] * 3


@pytest.mark.parametrize("name", ["partial_return", "noisy"])
def test_partial_return_does_not_ignore_potential_shaping(name: str, presets: dict[str, Preset]) -> None:
    with pytest.raises(LawBroken, match="potential shaping"):
        law_regret_ignores_shaping(OracleCase(presets[name], OracleTags(regret="uniform"), WORLD))


def test_the_published_threshold_of_b_pref_breaks_the_law_that_rounds_alike_are_answered_alike(presets: dict[str, Preset]) -> None:
    law, reason = "law_rounds_alike_are_answered_alike", "epsilon is multiplied twice from the second round on, as published"
    for name in ("bpref_skip", "bpref_equal"):
        published = replace(presets[name], changes={"bpref_compat": True, "bpref_epsilon": 0.5})
        with pytest.raises(LawBroken, match="a later round of the same statistics"):
            check_oracle(published, published.tags(), laws={law: LAWS[law]})
        rows = check_oracle(published, published.tags(), laws={law: LAWS[law]}, expected_failures={law: reason})
        assert rows[0].status == "failed as expected" and rows[0].said.startswith(reason)


def test_the_world_of_the_laws_has_terminated_and_cut_segments_and_padding() -> None:
    terminated = WORLD.pool.segments.terminated.any(axis=1)
    assert terminated.sum() > 20 and (~terminated).sum() > 20
    assert WORLD.pool.segments.absorbing.sum() > 50
