"""Environments that are not ours: Gymnasium's and a user's, as tasks with hidden gold, a horizon, and pictures."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from preflab import envs
from preflab.envs import EnvSource, Task, gymnasium_task, register_task
from preflab.errors import InvalidArgument, Refused, UnknownName
from preflab.types import AnyArray, ScoredTrajectory

SIDE = 12


class Spot(gym.Env[Any, Any]):
    """A spot to be moved onto a line: seen in a picture and in numbers, both in buffers that are used again and again."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012 - Gymnasium declares it so
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
    observation_space: gym.Space[Any] = gym.spaces.Dict({
        "camera": gym.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8), "place": gym.spaces.Box(-1.0, 1.0, (1,), np.float64),
    })

    def __init__(self, *, ends_at: int | None = None, cuts_at: int | None = None, forgets_its_seed: bool = False,
                 render_mode: str | None = None) -> None:
        self.ends_at, self.cuts_at, self.forgets, self.render_mode = ends_at, cuts_at, forgets_its_seed, render_mode
        self._seen: dict[str, Any] = {"camera": np.zeros((SIDE, SIDE, 3), np.uint8), "place": np.zeros(1)}

    def _see(self) -> Any:
        self._seen["camera"][:] = 0
        self._seen["camera"][:, int((self.line + 1) / 2 * (SIDE - 1))] = 255
        self._seen["camera"][-1, int((self.place + 1) / 2 * (SIDE - 1)), 1] ^= 255
        self._seen["place"][0] = self.place
        return self._seen

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=None if self.forgets else seed)
        self.place, self.steps = 0.0, 0
        self.line = float(self.np_random.uniform(-1, 1))
        return self._see(), {"secret": self.line}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self.place = float(np.clip(self.place + 0.2 * action[0] + 0.05 * self.np_random.normal(), -1, 1))
        action[:] = 9.0  # it may do as it likes with what it is given
        near, cost = -abs(self.place - self.line), -0.1
        return self._see(), near + cost, self.steps == self.ends_at, self.steps == self.cuts_at, {"near": near, "cost": cost}

    def render(self) -> Any:
        return self._see()["camera"].repeat(10, 0).repeat(5, 1)


