"""The native vectorized MuJoCo tasks: the numbers of Gymnasium's own environments, whatever steps them."""

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from preflab import envs
from preflab.envs import following, native_vec_env
from preflab.envs.copied_vec_env import CopiedVecEnv
from preflab.envs.native import NativeCopies
from preflab.envs.native_vec_env import NativeVecEnv
from preflab.envs.task_vec_env import TaskVecEnv
from preflab.errors import InvalidArgument, Refused
from preflab.types import AnyArray

CASES = [(name, form) for name, task in envs.TASKS.items() if name.startswith("mujoco-") for form in task.forms]
N, SEED, LATE = 2, 5, 25
Step = tuple[Any, float, Any, bool, bool, Any]  # obs, gold, factors, terminated, truncated, the next episode's first obs or None


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Keeps MuJoCo's remarks on Gymnasium's model files out of ./MUJOCO_LOG.TXT."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)
    yield
    mujoco.set_mju_user_warning(before)


def gymnasiums(name: str, form: str, actions: AnyArray, seed: int, n_elapsed: int) -> tuple[Any, list[Step]]:
    """Returns what Gymnasium's own environment does: the first observation, and one row per step, through resets."""
    task = envs.task(name)
    has_switch = form == "fixed" and "survive" in task.factor_names and name != "mujoco-inverted-pendulum"
    gymnasium_id = task.source.split()[1].rstrip(",")
    env: Any = gym.make(gymnasium_id, **({"terminate_when_unhealthy": False} if has_switch else {})).unwrapped
    first, rows = env.reset(seed=seed)[0], []
    for action in actions:
        obs, gold, terminated, _, info = env.step(action)
        n_elapsed += 1
        is_end, is_cut = terminated and form == "terminating", n_elapsed >= task.horizon(form)
        following_obs = env.reset()[0] if is_end or is_cut else None
        n_elapsed = 0 if is_end or is_cut else n_elapsed
        factors = [info[f"reward_{each}"] for each in task.factor_names]
        rows.append((obs, float(gold), factors, bool(is_end), bool(is_cut), following_obs))
    return first, rows


def difference(venv: TaskVecEnv, n_steps: int, late: int = LATE) -> str:
    """Returns where `venv` first differs from Gymnasium's environments, and "" where it does not.

    Episodes begin with `late` steps left, so that a few steps meet the time limit. Observations and flags must be equal to
    the bit, gold and factors to 1e-12.
    """
    space = venv.action_space
    assert isinstance(space, gym.spaces.Box)
    actions = np.random.default_rng(0).uniform(space.low, space.high, (n_steps, N, *space.shape)).astype(np.float32)
    n_elapsed = max(0, venv.task.horizon(venv.form) - late)
    truth = [gymnasiums(venv.task.name, venv.form, actions[:, i], SEED + i, n_elapsed) for i in range(N)]
    venv.seed(SEED)
    shown = [np.asarray(venv.reset())]
    venv.restore_states(venv.save_states(), n_elapsed=n_elapsed)
    kept, wanted = [], [np.stack([first for first, _ in truth])]
    for t, each in enumerate(actions):
        obs, rewards, dones, infos = venv.step(each)
        shown.append(np.asarray(obs))
        kept.append(np.array(obs))
        rows = [steps[t] for _, steps in truth]
        wanted.append(np.stack([row[0] if row[5] is None else row[5] for row in rows]))
        for i, (final, gold, factors, is_end, is_cut, _) in enumerate(rows):
            if bool(dones[i]) != (is_end or is_cut) or infos[i]["TimeLimit.truncated"] != (is_cut and not is_end):
                return f"flags after step {t}"
            if dones[i] and infos[i]["terminal_observation"].tobytes() != final.tobytes():
                return f"a final observation after step {t}"
            if abs(venv.last_gold[i] - gold) > 1e-12 or np.abs(venv.last_factors[i] - factors).max() > 1e-12:
                return f"gold after step {t}"
        if rewards.any():
            return f"a reward is shown after step {t}"
        if wanted[-1].tobytes() != kept[-1].tobytes():
            return f"observations after step {t}"
    is_same = all(one.tobytes() == two.tobytes() for one, two in zip(shown, wanted, strict=True))
    return "" if is_same else "observations changed after they were returned"


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(("name", "form"), CASES)
def test_native_copies_do_what_gymnasiums_environments_do(name: str, form: str, n_threads: int) -> None:
    venv = envs.make_vec(name, form, N, 0, n_threads)
    assert isinstance(venv, NativeVecEnv)
    assert difference(venv, 2 * LATE) == ""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), CASES)
