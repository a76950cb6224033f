"""Small pictures drawn with numpy alone: signed distances in pixels, blended with soft edges."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from preflab.types import BoolArray, FloatArray

Color = tuple[int, int, int]
Point = tuple[float, float]
Frame = npt.NDArray[np.uint8]

PAPER, INK, GRAY = (250, 249, 246), (52, 58, 70), (196, 200, 206)
ACCENT, CALM, WARM, LEAF = (204, 77, 77), (76, 114, 176), (222, 165, 60), (93, 160, 105)
_TILES: dict[str, Color] = {".": (233, 229, 220), "~": (184, 150, 112), "H": (96, 100, 110)}


class Canvas:
    """A picture in units of its own: x to the right and y up, both in [−1, 1] over the shorter side."""

    def __init__(self, width: int, height: int, background: Color = PAPER) -> None:
        """Starts with `background` everywhere."""
        self._scale = min(width, height) / 2
        self._x: FloatArray = ((np.arange(width, dtype=np.float64) + 0.5 - width / 2) / self._scale)[None, :]
        self._y: FloatArray = ((height / 2 - 0.5 - np.arange(height, dtype=np.float64)) / self._scale)[:, None]
        self._pixels: FloatArray = np.empty((height, width, 3))
        self._pixels[:] = background

    def disc(self, center: Point, radius: float, color: Color) -> None:
        """Draws a filled circle."""
        x, y, pixels = self._near(center, radius, radius)
        self._blend(pixels, np.hypot(x - center[0], y - center[1]) - radius, color)

    def line(self, start: Point, end: Point, thickness: float, color: Color) -> None:
        """Draws a line with round ends."""
        across, up = end[0] - start[0], end[1] - start[1]
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        x, y, pixels = self._near(middle, (abs(across) + thickness) / 2, (abs(up) + thickness) / 2)
        length = max(across**2 + up**2, 1e-12)
        along = np.clip(((x - start[0]) * across + (y - start[1]) * up) / length, 0.0, 1.0)
        distance = np.hypot(x - start[0] - along * across, y - start[1] - along * up)
        self._blend(pixels, distance - thickness / 2, color)

    def box(self, center: Point, width: float, height: float, color: Color) -> None:
        """Draws a filled rectangle."""
        x, y, pixels = self._near(center, width / 2, height / 2)
        self._blend(pixels, np.maximum(np.abs(x - center[0]) - width / 2, np.abs(y - center[1]) - height / 2), color)

    def below(self, curve: Callable[[FloatArray], FloatArray], color: Color) -> None:
        """Fills everything below y = curve(x)."""
        self._blend(self._pixels, self._y - curve(self._x), color)

    def frame(self) -> Frame:
        """Returns the picture, (height, width, 3)."""
        return np.round(self._pixels).astype(np.uint8)

    def _near(self, center: Point, across: float, up: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Returns x, y and a view of the pixels at most a pixel outside of a rectangle."""
        margin = 1 / self._scale
        columns = np.abs(self._x[0] - center[0]) <= across + margin
        rows = np.abs(self._y[:, 0] - center[1]) <= up + margin
        down, right = _extent(rows), _extent(columns)
        return self._x[:, right], self._y[down], self._pixels[down, right]

    def _blend(self, pixels: FloatArray, distance: FloatArray, color: Color) -> None:
        cover = np.clip(0.5 - distance * self._scale, 0.0, 1.0)[..., None]
        pixels += cover * (np.array(color, dtype=np.float64) - pixels)


def _extent(inside: BoolArray) -> slice:
    places = np.flatnonzero(inside)
    return slice(places[0], places[-1] + 1) if len(places) else slice(0, 0)


def pendulum(angle: float, width: int, height: int) -> Frame:
    """Returns a rod at `angle` rad from upright, counterclockwise."""
    canvas = Canvas(width, height)
    tip = (-0.78 * math.sin(angle), 0.78 * math.cos(angle))
    canvas.disc((0.0, 0.0), 0.8, (240, 238, 232))
    canvas.line((0.0, 0.0), tip, 0.15, ACCENT)
    canvas.disc((0.0, 0.0), 0.045, INK)
    return canvas.frame()


