"""Preferences without an order: cells, tournaments and circles, counted one triple at a time."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from preflab import oracles
from preflab.errors import InvalidArgument, Refused
from preflab.oracles import Cells, OracleSettings, PreferenceMatrix, cyclic_share, random_preferences
from preflab.types import Choice, FloatArray, ScoredSegments

MakeSegments = Callable[..., ScoredSegments]


def sums(*values: float) -> FloatArray:
    """Returns gold of segments of one step."""
    return np.array(values)[:, None]


def circles(matrix: FloatArray) -> float:
    """Returns the share of strictly decided triples that go in a circle, by looking at each."""
    n_strict = n_circles = 0
    for i, j, k in itertools.combinations(range(len(matrix)), 3):
        ahead = matrix[i, j] > 0.5, matrix[j, k] > 0.5, matrix[k, i] > 0.5
        behind = matrix[i, j] < 0.5, matrix[j, k] < 0.5, matrix[k, i] < 0.5
        n_strict += all(a or b for a, b in zip(ahead, behind, strict=True))
        n_circles += all(ahead) or all(behind)
    return n_circles / n_strict if n_strict else 0.0


@pytest.mark.parametrize("n_cells", [3, 5, 8])
def test_edges_are_quantiles_of_the_pool_so_that_cells_are_about_equally_full(n_cells: int, draw_segments: MakeSegments) -> None:
    pool = draw_segments(200)
    gold = np.nansum(pool.gold_rewards, axis=1)
    cells = Cells.of_pool("gold", (), n_cells, pool)
    np.testing.assert_allclose(cells.edges, np.quantile(gold, np.arange(1, n_cells) / n_cells), atol=1e-12)
    found = cells.values(pool)
    assert found.tolist() == [sum(edge <= value for edge in cells.edges) for value in gold] and cells.n_cells == n_cells
    counts = np.bincount(found.astype(int), minlength=n_cells)
    assert np.abs(counts - 200 / n_cells).max() <= 1 and len(counts) == n_cells


@pytest.mark.parametrize("values", [
    [0] * 80 + [1] * 20, [0] * 20 + [1] * 80, [0] * 90 + [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [0, 1, 2], [0] * 50 + [1] * 50, [3, 1, 1],
])
@pytest.mark.parametrize("n_cells", [2, 5, 40])
def test_no_cell_is_empty_where_many_segments_are_worth_the_same(
    values: list[float], n_cells: int, make_segments: MakeSegments
) -> None:
    pool = make_segments(sums(*values))
    cells = Cells.of_pool("gold", (), n_cells, pool)
    found = cells.values(pool)
    assert sorted(set(found)) == list(range(cells.n_cells)) and cells.n_cells <= n_cells
    order = np.argsort(values, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


def test_a_segment_on_an_edge_is_in_the_cell_above(make_segments: MakeSegments) -> None:
    cells = Cells("gold", (), np.array([1.0, 2.0]))
    assert cells.values(make_segments(sums(0.9, 1.0, 1.9, 2.0, 99.0))).tolist() == [0, 1, 1, 2, 2]


@pytest.mark.parametrize("edges", [[1.0, 1.0], [2.0, 1.0], [[1.0]], [np.nan, 1.0]])
def test_edges_that_do_not_rise_are_refused(edges: Any) -> None:
    with pytest.raises(InvalidArgument, match="edges must be rising"):
        Cells("gold", (), np.array(edges))


def test_a_pool_of_one_value_and_of_two_have_no_circle(make_segments: MakeSegments) -> None:
    def built(*values: float, n_cells: int = 5) -> Any:
        settings = OracleSettings(judgment="cells", target_accuracy=None, beta=np.inf, n_cells=n_cells)
        return oracles.build(
            "intransitive", settings, seed=0, calibration=make_segments(sums(*values)), factor_names=("x",), task="t", form="fixed")

    with pytest.raises(Refused, match="gold is the same in all 3 calibration segments"):
        built(1, 1, 1)
    with pytest.raises(Refused, match=r"the calibration segments fall into only 2 groups by gold.*name a cell_feature"):
        built(1, 1, 2, 2)
    with pytest.raises(InvalidArgument, match="n_cells must be at least 3: fewer have no cycle, got 2"):
        built(1, 2, 3, 4, n_cells=2)
    assert built(1, 2, 3, n_cells=3).card()["intransitive"]["share_of_triples"] == 1.0


def test_answers_follow_the_matrix_cell_by_cell() -> None:
    matrix = np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.7], [0.8, 0.3, 0.5]])
    first, second = (np.array(side, dtype=np.float64) for side in zip(*itertools.product(range(3), repeat=2), strict=True))
    p = PreferenceMatrix(matrix).probabilities(first, second)
    for row, a, b in zip(p, first.astype(int), second.astype(int), strict=True):
        np.testing.assert_allclose(row, [matrix[a, b], matrix[b, a], 0, 0], atol=1e-15)
    assert PreferenceMatrix(matrix).main(first) is None
    assert (p[first == second] == [0.5, 0.5, 0, 0]).all()


@pytest.mark.parametrize("matrix", [
    [[0.5, 0.9], [0.2, 0.5]], [[0.6, 0.5], [0.5, 0.4]], [[0.5, 0.5, 0.5]], [0.5], [[0.5, 1.1], [-0.1, 0.5]],
    [[0.5, np.nan], [np.nan, 0.5]], np.zeros((0, 0)),
])
def test_matrices_that_are_no_preferences_are_refused(matrix: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"matrix must be \(k, k\) probabilities with P_ij \+ P_ji = 1"):
        PreferenceMatrix(np.array(matrix))


@pytest.mark.parametrize("strength", [0.8, 0.3, 1.0])
@pytest.mark.parametrize("n", [3, 4, 5, 9])
def test_a_random_tournament_is_antisymmetric_and_has_a_circle(n: int, strength: float) -> None:
    for seed in range(5):
        matrix = random_preferences(n, seed, strength)
        np.testing.assert_array_equal(matrix, random_preferences(n, seed, strength))
        np.testing.assert_allclose(matrix + matrix.T, 1, atol=1e-15)
        assert (np.diag(matrix) == 0.5).all() and circles(matrix) > 0
        np.testing.assert_allclose(np.abs(matrix - 0.5)[~np.eye(n, dtype=bool)], strength / 2, atol=1e-15)
        p = PreferenceMatrix(matrix).probabilities(*np.indices((n, n)).reshape(2, -1).astype(np.float64))
        mirrored = p.reshape(n, n, 4).swapaxes(0, 1).reshape(-1, 4)[:, [Choice.SECOND, Choice.FIRST, Choice.TIE, Choice.SKIP]]
        np.testing.assert_array_equal(p, mirrored)
    assert any((random_preferences(n, seed) != random_preferences(n, 0)).any() for seed in range(1, 5))


def test_circles_are_counted_triple_by_triple() -> None:
    rng = np.random.default_rng(0)
    for n in (0, 2, 3, 4, 7):
        for _ in range(10):
            upper = np.triu(rng.choice([-1.0, 0.0, 1.0], p=[0.45, 0.1, 0.45], size=(n, n)), k=1)  # some pairs are even
            matrix = 0.5 + 0.3 * (upper - upper.T)
            assert cyclic_share(matrix) == pytest.approx(circles(matrix))
    assert cyclic_share(np.full((4, 4), 0.5)) == 0


@pytest.mark.parametrize(("arguments", "said"), [
    ((2, 0), "n_cells must be at least 3: fewer have no cycle, got 2"), ((3, 0, 0.0), r"strength must be in \(0, 1\], got 0.0"),
    ((3, 0, 1.1), r"strength must be in \(0, 1\]"), ((3, 0, np.nan), r"strength must be in \(0, 1\]"),
])
def test_tournaments_without_players_or_strength_are_refused(arguments: Any, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        random_preferences(*arguments)