def test_native_copies_do_what_gymnasiums_environments_do_over_whole_episodes(name: str, form: str) -> None:
    horizon = envs.task(name).horizon(form)
    for n_threads in (1, 2):
        assert difference(envs.make_vec(name, form, N, 0, n_threads), horizon + 20, late=horizon) == ""


def test_the_fallback_does_too() -> None:
    venv = envs.make_vec("mujoco-hopper", "terminating", N, 0, native=False)
    assert isinstance(venv, CopiedVecEnv)
    assert difference(venv, 2 * LATE) == ""


class ForgetsTheWarmStart(NativeCopies):
    def step(self, *args: Any) -> Any:
        self._batch.bind("qacc_warmstart")[:] = 0.0
        return super().step(*args)


class RecomputesWhatLags(NativeCopies):
    def step(self, *args: Any) -> Any:
        outcomes = super().step(*args)
        self._batch.forward()
        self._note_lagging(None)
        return outcomes._replace(obs=self._task.observe(self._fields))


class SquaresInDoublePrecision(NativeCopies):
    def step(self, actions: AnyArray, *args: Any) -> Any:
        return super().step(np.asarray(actions, dtype=np.float64), *args)


class DrawsWithOneGenerator(NativeCopies):
    def reset(self, row: int, seed: int | None = None) -> Any:
        self._rngs[row] = self._rngs[0]
        return super().reset(row, seed)


@pytest.mark.parametrize(("liar", "name", "form", "what"), [
    (ForgetsTheWarmStart, "mujoco-humanoid", "fixed", "observations"),
    (RecomputesWhatLags, "mujoco-ant", "fixed", "gold"),
    (RecomputesWhatLags, "mujoco-reacher", "fixed", "observations"),
    (SquaresInDoublePrecision, "mujoco-halfcheetah", "fixed", "gold"),
    (DrawsWithOneGenerator, "mujoco-hopper", "terminating", "observations"),
], ids=["warm start", "lagging", "lagging reacher", "double precision", "one generator"])
def test_the_comparison_catches(
    liar: type[NativeCopies], name: str, form: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_vec_env, "NativeCopies", liar)
    assert difference(envs.make_vec(name, form, N, 0, 1), 2 * LATE).startswith(what)


def test_the_comparison_catches_observations_in_shared_memory() -> None:
    class SharesMemory(NativeVecEnv):
        def _seen(self) -> Any:
            return self._obs, *super()._seen()[1:]

    assert "changed" in difference(SharesMemory("mujoco-hopper", "fixed", N, 1), 10)


def stepped(venv: TaskVecEnv, n_steps: int, seed: int) -> list[Any]:
    rng, policy, rows = np.random.default_rng(seed), envs.RandomPolicy(venv.action_space), []
    for _ in range(n_steps):
        obs, rewards, dones, infos = venv.step(policy.act(np.zeros((venv.num_envs, 1)), rng))
        rows.append((obs, rewards, dones, infos, venv.last_gold.copy(), venv.last_factors.copy()))
    return rows


@pytest.mark.parametrize(("name", "form"), CASES)
def test_either_class_restores_the_states_of_the_other(name: str, form: str) -> None:
    made: dict[bool, TaskVecEnv] = {is_native: envs.make_vec(name, form, N, 3, native=is_native) for is_native in (True, False)}
    for venv in made.values():
        venv.keep_terminal_states = True
    for venv in made.values():
        venv.reset()
        last = stepped(venv, 12, 0)[-1][0]
        states = venv.save_states()
        assert all(np.array_equal(other.restore_states(states), last) for other in made.values())
        n_left = envs.task(name).horizon(form) - 5
        assert all(np.array_equal(other.restore_states(states, n_elapsed=n_left), last) for other in made.values())
        rows = [stepped(other, 10, 1) for other in made.values()]
        for one, two in zip(*rows, strict=True):
            np.testing.assert_equal(one, two)
        assert any(row[2].any() for row in rows[0])
        assert np.array_equal(made[True].save_states(), made[False].save_states())
        np.testing.assert_equal(made[True].terminal_states, made[False].terminal_states)