def cart_pole(position: float, angle: float, width: int, height: int) -> Frame:
    """Returns a cart at `position` m with its pole `angle` rad clockwise from upright."""
    canvas = Canvas(width, height)
    limit = 2.4
    view = position - np.clip(position, -limit, limit)
    for tick in range(math.floor(view - 4), math.ceil(view + 4) + 1):
        is_bound = abs(tick) == 3
        canvas.box((0.38 * (tick - view), -0.52), 0.012, 0.09 if is_bound else 0.05, ACCENT if is_bound else GRAY)
    canvas.box((0.0, -0.47), 8.0, 0.014, INK)
    x = 0.38 * (position - view)
    canvas.box((x, -0.38), 0.42, 0.17, INK)
    foot = (x, -0.31)
    canvas.line(foot, (x + 0.85 * math.sin(angle), foot[1] + 0.85 * math.cos(angle)), 0.075, WARM)
    canvas.disc(foot, 0.03, PAPER)
    return canvas.frame()


def mountain_car(position: float, goal: float, width: int, height: int) -> Frame:
    """Returns the car at `position` in its valley, with a flag at `goal`."""
    canvas = Canvas(width, height, (236, 241, 246))
    low, high = -1.2, 0.6

    def across(place: float) -> float:
        return (place - low) / (high - low) * 1.9 - 0.95

    def ground(place: FloatArray) -> FloatArray:
        return np.asarray(0.62 * np.sin(3 * place) - 0.12)

    canvas.below(lambda x: ground((x + 0.95) / 1.9 * (high - low) + low), LEAF)
    flag = (across(goal), float(ground(np.array(goal))))
    canvas.line(flag, (flag[0], flag[1] + 0.28), 0.018, INK)
    canvas.box((flag[0] + 0.065, flag[1] + 0.235), 0.12, 0.09, ACCENT)
    slope = math.atan2(0.62 * 3 * math.cos(3 * position) * (high - low) / 1.9, 1.0)
    x, y = across(position), float(ground(np.array(position)))
    forward, up = (math.cos(slope), math.sin(slope)), (-math.sin(slope), math.cos(slope))

    def at(along: float, above: float) -> Point:
        return x + along * forward[0] + above * up[0], y + along * forward[1] + above * up[1]

    canvas.line(at(-0.085, 0.085), at(0.085, 0.085), 0.1, INK)
    for side in (-0.075, 0.075):
        canvas.disc(at(side, 0.04), 0.042, GRAY)
    return canvas.frame()


def board(rows: Sequence[str], driver: tuple[int, int], width: int, height: int) -> Frame:
    """Returns a delivery board with the driver at (row, column)."""
    canvas = Canvas(width, height)
    size = 1.94 / max(len(rows), len(rows[0]))

    def center(i: float, j: float) -> Point:
        return (j + 0.5 - len(rows[0]) / 2) * size, (len(rows) / 2 - i - 0.5) * size

    for i, row in enumerate(rows):
        for j, tile in enumerate(row):
            place = center(i, j)
            ground = "~" if tile in "~CX" else "H" if tile == "H" else "."
            canvas.box(place, size * 0.95, size * 0.95, _TILES[ground])
            if tile == "H":
                canvas.box(place, size * 0.55, size * 0.55, (130, 135, 146))
            elif tile in "cC":
                canvas.disc(place, size * 0.2, WARM)
            elif tile in "xX":
                canvas.line(center(i + 0.2, j - 0.2), center(i - 0.2, j + 0.2), size * 0.12, ACCENT)
                canvas.line(center(i - 0.2, j - 0.2), center(i + 0.2, j + 0.2), size * 0.12, ACCENT)
            elif tile == "S":
                canvas.disc(place, size * 0.32, (255, 255, 255))
                canvas.disc(center(i, j + 0.22), size * 0.13, INK)
            elif tile == "G":
                canvas.box(place, size * 0.95, size * 0.95, LEAF)
                canvas.line(center(i + 0.3, j - 0.15), center(i - 0.3, j - 0.15), size * 0.07, INK)
                canvas.box(center(i - 0.17, j + 0.07), size * 0.4, size * 0.28, PAPER)
    canvas.disc(center(*driver), size * 0.34, PAPER)
    canvas.disc(center(*driver), size * 0.28, CALM)
    return canvas.frame()


def ring(n_states: int, state: int, width: int, height: int) -> Frame:
    """Returns `n_states` dots on a circle, first on top and then clockwise, `state` filled."""
    canvas = Canvas(width, height)
    for i in range(n_states):
        turn = 2 * math.pi * i / n_states
        place = (0.75 * math.sin(turn), 0.75 * math.cos(turn))
        canvas.disc(place, 0.13, INK)
        canvas.disc(place, 0.11, CALM if i == state else PAPER)
    return canvas.frame()
