"""`python -m preflab.experiments.baselines runs/… runs/…`: makes shipped baselines of finished runs.

A baseline is what an agent earns in gold after training on gold itself (`reward=gold`), over seeds; with it a run's score
needs no second run. Runs of `reward=constant` add what the same agent earns for merely going on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from preflab.errors import InvalidArgument, PreflabError, Refused
from preflab.experiments.config import RunConfig, from_tree
from preflab.experiments.evaluation import t_interval
from preflab.experiments.record import BASELINES, agent_digest, baseline_key
from preflab.storage import load_json, save_json

CONTROLS = ("gold", "constant")


@dataclass(frozen=True)
class Finished:
    """A finished run: its config and its record."""

    config: RunConfig
    record: dict[str, Any]


def finished(folder: Path) -> Finished:
    """Reads a finished run of a control; refuses any other folder in a sentence."""
    if not (folder / "record.json").is_file():
        raise Refused(f"{folder} holds no record.json, so it is not the folder of a finished run")
    tree: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    config = from_tree(tree)
    if config.reward_name not in CONTROLS:
        raise InvalidArgument("reward", "of a baseline's run must be a control", config.reward_name, ", ".join(CONTROLS))
    if config.kl.is_on:
        raise Refused(f"{folder} held its agent to a reference (kl={config.kl.place}); a baseline's agent is free")
    return Finished(config, load_json(folder / "record.json"))


def rows(runs: Sequence[Finished]) -> dict[str, dict[str, Any]]:
    """Returns one baseline a key, from runs of `reward=gold`, with those of `reward=constant` beside them. Pure.

    Raises:
        InvalidArgument: two runs of one key differ in the agent's settings, or are of one control and seed.
        Refused: constant runs of a key without gold ones.
    """
    made = {}
    for key in dict.fromkeys(baseline_key(run.config) for run in runs):
        own = [run for run in runs if baseline_key(run.config) == key]
        digests = {agent_digest(run.config) for run in own}
        if len(digests) != 1:
            raise InvalidArgument("runs", f"of {key} must have one agent's settings", sorted(digests))
        by_control = {name: [run for run in own if run.config.reward_name == name] for name in CONTROLS}
        for name, of in by_control.items():
            seeds = [run.config.seed for run in of]
            if len(set(seeds)) != len(seeds):
                raise InvalidArgument("runs", f"of {key}, reward={name}, must have one seed each", seeds)
        if not by_control["gold"]:
            raise Refused(f"{key} has no run of reward=gold, which is what a baseline is made of")
        made[key] = _row(by_control, digests.pop())
    return made


def _row(by_control: dict[str, list[Finished]], digest: str) -> dict[str, Any]:
    seeds = {name: sorted(run.config.seed for run in of) for name, of in by_control.items()}
    returns = {name: np.array([run.record["gold_return_final"] for run in of]) for name, of in by_control.items()}
    mean, low, high = t_interval(returns["gold"])
    first = by_control["gold"][0]
    row = {
        "agent_settings": digest, "gold_return": round(mean, 1), "gold_return_low": round(low, 1),
        "gold_return_high": round(high, 1), "seeds": seeds["gold"],
        "source": f"reward=gold over seeds {_listed(seeds['gold'])}, preflab {first.record['versions']['preflab']}, "
                  f"{first.record['date'][:10]}",
    }
    if len(returns["constant"]):
        row |= {"constant_return": round(float(returns["constant"].mean()), 1), "constant_seeds": seeds["constant"]}
    return row


def _listed(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))


def main(words: Sequence[str]) -> int:
    """Adds the baselines of the given run folders to those shipped; returns the exit status."""
    if not words or {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    try:
        made = rows([finished(Path(word)) for word in words])
    except PreflabError as error:
        print(error, file=sys.stderr)
        return 2
    known = load_json(BASELINES) if BASELINES.is_file() else {}
    save_json(BASELINES, dict(sorted((known | made).items())))
    for key, row in made.items():
        print(f"{key}: {row['gold_return']} [{row['gold_return_low']}, {row['gold_return_high']}]")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
