"""What a run did for each of several humans: their own returns, and how well the learned model predicts each one's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from preflab.experiments.asking import Answers
from preflab.interfaces import Oracle, RewardModel
from preflab.oracles import Population, WeightedFactors
from preflab.rewards import metrics
from preflab.types import ScoredStore


def user_figures(
    oracle: Oracle, history: Sequence[Mapping[str, Any]], model: RewardModel | None, heldout: ScoredStore, answers: Answers,
) -> dict[str, Any]:
    """Returns the record's entries about users; none where one human alone answers.

    A user's return is Σ_t Σ_f w_f factor_f per episode under the user's own weights, and so in the user's own units. To
    compare users, a gain is also given in spreads: standard deviations of how this user values the calibration segments.
    `users_worst` is the user of the smallest such gain.
    """
    if not isinstance(oracle, Population) or oracle.n_annotators < 2:
        return {}
    card = oracle.card()
    returns = np.array([[_own_return(member.judgment, history[i]["factors"]) for i in (0, -1)] for member in oracle.members])
    spreads = np.array([card["humans"][member.name]["judged_spread"] for member in oracle.members])
    gains = (returns[:, 1] - returns[:, 0]) / np.where(spreads > 0, spreads, np.nan)
    worst = int(np.where(np.isnan(gains), np.inf, gains).argmin())
    row: dict[str, Any] = {"n_annotators": oracle.n_annotators}
    for name, at in (("initial", returns[:, 0]), ("final", returns[:, 1])):
        row |= {f"users_return_mean_{name}": float(oracle.shares @ at), f"users_return_worst_{name}": float(at.min())}
    row |= {
        "users_gain_mean": float(oracle.shares @ gains), "users_gain_worst": float(gains[worst]),
        "users_worst": oracle.members[worst].name, **_agreement(oracle, card["agreement"]),
    }
    for i, member in enumerate(oracle.members):
        mine = {
            "share": member.share, "return_initial": float(returns[i, 0]), "return_final": float(returns[i, 1]),
            "gain": float(gains[i]), **_predicted(oracle, i, model, heldout, answers),
        }
        row |= {f"user_{member.name}_{name}": value for name, value in mine.items()}
    return row


def _own_return(judgment: Any, factors: Mapping[str, float]) -> float:
    """Returns a user's mean return per episode; the weights of every factor, undiscounted."""
    assert isinstance(judgment, WeightedFactors)
    return float(sum(weight * factors[name] for name, weight in judgment.weights.items()))


def _agreement(oracle: Population, table: Mapping[str, Mapping[str, float | None]]) -> dict[str, Any]:
    """Returns how often two users order a pair alike: each two, and two drawn by share who are not the same."""
    names, row, weighted, total = [member.name for member in oracle.members], {}, 0.0, 0.0
    for i, one in enumerate(names):
        for j in range(i):
            alike, weight = table[one][names[j]], float(oracle.shares[i] * oracle.shares[j])
            row[f"users_agreement_{names[j]}_{one}"] = alike
            if alike is not None:
                weighted, total = weighted + weight * alike, total + weight
    return {"users_agreement": weighted / total if total else None, **row}


def _predicted(
    oracle: Population, i: int, model: RewardModel | None, heldout: ScoredStore, answers: Answers
) -> dict[str, Any]:
    """Returns how many held-out answers user `i` gave, which share the model predicts, and which share could be predicted."""
    comparisons = answers.comparisons[answers.comparisons.annotator == i]
    found: dict[str, Any] = {"n_heldout": len(comparisons), "heldout_accuracy": None, "best_possible_accuracy": None}
    if not len(comparisons):
        return found
    first, second = (heldout.gather(side, states="none") for side in (comparisons.first, comparisons.second))
    known = oracle.probabilities(first, second, oracle.context(comparisons.query_id))
    found["best_possible_accuracy"] = _finite(metrics.best_possible_accuracy(known)[0])
    if model is not None:
        found["heldout_accuracy"] = _finite(metrics.accuracy(model.prob_first(first.segments, second.segments), comparisons.choice))
    return found


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
