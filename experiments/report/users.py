"""Whom the run served: one row a human, where several with weights of their own answered."""

from collections.abc import Mapping, Sequence
from typing import Any

from preflab.experiments.report.folder import RunFolder, number
from preflab.experiments.report.page import note, say, section, table
from preflab.experiments.report.words import MISSING, count, escape, percent, plain, signed

_HEADS = ("human", "share", "own return, before → after", "gain in spreads", "answers predicted", "best possible")


def users_section(run: RunFolder) -> str:
    """Returns the section on users, or nothing where one human alone answered."""
    humans = run.card.get("humans")
    if not isinstance(humans, Mapping) or (number(run.record, "n_annotators") or 0) < 2:
        return ""
    record, names = run.record, [str(name) for name in humans]
    rows = [_row(record, name, humans[name]) for name in names]
    means = [number(record, f"users_return_mean_{when}") for when in ("initial", "final")]
    worst = [number(record, f"users_return_worst_{when}") for when in ("initial", "final")]
    rows += [
        ["mean, by share", "", f"{plain(means[0])} → {plain(means[1])}", signed(number(record, "users_gain_mean")), "", ""],
        ["lowest in each column", "", f"{plain(worst[0])} → {plain(worst[1])}", signed(number(record, "users_gain_worst")), "", ""],
    ]
    text = (
        "An own return is the episode's sum of factors under the human's own weights, in that human's own units; a spread is the "
        "standard deviation of how this human values the calibration segments, so gains in spreads compare. Predicted: held-out "
        "answers of this human that the learned reward, which knows nobody apart, orders rightly; best possible: by who knows "
        "this human."
    )
    return section("Whom it served", note(_worst(record)), table(_HEADS, rows), note(_agreement(record, names)), note(text))


def _row(record: Mapping[str, Any], name: str, human: Any) -> list[str]:
    weights = human.get("weights") if isinstance(human, Mapping) else None
    wants = {factor: weight for factor, weight in weights.items() if weight} if isinstance(weights, Mapping) else {}
    mine = {key: number(record, f"user_{name}_{key}") for key in (
        "share", "return_initial", "return_final", "gain", "heldout_accuracy", "n_heldout", "best_possible_accuracy",
    )}
    predicted = percent(mine["heldout_accuracy"])
    return [
        f"<b>{escape(name)}</b>" + (f"<small>{escape(say(wants))}</small>" if wants else ""), percent(mine["share"]),
        f"{plain(mine['return_initial'])} → {plain(mine['return_final'])}", signed(mine["gain"]),
        predicted if predicted == MISSING else f"{predicted}<small>of {count(mine['n_heldout'])}</small>",
        percent(mine["best_possible_accuracy"]),
    ]


def _worst(record: Mapping[str, Any]) -> str:
    name, gain, mean = record.get("users_worst"), number(record, "users_gain_worst"), number(record, "users_gain_mean")
    if name is None or gain is None or mean is None:
        return ""
    return f"Served worst: {name}, {signed(gain)} spreads an episode; {signed(mean)} in the mean over humans by share."


def _agreement(record: Mapping[str, Any], names: Sequence[str]) -> str:
    pairs = [(one, two) for j, two in enumerate(names) for one in names[:j]]
    said = [
        f"{one} and {two} {percent(alike)}" for one, two in pairs
        if (alike := number(record, f"users_agreement_{one}_{two}")) is not None
    ]
    return f"Pairs of segments that two humans order alike, without noise: {', '.join(said)}." if said else ""
