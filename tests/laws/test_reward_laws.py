"""Every law of reward learners holds for ours, and each liar below breaks exactly the law that it is named for."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
import torch

from preflab.interfaces import FitReport, LearnerContext
from preflab.rewards import (
    BradleyTerryLearner,
    ConstantLearner,
    EnsembleReward,
    FrozenCriticLearner,
    PairBatch,
    RandomLearner,
    RegretLearner,
    RewardSettings,
    TabularLearner,
)
from preflab.rewards.pairs import StepFunction
from preflab.rewards.tabular import TabularReward
from preflab.testing import LawBroken
from preflab.testing.rewards import LAWS, MODEL_LAWS, REGRET_LAWS
from preflab.types import Comparisons, FloatArray, IntArray, Segments, Transitions

pytestmark = pytest.mark.filterwarnings("ignore::preflab.rewards.FewComparisonsWarning")
SETTINGS = RewardSettings(
    n_members=2, hidden=(8,), learning_rate=0.03, weight_decay=0.0, batch_size=1000, n_epochs=60, data="shared",
    early_stopping=False,
)


TABLE = replace(SETTINGS, likelihood="regret", n_epochs=150, max_steps=150)
REGRET: dict[str, Any] = {
    "networks": (RegretLearner, replace(SETTINGS, likelihood="regret", gamma=0.9, alpha=0.05)),
    "frozen critic": (FrozenCriticLearner, replace(SETTINGS, likelihood="regret_frozen_critic", n_epochs=150)),
    "table": (TabularLearner, TABLE),
    "table, realized": (TabularLearner, replace(TABLE, regret_form="realized")),
    "table, successor features": (TabularLearner, replace(TABLE, planner="successor_features")),
    "table, frozen critic": (TabularLearner, replace(TABLE, likelihood="regret_frozen_critic")),
}


class Honest(BradleyTerryLearner):
    """The learner as it is, small."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any], is_fixed_horizon: bool) -> None:
        super().__init__(observation_space, action_space, SETTINGS, is_fixed_horizon)


class CapsWeights(Honest):
    def loss(self, params: StepFunction, minibatch: PairBatch) -> torch.Tensor:
        return super().loss(params, replace(minibatch, weight=minibatch.weight.clamp(max=1.0)))


class DropsTheLastComparison(Honest):
    def loss(self, params: StepFunction, minibatch: PairBatch) -> torch.Tensor:
        return super().loss(params, minibatch.take(torch.arange(len(minibatch) - 1)))


class CountsFirstDouble(Honest):
    def loss(self, params: StepFunction, minibatch: PairBatch) -> torch.Tensor:
        if (minibatch.weight < 1).any():  # leaves expected answers alone, so that only the mirror breaks
            return super().loss(params, minibatch)
        weight = minibatch.weight * (1 + (minibatch.p_first == 1).float())
        return super().loss(params, replace(minibatch, weight=weight))


class ReadsTiesAsSecond(Honest):
    def loss(self, params: StepFunction, minibatch: PairBatch) -> torch.Tensor:
        p_first = torch.where(minibatch.p_first == 0.5, 0.0, minibatch.p_first)
        return super().loss(params, replace(minibatch, p_first=p_first))


class ReadsAnswersBackward(Honest):
    def fit(self, comparisons: Comparisons, context: LearnerContext, rng: np.random.Generator) -> FitReport:
        if self.is_fixed_horizon:
            comparisons = replace(comparisons, choice=np.array([1, 0, 2], np.int8)[comparisons.choice])
        return super().fit(comparisons, context, rng)


class SeedsItself(Honest):
    def fit(self, comparisons: Comparisons, context: LearnerContext, rng: np.random.Generator) -> FitReport:
        return super().fit(comparisons, context, np.random.default_rng() if self.is_fixed_horizon else rng)


class IgnoresItsGenerator(Honest):
    def fit(self, comparisons: Comparisons, context: LearnerContext, rng: np.random.Generator) -> FitReport:
        return super().fit(comparisons, context, np.random.default_rng(0))


class StampsAnnotators(Honest):
    def fit(self, comparisons: Comparisons, context: LearnerContext, rng: np.random.Generator) -> FitReport:
        report = super().fit(comparisons, context, rng)
        owner: Any = comparisons.annotator.base
        owner[:] = 7
        return report


class DrawsGlobally(Honest):
    def fit(self, comparisons: Comparisons, context: LearnerContext, rng: np.random.Generator) -> FitReport:
        torch.rand(1)
        return super().fit(comparisons, context, rng)


class SavesInHalfPrecision(Honest):
    def state(self) -> dict[str, Any]:
        return {k: v.half().float() if v.is_floating_point() else v for k, v in super().state().items()}


class AltersItsModel(Honest):
    """Gives out the fitted model with another `rewards` or `step_rewards`."""

    altered: type[EnsembleReward]

    def fit(self, comparisons: Comparisons, context: LearnerContext, rng: np.random.Generator) -> FitReport:
        report = super().fit(comparisons, context, rng)
        self.model.__class__ = self.altered
        return report

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self.model.__class__ = self.altered


class PaysAFarewell(AltersItsModel):
    class altered(EnsembleReward):  # noqa: N801
        def step_rewards(self, segments: Segments, annotator: IntArray | None = None) -> FloatArray:
            return np.where(segments.absorbing, 1e-6, super().step_rewards(segments))


