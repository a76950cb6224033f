"""Observations and gold of Gymnasium's MuJoCo tasks (v5) as array functions of MuJoCo's fields, of many copies at once.

Every formula is Gymnasium's, operation by operation and in its order, so that the results are the same numbers; weights and
ranges are read from Gymnasium's environment. https://github.com/Farama-Foundation/Gymnasium/tree/main/gymnasium/envs/mujoco
"""

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np

from preflab.types import AnyArray, BoolArray, FloatArray

Fields = Mapping[str, FloatArray]  # "qpos": (n, nq), "qvel": (n, nv), "ctrl": (n, nu), "xpos": (n, n_bodies, 3), …


class ArrayTask(abc.ABC):
    """A task's observations, gold and health, given the fields of n copies."""

    def __init__(self, env: Any) -> None:
        """Takes weights, ranges and model from `env`, Gymnasium's environment without wrappers."""
        self.env, self.dt = env, float(env.dt)

    @abc.abstractmethod
    def observe(self, fields: Fields) -> FloatArray:
        """Returns observations (n, o), in memory of their own."""

    def place(self, fields: Fields) -> FloatArray:
        """Returns the position (n,), in meters, whose change is the way made by a step; in memory of its own."""
        return fields["qpos"][:, 0].copy()

    @abc.abstractmethod
    def is_healthy(self, fields: Fields) -> BoolArray:
        """Returns which copies are in no state in which the terminating form ends, (n,)."""

    @abc.abstractmethod
    def pay(
        self, fields: Fields, before: FloatArray, actions: AnyArray, is_healthy: BoolArray
    ) -> tuple[FloatArray, dict[str, AnyArray]]:
        """Returns gold (n,) of a step and its factors by name, (n,) each.

        `before` is `place` before the step, and `actions` (n, nu) are as they were given: Gymnasium squares float32 actions
        in float32.
        """


class _Runner(ArrayTask):
    """Moves along x and never ends: forward − control."""

    n_hidden = 1  # leading positions that are not observed

    def observe(self, fields: Fields) -> FloatArray:
        return np.concatenate([fields["qpos"][:, self.n_hidden :], self._velocities(fields), *self._more(fields)], axis=1)

    def is_healthy(self, fields: Fields) -> BoolArray:
        return np.ones(len(fields["qpos"]), dtype=np.bool_)

    def pay(
        self, fields: Fields, before: FloatArray, actions: AnyArray, is_healthy: BoolArray
    ) -> tuple[FloatArray, dict[str, AnyArray]]:
        forward, control = self._forward(fields, before), self._control_cost(actions)
        return forward - control, {"forward": forward, "ctrl": -control}

    def _forward(self, fields: Fields, before: FloatArray) -> FloatArray:
        reward: FloatArray = self.env._forward_reward_weight * ((self.place(fields) - before) / self.dt)
        return reward

    def _control_cost(self, controls: AnyArray) -> AnyArray:
        cost: AnyArray = self.env._ctrl_cost_weight * np.square(controls).sum(axis=1)
        return cost

    def _velocities(self, fields: Fields) -> FloatArray:
        return fields["qvel"]

    def _more(self, fields: Fields) -> list[FloatArray]:
        return []


class _Swimmer(_Runner):
    n_hidden = 2


class _Upright(_Runner):
    """Must not fall: (forward + survive) − (control + contact)."""

    def pay(
        self, fields: Fields, before: FloatArray, actions: AnyArray, is_healthy: BoolArray
    ) -> tuple[FloatArray, dict[str, AnyArray]]:
        forward, survive = self._forward(fields, before), is_healthy * self.env._healthy_reward
        control, contact = self._control_cost(self._controls(fields, actions)), self._contact_cost(fields)
        gold = (forward + survive) - (control + contact)
        return gold, {"forward": forward, "ctrl": -control, "survive": survive, "contact": -contact}

    def _controls(self, fields: Fields, actions: AnyArray) -> AnyArray:
        return actions

    def _contact_cost(self, fields: Fields) -> Any:
        return 0.0


class _Walker(_Upright):
    """Hopper and Walker2d: upright within an angle, observed velocities within ±10."""

    def is_healthy(self, fields: Fields) -> BoolArray:
        height, angle = fields["qpos"][:, 1], fields["qpos"][:, 2]
        return _between(height, self.env._healthy_z_range) & _between(angle, self.env._healthy_angle_range)

    def _velocities(self, fields: Fields) -> FloatArray:
        return np.clip(fields["qvel"], -10, 10)


class _Hopper(_Walker):
    def is_healthy(self, fields: Fields) -> BoolArray:
        state = np.concatenate([fields["qpos"][:, 2:], fields["qvel"]], axis=1)
        is_sane = _between(state, self.env._healthy_state_range).all(axis=1)
        return np.asarray(is_sane & super().is_healthy(fields))


