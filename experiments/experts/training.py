"""Trains an expert on gold with SB3's PPO, in twenty pieces, each a pure function of the last checkpoint.

At the start of every piece the environments are reset and every generator is seeded from (seed, piece), also in a run
that was never interrupted, so one that was ends with the same weights. Checkpoints are SB3's zip beside the
normalizer's statistics as npz; the learning rate falls in twenty steps.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from preflab import seeding
from preflab.envs import make_vec
from preflab.experiments.experts.convert import input_statistics, policy_tensors
from preflab.experiments.experts.presets import Preset
from preflab.storage import load_arrays, load_json, save_arrays, save_json, save_tensors, write_atomically

N_PIECES = 20


@dataclass(frozen=True)
class Trained:
    """What training left: every checkpoint's policy, and what it earned meanwhile.

    Attributes:
        policies: paths of the policies, first to last.
        returns: mean gold return of the stochastic policy's last episodes at each of them.
        steps: environment steps at each of them.
    """

    policies: list[Path]
    returns: list[float]
    steps: list[int]


def train(
    task: str, form: str, settings: Preset, folder: Path, *, seed: int = 0, n_pieces: int = N_PIECES,
    report: Callable[[str], None] = print,
) -> Trained:
    """Trains PPO on the gold of `task` in `n_pieces`, going on from the last checkpoint in `folder`."""
    torch.set_num_threads(1)
    rollout = settings.n_steps * settings.n_envs
    ends = [-(-settings.steps * (i + 1) // n_pieces // rollout) * rollout for i in range(n_pieces)]
    log = load_json(folder / "log.json") if (folder / "log.json").is_file() else []
    venv = VecMonitor(make_vec(task, form, settings.n_envs, seed, reveal_gold=True))
    normalized = VecNormalize(venv, gamma=settings.gamma)
    model = _start(normalized, settings, seed, folder, log)
    for piece, end in enumerate(ends):
        if piece < len(log):
            continue
        if end > model.num_timesteps:
            model.learning_rate = settings.learning_rate * max(1 - piece / n_pieces, 0.1)
            _train_piece(model, normalized, end, seeding.small_seed(seed, "expert", "piece", piece))
        earned = [episode["r"] for episode in model.ep_info_buffer or []]
        log.append({"steps": int(model.num_timesteps), "return": float(np.mean(earned)) if earned else float("nan")})
        _save(model, normalized, folder, piece, log)
        report(json.dumps({"task": task, "form": form, **log[-1]}))
    normalized.close()
    return trained(folder)


def trained(folder: Path) -> Trained:
    """Returns what is in a training folder; raises `FileNotFoundError` if nothing is."""
    log = load_json(folder / "log.json")
    returns = [float("nan") if row["return"] is None else float(row["return"]) for row in log]
    return Trained(
        [folder / f"policy-{i:02d}.safetensors" for i in range(len(log))], returns, [row["steps"] for row in log]
    )


def _start(venv: VecNormalize, settings: Preset, seed: int, folder: Path, log: list[dict[str, Any]]) -> PPO:
    if log:
        piece = len(log) - 1
        _restore_normalizer(venv, folder / f"normalizer-{piece:02d}.npz")
        return PPO.load(folder / f"model-{piece:02d}.zip", venv, device="cpu")
    keywords: dict[str, Any] = {"net_arch": list(settings.hidden), "activation_fn": torch.nn.Tanh}
    if hasattr(venv.action_space, "low"):
        keywords["log_std_init"] = settings.log_std
    return PPO(
        "MlpPolicy", venv, learning_rate=settings.learning_rate, n_steps=settings.n_steps,
        batch_size=settings.batch_size, n_epochs=settings.n_epochs, gamma=settings.gamma,
        gae_lambda=settings.gae_lambda, clip_range=settings.clip_range, ent_coef=settings.ent_coef,
        target_kl=settings.target_kl, policy_kwargs=keywords, seed=seeding.small_seed(seed, "expert"), device="cpu",
    )


def _train_piece(model: PPO, venv: VecNormalize, end: int, seed: int) -> None:
    set_random_seed(seed)
    venv.seed(seed)
    model._last_obs = None  # makes learn() reset the environments
    model._setup_lr_schedule()
    model.learn(end - model.num_timesteps, reset_num_timesteps=False)


def _save(model: PPO, venv: VecNormalize, folder: Path, piece: int, log: list[dict[str, Any]]) -> None:
    write_atomically(folder / f"model-{piece:02d}.zip", lambda path: model.save(path))
    of_obs = input_statistics(venv)
    save_arrays(folder / f"normalizer-{piece:02d}.npz", {
        "obs_mean": of_obs.mean, "obs_var": of_obs.var, "obs_count": np.array(of_obs.count),
        "return_mean": np.array(venv.ret_rms.mean), "return_var": np.array(venv.ret_rms.var),
        "return_count": np.array(venv.ret_rms.count),
    })
    save_tensors(folder / f"policy-{piece:02d}.safetensors", policy_tensors(model, venv))
    save_json(folder / "log.json", log)  # last: a piece counts once everything of it is there
    for old in (folder / f"model-{piece - 2:02d}.zip", folder / f"normalizer-{piece - 2:02d}.npz"):
        if old.is_file():
            os.unlink(old)


def _restore_normalizer(venv: VecNormalize, path: Path) -> None:
    stored = load_arrays(path)
    for name, statistics in (("obs", input_statistics(venv)), ("return", venv.ret_rms)):
        mean, var = stored[f"{name}_mean"], stored[f"{name}_var"]
        statistics.mean, statistics.var = mean, var
        statistics.count = float(stored[f"{name}_count"])
