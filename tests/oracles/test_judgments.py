"""Partial return and regret, on numbers that can be checked by hand."""

import itertools
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from preflab import tabular
from preflab.errors import InvalidArgument, Refused
from preflab.experts import Critic, TabularExpert
from preflab.interfaces import Judgment
from preflab.oracles import (
    CallableJudgment,
    Cells,
    DriftingJudgment,
    IdealPoint,
    PartialReturn,
    Regret,
    RewardCode,
    SegmentFeatures,
    WeightedFactors,
    ZoneVisits,
)
from preflab.oracles.wrapping import SideBySide
from preflab.testing.oracles import random_world
from preflab.types import AnyArray, FloatArray, ScoredSegments

MakeSegments = Callable[..., ScoredSegments]
WORLD = random_world()


class TableOfValues:
    """V(s) = 10 s under γ = ½; state 9 is a terminal, to which it wrongly gives 90."""

    gamma = 0.5

    def __init__(self) -> None:
        self.n_calls = 0

    def values(self, obs: AnyArray) -> FloatArray:
        self.n_calls += 1
        return 10.0 * np.asarray(obs, dtype=np.float64)


def test_partial_return_sums_gold_over_real_steps(make_segments: MakeSegments) -> None:
    scored = make_segments([[1, 2, 4], [1, 2, 400]], real=[3, 2])
    np.testing.assert_array_equal(PartialReturn().values(scored), [7, 3])
    np.testing.assert_array_equal(PartialReturn(0.5).values(scored), [1 + 1 + 1, 1 + 1])
    np.testing.assert_array_equal(PartialReturn(0.0).values(scored), [1, 1])


@pytest.mark.parametrize(("gamma", "values"), [(1.0, [7, 3]), (0.5, [4 + 1 + 0.25, 2 + 0.5]), (0.0, [4, 2])])
def test_a_myopic_human_discounts_from_the_last_real_step_back(
    gamma: float, values: list[float], make_segments: MakeSegments
) -> None:
    scored = make_segments([[1, 2, 4], [1, 2, 400]], real=[3, 2])
    np.testing.assert_array_equal(PartialReturn(gamma, is_myopic=True).values(scored), values)


def test_myopia_is_partial_return_of_the_segment_run_backwards(draw_segments: MakeSegments) -> None:
    scored = draw_segments(50, 20)
    n_real = scored.segments.valid.sum(axis=1)
    backwards = scored.gold_rewards.copy()
    for row, n in zip(backwards, n_real, strict=True):
        row[:n] = row[:n][::-1]
    found = PartialReturn(0.9, is_myopic=True).values(scored)
    np.testing.assert_allclose(found, PartialReturn(0.9).values(replace(scored, gold_rewards=backwards)), atol=1e-13)
    card = PartialReturn(0.9, is_myopic=True).card()
    assert card["formula"] == "sum over n real steps of gamma^(n-1-t) * gold reward" and "Myopic" in card["source"]
    with pytest.raises(InvalidArgument, match=r"gamma must be in \[0, 1\], got -0.1"):
        PartialReturn(-0.1, is_myopic=True)


NAMES = ("speed", "effort", "height")
NEW: dict[str, Callable[[], Judgment]] = {
    "myopic": lambda: PartialReturn(0.9, is_myopic=True),
    "sums": lambda: SegmentFeatures((*NAMES, "gold", "obs_1", "abs_act_0"), NAMES, "sum"),
    "means": lambda: SegmentFeatures(("speed", "obs_0"), NAMES, "mean"), "last": lambda: SegmentFeatures(NAMES[:1], NAMES, "last"),
    "ideal": lambda: IdealPoint({"gold": 0.1, "height": -1.0, "obs_2": 0.0}, NAMES),
    "goal": lambda: IdealPoint({"act_1": 0.1, "height": -1.0, "obs_2": 0.0}, NAMES, by_step=True),
    "zone": lambda: ZoneVisits("obs_0", NAMES, low=-0.2, high=0.9, at_most=2),
    "cells": lambda: Cells("gold", NAMES, np.array([-1.0, 1.0])),
    "code": lambda: RewardCode(lambda obs, act, after, info: after[:, 0] * act[:, 1] + info["speed"], NAMES, name="x"),
    "drifting": lambda: DriftingJudgment(PartialReturn(), WeightedFactors({"speed": 1.0}, NAMES)),
    "with a feature": lambda: SideBySide(IdealPoint({"gold": 0.1}, NAMES), SegmentFeatures(("obs_0",), NAMES, "mean")),
    "callable": lambda: CallableJudgment(PartialReturn(0.5).values),
}


