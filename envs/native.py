"""Copies of a MuJoCo task in one `mujoco.batch`: the physics of all in one call on threads, without the interpreter.

Gymnasium's own environment, of which there is one, draws every first state with the copy's own generator; between resets
MuJoCo's batch moves the states, and array functions (`native_tasks`) read observations and gold off its fields. The results
are those of one Gymnasium environment per copy, and so are the saved states. https://mujoco.readthedocs.io
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from preflab.envs.copies import Outcomes
from preflab.envs.hidden import make
from preflab.envs.mujoco_physics import MujocoPhysics
from preflab.envs.native_tasks import ARRAY_TASKS, Fields
from preflab.envs.physics import N_GENERATOR_WORDS, generator_words, restore_generator
from preflab.envs.tasks import TASKS
from preflab.errors import InvalidArgument, Refused
from preflab.types import AnyArray, FloatArray, IntArray

_AFTERWARDS = "cfrc_ext"  # what mj_rnePostConstraint computes and Gymnasium calls after every step


class NativeCopies:
    """`n_envs` copies of a MuJoCo task; `Copies`, without time limits and automatic resets.

    Attributes:
        template: a single environment of the task, whose state means nothing.
        n_elapsed: (n,) steps since the last reset, or as restored.
    """

    def __init__(self, name: str, form: str, n_envs: int, n_threads: int = 1) -> None:
        """Makes the copies, not yet reset; raises `Refused` for a task that has no arrays (see `has_native`)."""
        self.template = make(name, form)
        if not has_native(name) or not isinstance(self.template.physics, MujocoPhysics):
            raise Refused(f"{name} cannot be stepped natively: that takes one of preflab's MuJoCo tasks, and mujoco.batch")
        import mujoco  # deferred: half a second that tabular users need not pay
        from mujoco.batch import Batch

        self._mujoco: Any = mujoco
        self._physics = self.template.physics
        self._names = self.template.task.factor_names
        self._n_substeps = int(self._physics.env.frame_skip)
        self._terminates = self.template.form == "terminating"
        model, lagging = self._physics.env.model, self._physics.lagging
        self._task = ARRAY_TASKS[self._physics.id](self._physics.env)
        self._batch: Any = Batch(model, n_envs, n_threads, persistent=_AFTERWARDS in lagging)
        self._live = {field: self._batch.bind(field) for field in lagging if field != _AFTERWARDS}
        self._one: Any = mujoco.MjData(model)
        # Lagging fields are kept apart from the batch's, which it computes anew and which cannot be restored.
        self._lagging = {field: np.zeros((n_envs, *getattr(self._one, field).shape)) for field in lagging}
        self._fields: Fields = {field: self._batch.bind(field) for field in ("qpos", "qvel", "ctrl")} | self._lagging
        self._rngs: list[np.random.Generator | None] = [None] * n_envs
        self.n_elapsed: IntArray = np.zeros(n_envs, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.n_elapsed)

    def reset(self, row: int, seed: int | None = None) -> FloatArray:
        """Draws a first state of one copy and returns its observation, (o,); a seed restarts its generator."""
        self._physics.rng = self._rngs[row]
        obs: FloatArray = self._physics.reset(seed)
        self._rngs[row] = self._physics.rng
        self.n_elapsed[row] = 0
        self._put(self._physics.save()[None], np.array([row]))
        return obs

    def step(self, actions: AnyArray, rows: IntArray | None = None) -> Outcomes:
        """Takes one step with `actions` (k, nu) of the copies `rows` (k,), or of all."""
        which: Any = slice(None) if rows is None else rows
        fields = self._of(rows)
        given = np.ascontiguousarray(actions)
        if given.shape != fields["ctrl"].shape:
            raise InvalidArgument("actions", "must be one row per copy", given.shape, f"shape {fields['ctrl'].shape}")
        before = self._task.place(fields)
        self._fields["ctrl"][which] = given
        self._batch.step(rows if rows is None else np.sort(rows), nstep=self._n_substeps)
        self.n_elapsed[which] += 1
        self._note_lagging(rows)
        fields = self._of(rows)
        is_healthy = self._task.is_healthy(fields)
        gold, parts = self._task.pay(fields, before, given, is_healthy)
        factors = np.empty((len(gold), len(self._names)))
        for i, name in enumerate(self._names):
            factors[:, i] = parts[name]
        terminated = ~is_healthy if self._terminates else np.zeros(len(gold), dtype=np.bool_)
        return Outcomes(self._task.observe(fields), gold, terminated, factors)

    def save(self, rows: IntArray | None = None) -> FloatArray:
        """Returns full states (k, S) as `HiddenGold.save_state` does: elapsed steps, generator, physics, lagging fields."""
        which = np.arange(len(self)) if rows is None else np.asarray(rows)
        generators = np.stack([generator_words(self._generator(int(row))) for row in which])
        lagging = [field[which].reshape(len(which), -1) for field in self._lagging.values()]
        return np.concatenate([self.n_elapsed[which, None], generators, self._batch.state[which], *lagging], axis=1)

    def restore(self, states: FloatArray, rows: IntArray | None = None, *, n_elapsed: int | None = None) -> FloatArray:
        """Restores states (k, S) of this task and form, and returns the observations there, (k, o); see `HiddenGold`."""
        which = np.arange(len(self)) if rows is None else np.asarray(rows)
        words = np.asarray(states, dtype=np.float64)
        expected = (len(which), 1 + N_GENERATOR_WORDS + self._physics.n_words)
        if words.shape != expected:
            raise InvalidArgument("states", "must come from saved states of this task", words.shape, f"shape {expected}")
        for row, one in zip(which, words, strict=True):
            restore_generator(self._generator(int(row)), one[1 : 1 + N_GENERATOR_WORDS])
        self.n_elapsed[which] = words[:, 0] if n_elapsed is None else n_elapsed
        self._put(words[:, 1 + N_GENERATOR_WORDS :], which)
        return self._task.observe(self._of(which))

    def close(self) -> None:
        """Frees what drawing has taken."""
        self.template.close()

    def _generator(self, row: int) -> np.random.Generator:
        rng = self._rngs[row]
        if rng is None:
            rng = self._rngs[row] = np.random.Generator(np.random.PCG64())
        return rng

    def _of(self, rows: IntArray | None) -> Fields:
        return self._fields if rows is None else {name: field[rows] for name, field in self._fields.items()}

    def _put(self, words: FloatArray, rows: IntArray) -> None:
        """Sets state and lagging fields from words (k, n_words) of `MujocoPhysics.save`."""
        first = self._physics.n_state
        self._batch.state[rows] = words[:, :first]
        for field in self._lagging.values():
            size = field[0].size
            field[rows] = words[:, first : first + size].reshape(-1, *field.shape[1:])
            first += size

    def _note_lagging(self, rows: IntArray | None) -> None:
        which: Any = slice(None) if rows is None else rows
        for name, live in self._live.items():
            self._lagging[name][which] = live[which]
        if _AFTERWARDS in self._lagging:
            for row in range(len(self)) if rows is None else rows.tolist():
                self._batch.get_data(row, self._one)
                self._mujoco.mj_rnePostConstraint(self._physics.env.model, self._one)
                self._lagging[_AFTERWARDS][row] = getattr(self._one, _AFTERWARDS)


def has_native(name: str) -> bool:
    """Tells whether the task called `name` is stepped natively: one of our MuJoCo tasks, and MuJoCo has `mujoco.batch`."""
    return name in TASKS and name.startswith("mujoco-") and importlib.util.find_spec("mujoco.batch") is not None
