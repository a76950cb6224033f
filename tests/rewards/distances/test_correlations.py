"""The published order of distances by how well they foretell regret, on 384 pairs; the whole is benchmarks/distances.py."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from preflab.rewards.distances import CANONICAL, mutual_regret, starc_distance

SETTINGS = ["val-2-2", "minimal-2-2", "dard-2-2", "epic-2-2", "none-2-2", "epic-none-1", "val-w1-winf"]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).resolve().parents[3] / "benchmarks" / "distances.py"
    spec = importlib.util.spec_from_file_location("benchmark_distances", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_val_foretells_regret_better_than_dard_and_epic_and_these_better_than_none(benchmark: ModuleType) -> None:
    pairs = benchmark.run(range(8), 8, SETTINGS, n_steps=6)  # 384 pairs, seeds that no reported figure has
    assert pairs.regret.shape == (8, 48)
    of = {name: float(benchmark.correlations(pairs, name, np.ones((1, 8)))[0]) for name in SETTINGS}
    expected = np.corrcoef(pairs.distance["val-2-2"].reshape(-1), pairs.regret.reshape(-1))[0, 1]
    assert of["val-2-2"] == pytest.approx(expected, abs=1e-12)
    # 0.891, 0.810, 0.806 and 0.573 over 96 MDPs; the figures of 8 vary by about 0.04.
    assert of["val-2-2"] > 0.8 and of["val-2-2"] == pytest.approx(of["minimal-2-2"], abs=0.02)
    assert of["val-2-2"] > of["dard-2-2"] > of["none-2-2"] + 0.05
    assert of["dard-2-2"] == pytest.approx(of["epic-2-2"], abs=0.02)


def test_the_shortcut_along_the_way_gives_the_distances_of_the_library(benchmark: ModuleType) -> None:
    regret, distance = benchmark.compared(3, 2, SETTINGS, n_steps=3)
    rng = np.random.default_rng(3)
    dynamics = benchmark.random_dynamics(rng)
    ends = np.array([[benchmark.random_reward(rng) for _ in range(2)] for _ in range(2)])
    way = np.concatenate([ends[0] + (ends[1] - ends[0]) * step / 3 for step in (1, 2, 3)])
    first = np.concatenate([ends[0]] * 3)
    np.testing.assert_allclose(regret, mutual_regret(first, way, dynamics), atol=1e-9)
    for name in SETTINGS:
        canonical, normalization, metric = name.split("-")
        exact = starc_distance(first, way, dynamics, canonical, normalization, metric)
        np.testing.assert_allclose(distance[name], exact, rtol=1e-9, atol=1e-9)
    assert {name.split("-")[0] for name in benchmark.all_settings()} == set(CANONICAL)


def test_a_random_mdp_leads_to_a_few_states(benchmark: ModuleType) -> None:
    transitions = benchmark.random_dynamics(np.random.default_rng(0)).transitions
    assert 4 < (transitions > 1e-6).sum(-1).mean() < 6  # 32 · P(N(0, 1) > 1) = 5.1


@pytest.mark.parametrize(
    ("low", "high", "above", "within", "said"),
    [
        (0.01, 0.2, 0.0, None, "supports"), (-0.2, -0.01, 0.0, None, "contradicts"), (-0.1, 0.1, 0.0, None, "undecided"),
        (0.05, 0.3, 0.1, None, "undecided"), (-0.01, 0.04, None, 0.05, "supports"), (0.06, 0.1, None, 0.05, "contradicts"),
        (0.01, 0.06, None, 0.05, "undecided"),
    ],
)
def test_a_claim_is_supported_or_contradicted_by_its_whole_interval(
    low: float, high: float, above: float | None, within: float | None, said: str, benchmark: ModuleType
) -> None:
    assert benchmark.verdict(low, high, above, within) == said


def test_the_report_prints_published_figures_beside_ours_and_the_claims(
    benchmark: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    settings = benchmark.all_settings()
    noise = {name: rng.normal(size=(6, 10)) for name in settings}
    regret = rng.normal(size=(6, 10))
    better = {"val": 3.0, "dard": 1.0, "epic": 1.0}
    found = {name: regret * better.get(name.split("-")[0], 0.0) + noise[name] for name in settings}
    shown = benchmark.report(benchmark.Pairs(regret, found), 200, 0)
    printed = capsys.readouterr().out
    assert "| val-2-2 | 0.856 |" in printed and "VAL − DARD > 0" in printed and printed.count("published: 40") == 1
    assert shown["val-2-2"][1] < shown["val-2-2"][0] < shown["val-2-2"][2]
    benchmark.draw(shown, tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").stat().st_size > 1000
