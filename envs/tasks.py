"""The tasks by name: forms, horizons, factors, where they come from, and how to build their physics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from preflab.envs import delivery, random_mdp
from preflab.envs.classic import CartPolePhysics, MountainCarPhysics, PendulumPhysics
from preflab.envs.mujoco_physics import MujocoPhysics
from preflab.envs.physics import Physics
from preflab.envs.tabular_physics import TabularPhysics
from preflab.errors import InvalidArgument, Refused, UnknownName
from preflab.tabular import TabularMDP

FORMS = ("fixed", "terminating")


@dataclass(frozen=True)
class Task:
    """A task: what is to be done, in one or two forms.

    Attributes:
        name: as in `TASKS`.
        horizons: steps of an episode by form; in the terminating form, the time limit.
        factor_names: names of the parts of gold, in the order in which they are always given.
        factors_sum_to_gold: True if the factors add up to the gold reward.
        description: one line.
        source: where the rules come from.
        build: makes the physics of a form.
        solve: returns the exact MDP of a form; None where there is none.
    """

    name: str
    horizons: Mapping[str, int]
    factor_names: tuple[str, ...]
    description: str
    source: str
    build: Callable[[str], Physics] = field(repr=False)
    solve: Callable[[str], TabularMDP] | None = field(default=None, repr=False)
    factors_sum_to_gold: bool = True

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms of this task, "fixed" first."""
        return tuple(form for form in FORMS if form in self.horizons)

    def horizon(self, form: str = "fixed") -> int:
        """Returns the most steps an episode of `form` can have; exactly that many in the fixed form."""
        return self.horizons[self.checked_form(form)]

    def mdp(self, form: str = "fixed") -> TabularMDP | None:
        """Returns the task as exact arrays, or None if it is not finite."""
        checked = self.checked_form(form)
        return None if self.solve is None else self.solve(checked)

    def physics(self, form: str = "fixed") -> Physics:
        """Returns new physics of `form`."""
        return self.build(self.checked_form(form))

    def checked_form(self, form: str) -> str:
        """Returns `form` if this task has it.

        Raises:
            UnknownName: there is no such form.
            Refused: the task has only the other form.
        """
        if form not in FORMS:
            raise UnknownName("form", form, FORMS)
        if form not in self.horizons and form == "fixed":
            raise Refused(
                f"{self.name} has no form 'fixed': its episodes end where the environment says so; use form=terminating or, if "
                "it never terminates, say never_terminates: true in its yaml"
            )
        if form not in self.horizons:
            raise Refused(
                f"{self.name} has no form 'terminating': its standard form never terminates, so both would be one; "
                "use form=fixed"
            )
        return form


def task(name: str) -> Task:
    """Returns the task called `name`, ours or registered; raises `UnknownName` with the nearest names."""
    known = {**TASKS, **_REGISTERED}
    if name not in known:
        raise UnknownName("env", name, known)
    return known[name]


def register_task(added: Task) -> Task:
    """Makes `added` known by its name in this process, in place of one registered before, and returns it.

    Raises:
        InvalidArgument: one of preflab's own tasks has that name.
    """
    if added.name in TASKS:
        raise InvalidArgument("env.name", "is taken by one of preflab's own tasks", added.name, "any other name")
    _REGISTERED[added.name] = added
    return added


def _mujoco(
    name: str, gymnasium_id: str, horizons: tuple[int, ...], factors: tuple[str, ...], description: str,
    *, has_health: bool = False,
) -> Task:
    return Task(
        name, dict(zip(FORMS, horizons, strict=False)), factors, description,
        f"Gymnasium {gymnasium_id}, https://gymnasium.farama.org/environments/mujoco/",
        partial(_build_mujoco, gymnasium_id, factors, has_health),
    )


def _build_mujoco(gymnasium_id: str, factors: tuple[str, ...], has_health: bool, form: str) -> Physics:
    return MujocoPhysics(gymnasium_id, factors, form, has_health=has_health)


def _build_delivery(form: str) -> Physics:
    return TabularPhysics(delivery.delivery_mdp(form), delivery.delivery_factors(), delivery.picture)


def _build_random(form: str) -> Physics:
    return TabularPhysics(random_mdp.random_mdp(form), random_mdp.random_mdp_factors(form), random_mdp.picture)


_CLASSIC = "https://gymnasium.farama.org/environments/classic_control/"
_WALKER = ("forward", "ctrl", "survive")

_REGISTERED: dict[str, Task] = {}

TASKS: dict[str, Task] = {each.name: each for each in (
    _mujoco(
        "mujoco-humanoid", "Humanoid-v5", (250, 1000), ("survive", "forward", "ctrl", "contact"),
        "a humanoid walks forward and stays upright", has_health=True,
    ),
    _mujoco("mujoco-halfcheetah", "HalfCheetah-v5", (1000,), ("forward", "ctrl"), "a two-legged cheetah runs forward"),
    _mujoco("mujoco-hopper", "Hopper-v5", (250, 1000), _WALKER, "one leg hops forward", has_health=True),
    _mujoco("mujoco-walker2d", "Walker2d-v5", (250, 1000), _WALKER, "two legs walk forward", has_health=True),
    _mujoco(
        "mujoco-ant", "Ant-v5", (250, 1000), ("forward", "ctrl", "contact", "survive"),
        "a four-legged ant runs forward", has_health=True,
    ),
    _mujoco("mujoco-swimmer", "Swimmer-v5", (1000,), ("forward", "ctrl"), "three links swim forward"),
    _mujoco("mujoco-reacher", "Reacher-v5", (50,), ("dist", "ctrl"), "a two-joint arm reaches a random target"),
    _mujoco(
        "mujoco-inverted-pendulum", "InvertedPendulum-v5", (250, 1000), ("survive",), "a cart keeps its pole upright",
    ),
    Task(
        "pendulum", {"fixed": 200}, ("angle", "velocity", "torque"), "swing a pendulum up and hold it",
        f"Gymnasium Pendulum-v1, {_CLASSIC}", PendulumPhysics,
    ),
    Task(
        "cartpole", {"fixed": 250, "terminating": 500}, ("upright",), "push a cart so that its pole stands",
        f"Gymnasium CartPole-v1, {_CLASSIC}", CartPolePhysics,
    ),
    Task(
        "mountain-car-continuous", {"fixed": 250, "terminating": 999}, ("goal", "ctrl"),
        "swing a weak car out of a valley", f"Gymnasium MountainCarContinuous-v0, {_CLASSIC}", MountainCarPhysics,
    ),
    Task(
        "delivery-gridworld", {"fixed": 60, "terminating": 200}, delivery.FACTORS,
        "drive to the goal past mud and sheep",
        "rules of Knox et al., https://arxiv.org/abs/2206.02231, own board", _build_delivery, delivery.delivery_mdp,
    ),
    Task(
        "random-mdp", {"fixed": 50, "terminating": 50}, ("reward",), "a random finite MDP of 12 states and 4 actions",
        "Garnet: Archibald, McKinnon & Thomas 1995", _build_random, random_mdp.random_mdp,
    ),
)}
