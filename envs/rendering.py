"""Pictures of saved states, without a screen."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from preflab.envs.hidden import HiddenGold, make
from preflab.errors import InvalidArgument
from preflab.types import FloatArray, IntArray, Trajectory


def render_states(
    name: str, form: str, states: FloatArray, width: int = 240, height: int = 240, *,
    trajectories: Sequence[Trajectory] | None = None,
) -> npt.NDArray[np.uint8]:
    """Returns a picture of each state, (M, height, width, 3).

    Args:
        name: of the task.
        form: that the states were saved in.
        states: (M, S) from `save_state`, `save_states` or `ScoredTrajectory.sim_states`.
        width: in pixels.
        height: in pixels.
        trajectories: M, the one of each state; a user's own environment is replayed along it, ours need none.

    Raises:
        Refused: MuJoCo finds no way to draw without a screen, and the sentence names the packages to install; or a
            user's environment cannot be drawn, and the sentence says why.
    """
    if np.ndim(states) != 2:
        raise InvalidArgument("states", "must be (M, S)", np.shape(states))
    if width < 1 or height < 1:
        raise InvalidArgument("width, height", "must be at least 1", (width, height))
    if trajectories is not None and len(trajectories) != len(states):
        raise InvalidArgument("trajectories", "must be one per state", len(trajectories), str(len(states)))
    frames = np.empty((len(states), height, width, 3), dtype=np.uint8)
    env = make(name, form)
    try:
        for i in _one_episode_after_another(env, states):
            if trajectories is not None:
                frames[i] = env.picture_of(states[i], trajectories[i], width, height)
            else:
                env.restore_state(states[i])
                frames[i] = env.draw(width, height)
    finally:
        env.close()
    return frames


def _one_episode_after_another(env: HiddenGold, states: FloatArray) -> IntArray:
    """Returns the order in which replayed states cost least: by episode, then by step; others stay as they are."""
    if not env.physics.is_replayed:
        return np.arange(len(states))
    return np.lexsort((states[:, -1], states[:, -2]))
