"""Film strips: which asked pairs a report shows, and the frames of each, rendered from saved simulator states.

States are large, so each round keeps those of a few asked pairs only, six a segment; the pool itself drops them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from preflab.experiments.asking import Answers
from preflab.interfaces import RewardModel
from preflab.types import AnyArray, Choice, FloatArray, ScoredStore, SegmentIndex, Trajectory

N_FRAMES = 6
N_KEPT = 6  # pairs a round and a part (training, held out)
N_SHOWN = 8
Arrays = dict[str, AnyArray]


@dataclass(frozen=True)
class Source:
    """Where kept pairs come from.

    Attributes:
        store: this round's trajectories, with simulator states.
        offset: index of the first of them in the run's whole store, which `answers` refer to.
        answers: this round's answers.
        is_heldout: which part of the run they belong to.
    """

    store: ScoredStore
    offset: int
    answers: Answers
    is_heldout: bool


def keep(source: Source, round_number: int, rng: np.random.Generator) -> Arrays:
    """Returns the states and gold of up to `N_KEPT` asked pairs, as arrays with a leading pair axis."""
    answers = source.answers
    both = np.minimum(answers.comparisons.first.trajectory, answers.comparisons.second.trajectory)
    usable = np.flatnonzero(both >= source.offset)
    if source.store.sim_states is None or not len(usable):
        return {}
    n = min(N_KEPT, len(usable))
    rows = np.sort(rng.choice(usable, n, replace=False))
    pairs = answers.comparisons[rows]
    sides = [
        source.store.gather(SegmentIndex(side.trajectory - source.offset, side.start, side.length))
        for side in (pairs.first, pairs.second)
    ]
    shown = frame_offsets(pairs.first.length)
    strict = answers.probabilities[rows][:, :2]
    return {
        "states": np.stack([side.sim_states[:, shown] for side in sides if side.sim_states is not None], 1),
        "gold": np.stack([side.gold_rewards[:, shown] for side in sides], 1),
        "gold_sum": np.stack([side.gold_rewards.sum(1) for side in sides], 1),
        "trajectory": np.stack([pairs.first.trajectory, pairs.second.trajectory], 1),
        "start": np.stack([pairs.first.start, pairs.second.start], 1),
        "length": np.full(n, pairs.first.length),
        "p_oracle": strict[:, 0] / np.maximum(strict.sum(1), 1e-12),
        "choice": np.asarray(pairs.choice),
        "round": np.full(n, round_number),
        "is_heldout": np.full(n, source.is_heldout),
    }


def join(parts: list[Arrays]) -> Arrays:
    """Joins what rounds kept; rounds that kept nothing are absent."""
    filled = [part for part in parts if part]
    return {name: np.concatenate([part[name] for part in filled]) for name in filled[0]} if filled else {}


def frame_offsets(length: int) -> npt.NDArray[np.int64]:
    """Returns the six steps of a segment that are shown, first and last among them."""
    return np.linspace(0, length - 1, N_FRAMES).round().astype(np.int64)


def strips(
    kept: Arrays, stores: tuple[ScoredStore, ScoredStore], model: RewardModel | None,
    render: Callable[[FloatArray, list[Trajectory]], npt.NDArray[np.uint8]],
) -> Arrays:
    """Returns the arrays of `film.npz`: the shown pairs with frames, gold, proxy and who said what.

    Args:
        kept: what `keep` returned, joined over rounds.
        stores: the training and the held-out store.
        model: the final reward model, or None for gold controls (no proxy figures then).
        render: (M, S) states, and the trajectory of each, to (M, H, W, 3) frames.
    """
    scored = _with_model(kept, stores, model)
    rows = choose_shown(scored)
    shown = {name: array[rows] for name, array in scored.items()}
    states = shown.pop("states")
    trajectories = [
        stores[int(is_heldout)].store[int(trajectory)]
        for is_heldout, pair in zip(shown["is_heldout"], shown["trajectory"], strict=True)
        for trajectory in np.repeat(pair, N_FRAMES)
    ]
    frames = render(states.reshape(-1, states.shape[-1]), trajectories)
    return {**shown, "frames": frames.reshape(*states.shape[:3], *frames.shape[1:])}


def choose_shown(scored: Arrays) -> npt.NDArray[np.int64]:
    """Returns the rows to show: one or two that the learner gets wrong, and the others spread over the rounds."""
    order = np.argsort(scored["round"], kind="stable")
    wrong = order[scored["is_wrong"][order]]
    right = order[~scored["is_wrong"][order]]
    n_wrong = min(2, len(wrong)) if len(right) else min(N_SHOWN, len(wrong))
    n_right = min(N_SHOWN - n_wrong, len(right))
    picked = [part[np.linspace(0, len(part) - 1, n).round().astype(int)] for part, n in ((wrong, n_wrong), (right, n_right))]
    rows = np.unique(np.concatenate(picked).astype(np.int64))
    return rows[np.argsort(scored["round"][rows], kind="stable")]


def _with_model(kept: Arrays, stores: tuple[ScoredStore, ScoredStore], model: RewardModel | None) -> Arrays:
    n = len(kept["round"])
    proxy, proxy_sum, p_model = np.zeros((n, 2, N_FRAMES)), np.zeros((n, 2)), np.full(n, np.nan)
    shown = frame_offsets(int(kept["length"][0]))
    for is_heldout, store in enumerate(stores):
        rows = np.flatnonzero(kept["is_heldout"] == bool(is_heldout))
        if model is None or not len(rows):
            continue
        sides = [
            store.store.gather(SegmentIndex(kept["trajectory"][rows, side], kept["start"][rows, side], int(kept["length"][0])))
            for side in range(2)
        ]
        for side, segments in enumerate(sides):
            rewards = model.step_rewards(segments)
            proxy[rows, side], proxy_sum[rows, side] = rewards[:, shown], rewards.sum(1)
        p_model[rows] = model.prob_first(sides[0], sides[1])
    strict = kept["choice"] != Choice.TIE
    can_tell = np.isfinite(p_model) & (p_model != 0.5)
    is_wrong = strict & can_tell & ((p_model > 0.5) != (kept["choice"] == Choice.FIRST))
    return {**kept, "proxy": proxy, "proxy_sum": proxy_sum, "p_model": p_model, "is_wrong": is_wrong}
