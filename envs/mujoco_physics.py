"""Gymnasium's MuJoCo tasks (v5): their own code steps and pays; we only save, restore and draw."""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from preflab.envs.mujoco_drawing import Aim, Camera
from preflab.envs.physics import Outcome, Physics
from preflab.types import FloatArray

# mj_step ends by integrating, so derived fields lag one substep behind qpos. Where Gymnasium's next observation or
# reward reads such a field, it is part of the state: recomputing it from qpos would give other numbers.
_LAGGING_FIELDS: dict[str, tuple[str, ...]] = {
    "Humanoid-v5": ("xipos", "cinert", "cvel", "qfrc_actuator", "cfrc_ext"),
    "Ant-v5": ("xpos", "cfrc_ext"),
    "Reacher-v5": ("xpos",),
}

_AIMS = {
    "Humanoid-v5": Aim(n_plane=2),
    "Ant-v5": Aim(distance=5.0, elevation=-30.0, n_plane=2),
    "Swimmer-v5": Aim(distance=5.0, elevation=-50.0, n_plane=2),
    "Reacher-v5": Aim(None, distance=0.75, elevation=-90.0, n_plane=0),
    "InvertedPendulum-v5": Aim(None, distance=2.5, n_plane=0),
}


class MujocoPhysics(Physics):
    """One of Gymnasium's MuJoCo environments; factors are its `reward_*`.

    Attributes:
        id: Gymnasium's.
        env: Gymnasium's environment without wrappers.
        signature: of the part of the state that MuJoCo integrates; `n_state` numbers, the first words of `save`.
        lagging: names of the fields that follow in `save`.
    """

    def __init__(self, gymnasium_id: str, factor_names: tuple[str, ...], form: str, *, has_health: bool) -> None:
        """Loads the model; in the fixed-horizon form an unhealthy body goes unpaid (Gymnasium's switch) and unended."""
        import mujoco  # deferred: half a second that tabular users need not pay

        keywords = {"terminate_when_unhealthy": False} if has_health and form == "fixed" else {}
        self._mujoco: Any = mujoco
        self.id = gymnasium_id
        self.env: Any = self._loaded(gymnasium_id, keywords)
        self._form = form
        self._keys = tuple(f"reward_{name}" for name in factor_names)
        self.lagging = _LAGGING_FIELDS.get(gymnasium_id, ())
        self.signature = int(mujoco.mjtState.mjSTATE_INTEGRATION)
        self.n_state = mujoco.mj_stateSize(self.env.model, self.signature)
        self.n_words = self.n_state + sum(getattr(self.env.data, name).size for name in self.lagging)
        self._aim = _AIMS.get(gymnasium_id, Aim())
        self._camera: Camera | None = None
        self.observation_space = self.env.observation_space
        self.action_space = self.env.action_space
        self.frames_per_second = int(self.env.metadata["render_fps"])

    @property
    def rng(self) -> np.random.Generator:
        """The generator of the task inside."""
        generator: np.random.Generator = self.env.np_random
        return generator

    @rng.setter
    def rng(self, generator: np.random.Generator | None) -> None:
        """Replaces the generator; None: by a new one, from the operating system, when it is needed."""
        self.env._np_random = generator

    def reset(self, seed: int | None) -> Any:
        """Draws a first state."""
        return self.env.reset(seed=seed)[0]

    def step(self, action: Any) -> Outcome:
        """Moves one step."""
        obs, reward, terminated, _, info = self.env.step(action)
        factors = np.array([info[key] for key in self._keys], dtype=np.float64)
        return Outcome(obs, float(reward), factors, bool(terminated) and self._form == "terminating")

    def save(self) -> FloatArray:
        """Returns the state, (n_words,)."""
        data = self.env.data
        state = np.empty(self.n_state)
        self._mujoco.mj_getState(self.env.model, data, state, self.signature)
        return np.concatenate([state, *(getattr(data, name).ravel() for name in self.lagging)])

    def restore(self, words: FloatArray) -> Any:
        """Restores a saved state and returns the observation there."""
        data = self.env.data
        self._mujoco.mj_setState(self.env.model, data, np.ascontiguousarray(words[: self.n_state]), self.signature)
        first = self.n_state
        for name in self.lagging:
            field = getattr(data, name)
            field[...] = words[first : first + field.size].reshape(field.shape)
            first += field.size
        return self.env._get_obs()

    def draw(self, width: int, height: int) -> npt.NDArray[np.uint8]:
        """Returns a picture of the present state, (height, width, 3)."""
        if self._camera is None or (self._camera.width, self._camera.height) != (width, height):
            self.close()
            self._camera = Camera(self.env.fullpath, self._aim, width, height)
        return self._camera.picture(self.env.data.qpos, self.env.data.qvel)

    def _loaded(self, gymnasium_id: str, keywords: dict[str, bool]) -> Any:
        """Makes Gymnasium's environment; MuJoCo's remarks on its old model files would go into ./MUJOCO_LOG.TXT."""
        before = self._mujoco.get_mju_user_warning()
        self._mujoco.set_mju_user_warning(lambda text: None)
        try:
            return gym.make(gymnasium_id, disable_env_checker=True, **keywords).unwrapped
        finally:
            self._mujoco.set_mju_user_warning(before)

    def close(self) -> None:
        """Frees the camera."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None
