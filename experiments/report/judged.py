"""By what the simulated human judged, and what else came into the answers, in words, from the oracle's card."""

from collections.abc import Mapping, Sequence
from typing import Any

from preflab.experiments.report.words import JUDGMENTS, spoken

KINDS = {
    "partial_return": "partial return", "discounted_partial_return": "discounted partial return",
    "myopic_partial_return": "myopic partial return", "regret": "regret", "regret_by_branching": "regret, found by branching",
    "weighted_factors": "weights of their own on gold's factors", "hierarchy": "a hierarchy of features",
    "ideal_point": "nearness to an ideal", "goal": "nearness to a goal", "zone_visits": "visits to a zone",
    "cells": "a tournament between groups of segments", "callable": "a function of the whole segment",
    "reward_code": "reward code of their own",
}
_MOST_LEVELS = 4  # a longer ranking is not read out
Card = Mapping[str, Any]


def judged_by(record: Mapping[str, Any], card: Card) -> str:
    """Returns what follows "the human judged by": the judgment, whether it is one human, and what else came into the answers.

    Without a card that says it, the preset's name stands for the judgment.
    """
    kinds = _kinds(card)
    if not kinds:
        oracle = record.get("oracle")
        return JUDGMENTS.get(str(oracle), spoken(oracle)) if oracle else "a rule that the record does not name"
    parts = [_ranking(card) or " or ".join(_say(kind) for kind in kinds)]
    if end := _end(card):
        parts[0] += f", drifting to {_say(end)}"
    if isinstance(card.get("n_raters"), int):
        parts.append(f"by the majority of {card['n_raters']}")
    elif _humans(card):
        parts.append("one of several people at a time")
    response = card.get("response")
    if isinstance(response, Mapping) and response.get("kind") == "argmax":
        parts.append("never unsure")
    if isinstance(response, Mapping) and (beside := besides(response, _humans(card))):
        parts.append(f"with {_listed(beside)}")
    return ", ".join(parts)


def belief(record: Mapping[str, Any], card: Card | None = None) -> str:
    """Returns what the human did and what the learner took the human to do, in one clause."""
    judged, likelihood = judged_by(record, card or {}), record.get("likelihood")
    if likelihood in (None, "", "none"):
        reward = record.get("reward")
        assumed = f"the {spoken(reward)} reward assumed nothing" if reward else "the record names no likelihood"
        return f"the human judged by {judged}; {assumed}"
    verdict = {True: ": misspecified", False: ": well specified"}.get(record.get("is_misspecified", None), "")
    assumed = JUDGMENTS.get(str(likelihood), spoken(likelihood))
    return f"the human judged by {judged}; the learner assumed {assumed}{verdict}"


def judgments(card: Card) -> frozenset[str]:
    """Returns the kinds of judgment of all humans, as `rewards` names them: any discount makes partial return another one."""
    kinds = [*_kinds(card), *([end] if (end := _end(card)) else [])]
    return frozenset("regret" if kind == "regret_by_branching" else kind for kind in kinds)


def besides(response: Card, humans: Sequence[Card] = ()) -> list[str]:
    """Returns what a response model adds to choosing the better segment: mistakes, ties, skips, fatigue, order."""
    said = [phrase for key, phrase in _MISTAKES.items() if response.get(key)]
    if said and "training" in str(response.get("mistakes", "")):
        said = [f"{phrase} in training" for phrase in said]
    kind = str(response.get("kind"))
    said += [_TIES[kind]] if kind in _TIES else []
    said += [phrase for key, phrase in _MORE.items() if key in response]
    if any(human.get("ties") for human in humans) and not any("ties" in phrase for phrase in said):
        said.append("ties")
    bias = response.get("order_bias")
    if isinstance(bias, int | float) and bias:
        said.append(f"a liking for what is shown {'first' if bias > 0 else 'last'}")
    return said


_MISTAKES = {
    "mistake_rate": "mistakes", "mistake_rate_at_equality": "mistakes where it is close",
    "mistake_rate_at_most": "mistakes where a feature misleads",
}
_TIES = {"rao_kupper": "ties", "davidson": "ties", "hierarchy": "ties where no level decides"}
_MORE = {
    "tie_threshold": "ties where it is close", "equal_epsilon": "ties where it is close",
    "skip_threshold": "skips where neither is worth much", "skip_epsilon": "skips where neither is worth much",
    "skip_rate": "skips", "fatigue": "growing fatigue",
}


def _kinds(card: Card) -> list[str]:
    """Returns the kinds of judgment, each once, in the order of the humans."""
    judgment = card.get("judgment")
    shared = judgment if isinstance(judgment, Mapping) else {}
    humans = _humans(card)
    found = [_kind({**shared, **human, "kind": human.get("judged_by")}) for human in humans] if humans else [_kind(shared)]
    return list(dict.fromkeys(kind for kind in found if kind))


def _end(card: Card) -> str:
    """Returns the kind of judgment that a drift ends in, or nothing."""
    judgment = card.get("judgment")
    end = judgment.get("drifts_to") if isinstance(judgment, Mapping) else None
    return _kind(end) if isinstance(end, Mapping) else ""


def _say(kind: str) -> str:
    return KINDS.get(kind, spoken(kind))


def _kind(judgment: Card) -> str:
    kind = str(judgment.get("kind") or "")
    if kind == "partial_return" and judgment.get("gamma", 1) != 1:
        is_myopic = "n-1-t" in str(judgment.get("formula", ""))
        return "myopic_partial_return" if is_myopic else "discounted_partial_return"
    if kind == "regret" and "branching" in judgment:
        return "regret_by_branching"
    return "hierarchy" if kind == "features" else kind


def _ranking(card: Card) -> str:
    """Returns a single human's hierarchy, its features in their order."""
    response = card.get("response")
    levels = response.get("levels") if isinstance(response, Mapping) and not _humans(card) else None
    if not levels or len(levels) > _MOST_LEVELS:
        return ""
    return "a hierarchy: " + ", then ".join(spoken(level["feature"]) for level in levels)


def _humans(card: Card) -> list[Card]:
    humans = card.get("humans")
    return [human for human in humans.values() if isinstance(human, Mapping)] if isinstance(humans, Mapping) else []


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
