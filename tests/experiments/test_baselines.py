"""Baselines are made of finished runs, and only of runs that may be compared."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import preflab
from preflab.errors import InvalidArgument, Refused
from preflab.experiments import baselines, record
from preflab.experiments.baselines import Finished
from preflab.experiments.config import RunConfig, compose_run


def config(**changes: Any) -> RunConfig:
    chosen = {"env": "pendulum", "reward": "gold", "budget": "smoke"} | changes
    return compose_run([f"{name}={value}" for name, value in chosen.items()])[0]


def run(of: RunConfig, gold: float, **changes: Any) -> Finished:
    row = {"gold_return_final": gold, "date": "2026-01-02T03:04:05", "versions": {"preflab": "0.1"}}
    return Finished(dataclasses.replace(of, **changes), row)


def test_a_baseline_is_the_mean_with_a_t_interval_of_its_seeds() -> None:
    gold, constant = config(), config(reward="constant")
    runs = [run(gold, 1.0, seed=100), run(gold, 3.0, seed=102), run(gold, 2.0, seed=101), run(constant, -5.0, seed=100)]
    (key, row), = baselines.rows(runs).items()
    assert key == record.baseline_key(gold)
    assert (row["gold_return"], row["gold_return_low"], row["gold_return_high"]) == (2.0, -0.5, 4.5)
    assert (row["seeds"], row["constant_return"], row["constant_seeds"]) == ([100, 101, 102], -5.0, [100])
    assert row["agent_settings"] == record.agent_digest(gold) and "100, 101, 102" in row["source"]


def test_runs_that_do_not_belong_together_are_refused() -> None:
    gold = config()
    other = dataclasses.replace(gold, agent=dataclasses.replace(gold.agent, gamma=0.5))
    with pytest.raises(InvalidArgument, match="one agent's settings"):
        baselines.rows([run(gold, 1.0, seed=0), run(other, 1.0, seed=1)])
    with pytest.raises(InvalidArgument, match="one seed each"):
        baselines.rows([run(gold, 1.0), run(gold, 2.0)])
    with pytest.raises(Refused, match="no run of reward=gold"):
        baselines.rows([run(config(reward="constant"), 1.0)])


def test_the_command_adds_a_baseline_that_the_next_run_is_scored_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "baselines.json"
    shipped.write_text('{"other": {"gold_return": 1.0}}')
    for module in (baselines, record):
        monkeypatch.setattr(module, "BASELINES", shipped)
    made = preflab.run(env="random-mdp", reward="gold", budget="smoke", video=False, out=str(tmp_path))
    assert made.record["score"] is None
    assert baselines.main([str(made.folder)]) == 0
    written = json.loads(shipped.read_text())
    assert sorted(written) == ["other", "random-mdp-fixed-ppo-128"]
    scored = preflab.run(env="random-mdp", reward="gold", budget="smoke", video=False, out=str(tmp_path)).record
    assert scored["gold_return_gold_agent"] == pytest.approx(made.record["gold_return_final"], abs=0.05)
    learned = preflab.run(env="random-mdp", budget="smoke", video=False, out=str(tmp_path))
    assert baselines.main([str(learned.folder)]) == 2 and json.loads(shipped.read_text()) == written
    assert baselines.main([str(tmp_path / "nowhere")]) == 2