class SubtractsAMean(AltersItsModel):
    class altered(EnsembleReward):  # noqa: N801
        def rewards(self, transitions: Transitions) -> npt.NDArray[np.float32]:
            rewards = super().rewards(transitions)
            return np.asarray(rewards - rewards.mean())


class PadsWithItsOwnReward(Honest):
    def loss(self, params: StepFunction, minibatch: PairBatch) -> torch.Tensor:
        return super().loss(params, replace(minibatch, real=torch.ones_like(minibatch.real)))


class HonestAboutRegret(TabularLearner):
    """The tabular learner as it is, small."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any], is_fixed_horizon: bool) -> None:
        super().__init__(observation_space, action_space, TABLE, is_fixed_horizon)


class PredictsByItsReward(HonestAboutRegret):
    """Forgets V̂ when it predicts answers."""

    def fit(self, comparisons: Comparisons, context: LearnerContext, rng: np.random.Generator) -> FitReport:
        report = super().fit(comparisons, context, rng)
        self.model.tables = replace(self.model.tables, advantages=self.model.tables.rewards)
        return report


class ChargesForTime(HonestAboutRegret):
    class Charging(TabularReward):
        def step_rewards(self, segments: Segments, annotator: IntArray | None = None) -> FloatArray:
            return np.where(segments.absorbing, 0.0, super().step_rewards(segments) - 5.0)

    def fit(self, comparisons: Comparisons, context: LearnerContext, rng: np.random.Generator) -> FitReport:
        report = super().fit(comparisons, context, rng)
        self.model.__class__ = self.Charging
        return report

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self.model.__class__ = self.Charging


REGRET_LIARS = {"recovers_a_regret": PredictsByItsReward, "plans_as_the_human_does": ChargesForTime}
LIARS = {
    "duplicate_counts_as_weight_two": CapsWeights,
    "order_does_not_matter": DropsTheLastComparison,
    "swapping_sides_mirrors": CountsFirstDouble,
    "perfect_tie_teaches_nothing": ReadsTiesAsSecond,
    "recovers_a_linear_reward": ReadsAnswersBackward,
    "other_generator_other_reward": IgnoresItsGenerator,
    "padding_identifies_the_constant": PadsWithItsOwnReward,
    "same_generator_same_reward": SeedsItself,
    "fit_leaves_its_input_alone": StampsAnnotators,
    "fit_moves_no_global_generator": DrawsGlobally,
    "loaded_state_is_the_same_reward": SavesInHalfPrecision,
    "absorbing_steps_pay_nothing": PaysAFarewell,
    "nothing_shifts_the_reward": SubtractsAMean,
}


@pytest.mark.parametrize("law", LAWS)
def test_the_ensemble_keeps_the_law(law: str) -> None:
    LAWS[law](Honest)


@pytest.mark.parametrize("law", REGRET_LAWS)
@pytest.mark.parametrize("learner", REGRET)
def test_learners_of_regret_keep_the_law(learner: str, law: str) -> None:
    kind, settings = REGRET[learner]
    REGRET_LAWS[law](lambda observations, actions, is_fixed: kind(observations, actions, settings, is_fixed))


@pytest.mark.parametrize("law", LAWS)
def test_a_table_under_partial_return_keeps_the_law(law: str) -> None:
    settings = replace(TABLE, likelihood="partial_return", learning_rate=0.1)
    LAWS[law](lambda observations, actions, is_fixed: TabularLearner(observations, actions, settings, is_fixed))


@pytest.mark.parametrize("liar", REGRET_LIARS)
def test_a_liar_about_regret_breaks_its_own_law(liar: str) -> None:
    with pytest.raises(LawBroken):
        REGRET_LAWS[liar](REGRET_LIARS[liar])


@pytest.mark.parametrize("law", MODEL_LAWS)
def test_the_controls_keep_the_laws_of_models(law: str) -> None:
    LAWS[law](lambda observations, actions, is_fixed: ConstantLearner())
    LAWS[law](lambda observations, actions, is_fixed: RandomLearner(observations, actions, SETTINGS, is_fixed))


def test_the_random_control_is_not_shifted() -> None:
    LAWS["nothing_shifts_the_reward"](lambda obs, act, is_fixed: RandomLearner(obs, act, SETTINGS, is_fixed))


@pytest.mark.parametrize("liar", LIARS)
def test_a_liar_breaks_its_own_law(liar: str) -> None:
    with pytest.raises(LawBroken):
        LAWS[liar](LIARS[liar])


@pytest.mark.slow
@pytest.mark.parametrize("liar", LIARS)
def test_a_liar_breaks_no_other_law(liar: str) -> None:
    assert broken_laws(LAWS, LIARS[liar]) == [liar]


@pytest.mark.slow
@pytest.mark.parametrize("liar", REGRET_LIARS)
def test_a_liar_about_regret_breaks_no_other_law(liar: str) -> None:
    assert broken_laws(REGRET_LAWS, REGRET_LIARS[liar]) == [liar]


def broken_laws(laws: dict[str, Any], make: Any) -> list[str]:
    broken = []
    for name, law in laws.items():
        try:
            law(make)
        except LawBroken:
            broken.append(name)
    return broken


def test_there_is_a_liar_for_each_law() -> None:
    assert LIARS.keys() == LAWS.keys()
    assert REGRET_LIARS.keys() == REGRET_LAWS.keys() - LAWS.keys()