class _Ant(_Upright):
    n_hidden = 2

    def place(self, fields: Fields) -> FloatArray:
        return fields["xpos"][:, self.env.model.body(self.env._main_body).id, 0].copy()

    def is_healthy(self, fields: Fields) -> BoolArray:
        is_finite = np.isfinite(fields["qpos"]).all(axis=1) & np.isfinite(fields["qvel"]).all(axis=1)
        height, (low, high) = fields["qpos"][:, 2], self.env._healthy_z_range
        return np.asarray(is_finite & (low <= height) & (height <= high))

    def _more(self, fields: Fields) -> list[FloatArray]:
        return [_rows(self._forces(fields)[:, 1:])]

    def _contact_cost(self, fields: Fields) -> Any:
        return self.env._contact_cost_weight * _rows(np.square(self._forces(fields))).sum(axis=1)

    def _forces(self, fields: Fields) -> FloatArray:
        forces: FloatArray = np.clip(fields["cfrc_ext"], *self.env._contact_force_range)
        return forces


class _Humanoid(_Upright):
    n_hidden = 2

    def place(self, fields: Fields) -> FloatArray:
        masses = self.env.model.body_mass
        center: FloatArray = np.einsum("b,nb->n", masses, fields["xipos"][:, :, 0]) / masses.sum()
        return center

    def is_healthy(self, fields: Fields) -> BoolArray:
        return _between(fields["qpos"][:, 2], self.env._healthy_z_range)

    def _more(self, fields: Fields) -> list[FloatArray]:
        inertia, velocity, forces = (_rows(fields[name][:, 1:]) for name in ("cinert", "cvel", "cfrc_ext"))
        return [inertia, velocity, fields["qfrc_actuator"][:, 6:], forces]

    def _controls(self, fields: Fields, actions: AnyArray) -> AnyArray:
        return fields["ctrl"]

    def _contact_cost(self, fields: Fields) -> Any:
        cost = self.env._contact_cost_weight * _rows(np.square(fields["cfrc_ext"])).sum(axis=1)
        return np.clip(cost, *self.env._contact_cost_range)


class _Reacher(ArrayTask):
    def observe(self, fields: Fields) -> FloatArray:
        angles = fields["qpos"][:, :2].copy()
        way = self._way(fields)[:, :2]
        return np.concatenate([np.cos(angles), np.sin(angles), fields["qpos"][:, 2:], fields["qvel"][:, :2], way], axis=1)

    def is_healthy(self, fields: Fields) -> BoolArray:
        return np.ones(len(fields["qpos"]), dtype=np.bool_)

    def pay(
        self, fields: Fields, before: FloatArray, actions: AnyArray, is_healthy: BoolArray
    ) -> tuple[FloatArray, dict[str, AnyArray]]:
        way = self._way(fields)
        distance = -np.sqrt(np.vecdot(way, way)) * self.env._reward_dist_weight
        control = -np.square(actions).sum(axis=1) * self.env._reward_control_weight
        return distance + control, {"dist": distance, "ctrl": control}

    def _way(self, fields: Fields) -> FloatArray:
        tip, target = (self.env.model.body(name).id for name in ("fingertip", "target"))
        return fields["xpos"][:, tip] - fields["xpos"][:, target]


class _InvertedPendulum(ArrayTask):
    def observe(self, fields: Fields) -> FloatArray:
        return np.concatenate([fields["qpos"], fields["qvel"]], axis=1)

    def is_healthy(self, fields: Fields) -> BoolArray:
        is_finite = np.isfinite(fields["qpos"]).all(axis=1) & np.isfinite(fields["qvel"]).all(axis=1)
        is_upright: BoolArray = is_finite & ~(np.abs(fields["qpos"][:, 1]) > 0.2)
        return is_upright

    def pay(
        self, fields: Fields, before: FloatArray, actions: AnyArray, is_healthy: BoolArray
    ) -> tuple[FloatArray, dict[str, AnyArray]]:
        survive = is_healthy.astype(np.float64)
        return survive, {"survive": survive}


ARRAY_TASKS: dict[str, type[ArrayTask]] = {
    "Humanoid-v5": _Humanoid, "HalfCheetah-v5": _Runner, "Hopper-v5": _Hopper, "Walker2d-v5": _Walker, "Ant-v5": _Ant,
    "Swimmer-v5": _Swimmer, "Reacher-v5": _Reacher, "InvertedPendulum-v5": _InvertedPendulum,
}


def _between(values: FloatArray, limits: tuple[float, float]) -> BoolArray:
    is_inside: BoolArray = (limits[0] < values) & (values < limits[1])
    return is_inside


def _rows(array: FloatArray) -> FloatArray:
    return array.reshape(len(array), -1)