@pytest.mark.parametrize("name", NEW)
def test_whatever_stands_on_absorbing_steps_changes_no_bit(name: str, draw_segments: MakeSegments) -> None:
    scored, judge = draw_segments(), NEW[name]()
    absorbing = scored.segments.absorbing
    obs, actions = scored.segments.observations.copy(), scored.segments.actions.copy()
    obs[:, 1:][absorbing], actions[absorbing] = 3.0, -7.0  # NaN before
    other = replace(
        scored, segments=replace(scored.segments, observations=obs, actions=actions),
        gold_rewards=np.where(absorbing, 1e6, scored.gold_rewards), factors=np.where(absorbing[..., None], -1e6, scored.factors),
    )
    assert absorbing.any() and np.isfinite(judge.values(scored)).all()
    np.testing.assert_array_equal(judge.values(scored), judge.values(other))


@pytest.mark.parametrize("length", [1, 6, 130])
@pytest.mark.parametrize("name", NEW)
def test_a_segment_is_judged_alone_as_among_others_to_the_bit_and_none_as_none(
    name: str, length: int, draw_segments: MakeSegments
) -> None:
    scored, judge = draw_segments(length=length), NEW[name]()
    together = judge.values(scored)
    np.testing.assert_array_equal(np.concatenate([judge.values(scored[i : i + 1]) for i in range(len(scored))]), together)
    np.testing.assert_array_equal(judge.values(scored[::-1]), together[::-1])
    assert judge.values(scored[:0]).shape == (0, *together.shape[1:])


@pytest.mark.parametrize("name", NEW)
def test_a_judgment_writes_to_nothing_that_it_is_shown(name: str, draw_segments: MakeSegments) -> None:
    scored, fresh = draw_segments(), draw_segments()
    before = NEW[name]().values(scored)
    arrays = [*(getattr(scored.segments, field.name) for field in fields(scored.segments)), scored.gold_rewards, scored.factors]
    kept = [*(getattr(fresh.segments, field.name) for field in fields(fresh.segments)), fresh.gold_rewards, fresh.factors]
    for array, copy in zip(arrays, kept, strict=True):
        np.testing.assert_array_equal(array, copy)
    np.testing.assert_array_equal(NEW[name]().values(scored), before)


def test_gold_that_is_nan_on_padding_does_not_reach_a_value(make_segments: MakeSegments) -> None:
    scored = make_segments([[1, 2, np.nan]], states=[[1, 2, 9, 9]], real=[2])
    assert PartialReturn().values(scored) == [3]
    assert np.isfinite(Regret(TableOfValues()).values(scored)).all()


def test_realized_regret_by_hand(make_segments: MakeSegments) -> None:
    # V: 10, 20, 30, 40; steps r + V(s')/2 − V(s): 1 + 10 − 10 = 1, 2 + 15 − 20 = −3, 4 + 20 − 30 = −6
    scored = make_segments([[1, 2, 4]], states=[[1, 2, 3, 4]])
    assert Regret(TableOfValues()).values(scored) == [1 - 3 - 6]
    assert Regret(TableOfValues(), weighting="discounted").values(scored) == [1 - 3 / 2 - 6 / 4]


def test_the_value_of_a_terminal_is_0_whatever_the_critic_says(make_segments: MakeSegments) -> None:
    # 1 + V(2)/2 − V(1) = 1, then 2 + 0 − V(2) = −18, and nothing on the two padded steps
    scored = make_segments([[1, 2, 0, 0]], states=[[1, 2, 9, 9, 9]], real=[2])
    assert Regret(TableOfValues()).values(scored) == [1 - 18]


def test_a_segment_that_ends_in_its_last_step_has_a_terminal_too(make_segments: MakeSegments) -> None:
    ended = make_segments([[1, 2]], states=[[1, 2, 9]], terminated=[True])
    cut = make_segments([[1, 2]], states=[[1, 2, 9]], terminated=[False])
    assert Regret(TableOfValues()).values(ended) == [1 + 2 - 20]
    assert Regret(TableOfValues()).values(cut) == [1 + 2 + 45 - 20]


