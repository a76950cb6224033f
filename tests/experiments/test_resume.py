"""Resume is exact: a run killed with SIGKILL at any stage ends as the run that was never killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import preflab
from preflab.errors import DamagedFile, Refused
from preflab.experiments import checkpoint
from preflab.experiments.run import Run
from preflab.storage import load_arrays, load_tensors

OVERRIDES = [
    "env=pendulum", "budget=smoke", "budget.n_rounds=3", "budget.n_comparisons=30", "budget.n_env_steps=1536", "video=false",
    "agent.n_steps=128",
]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return preflab.run([*OVERRIDES, f"out={tmp_path_factory.mktemp('unbroken')}"])


def _assert_same(first: Run, second: Run) -> None:
    for name in ("agent.safetensors", "learner.safetensors"):
        one, two = (load_tensors(run.folder / "checkpoint/round-003" / name) for run in (first, second))
        assert all(torch.equal(one[key], two[key]) for key in one), name
    one_answers, two_answers = (load_arrays(run.folder / "comparisons.npz") for run in (first, second))
    assert all((one_answers[name] == two_answers[name]).all() for name in one_answers)
    assert _timeless(first.record) == _timeless(second.record)
    assert [_timeless(row) for row in first.history] == [_timeless(row) for row in second.history]


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not (name.startswith(("seconds", "wall")) or name in ("date", "command"))}


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "round_number"), [("collect", 1), ("train", 1), ("report", 3)])
def test_a_run_killed_at_a_stage_resumes_to_the_same_end(unbroken: Run, stage: str, round_number: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "preflab.experiments", *OVERRIDES, f"out={tmp_path}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONSAFEPATH": "1"})
    deadline = time.monotonic() + 300
    while not _reached(tmp_path, stage, round_number):
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = next(tmp_path.glob("*/*"))
    _assert_same(unbroken, preflab.run(resume=folder))


def _reached(out: Path, stage: str, round_number: int) -> bool:
    for path in out.glob("*/*/progress.jsonl"):
        for line in path.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # the line being written
            if row["stage"] == stage and row["round"] == round_number:
                return True
    return False


def test_two_checkpoints_are_kept(unbroken: Run) -> None:
    assert sorted(path.name for path in (unbroken.folder / "checkpoint").iterdir()) == ["round-002", "round-003"]


def test_a_resume_from_an_earlier_round_replays_the_rest_bit_for_bit(unbroken: Run, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(unbroken.folder, copy)
    shutil.rmtree(copy / "checkpoint/round-003")
    (copy / "record.json").unlink()
    _assert_same(unbroken, preflab.run(resume=copy))


@pytest.mark.slow
@pytest.mark.parametrize("oracle", ["alpacafarm", "bpref_equal", "condorcet", "drift"])
def test_humans_who_differ_from_round_to_round_or_among_themselves_survive_a_resume(oracle: str, tmp_path: Path) -> None:
    import shutil

    run = preflab.run([*OVERRIDES, f"oracle={oracle}", f"out={tmp_path}"])
    copy = tmp_path / "copy"
    shutil.copytree(run.folder, copy)
    shutil.rmtree(copy / "checkpoint/round-003")
    (copy / "record.json").unlink()
    _assert_same(run, preflab.run(resume=copy))
    before = _timeless(run.record)
    assert _timeless(preflab.run(resume=run.folder).record) == before  # written anew, by an oracle that has heard of every round


@pytest.mark.parametrize("name", ["agent.safetensors", "pool.npz", "state.json", "answers.npz"])
def test_a_damaged_file_is_named_and_nothing_else_is_touched(unbroken: Run, name: str, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(unbroken.folder, copy)
    damaged = copy / "checkpoint/round-003" / name
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    before = {path: path.read_bytes() for path in sorted(copy.rglob("*")) if path.is_file()}
    with pytest.raises(DamagedFile, match=name):
        preflab.run(resume=copy)
    assert {path: path.read_bytes() for path in sorted(copy.rglob("*")) if path.is_file()} == before


def test_a_missing_file_is_named(unbroken: Run, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(unbroken.folder / "checkpoint/round-003", copy / "round-003")
    (copy / "round-003/learner.safetensors").unlink()
    with pytest.raises(Refused, match=r"learner\.safetensors"):
        checkpoint.load(copy / "round-003")


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["sac", "dqn"])
def test_a_replay_buffer_a_label_free_start_and_an_adaptive_coefficient_survive_a_resume(agent: str, tmp_path: Path) -> None:
    import shutil

    chosen = {"sac": ["env=pendulum", "kl=loss", "kl.target=0.01"], "dqn": ["env=cartpole"]}[agent]
    values = {"n_rounds": 3, "n_comparisons": 30, "n_env_steps": 512, "label_free_steps": 64}
    budget = ["budget=smoke", *(f"budget.{name}={value}" for name, value in values.items())]
    run = preflab.run([*chosen, f"agent={agent}", *budget, "video=false", f"out={tmp_path}"])
    copy = tmp_path / "copy"
    shutil.copytree(run.folder, copy)
    shutil.rmtree(copy / "checkpoint/round-003")
    resumed = preflab.run(resume=copy)
    ends = [load_tensors(folder / "checkpoint/round-003/agent.safetensors") for folder in (run.folder, resumed.folder)]
    assert ends[0].keys() == ends[1].keys() and all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    assert len(ends[0]["buffer.rewards"]) == run.record["n_env_steps"]
    assert ("kl_coefficient" in ends[0]) == (agent == "sac") and run.record["label_free_steps"] == 64
