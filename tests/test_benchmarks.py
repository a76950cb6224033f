"""Benchmarks are code that runs: their figures mean something only elsewhere, their arithmetic everywhere."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_placement_is_the_device_of_the_higher_median() -> None:
    gpu = load("gpu")
    rows = [
        gpu.Row("fit", "comparisons", "cpu", 100.0, 90.0, 110.0, 1), gpu.Row("fit", "comparisons", "cuda", 400.0, 1.0, 900.0, 1),
        gpu.Row("acting", "actions", "cpu", 9.0, 8.0, 10.0, 1), gpu.Row("acting", "actions", "cuda", 3.0, 2.0, 20.0, 1),
    ]
    assert gpu.placements(rows) == {
        "fit": {"device": "cuda", "times_faster": 4.0}, "acting": {"device": "cpu", "times_faster": 3.0},
    }


def test_a_measurement_counts_units_over_time_after_a_warm_up() -> None:
    gpu, calls, waits = load("gpu"), [], []

    def work() -> int:
        calls.append(1)
        return 10

    median, low, high = gpu.measured(work, 0.005, lambda: waits.append(1), n_repetitions=5)
    assert len(calls) == len(waits) >= 6 and 0 < low <= median <= high


def test_wheels_that_are_not_there_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no"):
        load("gpu").use_wheels(tmp_path)


@pytest.mark.slow
def test_the_gpu_benchmark_runs_whole_on_whatever_is_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu = load("gpu")
    assert gpu.main(["--quick", "--seconds", "0.05", "--out", str(tmp_path / "figures.json")]) == 0
    found = json.loads((tmp_path / "figures.json").read_text())
    assert {row["device"] for row in found["rows"]} == set(gpu.devices())
    assert set(found["placements"]) == {row["work"] for row in found["rows"]}
    assert all(row["low"] > 0 for row in found["rows"]) and found["machine"]["torch"]


def test_physics_are_compared_with_every_peer_and_number_of_threads(capsys: pytest.CaptureFixture[str]) -> None:
    physics = load("physics")
    rows = physics.rows(["tasks=mujoco-reacher,mujoco-swimmer", "steps=3", "repeats=2", "envs=2"])
    assert len({row["line"] for row in rows}) == len(rows) == 2 * 2 * 2
    for row in rows:
        assert set(row) == {"line", "ours", "peer", "ratio", "low", "high", "unit"}
        assert 0 < row["low"] <= row["ratio"] <= row["high"] and row["ours"] > 0 and row["peer"] > 0
    assert physics.main(["step=3"]) == 2 and "steps" in capsys.readouterr().err
    assert physics.main(["tasks=mujoco-reacher", "peers=DummyVecEnv", "threads=1", "steps=1", "repeats=1"]) == 0
    assert "Reacher-v5 x 8, 1 thread, beside DummyVecEnv(8)" in capsys.readouterr().out
