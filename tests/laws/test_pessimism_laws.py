"""Every rule of pessimism keeps the laws, and each liar below breaks exactly the law that it is named for."""

import math

import numpy as np
import pytest

from preflab.rewards import Pessimism
from preflab.rewards.pessimism import KNOBS
from preflab.testing import LawBroken
from preflab.testing.pessimism import PESSIMISM_LAWS, check_pessimism

RULES = [
    *(Pessimism(rule) for rule in KNOBS), Pessimism("variance", 3.0, ddof=1), Pessimism("deviation", 0.5, ddof=1),
    Pessimism("blend", 0.0), Pessimism("blend", 1.0), *(Pessimism("soft", b) for b in (0.0, 1e-9, 0.01, 1e9, math.inf)),
]
LIARS = {
    "never_above_the_mean": lambda members: members.max(0),
    "agreement_is_left_alone": lambda members: members.min(0) - 0.1,
    "order_of_members_does_not_matter": lambda members: members.mean(0) - np.abs(members[0] - members[1]),
    "a_shift_of_all_members_shifts_the_reward": lambda members: members.mean(0) - np.abs(members.mean(0)) * members.std(0),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.rule} {rule.strength} {rule.ddof}")
def test_a_rule_keeps_the_laws(rule: Pessimism) -> None:
    check_pessimism(rule)


@pytest.mark.parametrize("liar", LIARS)
def test_a_liar_breaks_its_own_law_and_no_other(liar: str) -> None:
    broken = []
    for name, law in PESSIMISM_LAWS.items():
        try:
            law(LIARS[liar])
        except LawBroken:
            broken.append(name)
    assert broken == [liar]


def test_there_is_a_liar_for_each_law() -> None:
    assert LIARS.keys() == PESSIMISM_LAWS.keys()
