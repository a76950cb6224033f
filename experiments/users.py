"""What a run did for each of several humans: their own returns, and how well the learned model predicts each one's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from preflab.experiments.asking import Answers
from preflab.experiments.stages import subsample
from preflab.interfaces import Oracle, RewardModel
from preflab.oracles import Population, WeightedFactors
from preflab.rewards import metrics
from preflab.types import FloatArray, ScoredStore, ScoredTrajectory

N_SCORED_SEGMENTS = 200  # of the evaluation episodes, where a user's figure is the mean score of a segment
MOST_PAIRED = 6  # users of whom each two have an entry of their own in the record; of more, the card has the table


def user_scores(oracle: Oracle, episodes: Sequence[ScoredTrajectory], length: int) -> list[float] | None:
    """Returns what each of k users thinks of a segment of `episodes` in the mean, in the user's own units.

    None where users have returns of whole episodes, where there is one human alone, and where users who branch would need
    the states of a simulator. At most 200 segments are shown, from the same places in every round.
    """
    if not has_users(oracle) or has_returns(oracle) or oracle.needs_sim_states:
        return None
    assert isinstance(oracle, Population)
    store = ScoredStore(episodes)
    index = subsample(store.store.admissible(length), N_SCORED_SEGMENTS, "users")
    scores: list[float] = oracle.member_scores(store.gather(index, states="none")).mean(axis=1).tolist()
    return scores


def has_users(oracle: Oracle) -> bool:
    """Returns whether one of several humans answers each query."""
    return isinstance(oracle, Population) and oracle.n_annotators > 1


def has_returns(oracle: Oracle) -> bool:
    """Returns whether every user weighs gold's factors without a discount, so that a whole episode has a return for each."""
    judgments = [member.judgment for member in oracle.members] if isinstance(oracle, Population) else []
    return all(isinstance(judgment, WeightedFactors) and judgment.gamma == 1 for judgment in judgments)


def user_figures(
    oracle: Oracle, history: Sequence[Mapping[str, Any]], model: RewardModel | None, heldout: ScoredStore, answers: Answers,
) -> dict[str, Any]:
    """Returns the record's entries about users; none where one human alone answers.

    `users_return_is` says what a user's return is: of an episode, Σ_t Σ_f w_f factor_f under the user's own weights, where
    all weigh factors; else the mean score of a segment of the evaluation episodes (`user_scores`). Both are in the user's own
    units. To compare users, a gain is also given in spreads: standard deviations of how this user values the calibration
    segments. `users_worst` is the user of the smallest such gain.
    """
    if not has_users(oracle):
        return {}
    assert isinstance(oracle, Population)
    card = oracle.card()
    returns = _returns(oracle, history)
    spreads = np.array([card["humans"][member.name]["judged_spread"] for member in oracle.members])
    gains = (returns[:, 1] - returns[:, 0]) / np.where(spreads > 0, spreads, np.nan)
    row: dict[str, Any] = {"n_annotators": oracle.n_annotators, "users_return_is": _meaning(oracle)}
    for name, at in (("initial", returns[:, 0]), ("final", returns[:, 1])):
        row |= {f"users_return_mean_{name}": _finite(oracle.shares @ at), f"users_return_worst_{name}": _finite(at.min())}
    worst = int(np.where(np.isnan(gains), np.inf, gains).argmin())
    is_known = bool(np.isfinite(gains).any())
    row |= {
        "users_gain_mean": _finite(oracle.shares @ gains), "users_gain_worst": _finite(gains[worst]),
        "users_worst": oracle.members[worst].name if is_known else None, **_agreement(oracle, card["agreement"]),
    }
    for i, member in enumerate(oracle.members):
        mine = {
            "share": member.share, "return_initial": _finite(returns[i, 0]), "return_final": _finite(returns[i, 1]),
            "gain": _finite(gains[i]), **_predicted(oracle, i, model, heldout, answers),
        }
        row |= {f"user_{member.name}_{name}": value for name, value in mine.items()}
    return row


def _returns(oracle: Population, history: Sequence[Mapping[str, Any]]) -> FloatArray:
    """Returns (k, 2) each user's figure before and after training; nan where it was not measured."""
    ends = [history[0], history[-1]]
    if has_returns(oracle):
        return np.array([[_own_return(member.judgment, row["factors"]) for row in ends] for member in oracle.members])
    nothing = [np.nan] * len(oracle.members)
    return np.array([nothing if row.get("user_scores") is None else row["user_scores"] for row in ends], dtype=np.float64).T


def _own_return(judgment: Any, factors: Mapping[str, float]) -> float:
    """Returns a user's mean return per episode; the weights of every factor, undiscounted."""
    return float(sum(weight * factors[name] for name, weight in judgment.weights.items()))


def _meaning(oracle: Population) -> str:
    """Returns what a user's return is, in words."""
    if has_returns(oracle):
        return "return of an episode under the user's own weights of gold's factors"
    if oracle.needs_sim_states:
        return "not measured: a user who branches needs simulator states, and evaluation episodes keep none"
    by_chance = "its chance, with this user, to be preferred to a calibration segment"
    is_ordered = [member.reference is None for member in oracle.members]
    value = "" if not any(is_ordered) else "its value to the user" if all(is_ordered) else "its value to the user, or "
    return f"mean, over segments of the evaluation episodes, of {value}{'' if all(is_ordered) else by_chance}"


def _agreement(oracle: Population, table: Mapping[str, Mapping[str, float | None]]) -> dict[str, Any]:
    """Returns how often two users order a pair alike: two drawn by share who are not the same, and each two of a few."""
    names, row, weighted, total = [member.name for member in oracle.members], {}, 0.0, 0.0
    for i, one in enumerate(names):
        for j in range(i):
            alike, weight = table[one][names[j]], float(oracle.shares[i] * oracle.shares[j])
            if len(names) <= MOST_PAIRED:
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
    states = "ends" if oracle.needs_sim_states else "none"
    first, second = (heldout.gather(side, states=states) for side in (comparisons.first, comparisons.second))
    asked = oracle.for_evaluation()
    known = asked.probabilities(first, second, asked.context(comparisons.query_id))
    found["best_possible_accuracy"] = _finite(metrics.best_possible_accuracy(known)[0])
    if model is not None:
        found["heldout_accuracy"] = _finite(metrics.accuracy(model.prob_first(first.segments, second.segments), comparisons.choice))
    return found


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
