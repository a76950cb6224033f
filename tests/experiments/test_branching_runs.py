"""Whole runs whose human branches: what is kept, what is counted, and that a resumed run counts the same."""

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import preflab
from preflab.errors import InvalidArgument, Refused
from preflab.experiments import checkpoint
from preflab.experiments.config import compose_run
from preflab.experiments.run import Run
from preflab.experiments.stages import check
from preflab.storage import load_arrays, load_json

OVERRIDES = ["budget=smoke", "budget.n_rounds=3", "budget.n_comparisons=24", "budget.n_env_steps=384", "video=false"]
STEPS = 90  # of a branch: .95^90 ≤ .01


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("unbroken")
    return preflab.run([*OVERRIDES, f"out={out}"], env="pendulum", oracle="regret_branching", strategy="episode_start")


def test_every_branch_is_charged_to_the_record_once(unbroken: Run) -> None:
    record, card = unbroken.record, load_json(unbroken.folder / "card.json")
    answers = load_arrays(unbroken.folder / "comparisons.npz")
    ends = {
        (part, int(trajectory), int(start) + step)
        for part in ("train", "heldout") for side in ("first", "second")
        for trajectory, start in zip(answers[f"{part}_{side}_trajectory"], answers[f"{part}_{side}_start"], strict=True)
        for step in (0, 25)
    }
    assert card["calibration"]["n_env_steps"] == 40 * STEPS
    assert len(ends) < 4 * 24  # some ends were asked about again, in the same round or a later one
    assert record["n_env_steps_oracle"] == (40 + len(ends)) * STEPS
    assert record["oracle_share_bootstrapped"] == 0 and record["is_misspecified"] is True
    assert record["n_env_steps"] == 384


def test_a_resumed_run_remembers_what_was_paid_for(unbroken: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(unbroken.folder, copy)
    shutil.rmtree(copy / "checkpoint/round-003")
    (copy / "record.json").unlink()
    again = preflab.run(resume=copy)
    varying = ("date", "wall_seconds", "command")
    first, second = (
        {name: value for name, value in run.record.items() if name not in varying and not name.startswith("seconds_")}
        for run in (unbroken, again)
    )
    assert first == second
    one, two = (load_arrays(run.folder / "comparisons.npz") for run in (unbroken, again))
    assert all((one[name] == two[name]).all() for name in one)
    remembered = checkpoint.load(copy / "checkpoint/round-002").oracle_memory["key"]
    assert len(remembered) > 40  # calibration alone is done again on resuming


def test_states_are_kept_in_the_pools_only_where_the_oracle_asks_for_them(unbroken: Run, tmp_path: Path) -> None:
    other = preflab.run([*OVERRIDES[:1], "video=false", f"out={tmp_path}"], env="pendulum", oracle="regret")
    kept = checkpoint.load(unbroken.folder / "checkpoint/round-003")
    plain = checkpoint.load(other.folder / "checkpoint/round-001")
    assert kept.pool.sim_states is not None and kept.heldout.sim_states is not None
    assert len(kept.pool.sim_states) == len(kept.pool.store.observations)
    assert plain.pool.sim_states is None and not plain.oracle_memory
    assert other.record["n_env_steps_oracle"] == 0 and other.record["oracle_share_bootstrapped"] is None


def test_a_cap_on_branches_is_counted_in_the_record(tmp_path: Path) -> None:
    overrides = ["budget=smoke", "video=false", f"out={tmp_path}", "oracle.branch_steps=5"]
    record = preflab.run(overrides, env="delivery-gridworld", oracle="regret_branching").record
    assert record["oracle_share_bootstrapped"] == 1.0 and record["n_env_steps_oracle"] % 5 == 0


def test_branching_can_be_asked_of_regret_by_name_and_needs_an_expert() -> None:
    config, _ = compose_run(["env=pendulum", "oracle=regret", "oracle.regret_by=branching", "oracle.regret_weighting=discounted"])
    assert config.oracle.regret_by == "branching"
    with pytest.raises(InvalidArgument, match=r"oracle=regret_branching"):
        compose_run(["env=pendulum", "oracle=regret", "oracle.regret_by=branching"])
    with pytest.raises(Refused, match="make experts ENV=mujoco-swimmer"):
        check(compose_run(["env=mujoco-swimmer", "oracle=regret_branching"])[0])


def test_the_benchmark_compares_branching_with_the_critic(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("branching_benchmark", root / "benchmarks" / "branching.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script  # dataclasses look their module up
    spec.loader.exec_module(script)
    assert script.main(["env=pendulum", "n=6", "trajectories=3", "resamples=20"]) == 0
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in printed.splitlines()}
    assert [rows[name][1] for name in ("random", "initial", "middle", "expert", "all")] == ["6", "6", "6", "6", "24"]
    assert float(rows["all"][2]) > 0.7 and "env steps of branching, 90 a branch" in printed
    assert script.main(["env=pendulum", "expert=x"]) == 2 and "did you mean experts" in capsys.readouterr().err
    assert script.spearman(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 3.0])) == pytest.approx(0.5)
