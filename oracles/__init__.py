"""Oracles: everything from a pool of scored segments to an answer, and the strategies that choose what is asked."""

from preflab.oracles.branching import BranchedRegret
from preflab.oracles.calibration import Calibration, agreement, solve_beta
from preflab.oracles.judgments import PartialReturn, Regret, WeightedFactors
from preflab.oracles.labeling import Labels, label
from preflab.oracles.oracle import ComposedOracle
from preflab.oracles.population import Human, Member, Population, check_humans, pairwise_agreement
from preflab.oracles.presets import BY_REGRET, PRESETS, OracleSettings, build, needs_sim_states
from preflab.oracles.responses import Argmax, Boltzmann, Mistakes
from preflab.oracles.similar_start import SimilarStartStrategy
from preflab.oracles.strategies import STRATEGIES, DisagreementStrategy, UniformStrategy, build_strategy

__all__ = [
    "PRESETS", "BY_REGRET", "OracleSettings", "build", "needs_sim_states", "Labels", "label",
    "Human", "Member", "Population", "check_humans", "pairwise_agreement",
    "ComposedOracle", "PartialReturn", "WeightedFactors", "Regret", "BranchedRegret", "Boltzmann", "Argmax", "Mistakes",
    "Calibration", "agreement", "solve_beta",
    "STRATEGIES", "DisagreementStrategy", "SimilarStartStrategy", "UniformStrategy", "build_strategy",
]
