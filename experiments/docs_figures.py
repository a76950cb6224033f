"""Draws docs/oracles/*.svg: what each oracle preset answers on Pendulum's calibration pool, against the judged difference.

    PYTHONPATH=examples python -m preflab.experiments.docs_figures     # which is make docs-figures

Lines are means over bins of 10,000 pairs of the pool, each put in either order: probabilities, no draws. Where a human has a
judgment of one number, the difference is drawn by its rank: at 0.2, a fifth of all pairs are closer. Heights then average to rates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from preflab.experiments.config import names
from preflab.experiments.humans import Calibrated, Humans
from preflab.interfaces import AnswerContext
from preflab.oracles import ComposedOracle, Population, PreferenceMatrix
from preflab.oracles.calibration import rounding
from preflab.seeding import generator
from preflab.types import Choice, FloatArray, IntArray

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "oracles"
PLUGGED = {  # what these presets are told
    "weighted_factors": ["oracle.weights={velocity:1}"],
    "callable": ["oracle.function=my_humans:peak_end"],
    "reward_code": [f"oracle.code={ROOT / 'examples' / 'pendulum_reward.py'}"],
}
SHEETS: dict[str, tuple[str, ...]] = {  # in the order of docs/oracles.md; a preset named in none is drawn with the judgments
    "judgments": (
        "partial_return", "discounted", "myopic", "weighted_factors", "regret", "regret_branching", "ideal_point", "zone_visits",
        "heron", "heron_step", "intransitive", "callable", "reward_code",
    ),
    "responses": (
        "argmax", "noisy", "bpref_oracle", "bpref_stoc", "bpref_mistake", "bpref_skip", "bpref_equal", "bpref_myopic", "ties",
        "rao_kupper", "davidson", "skips", "margin_mistakes", "feature_mistakes", "fatigue", "drift", "order_bias", "recency",
    ),
    "populations": ("pluralistic", "alpacafarm", "majority", "condorcet", "ideal_users", "latent_goals"),
}
N_PAIRS, N_TIRED, MOST_MEMBERS, FEW_VALUES = 20_000, 500, 12, 12
BY_RANK, BY_SPREAD = 0.05, 0.25  # widths of bins
BLUE, ORANGE, GREEN, GREY, PURPLE = "#0b5fa5", "#d9730d", "#2e8b57", "#9a9a9a", "#7b3294"
STYLES = {Choice.FIRST: (BLUE, "-"), Choice.TIE: (ORANGE, "--"), Choice.SKIP: (GREEN, ":")}
OWN, GOLD = "own judgment, rank of the difference", "gold, rank of the difference"


@dataclass(frozen=True, eq=False)
class Line:
    """One line of a panel: the (B,) mean of y over bins of x.

    Attributes:
        x: (B,) differences first − second, by rank or in spreads of the pool.
        y: (B,) probabilities.
        style: of matplotlib's plot.
    """

    x: FloatArray
    y: FloatArray
    style: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Panel:
    """What is drawn of one preset: lines, or a matrix of P(FIRST) by cells.

    Attributes:
        name: of the preset.
        x_label: what the differences are of.
        lines: drawn in this order.
        reach: of the axis of x, to either side.
        matrix: (k, k) in place of lines.
    """

    name: str
    x_label: str
    lines: tuple[Line, ...] = ()
    reach: float = 1.0
    matrix: FloatArray | None = None


def sheets() -> dict[str, tuple[str, ...]]:
    """Returns the presets of each sheet, with those that `SHEETS` does not know yet."""
    known = {name for sheet in SHEETS.values() for name in sheet}
    return {**SHEETS, "judgments": SHEETS["judgments"] + tuple(name for name in names("oracle") if name not in known)}


def binned(x: FloatArray, y: FloatArray, width: float = BY_RANK) -> tuple[FloatArray, FloatArray]:
    """Returns (B,) means of x and y over bins of x; 0 has a bin of its own, and bins without pairs are left out.

    >>> binned(np.array([0.0, 0.02, 0.04, -0.07]), np.array([0.5, 0.6, 0.8, 0.0]))
    (array([-0.07,  0.  ,  0.03]), array([0. , 0.5, 0.7]))
    """
    bins = np.sign(x) * np.ceil(np.abs(x) / width - 1e-9)
    rows = [bins == value for value in np.unique(bins)]
    return np.array([x[row].mean() for row in rows]), np.array([y[row].mean() for row in rows])


class Asking:
    """Pairs of one human's pool, each in either order, and what the human answers."""

    def __init__(self, human: Calibrated) -> None:
        """Draws pairs of different segments, the same for every human of as large a pool, and begins a round."""
        rng, n = generator(0, "docs figures"), len(human.index)
        one = rng.integers(n, size=N_PAIRS // 2)
        other = (one + rng.integers(1, n, size=N_PAIRS // 2)) % n
        self.first, self.second = np.concatenate([one, other]), np.concatenate([other, one])
        self.human, self.values = human, human.values()
        human.oracle.begin_round(human.stats())

    def each(self, n_answered: int = 0, *, is_heldout: bool = False) -> FloatArray:
        """Returns (k, M, 4) probabilities of who may answer, after `n_answered` queries; of a vote, (1, M, 4)."""
        ids = np.arange(len(self.first))
        fresh = AnswerContext.fresh(len(ids))
        context = AnswerContext(fresh.annotator, fresh.n_answered + n_answered, fresh.round, ids)
        oracle = self.human.oracle.for_evaluation() if is_heldout else self.human.oracle
        assert isinstance(oracle, ComposedOracle | Population)
        return oracle.compared([v[self.first] for v in self.values], [v[self.second] for v in self.values], context)

    def raters(self) -> FloatArray:
        """Returns (k, M, 4) probabilities of each human of a population, voters too."""
        oracle = self.human.oracle
        assert isinstance(oracle, Population)
        return oracle.each([v[self.first] for v in self.values], [v[self.second] for v in self.values], None)

    def difference(self, values: FloatArray) -> FloatArray:
        """Returns (M,) first − second of (N,) values: sign times rank, in [−1, 1]; over their greatest where they are but a few."""
        gap = values[self.first] - values[self.second]
        gap = np.where(np.abs(gap) > rounding(values), gap, 0.0)
        if len(np.unique(gap)) <= FEW_VALUES:
            return np.asarray(gap / np.abs(gap).max())
        return np.asarray(np.sign(gap) * stats.rankdata(np.abs(gap)) / len(gap))

    def gold(self) -> FloatArray:
        """Returns (M,) differences of the sum of gold, in spreads."""
        scored = self.human.store.gather(self.human.index, "none", False, False)
        return self.difference(np.where(scored.segments.valid & ~scored.segments.absorbing, scored.gold_rewards, 0.0).sum(axis=1))


def panel(human: Calibrated) -> Panel:
    """Returns what is drawn of a preset."""
    asking, oracle = Asking(human), human.oracle
    name, response = oracle.name, getattr(oracle, "response", None)
    if isinstance(oracle, Population):
        return Panel(name, GOLD, _of_population(asking, oracle))
    if isinstance(response, PreferenceMatrix):
        return Panel(name, "cell of the second", matrix=response.matrix)
    levels = oracle.levels([asking.values[0][asking.first]], [asking.values[0][asking.second]], oracle.context(np.arange(N_PAIRS)))
    if levels is not None:
        return Panel(name, "first factor, difference in spreads", _of_levels(asking, levels), reach=3.0)
    x, settings = asking.difference(oracle.values(human.store.gather(human.index, "ends"))), human.config.oracle
    if settings.fatigue > 0 or settings.drift_to is not None:
        late = _lines(asking.each(N_TIRED)[0], x, color=PURPLE, label=f"after {N_TIRED} answers", dashes=(4, 2))
        return Panel(name, OWN, (*_lines(asking.each()[0], x, label="fresh"), *late))
    if settings.mistakes == "feature":
        return Panel(name, OWN, _of_feature(asking, x))
    lines = _lines(asking.each()[0], x)
    if not np.allclose(x, asking.gold(), atol=1e-6):
        lines = (*_lines(asking.each()[0][:, :2], asking.gold(), color=GREY, linewidth=1.0), *lines)
    return Panel(name, OWN, lines)


def _lines(p: FloatArray, x: FloatArray, **style: Any) -> tuple[Line, ...]:
    """Returns P(FIRST), and P(TIE) and P(SKIP) where there are any, of (M, 4) probabilities over x; a `style` is of P(FIRST)."""
    found = []
    for choice, (color, dashes) in STYLES.items():
        if choice == Choice.FIRST or (choice < p.shape[1] and p[:, choice].max() > 0 and "color" not in style):
            own = style if choice == Choice.FIRST else {}
            found.append(Line(*binned(x, p[:, choice]), {"color": color, "linestyle": dashes, "linewidth": 1.6, **own}))
    return tuple(found)


def _of_population(asking: Asking, oracle: Population) -> tuple[Line, ...]:
    """Returns a thin line a member, the marginal, and, where it differs, the marginal of held-out answers; over gold."""
    x, raters = asking.gold(), asking.raters()[:MOST_MEMBERS]
    colors = [BLUE, ORANGE, GREEN, PURPLE] if len(raters) <= 4 else [GREY] * len(raters)
    lines = [
        Line(*binned(x, p[:, Choice.FIRST]), {
            "color": color, "linewidth": 0.8, "label": member.name if len(raters) <= 4 else None,
        }) for p, member, color in zip(raters, oracle.members, colors, strict=False)
    ]
    both = {"color": "black", "linewidth": 1.8, "label": "the vote" if oracle.n_annotators == 1 else "marginal"}
    lines += _lines(oracle.averaged(asking.each()), x, **both)
    if oracle.for_evaluation() is not oracle:
        heldout = oracle.averaged(asking.each(is_heldout=True))
        lines += _lines(heldout, x, color="black", linewidth=1.2, dashes=(4, 2), label="marginal, held out")
    return tuple(lines)


def _of_levels(asking: Asking, levels: IntArray) -> tuple[Line, ...]:
    """Returns P(the level decides, for FIRST), a line a level, and P(TIE), over the first factor's difference."""
    card, p = asking.human.oracle.card()["response"]["levels"], asking.each()[0]
    values = asking.values[0][:, 0] / card[0]["spread"] * (1 if card[0]["better"] == "more" else -1)
    x = values[asking.first] - values[asking.second]
    lines = []
    for i, level in enumerate(card):
        label = f"{level['feature']} decides ({np.mean(levels == i):.0%})"
        style = {"color": (BLUE, GREEN, PURPLE, GREY)[i % 4], "linewidth": 1.6, "label": label}
        lines.append(Line(*binned(x, p[:, Choice.FIRST] * (levels == i), BY_SPREAD), style))
    tie = {"color": ORANGE, "linestyle": "--", "linewidth": 1.6, "label": f"none: TIE ({np.mean(levels < 0):.0%})"}
    return (*lines, Line(*binned(x, p[:, Choice.TIE], BY_SPREAD), tie))


def _of_feature(asking: Asking, x: FloatArray) -> tuple[Line, ...]:
    """Returns P(FIRST) of the pairs in the lowest and in the highest third of the feature that misleads."""
    misleads = asking.values[0][:, -1]
    pair = misleads[asking.first] + misleads[asking.second]
    low, high = np.quantile(pair, [1 / 3, 2 / 3])
    p, name = asking.each()[0], asking.human.config.oracle.mistake_feature
    calm = _lines(p[pair <= low], x[pair <= low], label=f"{name} small")
    return (*calm, *_lines(p[pair >= high], x[pair >= high], color=PURPLE, label=f"{name} large", dashes=(4, 2)))


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Draws panels in rows; equal panels give equal bytes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fixed: dict[Any, Any] = {"svg.hashsalt": "preflab", "svg.fonttype": "none", "font.size": 8, "axes.linewidth": 0.6}
    n_columns = 3 if len(panels) <= 6 else min((4, 5), key=lambda n: -len(panels) % n)  # as few holes as can be
    n_rows = -(-len(panels) // n_columns)
    size = (max(9.6, 2.4 * n_columns), 0.4 + 2.2 * n_rows)
    with plt.rc_context(fixed):
        figure, grid = plt.subplots(n_rows, n_columns, figsize=size, squeeze=False, layout="constrained")
        for axes in grid.flat:
            axes.set_visible(False)
        for axes, item in zip(grid.flat, panels, strict=False):
            axes.set_visible(True)
            _draw_panel(axes, item)
        _legend(figure, panels)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(figure)


def _draw_panel(axes: Any, item: Panel) -> None:
    axes.set_title(item.name, fontsize=9, fontweight="bold", pad=4)
    axes.set_xlabel(item.x_label, fontsize=7, labelpad=1)
    axes.tick_params(labelsize=7, length=2, pad=1.5, width=0.6)
    if item.matrix is not None:
        axes.pcolormesh(item.matrix, cmap="RdBu", vmin=-0.2, vmax=1.2, edgecolors="white", linewidth=1)
        for (i, j), p in np.ndenumerate(item.matrix):
            axes.text(j + 0.5, i + 0.5, f"{p:.1f}", ha="center", va="center", fontsize=7)
        ticks = np.arange(len(item.matrix)) + 0.5
        axes.set_xticks(ticks, [str(i + 1) for i in range(len(item.matrix))])
        axes.set_yticks(ticks, [str(i + 1) for i in range(len(item.matrix))])
        axes.set_ylabel("cell of the first", fontsize=7, labelpad=1)
        return
    axes.axhline(0.5, color="#dddddd", linewidth=0.6, zorder=0)
    axes.axvline(0.0, color="#dddddd", linewidth=0.6, zorder=0)
    for line in item.lines:
        few = {"marker": "o", "markersize": 4, "linestyle": "none"} if len(line.x) <= 3 else {}
        axes.plot(line.x.round(3), line.y.round(4), **{**line.style, **few})
    axes.set(xlim=(-1.03 * item.reach, 1.03 * item.reach), ylim=(-0.04, 1.04), yticks=[0, 0.5, 1])
    axes.set_xticks(np.linspace(-item.reach, item.reach, 5 if item.reach == 1 else 7))
    if any(line.style.get("label") for line in item.lines):
        axes.legend(fontsize=6, handlelength=1.4, borderaxespad=0.4, labelspacing=0.25, framealpha=0.8, edgecolor="none")


def _legend(figure: Any, panels: Sequence[Panel]) -> None:
    from matplotlib.lines import Line2D

    said: dict[str, tuple[str, Any]] = {
        "P(FIRST)": (BLUE, "-"), "P(TIE)": (ORANGE, "--"), "P(SKIP)": (GREEN, ":"),
        "P(FIRST) over the difference of gold": (GREY, "-"),
    }
    drawn = [(line.style["color"], line.style.get("linestyle", "-")) for item in panels for line in item.lines]
    handles = [Line2D([], [], color=style[0], linestyle=style[1], label=label) for label, style in said.items() if style in drawn]
    if any(item.x_label == OWN for item in panels):  # elsewhere, each panel says what its lines are
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=8)


def main(folder: Path = FOLDER, show: Callable[[str], None] = print) -> None:
    """Draws every sheet."""
    folder.mkdir(parents=True, exist_ok=True)
    humans = Humans("pendulum", budget="demo", plugged=PLUGGED)
    for sheet, presets in sheets().items():
        draw([panel(humans.of(name)) for name in presets], folder / f"{sheet}.svg")
        show(f"wrote {folder / sheet}.svg: {', '.join(presets)}")


if __name__ == "__main__":
    main()
