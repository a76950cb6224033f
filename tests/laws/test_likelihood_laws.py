"""Learners under other likelihoods, losses and kinds of members keep the laws of reward learners."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from preflab.rewards import BradleyTerryLearner, GeneralPreferenceLearner, RewardSettings, TieLearner
from preflab.testing.rewards import LAWS, LIKELIHOOD_LAWS

pytestmark = pytest.mark.filterwarnings("ignore::preflab.rewards.FewComparisonsWarning")
SETTINGS = RewardSettings(
    n_members=2, hidden=(8,), learning_rate=0.03, weight_decay=0.0, batch_size=1000, n_epochs=60, data="shared",
    early_stopping=False,
)
SHIFTS = {"nothing_shifts_the_reward"}
LEARNERS: dict[str, tuple[Callable[..., Any], RewardSettings, set[str]]] = {  # and the laws that are not theirs
    "davidson": (TieLearner, replace(SETTINGS, likelihood="davidson"), set()),
    # log odds among strict answers are no multiple of score differences
    "rao_kupper": (TieLearner, replace(SETTINGS, likelihood="rao_kupper"), SHIFTS),
    # a loss without lower bound: at higher rates, probabilities of answers that are never wrong become 1
    "unbiased": (BradleyTerryLearner, replace(SETTINGS, robust="unbiased", flip_rate=0.002), set()),
    "reliability": (BradleyTerryLearner, replace(SETTINGS, robust="reliability"), set()),
    "min_norm": (BradleyTerryLearner, replace(SETTINGS, robust="min_norm"), set()),
    "flip_margin": (BradleyTerryLearner, replace(SETTINGS, robust="flip_margin", n_vote_rounds=1), set()),
    "trunk": (BradleyTerryLearner, replace(SETTINGS, diversity="trunk", data="bootstrap", average_weights=True), set()),
    # no network of one output a step, no scores of segments
    "general": (GeneralPreferenceLearner, replace(SETTINGS, likelihood="general", n_planes=1), {*LIKELIHOOD_LAWS, *SHIFTS}),
}


@pytest.mark.parametrize(("learner", "law"), [(name, law) for name in LEARNERS for law in LAWS if law not in LEARNERS[name][2]])
def test_a_learner_keeps_the_law(learner: str, law: str) -> None:
    kind, settings, _ = LEARNERS[learner]
    LAWS[law](lambda observations, actions, is_fixed: kind(observations, actions, settings, is_fixed))
