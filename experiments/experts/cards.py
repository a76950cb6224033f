"""What a reader must know of an expert: what it earns, how well its critic fits, how it was made, its gap."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import preflab
from preflab import seeding
from preflab.envs import RandomPolicy, collect, make_vec
from preflab.experiments.experts.critic import quality_of_fit, residuals
from preflab.experiments.experts.gather import Continuations
from preflab.experts import Critic
from preflab.interfaces import Policy
from preflab.types import FloatArray, ScoredTrajectory

_PACKAGES = ("gymnasium", "mujoco", "numpy", "stable-baselines3", "torch")
_RESIDUAL_TRAJECTORIES = 10


@dataclass(frozen=True)
class Reached:
    """What an expert was meant to reach: an episode return, and the horizon over which it is earned."""

    target: float
    horizon: int


def returns_card(returns: FloatArray) -> dict[str, float]:
    """Returns n, mean and the half-width of a 95 % normal interval of episode returns, and their extremes.

    >>> returns_card(np.array([1.0, 3.0]))["mean"]
    2.0
    """
    spread = float(returns.std(ddof=1)) if len(returns) > 1 else float("nan")
    return {
        "n": len(returns), "mean": float(returns.mean()), "ci95": 1.96 * spread / len(returns) ** 0.5, "std": spread,
        "min": float(returns.min()), "max": float(returns.max()),
    }


def expert_card(
    task: str, form: str, policies: Mapping[str, Policy], critic: Critic, data: Continuations, reached: Reached,
    *, n_episodes: int = 100, seed: int = 0,
) -> dict[str, Any]:
    """Measures an expert on fresh episodes and returns its card, but for how it was trained.

    Args:
        task: its task.
        form: its form.
        policies: "expert" and "middle"; the random one is added here.
        critic: V of the deterministic expert.
        data: what the critic was fitted to; its held-out part is what its fit is judged by.
        reached: the return it was meant to reach.
        n_episodes: of the deterministic expert.
        seed: of the fresh episodes.
    """
    venv = make_vec(task, form, min(10, n_episodes), seeding.small_seed(seed, "card"), reveal_gold=True)
    everyone = {"random": RandomPolicy(venv.action_space), **policies}
    n_each = min(_RESIDUAL_TRAJECTORIES, n_episodes)
    deterministic = collect(venv, policies["expert"], n_episodes, None)
    runs = {
        name: collect(venv, policy, n_each, seeding.generator(seed, "card", name)) for name, policy in everyone.items()
    }
    venv.close()
    earned = returns_card(_returns(deterministic))
    gap = max(0.0, reached.target - earned["mean"])
    return {
        "task": task, "form": form, "gamma": critic.gamma, "expert_return": earned,
        **{f"{name}_return": returns_card(_returns(of)) for name, of in runs.items() if name != "expert"},
        "stochastic_return": returns_card(_returns(runs["expert"])),
        "reaches_target": bool(earned["mean"] >= reached.target), "target": reached.target,
        "gap": {
            "return": gap, "per_step": gap / reached.horizon,
            "reference": "target return minus the deterministic expert's, 0 if reached: a lower bound of its distance",
        },
        "critic": {
            "held_out": quality_of_fit(critic, data),
            "residual_on_deterministic_expert": residual_card(critic, deterministic[:n_each]),
            "regret_per_step": {name: residual_card(critic, of)["mean"] for name, of in runs.items()},
            "n_continuations": len(data), "n_steps": int(data.lengths.sum()),
        },
        "seeds": {"evaluation": seed},
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES}
        | {"preflab": preflab.__version__, "python": platform.python_version()},
    }


def residual_card(critic: Critic, runs: list[ScoredTrajectory], segment: int = 50) -> dict[str, float]:
    """Returns mean and spread of V(s) − r − γ V(s') along trajectories, and the spread of its sum over segments."""
    parts = [
        residuals(critic, run.trajectory.observations, run.gold_rewards, run.trajectory.terminated) for run in runs
    ]
    sums = [part[i : i + segment].sum() for part in parts for i in range(0, len(part) - segment + 1, segment)]
    steps = np.concatenate(parts)
    return {
        "mean": float(steps.mean()), "std": float(steps.std()), "n": len(steps), "segment_length": segment,
        "segment_sum_mean": float(np.mean(sums)) if sums else float("nan"),
        "segment_sum_std": float(np.std(sums)) if sums else float("nan"),
    }


def _returns(runs: list[ScoredTrajectory]) -> FloatArray:
    return np.array([run.gold_rewards.sum() for run in runs])
