"""Oracles: everything from a pool of scored segments to an answer, and the strategies that choose what is asked."""

from preflab.oracles.branching import BranchedRegret
from preflab.oracles.calibration import Calibration, agreement, solve_beta
from preflab.oracles.cells import Cells, PreferenceMatrix, cyclic_share, random_preferences
from preflab.oracles.features import Feature, IdealPoint, SegmentFeatures, ZoneVisits
from preflab.oracles.habits import Drift, DriftingJudgment, Fatigue, OrderBias
from preflab.oracles.hierarchy import Hierarchy, Level
from preflab.oracles.judgments import PartialReturn, Regret, WeightedFactors
from preflab.oracles.labeling import Labels, deciding_levels, label
from preflab.oracles.majority import Majority, vote
from preflab.oracles.mistakes import FeatureMistakes, MarginMistakes, Mistakes
from preflab.oracles.oracle import ComposedOracle
from preflab.oracles.plugged import CallableJudgment, RewardCode
from preflab.oracles.population import Human, Member, Population, pairwise_agreement
from preflab.oracles.presets import build, check, judgments, needs_expert, needs_sim_states
from preflab.oracles.responses import Argmax, Boltzmann
from preflab.oracles.settings import OracleSettings
from preflab.oracles.similar_start import SimilarStartStrategy
from preflab.oracles.strategies import STRATEGIES, DisagreementStrategy, UniformStrategy, build_strategy
from preflab.oracles.ties import BPrefThresholds, Davidson, RaoKupper, Skips, SkipsBelow, ThresholdTies

__all__ = [
    "OracleSettings", "build", "check", "judgments", "needs_expert", "needs_sim_states", "Labels", "label", "deciding_levels",
    "Human", "Majority", "Member", "Population", "pairwise_agreement", "vote", "ComposedOracle",
    "PartialReturn", "WeightedFactors", "Regret", "BranchedRegret", "IdealPoint", "ZoneVisits", "SegmentFeatures", "Feature",
    "CallableJudgment", "RewardCode", "Cells", "DriftingJudgment",
    "Boltzmann", "Argmax", "Hierarchy", "Level", "PreferenceMatrix", "RaoKupper", "Davidson", "ThresholdTies", "SkipsBelow",
    "Skips", "BPrefThresholds", "Mistakes", "MarginMistakes", "FeatureMistakes", "Fatigue", "Drift", "OrderBias",
    "cyclic_share", "random_preferences", "Calibration", "agreement", "solve_beta",
    "STRATEGIES", "DisagreementStrategy", "SimilarStartStrategy", "UniformStrategy", "build_strategy",
]
