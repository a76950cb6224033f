"""Everything up to a trajectory: tasks, hidden gold, vectorized physics, pictures.

Importing it registers the Gymnasium ids: `gym.make("preflab.envs:preflab/mujoco-humanoid-fixed-v0")` works, and
`preflab/mujoco-humanoid-v0` is the fixed form.
"""

import gymnasium as gym

from preflab.envs.branching import BranchedValue, BranchSettings, branched_value
from preflab.envs.checks import check_gold_is_hidden
from preflab.envs.collecting import RandomPolicy, collect
from preflab.envs.following import Branch, follow
from preflab.envs.gymnasium_physics import EnvSource
from preflab.envs.gymnasium_tasks import gymnasium_task
from preflab.envs.hidden import Gold, HiddenGold, gold, make
from preflab.envs.rendering import render_states
from preflab.envs.task_vec_env import TaskVecEnv
from preflab.envs.tasks import TASKS, Task, register_task, task
from preflab.envs.vectors import make_vec

__all__ = [
    "TASKS", "EnvSource", "Gold", "HiddenGold", "RandomPolicy", "Task", "TaskVecEnv",
    "Branch", "BranchSettings", "BranchedValue", "branched_value", "follow",
    "check_gold_is_hidden", "collect", "gold", "gymnasium_task", "make", "make_vec", "register_task", "render_states", "task",
]


def _register() -> None:
    for each in TASKS.values():
        for form, name in (("fixed", each.name), *((form, f"{each.name}-{form}") for form in each.forms)):
            env_id = f"preflab/{name}-v0"
            if env_id not in gym.registry:
                settings = {"name": each.name, "form": form}
                gym.register(env_id, entry_point="preflab.envs.hidden:HiddenGold", kwargs=settings)


_register()