class Blind(Spot):
    """Shows its picture only, and has none for others."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012
    observation_space: gym.Space[Any] = gym.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)

    def _see(self) -> Any:
        return super()._see()["camera"]


@pytest.fixture(autouse=True)
def ids() -> Iterator[None]:
    made: dict[str, Any] = {"tests/Spot-v0": Spot, "tests/Blind-v0": Blind}
    for name, kind in made.items():
        gym.register(name, kind, max_episode_steps=20)
    yield
    for name in made:
        del gym.registry[name]


def task(source: str, **settings: Any) -> Task:
    made = EnvSource(source, settings.pop("kwargs", {}), settings.pop("wrappers", ()), settings.pop("path", None))
    return register_task(gymnasium_task(f"own-{source.split('/')[-1].lower()}", made, **settings))


def collected(of: Task, n: int = 3, seed: int = 0) -> list[ScoredTrajectory]:
    venv = envs.make_vec(of.name, of.forms[0], 2, seed)
    return envs.collect(venv, envs.RandomPolicy(venv.action_space), n, np.random.default_rng(seed), keep_states=True)


def replayed(id_: str, item: ScoredTrajectory, **kwargs: Any) -> tuple[list[Any], list[float]]:
    """Returns the observations and rewards of Gymnasium's own environment under the trajectory's seed and actions."""
    assert item.sim_states is not None
    env = gym.make(id_, **kwargs)
    obs, _ = env.reset(seed=int(item.sim_states[0, -2]))
    seen, rewards = [np.array(obs)], list[float]()
    for action in item.trajectory.actions:
        obs, reward, *_ = env.step(action)
        seen.append(np.array(obs))
        rewards.append(float(reward))
    return seen, rewards


@pytest.mark.parametrize(("id_", "settings"), [
    ("Acrobot-v1", {}), ("FrozenLake-v1", {"kwargs": {"map_name": "8x8"}}), ("CliffWalking-v1", {"horizon": 40}),
    ("MountainCar-v0", {}), ("InvertedDoublePendulum-v5", {}),
], ids=["Acrobot", "FrozenLake", "CliffWalking", "MountainCar", "InvertedDoublePendulum"])
def test_gold_and_observations_are_gymnasiums_own_and_hidden(id_: str, settings: dict[str, Any]) -> None:
    of = task(id_, **settings)
    assert of.forms == ("terminating",) and of.factors_sum_to_gold and of.factor_names == ("reward",)
    envs.check_gold_is_hidden(envs.make(of.name, "terminating"))
    item = collected(of, 1)[0]
    seen, rewards = replayed(id_, item, **settings.get("kwargs", {}))
    assert np.array_equal(item.trajectory.observations, np.stack(seen).astype(item.trajectory.observations.dtype))
    assert item.gold_rewards.tolist() == rewards == item.factors[:, 0].tolist()
    assert item.trajectory.terminated or len(item.trajectory) == of.horizon("terminating")


def test_the_time_limit_is_the_registered_one_and_a_cut_is_no_end() -> None:
    of = task("MountainCar-v0")
    assert of.horizon("terminating") == 200
    assert [(len(each.trajectory), each.trajectory.terminated) for each in collected(of, 2)] == [(200, False)] * 2
    assert task("MountainCar-v0", horizon=7).horizon("terminating") == 7


def test_episodes_follow_from_the_seed_alone_and_differ() -> None:
    of = task("tests/Spot-v0", never_terminates=True)
    first, second, other = collected(of), collected(of), collected(of, seed=1)
    for one, two in zip(first, second, strict=True):
        assert np.array_equal(one.trajectory.observations, two.trajectory.observations)
        assert np.array_equal(one.gold_rewards, two.gold_rewards)
    lines = [each.trajectory.observations["camera"][0].tobytes() for each in (*first, *other)]
    assert len(set(lines)) > 3


def test_a_dict_is_collected_in_one_array_and_reused_buffers_are_copied() -> None:
    of = task("tests/Spot-v0", never_terminates=True, factors=("near", "cost"))
    envs.check_gold_is_hidden(envs.make(of.name))
    item = collected(of, 1)[0]
    obs = item.trajectory.observations
    assert obs.shape == (21,) and obs["camera"].dtype == np.uint8 and obs["place"].dtype == np.float32
    assert len(np.unique(obs["place"])) > 15  # not one buffer, twenty-one times
    assert item.factors[:, 1].tolist() == [-0.1] * 20
    assert np.allclose(item.factors.sum(1), item.gold_rewards) and not of.factors_sum_to_gold
    assert np.abs(item.trajectory.actions).max() <= 1.0  # not the 9 that the environment writes
    line = obs["camera"][0, 0, :, 0].argmax() / (SIDE - 1) * 2 - 1
    assert np.abs(item.factors[:, 0] + np.abs(obs["place"][1:, 0] - line)).max() < 2.5 / (SIDE - 1)


def test_a_vectorized_own_environment_steps_like_sb3_expects() -> None:
    of = task("tests/Spot-v0", never_terminates=True)
    venv = envs.make_vec(of.name, "fixed", 2, 0)
    obs = venv.reset()
    assert isinstance(obs, dict) and obs["camera"].shape == (2, SIDE, SIDE, 3)
    for _ in range(20):
        obs, rewards, dones, infos = venv.step(np.zeros((2, 1), np.float32))
        assert not rewards.any()
    assert dones.all() and infos[0]["TimeLimit.truncated"] and set(infos[0]["terminal_observation"]) == {"camera", "place"}


def test_its_own_truncation_cuts_an_episode_and_its_end_ends_it() -> None:
    of = task("tests/Spot-v0", kwargs={"cuts_at": 6})
    assert [(len(each.trajectory), each.trajectory.terminated) for each in collected(of)] == [(6, False)] * 3
    of = task("tests/Spot-v0", kwargs={"ends_at": 5})
    assert [(len(each.trajectory), each.trajectory.terminated) for each in collected(of)] == [(5, True)] * 3


@pytest.mark.parametrize(("kwargs", "said"), [
    ({"ends_at": 5}, "terminated after 5 of 20 steps, although its yaml says never_terminates: true"),
    ({"cuts_at": 6}, "was cut by a limit of its own after 6 of 20 steps"),
], ids=["ends", "cuts"])
def test_who_says_it_never_terminates_is_taken_at_his_word(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        collected(task("tests/Spot-v0", kwargs=kwargs, never_terminates=True))


def test_an_own_environment_has_one_form_and_says_how_to_get_it() -> None:
    with pytest.raises(Refused, match=r"no form 'fixed'.*use form=terminating.*never_terminates: true"):
        envs.make(task("Acrobot-v1").name, "fixed")
    with pytest.raises(Refused, match="use form=fixed"):
        envs.make(task("tests/Spot-v0", never_terminates=True).name, "terminating")


@pytest.mark.parametrize("id_", ["Acrobot-v1", "FrozenLake-v1", "tests/Spot-v0"])
def test_pictures_are_replayed_from_the_seed_whatever_their_order(id_: str) -> None:
    of = task(id_)
    items = collected(of, 2)
    trajectories = [items[i].trajectory for i in (1, 0, 1, 0)]
    steps = [len(items[1].trajectory), 1, 0, 1]
    states = np.stack([items[i].sim_states[step] for i, step in zip((1, 0, 1, 0), steps, strict=True)])  # type: ignore[index]
    frames = envs.render_states(of.name, "terminating", states, 64, 48, trajectories=trajectories)
    assert frames.shape == (4, 48, 64, 3) and frames.dtype == np.uint8
    assert np.array_equal(frames[1], frames[3]) and not np.array_equal(frames[0], frames[2])
    env = envs.make(of.name, "terminating", render_mode="rgb_array")
    assert np.array_equal(env.picture_of(states[0], trajectories[0], 64, 48), frames[0])
    env.reset(seed=0)
    picture, twin = env.draw(64, 48), envs.make(of.name, "terminating")
    twin.reset(seed=0)
    for action in trajectories[0].actions[:3]:  # drawing leaves the episode alone
        assert str(env.step(action)[:4]) == str(twin.step(action)[:4])
        env.draw(64, 48)
    assert picture.shape == (48, 64, 3)
    env.close()


def test_a_picture_keeps_its_proportions() -> None:
    of = task("tests/Spot-v0", never_terminates=True)  # drawn 120 high and 60 wide
    item = collected(of, 1)[0]
    assert item.sim_states is not None
    frame = envs.render_states(of.name, "fixed", item.sim_states[:1], 100, 60, trajectories=[item.trajectory])[0]
    assert not frame[:, :35].any() and not frame[:, 65:].any() and frame[:, 35:65].any()


def _render(of: Task) -> AnyArray:
    item = collected(of, 1)[0]
    assert item.sim_states is not None
    return envs.render_states(of.name, of.forms[0], item.sim_states[-1:], trajectories=[item.trajectory])


def test_what_cannot_be_drawn_or_restored_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match=r"has no pictures: its render modes are none, without rgb_array"):
        _render(task("tests/Blind-v0"))
    with pytest.raises(Refused, match=r"does not repeat an episode from its seed and actions.*self\.np_random"):
        _render(task("tests/Spot-v0", kwargs={"forgets_its_seed": True}))
    monkeypatch.setattr(Spot, "render", lambda self: 1 / 0)
    with pytest.raises(Refused, match="could not be drawn: ZeroDivisionError"):
        _render(task("tests/Spot-v0"))
    env = envs.make(task("tests/Spot-v0").name, "terminating")
    env.reset(seed=0)
    state = env.save_state()
    with pytest.raises(Refused, match="cannot be saved and restored"):
        env.restore_state(state)
    assert np.array_equal(env.save_state(), state)


def test_wrappers_make_of_it_what_is_supported() -> None:
    of = task("Blackjack-v1", horizon=10, wrappers=("gymnasium.wrappers:FlattenObservation",))
    assert envs.make(of.name, "terminating").observation_space == gym.spaces.Box(0, 1, (32 + 11 + 2,), np.float32)
    of = task("Acrobot-v1", wrappers=({"gymnasium.wrappers:FrameStackObservation": {"stack_size": 2}},))
    assert envs.make(of.name, "terminating").observation_space.shape == (2, 6)
    assert of.horizon("terminating") == 500


def test_a_module_beside_the_yaml_is_imported_by_its_id(tmp_path: Path) -> None:
    (tmp_path / "tests_own_module.py").write_text(
        "import gymnasium as gym\nfrom gymnasium.envs.classic_control import AcrobotEnv\n"
        "gym.register('tests/Beside-v0', AcrobotEnv, max_episode_steps=9)\n"
    )
    with pytest.raises(InvalidArgument, match=r"No module named 'tests_own_module'.*module:Id"):
        task("tests_own_module:tests/Beside-v0")
    assert task("tests_own_module:tests/Beside-v0", path=str(tmp_path)).horizon("terminating") == 9


REFUSALS: dict[str, tuple[Callable[[], Any], str]] = {
    "tuple": (
        lambda: task("Blackjack-v1", horizon=9),
        r"observation space of Blackjack-v1 must not be nested \(Tuple\).*FlattenObservation",
    ),
    "no limit": (lambda: task("CliffWalking-v1"), r"env\.horizon must be at least 1; CliffWalking-v1 is registered without"),
    "unknown id": (lambda: task("Acrobat-v1"), r"env\.id cannot be found: Environment `Acrobat` doesn't exist.*`Acrobot`"),
    "kwargs": (
        lambda: task("Acrobot-v1", kwargs={"colour": 1}),
        r"Acrobot-v1 could not be made with kwargs {'colour': 1}: TypeError",
    ),
    "wrapper": (
        lambda: task("Acrobot-v1", wrappers=("gymnasium.wrappers:Flaten",)), r"env\.wrappers cannot be found.*Flaten",
    ),
    "wrapper's arguments": (
        lambda: task("Acrobot-v1", wrappers=("gymnasium.wrappers:FrameStackObservation",)), "could not be put around",
    ),
    "no factors": (lambda: task("Acrobot-v1", factors=()), r"env\.factors must name at least one"),
    "factor": (
        lambda: collected(task("tests/Spot-v0", factors=("nearer",))),
        r"env\.factors must be keys of the info.*valid: near, cost",
    ),
    "name": (
        lambda: register_task(gymnasium_task("pendulum", EnvSource("Acrobot-v1"))),
        r"env\.name is taken by one of preflab's own",
    ),
    "trajectories": (
        lambda: envs.render_states("pendulum", "fixed", np.zeros((2, 13)), trajectories=[]), "must be one per state",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_say_what_would_be_valid(case: str) -> None:
    make, said = REFUSALS[case]
    with pytest.raises((InvalidArgument, Refused), match=said):
        make()


def test_a_registered_name_is_known_and_ours_stay_ours() -> None:
    task("Acrobot-v1", horizon=3)
    assert envs.task("own-acrobot-v1").horizon("terminating") == 3
    task("Acrobot-v1", horizon=4)
    assert envs.task("own-acrobot-v1").horizon("terminating") == 4
    with pytest.raises(UnknownName, match="own-acrobot-v1"):
        envs.task("own-acrobat-v1")
    assert "own-acrobot-v1" not in envs.TASKS
