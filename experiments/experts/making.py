"""From a trained policy to a shipped expert: gather, fit, measure, write."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from preflab import seeding
from preflab.envs import RandomPolicy, collect, make, make_vec
from preflab.envs import task as find_task
from preflab.experiments.experts.cards import Reached, expert_card
from preflab.experiments.experts.convert import Tensors
from preflab.experiments.experts.critic import FitConfig, fit_critic
from preflab.experiments.experts.gather import CalmPolicy, GatherConfig, gather
from preflab.experiments.experts.presets import Preset, preset
from preflab.experiments.experts.training import Trained, train
from preflab.experts import FOLDER, Critic, Expert, load_expert, policy_from
from preflab.interfaces import Policy
from preflab.storage import load_tensors, save_json, save_tensors, write_directory_atomically

_HALF_ABOVE = 4_000_000  # bytes of a critic in float32 above which it is stored as float16


@dataclass(frozen=True)
class Effort:
    """How much is spent on measuring; the defaults are those of shipped experts."""

    n_episodes: int = 100
    n_threads: int = 1
    seed: int = 0
    fit_steps: int | None = None  # None: the preset's
    residual_weight: float = 1.0


def make_expert(
    task: str, form: str, *, steps: int | None = None, work: Path = Path("runs/experts"), out: Path = FOLDER,
    effort: Effort | None = None, report: Callable[[str], None] = print,
) -> Expert:
    """Trains the expert of `task` in `form`, fits its critic, and writes it to `out`/<task>-<form>/; resumable.

    Args:
        task: its task.
        form: its form.
        steps: environment steps of training; by default the preset's.
        work: folder of checkpoints and gathered returns; delete `work`/<task>-<form>-<seed> to start afresh.
        out: folder of finished experts; by default the one that `load_expert` reads.
        effort: how much is spent on the critic and the card.
        report: told about progress.
    """
    settings, effort = preset(task, form), effort or Effort()
    find_task(task).checked_form(form)
    n_steps = settings.steps if steps is None else steps
    if n_steps != settings.steps:
        settings = Preset(**{**asdict(settings), "steps": n_steps})
    form_trained = settings.train_form or form
    folder = work / f"{task}-{form_trained}-{effort.seed}"  # two forms may share a training
    done = train(task, form_trained, settings, folder, seed=effort.seed, report=report)
    how: dict[str, Any] = {
        "algorithm": "PPO, Stable-Baselines3, on gold", "steps": done.steps[-1], "seed": effort.seed,
        "settings": {name: value for name, value in asdict(settings).items() if not name.startswith("critic")},
    }
    middle = middle_of(task, form, done, seed=effort.seed)
    how["middle_steps"] = done.steps[middle]
    tensors = load_tensors(done.policies[-1]), load_tensors(done.policies[middle])
    return finish(task, form, *tensors, folder, out=out, effort=effort, how=how, report=report)


def middle_of(task: str, form: str, done: Trained, *, n_episodes: int = 5, seed: int = 0) -> int:
    """Returns which of the policies earns nearest to halfway between acting at random and the last one, in `form`."""
    venv = make_vec(task, form, n_episodes, seeding.small_seed(seed, "middle"), reveal_gold=True)
    policies: list[Policy] = [policy_from(load_tensors(path)) for path in done.policies]
    runs = [
        collect(venv, policy, n_episodes, seeding.generator(seed, "middle", i))
        for i, policy in enumerate([*policies, RandomPolicy(venv.action_space)])
    ]
    venv.close()
    returns = np.array([np.mean([run.gold_rewards.sum() for run in each]) for each in runs])
    return int(np.argmin(np.abs(returns[:-1] - (returns[-1] + returns[-2]) / 2)))


def finish(
    task: str, form: str, expert: Tensors, middle: Tensors, folder: Path, *, out: Path = FOLDER,
    effort: Effort | None = None, how: Mapping[str, Any] | None = None, report: Callable[[str], None] = print,
) -> Expert:
    """Fits a critic to a trained policy, measures and writes both; gathered returns are kept in `folder`."""
    settings, effort = preset(task, form), effort or Effort()
    policies = {"expert": policy_from(expert), "middle": policy_from(middle)}
    horizon, gamma = find_task(task).horizon(form), settings.critic_gamma or settings.gamma
    actions = make(task, form).action_space
    others: dict[str, Any] = {"random": RandomPolicy(actions), "middle": policies["middle"]}
    others |= {"calm": CalmPolicy(actions)} if isinstance(actions, gym.spaces.Box) else {}
    config = GatherConfig(
        horizon=horizon, gamma=gamma, n_trajectories=settings.critic_trajectories,
        n_starts=settings.critic_starts, n_threads=effort.n_threads, seed=effort.seed,
    )
    data = gather(
        lambda: make(task, form, reveal_gold=True), policies["expert"],
        others, config,
        folder / f"critic-{_digest(expert, middle, config)}", report,
    )
    report(f"critic: fitting to {int(data.lengths.sum())} steps of {len(data)} continuations")
    fitting = FitConfig(
        hidden=settings.critic_hidden, n_steps=effort.fit_steps or settings.critic_steps, residual_weight=effort.residual_weight,
        seed=effort.seed,
    )
    tensors = fit_critic(data, gamma, fitting)
    card = expert_card(
        task, form, policies, Critic(tensors), data, Reached(settings.target, horizon),
        n_episodes=effort.n_episodes, seed=effort.seed,
    )
    card |= {"how": dict(how or {}), "critic_settings": {"gather": asdict(config), "fit": asdict(fitting)}}
    write_expert(out / f"{task}-{form}", expert, middle, tensors, card)
    report(f"{task} ({form}): {card['expert_return']['mean']:.1f} ± {card['expert_return']['ci95']:.1f} in {out}")
    return load_expert(task, form, folder=out)


def write_expert(home: Path, expert: Tensors, middle: Tensors, critic: Tensors, card: Mapping[str, Any]) -> None:
    """Replaces the expert in `home` as a whole."""
    def write(temporary: Path) -> None:
        save_tensors(temporary / "policy.safetensors", expert)
        save_tensors(temporary / "middle.safetensors", middle)
        save_tensors(temporary / "critic.safetensors", _small(critic))
        save_json(temporary / "card.json", card)

    staged = home.with_name(f".{home.name}.new")
    shutil.rmtree(staged, ignore_errors=True)
    write_directory_atomically(staged, write)
    shutil.rmtree(home, ignore_errors=True)
    staged.rename(home)


def _digest(expert: Tensors, middle: Tensors, config: GatherConfig) -> str:
    """Returns what tells gathered returns of one policy and setting from another's."""
    parts = [of[name].numpy().tobytes() for of in (expert, middle) for name in sorted(of)]
    return hashlib.blake2b(b"".join([*parts, repr(config).encode()]), digest_size=4).hexdigest()


def _small(tensors: Tensors) -> Tensors:
    if sum(tensor.numel() * 4 for tensor in tensors.values()) <= _HALF_ABOVE:
        return tensors
    return {name: of.to(torch.float16) if name.startswith("layers.") else of for name, of in tensors.items()}
