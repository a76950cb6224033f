"""Every task in every form keeps every law of the kit; what a law cannot say of a task is listed."""

import pytest

from preflab import envs
from preflab.testing import check_env

NUMBERED = {"delivery-gridworld", "random-mdp"}  # observations are single numbers
CHOSEN = NUMBERED | {"cartpole"}  # actions are single numbers
QUICK = [name for name in envs.TASKS if not name.startswith("mujoco-")]
EVERY = [
    pytest.param(name, form, marks=[] if name in QUICK else [pytest.mark.slow])
    for name, task in envs.TASKS.items() for form in task.forms
]


@pytest.mark.parametrize(("name", "form"), EVERY)
def test_every_task_keeps_the_laws_of_environments(name: str, form: str) -> None:
    silent = check_env(lambda: envs.make(name, form))
    silent.pop("law_drawing_changes_nothing", None)  # where MuJoCo finds no way to draw
    expected = ["law_earlier_observations_stay", "law_written_observations_change_nothing"] if name in NUMBERED else []
    assert list(silent) == expected + (["law_actions_are_left_alone"] if name in CHOSEN else [])
