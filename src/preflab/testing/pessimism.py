"""Laws of rules that make one number of an ensemble's K members: `check_pessimism(combine)` for your own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from preflab.testing.laws import hold
from preflab.types import AnyArray, FloatArray

Combine = Callable[[FloatArray], AnyArray]  # (K, …) members → (…)
N_MEMBERS = 5


def check_pessimism(combine: Combine) -> None:
    """Checks every law of `PESSIMISM_LAWS`; raises `LawBroken` at the first one broken."""
    for law in PESSIMISM_LAWS.values():
        law(combine)


def never_above_the_mean(combine: Combine) -> None:
    """A pessimistic reward is at most the members' mean."""
    members = _members()
    worst = float((combine(members) - members.mean(0)).max())
    hold(worst <= 1e-12, f"{worst:.2e} above the mean of the members")


def agreement_is_left_alone(combine: Combine) -> None:
    """Where members say the same, that is the reward."""
    values = _members()[0]
    gap = float(np.abs(combine(np.tile(values, (N_MEMBERS, 1))) - values).max())
    hold(gap <= 1e-12, f"{gap:.2e} away from what all members say")


def order_of_members_does_not_matter(combine: Combine) -> None:
    """No member is heard more than another."""
    members = _members()
    gap = float(np.abs(combine(members) - combine(members[[3, 0, 4, 1, 2]])).max())
    hold(gap <= 1e-12, f"members in another order change the reward by {gap:.2e}")


def a_shift_of_all_members_shifts_the_reward(combine: Combine) -> None:
    """What all members add, the reward adds: pessimism is about their differences."""
    members = _members()
    gap = float(np.abs(combine(members + 3.5) - combine(members) - 3.5).max())
    hold(gap <= 1e-9, f"members shifted by 3.5 shift the reward by 3.5 ± {gap:.2e}")


PESSIMISM_LAWS: dict[str, Callable[[Combine], None]] = {
    law.__name__: law for law in (
        never_above_the_mean, agreement_is_left_alone, order_of_members_does_not_matter,
        a_shift_of_all_members_shifts_the_reward,
    )
}


def _members() -> FloatArray:
    """Returns (K, 40) members who differ little in some places and much in others."""
    rng = np.random.default_rng(0)
    return np.asarray(rng.normal(size=40) + rng.normal(size=(N_MEMBERS, 40)) * np.geomspace(1e-3, 10, 40))
