"""The state between two rounds, on disk. A round is a pure function of it and of the round's number.

Each checkpoint is a folder written under a temporary name and renamed; the last two are kept, so that a kill at any moment
leaves one that is whole.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from preflab.errors import Refused
from preflab.experiments.asking import Answers, Ledger
from preflab.storage import (
    load_arrays,
    load_json,
    load_tensors,
    save_arrays,
    save_json,
    save_tensors,
    write_directory_atomically,
)
from preflab.types import AnyArray, Comparisons, ScoredStore

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class State:
    """Everything that a round needs from the rounds before it.

    Attributes:
        round: number of rounds played.
        steps_done: env steps of training so far.
        n_env_steps: env steps charged so far, collection and evaluation included apart from evaluation's.
        agent: the agent's tensors.
        learner: the reward learner's tensors; None before the first fit and for gold controls.
        pool: training trajectories with gold, for the oracle and for measuring.
        heldout: held-out trajectories.
        answers: training answers.
        heldout_answers: held-out answers.
        ledger: what was asked.
        oracle_stats: what the oracle was told at the start of each round.
        history: one row a measurement.
        films: states of a few asked pairs.
        oracle_memory: values of simulator states that a branching oracle has paid for; empty for others.
        seconds: wall seconds by stage.
    """

    round: int
    steps_done: int
    n_env_steps: int
    agent: Tensors
    learner: Tensors | None
    pool: ScoredStore
    heldout: ScoredStore
    answers: Answers
    heldout_answers: Answers
    ledger: Ledger = field(default_factory=Ledger)
    oracle_stats: tuple[dict[str, float], ...] = ()
    history: tuple[dict[str, Any], ...] = ()
    films: dict[str, AnyArray] = field(default_factory=dict)
    oracle_memory: dict[str, AnyArray] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def save(folder: Path, state: State) -> None:
    """Writes `state` as `folder/round-NN` and removes all but the newest two."""

    def write(target: Path) -> None:
        save_tensors(target / "agent.safetensors", state.agent)
        if state.learner is not None:
            save_tensors(target / "learner.safetensors", state.learner)
        for name, store in (("pool", state.pool), ("heldout", state.heldout)):
            save_arrays(target / f"{name}.npz", store.arrays(), compressed=False)
        for name, answers in (("answers", state.answers), ("heldout_answers", state.heldout_answers)):
            save_arrays(target / f"{name}.npz", {**answers.comparisons.arrays(), "probabilities": answers.probabilities})
        save_arrays(target / "films.npz", state.films)
        if state.oracle_memory:
            save_arrays(target / "oracle.npz", state.oracle_memory)
        save_json(target / "state.json", {
            "round": state.round, "steps_done": state.steps_done, "n_env_steps": state.n_env_steps,
            "ledger": asdict(state.ledger), "oracle_stats": state.oracle_stats, "history": state.history,
            "seconds": state.seconds, "has_learner": state.learner is not None, "has_oracle": bool(state.oracle_memory),
        })

    target = folder / f"round-{state.round:03d}"
    if target.exists():
        shutil.rmtree(target)
    write_directory_atomically(target, write)
    for old in sorted(folder.glob("round-*"))[:-2]:
        shutil.rmtree(old)
    for leftover in folder.glob(".round-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def newest(folder: Path) -> Path | None:
    """Returns the newest checkpoint, or None."""
    found = sorted(folder.glob("round-*"))
    return found[-1] if found else None


def load(path: Path) -> State:
    """Reads a checkpoint; a damaged file is named and nothing is changed.

    Raises:
        DamagedFile: a file of the checkpoint cannot be read.
        Refused: a file of the checkpoint is missing.
    """
    try:
        plain = load_json(path / "state.json")
        return State(
            round=plain["round"], steps_done=plain["steps_done"], n_env_steps=plain["n_env_steps"],
            agent=load_tensors(path / "agent.safetensors"),
            learner=load_tensors(path / "learner.safetensors") if plain["has_learner"] else None,
            pool=_store(path / "pool.npz", plain["round"]), heldout=_store(path / "heldout.npz", plain["round"]),
            answers=_answers(path / "answers.npz"), heldout_answers=_answers(path / "heldout_answers.npz"),
            ledger=Ledger(**plain["ledger"]), oracle_stats=tuple(plain["oracle_stats"]), history=tuple(plain["history"]),
            films=load_arrays(path / "films.npz"), seconds=plain["seconds"],
            oracle_memory=load_arrays(path / "oracle.npz") if plain.get("has_oracle") else {},
        )
    except FileNotFoundError as error:
        raise Refused(
            f"the checkpoint {path} lacks {error.filename}; nothing was changed. Delete that folder to continue from the one "
            "before it, or start a new run"
        ) from error


def _store(path: Path, n_rounds: int) -> ScoredStore:
    return ScoredStore.from_arrays(load_arrays(path)) if n_rounds else ScoredStore()


def _answers(path: Path) -> Answers:
    arrays = load_arrays(path)
    return Answers(Comparisons.from_arrays(arrays), arrays["probabilities"])
