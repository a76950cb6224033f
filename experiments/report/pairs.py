"""Film strips of the pairs that the human was asked about: what it saw and said, and what the learner would say."""

import numpy as np

from preflab.experiments.report.film import strips_within
from preflab.experiments.report.folder import RunFolder
from preflab.experiments.report.judged import judged_by
from preflab.experiments.report.page import note, section
from preflab.experiments.report.words import MISSING, escape, plain
from preflab.storage import Arrays
from preflab.types import Choice

_SAID: dict[int, str] = {
    Choice.FIRST: "the human chose the first", Choice.SECOND: "the human chose the second",
    Choice.TIE: "the human called it a tie", Choice.SKIP: "the human skipped it",
}
_MOST_PAIRS = 12
_MOST_BYTES = 3_600_000  # of the 5 MB that a report may have


def film_section(run: RunFolder) -> str:
    """Returns the section of asked pairs, or one sentence that says why there is none."""
    title = "Pairs that the human was asked about"
    if run.film is None:
        reason = run.record.get("video_note") or "the run wrote no film.npz"
        return section(title, note(f"No film strips: {reason}"))
    film = _chosen(run.film)
    if "p_model" in film and not np.isfinite(film["p_model"]).any():  # a control without a reward model
        film = {
            name: array for name, array in film.items() if name not in ("proxy", "proxy_sum", "p_model", "is_wrong")
        }
    strips = strips_within(film["frames"], _MOST_BYTES)
    judged = judged_by(run.record, run.card)
    why = "" if judged == "partial return" else f" The human judged by {judged}: the larger gold sum need not win."
    text = (
        "Time runs from left to right. Under each frame: gold and proxy reward of that step. The human's choice is "
        f"framed; a pair that the learner gets wrong is marked in red.{why}"
    )
    return section(title, note(text), *(_pair(film, strip, i) for i, strip in enumerate(strips)))


def _chosen(film: Arrays) -> Arrays:
    """Returns the first dozen pairs, one that the learner gets wrong among them if there is any."""
    n = len(film["frames"])
    rows = np.arange(min(n, _MOST_PAIRS))
    wrong = np.flatnonzero(film["is_wrong"]) if "is_wrong" in film else rows[:0]
    if len(wrong) and wrong[0] >= len(rows):
        rows[-1] = wrong[0]
    return {name: array[rows] for name, array in film.items()}


def _pair(film: Arrays, strips: tuple[str, str], i: int) -> str:
    choice = int(film["choice"][i]) if "choice" in film else -1
    is_wrong = bool(film["is_wrong"][i]) if "is_wrong" in film else False
    said = _SAID.get(choice, "answer unknown")
    asked = f"Round {int(film['round'][i])}: {said}" if "round" in film else said.capitalize()
    is_coin = "p_model" in film and abs(float(film["p_model"][i]) - 0.5) < 1e-6
    is_wrong = is_wrong and not is_coin
    wrong = '; <span class="bad">the learner disagrees</span>' if is_wrong else ""
    wrong = "; the learner cannot tell" if is_coin else wrong
    known = [(key, who) for key, who in (("p_oracle", "human"), ("p_model", "learner")) if key in film]
    beliefs = [f"{who} {float(film[key][i]):.2f}" for key, who in known if np.isfinite(film[key][i])]
    small = f"<br><small>P(first is better): {', '.join(beliefs)}</small>" if beliefs else ""
    sides = "".join(_side(film, strips[side], i, side, choice == side) for side in (0, 1))
    return f'<div class="pair{" wrong" if is_wrong else ""}"><h3>{asked}{wrong}{small}</h3>{sides}</div>'


def _side(film: Arrays, strip: str, i: int, side: int, is_chosen: bool) -> str:
    name = ("First", "Second")[side]
    sums = "".join(
        f'<span class="{kind}">{kind} {plain(float(film[f"{kind}_sum"][i, side]))}</span>'
        for kind in ("gold", "proxy") if f"{kind}_sum" in film
    )
    shown = film["frames"].shape[2]
    numbers = "".join(
        f'<span class="{kind}">{_fixed(float(value), float(np.abs(film[kind]).max()))}</span>'
        for kind in ("gold", "proxy") if kind in film for value in film[kind][i, side]
    )
    mark = " ◀ chosen" if is_chosen else ""
    return (
        f'<div class="side{" won" if is_chosen else ""}"><header><b>{name}{mark}</b>{sums}</header>'
        f'<img src="{escape(strip)}" alt="{name} segment, {shown} frames">'
        f'<div class="steps" style="grid-template-columns:repeat({shown},1fr)">{numbers}</div></div>'
    )


def _fixed(value: float, largest: float) -> str:
    """Returns `value` with as many decimals as the `largest` of its kind needs, so that a row can be read across."""
    decimals = 0 if largest >= 100 else 1 if largest >= 10 else 2
    return f"{value:.{decimals}f}".replace("-", "−") if np.isfinite(value) else MISSING
