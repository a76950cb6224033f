"""Which level of a hierarchy decided: of the pool's pairs, and of the answers that the reward was fitted to."""

from collections.abc import Mapping, Sequence
from typing import Any

from preflab.experiments.report.folder import RunFolder, number
from preflab.experiments.report.page import folded, note, section, shares_bar, table
from preflab.experiments.report.users import MOST_ROWS
from preflab.experiments.report.words import MISSING, escape, percent, plain, spoken

COLORS = ("#2b5c8a", "#a06a00", "#3f7d58", "#a3453a", "#6d5a94", "#4c4a45")
_NONE = "#c9c4b8"


def levels_section(run: RunFolder) -> str:
    """Returns the section on hierarchies; nothing where nobody judged by one."""
    of_pool = run.card.get("deciding_levels")
    response = run.card.get("response")
    levels = response.get("levels") if isinstance(response, Mapping) else None
    if isinstance(of_pool, Mapping) and isinstance(levels, Sequence):
        return section("Which level decided", *_one(run.record, levels, of_pool))
    humans = run.card.get("humans")
    ranked = {
        str(name): human for name, human in humans.items()
        if isinstance(human, Mapping) and isinstance(human.get("deciding_levels"), Mapping)
    } if isinstance(humans, Mapping) else {}
    return section("Which level decided", *_several(run.record, ranked)) if ranked else ""


def _one(record: Mapping[str, Any], levels: Sequence[Any], of_pool: Mapping[str, Any]) -> list[str]:
    rows = []
    for i, level in enumerate(levels, start=1):
        name, margin, spread = str(level["feature"]), number(level, "margin"), number(level, "spread")
        in_spreads = f"<small>{plain(margin / spread)} spreads</small>" if margin is not None and spread else ""
        rows.append([
            f"{i}. <b>{escape(spoken(name))}</b>", escape(level["better"]), plain(margin) + in_spreads,
            percent(number(of_pool, name)), percent(number(record, f"level_{name}_share")),
        ])
    rows.append(["none: a tie", "", "", percent(number(of_pool, "none")), percent(number(record, "level_none_share"))])
    text = (
        "The first level on which two segments differ by more than its margin decides, and the levels below it are not looked "
        "at. A margin is in units of the feature; a spread is the feature's standard deviation over the calibration pool."
    )
    heads = ("level", "better", "margin", "decides, of the pool's pairs", "decided, of the training answers")
    names = [str(level["feature"]) for level in levels]
    return [table(heads, rows), _bar(record, names), note(text)]


def _several(record: Mapping[str, Any], humans: Mapping[str, Any]) -> list[str]:
    names = list(dict.fromkeys(name for human in humans.values() for name in human["deciding_levels"] if name != "none"))
    heads = ["decides, of the pool's pairs", *map(spoken, names), "none: a tie"]
    rows = []
    for human, card in humans.items():
        ranking = ", then ".join(spoken(level) for level in card.get("levels") or [])
        shares = [percent(number(card["deciding_levels"], name)) for name in (*names, "none")]
        rows.append([f"<b>{escape(human)}</b><small>{escape(ranking)}</small>", *shares])
    shown = table(heads, rows[:MOST_ROWS])
    rest = folded(f"{len(rows) - MOST_ROWS} more", table(heads, rows[MOST_ROWS:])) if len(rows) > MOST_ROWS else ""
    asked = [percent(number(record, f"level_{name}_share")) for name in (*names, "none")]
    head = ["decided, of the training answers", *heads[1:]]
    answers = table(head, [["by whoever answered", *asked]]) if any(share != MISSING for share in asked) else ""
    return [shown, rest, answers, _bar(record, names)]


def _bar(record: Mapping[str, Any], names: Sequence[str]) -> str:
    """Returns a bar of the training answers, a part for each level that decided some."""
    parts = [(spoken(name), COLORS[i % len(COLORS)], number(record, f"level_{name}_share")) for i, name in enumerate(names)]
    parts.append(("none: a tie", _NONE, number(record, "level_none_share")))
    known = [(label, color, share, percent(share)) for label, color, share in parts if share]
    return shares_bar(known) if known else ""
