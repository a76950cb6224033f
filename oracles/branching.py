"""Regret without a critic: the simulator is restored at both ends of a segment and the expert goes on from there."""

from typing import Any

import numpy as np

from preflab.interfaces import Judgment, StateValue
from preflab.oracles.judgments import real_steps, weighted_sum
from preflab.types import FloatArray, ScoredSegments


class BranchedRegret(Judgment):
    """Values a segment by −[V(s_0) − Σ_t γ^t r_t − γ^L V(s_L)], V what the expert earns from a restored state.

    Knox et al. 2022, section 3 (https://arxiv.org/abs/2206.02231), deterministic regret, there with γ = 1: the realized form
    of `Regret` with weights γ^t, telescoped, so that V is needed at both ends alone. γ is the expert's own. V of a terminal
    is 0 and absorbing steps count nothing, so a segment that terminated inside is branched from its start only. Where
    transitions are random V is one sample, and regret is right in the mean over next states.
    """

    needs_sim_states = True
    needs_observations = False
    needs_factors = False

    def __init__(self, value: StateValue) -> None:
        """Judges with the expert's `value` of simulator states."""
        self.value = value

    def values(self, scored: ScoredSegments) -> FloatArray:
        """Returns (N,) minus regret, in units of gold; needs the simulator states at both ends."""
        segments, ends = scored.segments, scored.end_states()
        is_cut = ~segments.terminated.any(axis=1)
        found = self.value.values_of_states(np.concatenate([ends[:, 0], ends[is_cut, 1]]))
        after = np.zeros(len(segments))
        after[is_cut] = found[len(segments) :]
        earned = weighted_sum(scored.gold_rewards, real_steps(segments), self.value.gamma)
        return np.asarray(earned + self.value.gamma**segments.length * after - found[: len(segments)], dtype=np.float64)

    def card(self) -> dict[str, Any]:
        """Returns formula, how far a branch goes, unit and source."""
        return {
            "kind": "regret", "formula": "minus [V(s_0) - sum over real steps of gamma^t r - gamma^L V(s_L)], V(terminal) = 0",
            "form": "realized", "weighting": "discounted", "gamma": float(self.value.gamma), "unit": "gold",
            "value": "by branching: the simulator is restored and the deterministic expert goes on, without a time limit",
            "branching": self.value.card(), "source": "Knox et al. 2022, https://arxiv.org/abs/2206.02231",
        }