@pytest.mark.parametrize("is_native", [True, False], ids=["native", "copied"])
def test_idle_copies_stand_still_and_repeat_their_last_result(is_native: bool) -> None:
    venv = envs.make_vec("mujoco-walker2d", "terminating", 3, 0, reveal_gold=True, native=is_native)
    venv.reset()
    before, states = stepped(venv, 4, 0)[-1], venv.save_states()
    venv.is_idle[:] = [False, True, False]
    after = stepped(venv, 4, 1)[-1]
    for one, two in zip(before, after, strict=True):
        np.testing.assert_equal(two[1], one[1])
    moved = (venv.save_states() != states).any(axis=1)
    assert moved.tolist() == [True, False, True]
    venv.is_idle[:] = True
    np.testing.assert_equal(stepped(venv, 1, 2)[-1], after)


def test_gold_is_shown_only_where_it_is_asked_for() -> None:
    hidden, shown = (envs.make_vec("mujoco-ant", "terminating", N, 0, reveal_gold=reveals) for reveals in (False, True))
    for venv in (hidden, shown):
        venv.reset()
    quiet, told = stepped(hidden, 5, 0)[-1], stepped(shown, 5, 0)[-1]
    assert not quiet[1].any() and all(set(info) == {"TimeLimit.truncated"} for info in quiet[3])
    assert np.array_equal(told[1], told[4].astype(np.float32)) and quiet[1].dtype == told[1].dtype == np.float32
    for i, info in enumerate(told[3]):
        assert [info[f"reward_{each}"] for each in shown.task.factor_names] == told[5][i].tolist()


@pytest.mark.parametrize("keep", [(), ("observations", "states")], ids=["nothing kept", "all kept"])
def test_what_is_followed_does_not_depend_on_who_steps(keep: tuple[str, ...]) -> None:
    class Pushes:
        def act(self, obs: AnyArray, rng: np.random.Generator | None = None) -> AnyArray:
            return np.asarray(np.sin(40 * obs[:, :3]), dtype=np.float32)

    venv = envs.make_vec("mujoco-hopper", "terminating", 5, 0)
    venv.reset()
    stepped(venv, 6, 0)
    starts = venv.save_states()
    separate = [envs.make("mujoco-hopper", "terminating", reveal_gold=True) for _ in range(2)]
    made: list[Any] = [separate, NativeCopies("mujoco-hopper", "terminating", 3, 2)]
    one, two = (following.follow(each, Pushes(), starts, [40, 3, 40, 1, 40], keep=keep) for each in made)
    for first, second in zip(one, two, strict=True):
        for name in ("observations", "rewards", "terminated", "states"):
            np.testing.assert_equal(getattr(first, name), getattr(second, name))
    assert any(branch.terminated for branch in one)


def test_other_tasks_and_a_mujoco_without_batches_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(envs.make_vec("pendulum", "fixed", 1, 0), CopiedVecEnv)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert isinstance(envs.make_vec("mujoco-reacher", "fixed", 1, 0), CopiedVecEnv)
    with pytest.raises(Refused, match=r"mujoco\.batch"):
        NativeCopies("mujoco-reacher", "fixed", 1)


def test_what_native_copies_cannot_do_is_refused() -> None:
    venv = envs.make_vec("mujoco-reacher", "fixed", N, 0)
    venv.reset()
    assert venv.get_attr("render_mode") == [None] * N and venv.env_is_wrapped(gym.Wrapper) == [False] * N
    assert not venv.has_attr("np_random")
    asked: list[Callable[[], Any]] = [lambda: venv.set_attr("reveal_gold", True), lambda: venv.env_method("save_state")]
    for ask in asked:
        with pytest.raises(Refused, match="native=False"):
            ask()
    with pytest.raises(InvalidArgument, match="one row per copy"):
        venv.step(np.zeros((N, 3), dtype=np.float32))
    with pytest.raises(InvalidArgument, match="saved states"):
        venv.restore_states(venv.save_states()[:, :-1])
    with pytest.raises(InvalidArgument, match="one per copy"):
        venv.restore_states(venv.save_states()[:1])
