"""Whom the run served: one row a human, where one of several answered each query."""

from collections.abc import Mapping, Sequence
from typing import Any

from preflab.experiments.report.folder import RunFolder, number
from preflab.experiments.report.page import folded, note, say, section, table
from preflab.experiments.report.words import MISSING, count, escape, percent, plain, signed, spoken

MOST_ROWS = 6  # of more humans, only the best and the worst served are shown at once
_MOST_SHADED = 13  # columns that fit the page
_MOST_FOLDED = 40
_FEW = 3  # humans whose agreement is a sentence


def users_section(run: RunFolder) -> str:
    """Returns the section on users, or nothing where one human alone answered."""
    humans = run.card.get("humans")
    if not isinstance(humans, Mapping) or (number(run.record, "n_annotators") or 0) < 2:
        return ""
    record, names = run.record, [str(name) for name in humans]
    is_score = "segment" in str(record.get("users_return_is", ""))
    figure = "own score of a segment" if is_score else "own return"
    heads = ("human", "share", f"{figure}, before → after", "gain in spreads", "answers predicted", "best possible")
    gains = {name: number(record, f"user_{name}_gain") for name in names}
    ranked = sorted(names, key=lambda name: float("-inf") if (gain := gains[name]) is None else gain, reverse=True)
    is_long = len(names) > MOST_ROWS
    shown = list(dict.fromkeys([*ranked[:2], *ranked[-2:]])) if is_long else names
    rows = [_row(record, name, humans[name]) for name in shown] + _summary(record)
    everyone = [_row(record, name, humans[name]) for name in ranked] if is_long else []
    return section(
        "Whom it served", note(_worst(record)), table(heads, rows),
        folded(f"All {len(names)}, best served first", table(heads, everyone)) if everyone else "",
        _agreement(run, names), note(_legend(record, is_score)),
    )


def wants(human: Any) -> str:
    """Returns what tells a human of a card apart: weights, ideal, ranking, discount, ties."""
    if not isinstance(human, Mapping):
        return ""
    weights, ideal, levels = (human.get(key) for key in ("weights", "ideal", "levels"))
    parts = []
    if isinstance(weights, Mapping):
        parts.append(say({factor: weight for factor, weight in weights.items() if weight}))
    elif isinstance(ideal, Mapping):
        parts.append("near " + ", ".join(f"{spoken(name)} = {say(value)}" for name, value in ideal.items()))
    elif isinstance(levels, Sequence) and not isinstance(levels, str):
        parts.append(", then ".join(map(spoken, levels)))
    elif human.get("judged_by") not in (None, "hierarchy"):
        parts.append(spoken(human["judged_by"]))
    if number(human, "gamma") not in (None, 1.0):
        parts.append(f"discount {say(human['gamma'])}")
    return "; ".join([*parts, *(["with ties"] if human.get("ties") else [])])


def _row(record: Mapping[str, Any], name: str, human: Any) -> list[str]:
    mine = {key: number(record, f"user_{name}_{key}") for key in (
        "share", "return_initial", "return_final", "gain", "heldout_accuracy", "n_heldout", "best_possible_accuracy",
    )}
    predicted = percent(mine["heldout_accuracy"])
    said = wants(human)
    return [
        f"<b>{escape(name)}</b>" + (f"<small>{escape(said)}</small>" if said else ""), percent(mine["share"]),
        f"{plain(mine['return_initial'])} → {plain(mine['return_final'])}", signed(mine["gain"]),
        predicted if predicted == MISSING else f"{predicted}<small>of {count(mine['n_heldout'])}</small>",
        percent(mine["best_possible_accuracy"]),
    ]


def _summary(record: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for head, name in (("mean, by share", "mean"), ("lowest in each column", "worst")):
        before, after = (number(record, f"users_return_{name}_{when}") for when in ("initial", "final"))
        rows.append([head, "", f"{plain(before)} → {plain(after)}", signed(number(record, f"users_gain_{name}")), "", ""])
    return rows


def _worst(record: Mapping[str, Any]) -> str:
    name, gain, mean = record.get("users_worst"), number(record, "users_gain_worst"), number(record, "users_gain_mean")
    if name is None or gain is None or mean is None:
        return ""
    unit = "spreads" if "segment" in str(record.get("users_return_is", "")) else "spreads an episode"
    return f"Served worst: {name}, {signed(gain)} {unit}; {signed(mean)} in the mean over humans by share."


def _legend(record: Mapping[str, Any], is_score: bool) -> str:
    own = (
        "An own return is the episode's sum of factors under the human's own weights, in that human's own units; a spread is the "
        "standard deviation of how this human values the calibration segments, so gains in spreads compare."
    )
    if is_score:
        own = (
            f"An own score is the {record['users_return_is']}. A spread is the standard deviation of the scores of the "
            "calibration segments, so gains in spreads compare."
        )
    elif str(record.get("users_return_is", "")).startswith("not measured"):
        own = f"Own returns are {record['users_return_is']}."
    return (
        f"{own} Predicted: held-out answers of this human that the learned reward, which knows nobody apart, orders rightly; best "
        "possible: by who knows this human."
    )


def _agreement(run: RunFolder, names: Sequence[str]) -> str:
    """Returns how often two humans order a pair alike: a sentence for a few humans, and a matrix for more."""
    found = run.card.get("agreement")
    of = {one: found.get(one) or {} for one in names} if isinstance(found, Mapping) else {one: {} for one in names}
    pairs = [(one, two, alike) for j, two in enumerate(names) for one in names[:j] if (alike := number(of[one], two)) is not None]
    if not pairs:
        return ""
    head = "Pairs of segments that two humans order alike, without noise"
    if len(names) <= _FEW:
        return note(f"{head}: {', '.join(f'{one} and {two} {percent(alike)}' for one, two, alike in pairs)}.")
    (a, b, least), mean = min(pairs, key=lambda pair: pair[2]), number(run.record, "users_agreement")
    text = note(
        f"{head}: {percent(mean)} of two who are drawn by share; least alike are {a} and {b}, {percent(least)}."
        + ("" if len(names) <= _MOST_FOLDED else " The whole table is in card.json.")
    )
    cells = [[escape(one), *(_shade(number(of[one], two), least) for two in names)] for one in names]
    matrix = table(["per cent", *names], cells) if len(names) <= _MOST_FOLDED else ""
    return text + (matrix if len(names) <= _MOST_SHADED or not matrix else folded("Who agrees with whom", matrix))


def _shade(alike: float | None, least: float) -> str:
    """Returns a share in per cent on a ground that is the darker the more alike two are, from the least on."""
    if alike is None:
        return MISSING
    dark = 0.6 * (alike - least) / (1 - least) if least < 1 else 0.0
    return f'<i class="shade" style="--a:{dark:.2f}">{100 * alike:.0f}</i>'
