"""Which level of a hierarchy decided the answers that a reward was fitted to."""

from __future__ import annotations

import numpy as np

from preflab.experiments.asking import Answers
from preflab.interfaces import Oracle
from preflab.oracles import ComposedOracle, Population, deciding_levels
from preflab.types import ScoredStore


def level_figures(oracle: Oracle, store: ScoredStore, answers: Answers) -> dict[str, float]:
    """Returns `level_<feature>_share` and `level_none_share` (ties) of the answers; nothing where no hierarchy answered.

    Of a population it is the level of whoever answered, by the feature that the level compares.
    """
    asked = answers.comparisons
    levels = deciding_levels(oracle, store, asked.first, asked.second, asked.query_id)
    if levels is None:
        return {}
    rankings = _rankings(oracle)
    features = list(dict.fromkeys(name for ranking in rankings for name in ranking))
    place = np.full((len(rankings), max(map(len, rankings)) + 1), len(features))  # the last column stands for no level, −1
    for i, ranking in enumerate(rankings):
        place[i, : len(ranking)] = [features.index(name) for name in ranking]
    shares = np.bincount(place[asked.annotator, levels], minlength=len(features) + 1) / len(levels)
    return {f"level_{name}_share": float(share) for name, share in zip([*features, "none"], shares, strict=True)}


def _rankings(oracle: Oracle) -> list[list[str]]:
    """Returns the features that each annotator compares, most important first."""
    assert isinstance(oracle, ComposedOracle | Population)
    responses = [member.response for member in oracle.members] if isinstance(oracle, Population) else [oracle.response]
    return [[level["feature"] for level in response.card()["levels"]] for response in responses]
