"""Pictures of saved states, without a screen."""

import numpy as np
import numpy.typing as npt

from preflab.envs.hidden import make
from preflab.errors import InvalidArgument
from preflab.types import FloatArray


def render_states(
    name: str, form: str, states: FloatArray, width: int = 240, height: int = 240
) -> npt.NDArray[np.uint8]:
    """Returns a picture of each state, (M, height, width, 3).

    Args:
        name: of the task.
        form: that the states were saved in.
        states: (M, S) from `save_state`, `save_states` or `ScoredTrajectory.sim_states`.
        width: in pixels.
        height: in pixels.

    Raises:
        Refused: MuJoCo finds no way to draw without a screen; the sentence names the packages to install.
    """
    if np.ndim(states) != 2:
        raise InvalidArgument("states", "must be (M, S)", np.shape(states))
    if width < 1 or height < 1:
        raise InvalidArgument("width, height", "must be at least 1", (width, height))
    frames = np.empty((len(states), height, width, 3), dtype=np.uint8)
    env = make(name, form)
    try:
        for i, state in enumerate(states):
            env.restore_state(state)
            frames[i] = env.draw(width, height)
    finally:
        env.close()
    return frames
