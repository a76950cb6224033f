"""Delivery gridworld: the rules of Knox et al. (arXiv 2206.02231) on a board of our own.

Every move is deterministic and pays by the cell it enters: a road costs gas (−1), mud costs −2 instead; a coin (+1) and
a roadblock (−1) are added to that; the goal (+50) and the sheep (−50) cost no gas and end the episode — in the
fixed-horizon form they hold the driver forever at reward 0. A house or the edge blocks: the driver stays and pays its
own cell's gas or mud again. Coins come back, so that the state is the cell alone.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from preflab.envs import drawing
from preflab.tabular import TabularMDP
from preflab.types import BoolArray, FloatArray

# . road  ~ mud  G goal  S sheep  H house  c coin  x roadblock  C coin on mud  X roadblock on mud
BOARD = (
    ".....~~~..",
    ".c.H.~C~..",
    ".....~~~.S",
    "..x..~X...",
    ".S...H..c.",
    "...c....~~",
    "~~~...x.~G",
    "~C~.S...~~",
    "~~~...H...",
    "..c..x..S.",
)
FACTORS = ("gas", "goal", "sheep", "coin", "roadblock", "mud")
WEIGHTS = np.array([-1.0, 50.0, -50.0, 1.0, -1.0, -2.0])  # Knox et al.
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # up, down, left, right
GAMMA = 0.999  # Knox et al.
_MUD, _COIN, _ROADBLOCK = "~CX", "cC", "xX"


def cells() -> list[tuple[int, int]]:
    """Returns (row, column) of every state: all cells but the houses, row by row."""
    return [(i, j) for i, row in enumerate(BOARD) for j, tile in enumerate(row) if tile != "H"]


@cache
def arrays() -> tuple[FloatArray, FloatArray, BoolArray]:
    """Returns transitions (S, A, S), weighted factors (S, A, S, F) and which cells end the delivery, (S,)."""
    places = cells()
    state_of = {place: state for state, place in enumerate(places)}
    n = len(places)
    transitions = np.zeros((n, len(MOVES), n))
    factors = np.zeros((n, len(MOVES), n, len(FACTORS)))
    is_end = np.array([BOARD[i][j] in "GS" for i, j in places])
    for state, (i, j) in enumerate(places):
        for action, (down, right) in enumerate(MOVES):
            target = (i + down, j + right)
            is_blocked = target not in state_of
            after = state if is_end[state] or is_blocked else state_of[target]
            transitions[state, action, after] = 1.0
            if not is_end[state]:
                tile = BOARD[i][j] if is_blocked else BOARD[target[0]][target[1]]
                factors[state, action, after] = WEIGHTS * _counts(tile, is_blocked)
    return transitions, factors, is_end


def delivery_mdp(form: str) -> TabularMDP:
    """Returns the task as arrays: 97 cells, 4 moves, γ = .999, started anywhere but at a goal or a sheep."""
    transitions, factors, is_end = arrays()
    terminal = is_end if form == "terminating" else np.zeros_like(is_end)
    initial = np.where(is_end, 0.0, 1.0 / (~is_end).sum())
    return TabularMDP(transitions, factors.sum(-1), GAMMA, terminal, initial)


def delivery_factors() -> FloatArray:
    """Returns (S, A, S, F) weighted factors, which sum to the reward."""
    return arrays()[1]


def picture(state: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Returns the board with the driver on it, (height, width, 3)."""
    return drawing.board(BOARD, cells()[state], width, height)


def _counts(tile: str, is_blocked: bool) -> FloatArray:
    """Returns (F,) features of entering `tile`; a blocked move pays gas or mud only."""
    is_end, is_mud = tile in "GS", tile in _MUD
    return np.array([
        not is_end and not is_mud, tile == "G", tile == "S",
        tile in _COIN and not is_blocked, tile in _ROADBLOCK and not is_blocked, is_mud,
    ], dtype=np.float64)
