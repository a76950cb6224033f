"""Oracles: everything from a pool of scored segments to an answer, and the strategies that choose what is asked."""

from preflab.oracles.calibration import Calibration, agreement, solve_beta
from preflab.oracles.judgments import PartialReturn, Regret
from preflab.oracles.oracle import ComposedOracle
from preflab.oracles.presets import PRESETS, OracleSettings, build
from preflab.oracles.responses import Argmax, Boltzmann, Mistakes
from preflab.oracles.strategies import STRATEGIES, DisagreementStrategy, UniformStrategy, build_strategy

__all__ = [
    "PRESETS", "OracleSettings", "build",
    "ComposedOracle", "PartialReturn", "Regret", "Boltzmann", "Argmax", "Mistakes",
    "Calibration", "agreement", "solve_beta",
    "STRATEGIES", "DisagreementStrategy", "UniformStrategy", "build_strategy",
]
