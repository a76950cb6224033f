"""Draws MuJoCo bodies without a screen: EGL where there is one, else OSMesa."""

import contextlib
import importlib
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from preflab.errors import Refused
from preflab.types import FloatArray

PACKAGES = "libegl1 libegl-mesa0 libgl1-mesa-dri libopengl0"
BACKENDS = ("egl", "osmesa")
FLOOR_PERIOD = 2.0  # m, after which the floor's pattern repeats


@dataclass(frozen=True)
class Aim:
    """Where a camera looks from.

    Attributes:
        body: name of the body whose center of mass it follows; None looks at the origin.
        distance: in m.
        elevation: in degrees, negative from above.
        azimuth: in degrees; 90 looks along +y, with +x to the right.
        n_plane: how many of the first joint positions say where on the floor the body is, in m.
    """

    body: str | None = "torso"
    distance: float = 3.5
    elevation: float = -15.0
    azimuth: float = 90.0
    n_plane: int = 1


class Camera:
    """A tracking camera over its own copy of a model: drawing reads positions and never touches the simulation."""

    def __init__(self, model_path: str, aim: Aim, width: int, height: int) -> None:
        """Loads the model a second time and opens an offscreen context of `width` × `height` pixels.

        Raises:
            Refused: no library draws without a screen; the sentence names the packages to install.
        """
        import mujoco  # deferred: half a second that tabular users need not pay

        self.width, self.height = width, height
        self._gl: Any = _offscreen(width, height)
        self._mujoco: Any = mujoco
        self._model: Any = mujoco.MjModel.from_xml_path(model_path)
        self._data: Any = mujoco.MjData(self._model)
        self._model.vis.global_.offwidth, self._model.vis.global_.offheight = width, height
        self._model.vis.quality.shadowsize = 0  # a map that nobody sees takes a second to make
        self._model.vis.quality.offsamples = 0  # four times faster
        planes = self._model.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE)
        self._model.geom_size[planes, :2] = 0.0  # drawn without end
        self._soften_floor()
        self._model.vis.map.znear = 0.01 / self._model.stat.extent * aim.distance
        self._n_plane = aim.n_plane
        self._gl.make_current()
        self._context: Any = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene: Any = mujoco.MjvScene(self._model, maxgeom=1000)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = 0  # six times faster without
        self._view: Any = self._tracking_view(aim)

    def picture(self, qpos: FloatArray, qvel: FloatArray) -> npt.NDArray[np.uint8]:
        """Returns the body at joint positions (nq,) and velocities (nv,), (height, width, 3)."""
        mujoco = self._mujoco
        self._data.qpos[:], self._data.qvel[:] = qpos, qvel
        travel = self._data.qpos[: self._n_plane]
        travel -= FLOOR_PERIOD * np.round(travel / FLOOR_PERIOD)  # back under the lamp; the floor looks the same there
        mujoco.mj_forward(self._model, self._data)
        self._gl.make_current()
        option, perturbation = mujoco.MjvOption(), mujoco.MjvPerturb()
        every = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, self._data, option, perturbation, self._view, every, self._scene)
        view = mujoco.MjrRect(0, 0, self.width, self.height)
        mujoco.mjr_render(view, self._scene, self._context)
        frame = np.empty((self.height, self.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(frame, None, view, self._context)
        return np.flipud(frame).copy()

    def close(self) -> None:
        """Frees the graphics context; harmless when repeated."""
        if self._gl is not None:
            self._gl.make_current()  # else the names freed would be another context's
            self._context.free()
            self._gl.free()
            self._gl = None

    def __del__(self) -> None:
        if getattr(self, "_context", None) is not None:
            with contextlib.suppress(Exception):  # at interpreter exit the display may be gone already
                self.close()

    def _soften_floor(self) -> None:
        """Gives the floor large pale tiles, so that motion shows and does not flicker."""
        self._model.mat_texrepeat[:] = 1 / FLOOR_PERIOD
        for i in np.flatnonzero(self._model.tex_type == int(self._mujoco.mjtTexture.mjTEXTURE_2D)):
            first = int(self._model.tex_adr[i])
            size = int(self._model.tex_height[i] * self._model.tex_width[i] * self._model.tex_nchannel[i])
            texels = self._model.tex_data[first : first + size]
            texels[:] = 150 + texels // 6

    def _tracking_view(self, aim: Aim) -> Any:
        view = self._mujoco.MjvCamera()
        if aim.body is None:
            view.type = self._mujoco.mjtCamera.mjCAMERA_FREE
            view.lookat[:] = 0.0
        else:
            view.type = self._mujoco.mjtCamera.mjCAMERA_TRACKING
            view.trackbodyid = self._model.body(aim.body).id
        view.distance, view.elevation, view.azimuth = aim.distance, aim.elevation, aim.azimuth
        return view


def _offscreen(width: int, height: int) -> Any:
    """Returns a GL context: of MUJOCO_GL if that is set, else the first that works."""
    chosen = os.environ.get("MUJOCO_GL", "").lower()
    reasons = []
    for backend in (chosen,) if chosen in BACKENDS else BACKENDS:
        platform = os.environ.get("PYOPENGL_PLATFORM")
        try:
            return importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
        except Exception as error:  # PyOpenGL raises whatever its loader met, AttributeError among them
            reasons.append(f"{backend}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
            _reset_platform(platform)
    raise Refused(
        f"MuJoCo cannot draw here: no library draws without a screen ({'; '.join(reasons)}); "
        f"on Debian and Ubuntu: apt-get install {PACKAGES}"
    )


def _reset_platform(platform: str | None) -> None:
    """Undoes what a failed backend set, which would forbid the next one."""
    if platform is None:
        os.environ.pop("PYOPENGL_PLATFORM", None)
    else:
        os.environ["PYOPENGL_PLATFORM"] = platform