def test_discounted_regret_telescopes() -> None:
    expert, scored = TabularExpert(WORLD.mdp), WORLD.pool
    segments, gamma = scored.segments, WORLD.mdp.gamma
    v = np.where(WORLD.mdp.terminal, 0.0, expert.values(np.arange(WORLD.mdp.n_states)))
    gold = (scored.gold_rewards * gamma ** np.arange(segments.length)).sum(axis=1)
    ends = v[segments.observations[:, -1]]  # V of a terminal is 0, so padding needs no care
    by_hand = gold + gamma**segments.length * ends - v[segments.observations[:, 0]]
    np.testing.assert_allclose(Regret(expert, weighting="discounted").values(scored), by_hand, atol=1e-12)


def test_the_two_forms_differ_segment_by_segment_where_transitions_are_stochastic() -> None:
    expert = TabularExpert(WORLD.mdp)
    difference = Regret(expert, "realized").values(WORLD.pool) - Regret(expert, "expected").values(WORLD.pool)
    assert np.median(np.abs(difference)) > 0.1


@pytest.mark.parametrize("weighting", ["uniform", "discounted"])
def test_the_two_forms_agree_segment_by_segment_where_transitions_are_deterministic(weighting: str) -> None:
    sure = random_world(1, is_deterministic=True)
    expert = TabularExpert(sure.mdp)
    realized, expected = (Regret(expert, form, weighting).values(sure.pool) for form in ("realized", "expected"))
    np.testing.assert_allclose(realized, expected, atol=1e-9)


def test_expected_regret_against_the_optimum_is_never_negative_and_0_for_optimal_actions() -> None:
    expert = TabularExpert(WORLD.mdp)
    regret = -Regret(expert, "expected").values(WORLD.pool)
    assert regret.min() > -1e-9
    _, q = tabular.optimal_values(WORLD.mdp)
    segments = WORLD.pool.segments
    is_best = tabular.greedy(q)[segments.observations[:, :-1]] == segments.actions
    is_optimal = (is_best | segments.absorbing).all(axis=1)
    assert is_optimal.sum() > 5
    assert regret[is_optimal].max() < 1e-9 < regret[~is_optimal].min()


def test_the_value_function_is_called_once() -> None:
    table = TableOfValues()
    Regret(table).values(WORLD.pool)
    assert table.n_calls == 1


def test_a_network_judges_a_segment_alone_as_it_does_among_others_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = [1, 64, 64, 1]
    tensors = {"normalizer.mean": torch.zeros(1), "normalizer.var": torch.ones(1), "output.mean": torch.tensor(0.0)}
    tensors |= {"normalizer.epsilon": torch.tensor(1e-8), "normalizer.clip": torch.tensor(10.0)}
    tensors |= {"output.scale": torch.tensor(1.0), "gamma": torch.tensor(0.9)}
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        tensors[f"layers.{i}.weight"] = torch.randn(fan_out, fan_in, generator=generator)
        tensors[f"layers.{i}.bias"] = torch.randn(fan_out, generator=generator)
    judge = Regret(Critic(tensors))
    together = judge.values(WORLD.pool)
    alone = np.concatenate([judge.values(WORLD.pool[i : i + 1]) for i in range(len(WORLD.pool))])
    np.testing.assert_array_equal(alone, together)


def test_no_segments_have_no_values() -> None:
    nothing = WORLD.pool[np.zeros(0, np.int64)]
    expert = TabularExpert(WORLD.mdp)
    judges = PartialReturn(), Regret(expert), Regret(expert, "expected")
    assert [judge.values(nothing).shape for judge in judges] == [(0,)] * 3


def test_the_expected_form_is_refused_without_action_values() -> None:
    with pytest.raises(Refused, match=r"needs Q\(s, a\).*use the realized form"):
        Regret(TableOfValues(), "expected")


def test_unknown_forms_weightings_and_discounts_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="realized, expected"):
        Regret(TableOfValues(), "realised")
    with pytest.raises(InvalidArgument, match="uniform, discounted"):
        Regret(TableOfValues(), weighting="flat")
    with pytest.raises(InvalidArgument, match=r"gamma must be in \[0, 1\], got 1.5"):
        PartialReturn(1.5)
