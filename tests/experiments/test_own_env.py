"""`env=my.yaml`: an environment that is not ours runs, resumes exactly, draws what happened, and is refused in a sentence."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import preflab
from preflab import envs
from preflab.errors import InvalidArgument, PreflabError, Refused, UnknownName
from preflab.experiments.config import EnvConfig, compose_run
from preflab.experiments.report.words import make_command
from preflab.experiments.run import Run
from preflab.experiments.stages import check
from preflab.storage import load_arrays, load_tensors

ACROBOT = """
description: swing two links up
source: https://gymnasium.farama.org/environments/classic_control/acrobot
id: Acrobot-v1
horizon: 30
segment_length: 10
overlays:
  oracle.*: {target_accuracy: null, beta: 1.0}   # random play is paid -1 at every step: nothing to calibrate on
  agent.ppo: {gamma: 0.97}
"""
SEEKER = """
id: tests_seeker:Seeker-v0
kwargs: {side: 9}
never_terminates: true
factors: [near, cost]
segment_length: 5
"""
SEEKER_MODULE = '''
import gymnasium as gym
import numpy as np


class Seeker(gym.Env):
    """A place to be moved onto a line that is seen in a picture."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, side, render_mode=None):
        self.render_mode = render_mode
        self.observation_space = gym.spaces.Dict({
            "camera": gym.spaces.Box(0, 255, (side, side, 3), np.uint8), "place": gym.spaces.Box(-1.0, 1.0, (1,), np.float64),
        })
        self._seen = {"camera": np.zeros((side, side, 3), np.uint8), "place": np.zeros(1)}

    def _see(self):
        self._seen["camera"][:] = 0
        self._seen["camera"][:, int((self.line + 1) / 2 * (len(self._seen["camera"]) - 1))] = 255
        self._seen["place"][0] = self.place
        return self._seen

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.line = 0.0, float(self.np_random.uniform(-1, 1))
        return self._see(), {}

    def step(self, action):
        self.place = float(np.clip(self.place + 0.2 * action[0], -1, 1))
        near, cost = -abs(self.place - self.line), -0.1 * abs(float(action[0]))
        return self._see(), near + cost, False, False, {"near": near, "cost": cost}

    def render(self):
        return self._see()["camera"].repeat(8, 0).repeat(8, 1)


gym.register("Seeker-v0", Seeker, max_episode_steps=15)
'''
AGENTS = {"ppo": ["agent=ppo"], "sac": [
    "agent=sac", "agent.max_buffer_size=200", "agent.learning_starts=50", "agent.hidden=[16]", "agent.train_freq=8",
    "agent.gradient_steps=1", "agent.batch_size=16", "kl=reward", "kl.coefficient=0.1", "budget.label_free_steps=64",
]}
SMALL = ["budget=smoke", "budget.n_rounds=2", "budget.n_comparisons=16", "budget.n_env_steps=256"]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's folder with two environments."""
    folder = tmp_path / "my envs"
    folder.mkdir()
    (folder / "acrobot.yaml").write_text(ACROBOT)
    (folder / "seeker.yaml").write_text(SEEKER)
    (folder / "tests_seeker.py").write_text(SEEKER_MODULE)
    return folder


def test_a_file_is_composed_like_a_preset_and_remembers_where_it_was(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own)
    config, tree = compose_run(["env=./acrobot.yaml", "env.segment_length=12", "env.kwargs.render_mode=null"])
    assert config.env == EnvConfig(
        "acrobot", 12, id="Acrobot-v1", horizon=30, path=str(own.resolve()), kwargs={"render_mode": None},
    )
    assert config.form == "terminating" and config.agent.gamma == 0.97 and config.oracle.beta == 1.0
    assert config.name == "acrobot-terminating-partial_return-ensemble-ppo-s0"
    assert tree["env"]["description"] == "swing two links up"
    seeker, _ = compose_run([f"env={own / 'seeker.yaml'}", "seed=3"])
    assert seeker.form == "fixed" and seeker.env.factors == ("near", "cost") and seeker.env.kwargs == {"side": 9}
    assert compose_run(["env=./acrobot.yaml", "form=fixed"])[0].form == "fixed"  # and check refuses it
    assert compose_run(["env=./acrobot.yaml", "env=pendulum"])[0].form == "fixed"


def test_own_settings_for_one_of_our_tasks_need_no_id(tmp_path: Path) -> None:
    path = tmp_path / "long.yml"
    path.write_text("name: pendulum\nsegment_length: 50\noverlays:\n  agent.ppo: {gamma: 0.9}\n")
    config, _ = compose_run([f"env={path}"])
    assert (config.env.name, config.env.segment_length, config.agent.gamma, config.form) == ("pendulum", 50, 0.9, "fixed")
    check(config)


REFUSALS: dict[str, tuple[str, list[str], str]] = {
    "unknown key": ("id: Acrobot-v1\nsegment_lenght: 5\n", [], "did you mean segment_length"),
    "no mapping": ("- id\n", [], "holds no mapping"),
    "no yaml": ("id: [\n", [], "cannot be read"),
    "list": ("id: Acrobot-v1\nfactors: reward\n", [], r"env\.factors must be a list"),
    "overlay": ("id: Acrobot-v1\noverlays:\n  agents.ppo: {gamma: 0.9}\n", [], r"env\.overlays.*did you mean agent\.ppo"),
    "name": ("id: Acrobot-v1\nname: a/b\n", [], r"env\.name must be usable as a folder's name"),
    "our name": ("id: Acrobot-v1\nname: pendulum\n", [], r"env\.name is taken"),
    "no id": ("name: pendulum\nhorizon: 5\n", [], r"env\.horizon belongs to an environment of your own.*say env\.id"),
    "form": ("id: Acrobot-v1\n", ["form=fixed"], "use form=terminating"),
    "regret": ("id: Acrobot-v1\n", ["oracle=regret"], "own, for which there is none; use oracle=partial_return"),
    "shaped": ("id: Acrobot-v1\n", ["reward=shaped-gold"], "a reward other than shaped-gold"),
    "too long": ("id: Acrobot-v1\nhorizon: 9\nsegment_length: 10\n", [], "must not exceed the horizon of 9 steps"),
    "tuple": ("id: Blackjack-v1\nhorizon: 9\n", [], r"must not be nested \(Tuple\).*FlattenObservation"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_file_that_says_something_else_is_refused_in_a_sentence(case: str, tmp_path: Path) -> None:
    text, overrides, said = REFUSALS[case]
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(PreflabError, match=said):
        check(compose_run([f"env={tmp_path / 'mine.yaml'}", *overrides])[0])


def test_a_file_that_is_not_there_is_named_and_a_misspelt_preset_still_is_one() -> None:
    with pytest.raises(InvalidArgument, match=r"names a file that is not there, got 'nowhere\.yaml'"):
        compose_run(["env=nowhere.yaml"])
    with pytest.raises(UnknownName, match="pendulum"):
        compose_run(["env=pendulm"])


def test_a_run_that_is_refused_leaves_no_folder(own: Path, tmp_path: Path) -> None:
    (own / "plain.yaml").write_text("id: Acrobot-v1\nhorizon: 30\nsegment_length: 10\n")
    with pytest.raises(Refused, match=r"no beta can be calibrated.*oracle\.target_accuracy=null oracle\.beta=1"):
        preflab.run(["budget=smoke"], env=str(own / "plain.yaml"), out=str(tmp_path / "runs"))
    assert not list((tmp_path / "runs").glob("*/*"))


def _assert_same(first: Run, second: Run) -> None:
    for name in ("agent.safetensors", "learner.safetensors"):
        one, two = (load_tensors(run.folder / "checkpoint/round-002" / name) for run in (first, second))
        assert all(torch.equal(one[key], two[key]) for key in one), name
    for name in ("comparisons.npz", "film.npz"):
        one_arrays, two_arrays = (load_arrays(run.folder / name) for run in (first, second))
        assert all(np.array_equal(one_arrays[key], two_arrays[key]) for key in one_arrays), name
    assert first.record["gold_return_final"] == second.record["gold_return_final"]


@pytest.mark.parametrize(("env", "agent"), [
    ("acrobot", "ppo"), pytest.param("seeker", "ppo", marks=pytest.mark.slow),
    pytest.param("seeker", "sac", marks=pytest.mark.slow),
])
def test_an_own_environment_runs_draws_and_resumes_to_the_same_end_without_its_file(
    env: str, agent: str, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own)
    run = preflab.run([f"env={env}.yaml", *SMALL, *AGENTS[agent], f"out={tmp_path / 'runs'}"])
    record = run.record
    assert record["video_note"] is None and (run.folder / "video.mp4").stat().st_size > 0
    frames = load_arrays(run.folder / "film.npz")["frames"]
    assert frames.shape[1:] == (2, 6, 120, 160, 3) and frames.std() > 5
    assert f"ENV={env}.yaml" in make_command(record) and f"ENV={env}.yaml" in run.report.read_text(encoding="utf-8")
    assert {name for name in record if name.endswith("_final") and name.startswith("factor_")} == {
        "acrobot": {"factor_reward_final"}, "seeker": {"factor_near_final", "factor_cost_final"},
    }[env]
    copy = tmp_path / "elsewhere"
    shutil.copytree(run.folder, copy)
    shutil.rmtree(copy / "checkpoint/round-002")
    (copy / "record.json").unlink()
    (own / f"{env}.yaml").unlink()
    monkeypatch.chdir(tmp_path)
    _assert_same(run, preflab.run(resume=copy))


def test_what_cannot_be_drawn_says_why_in_the_report(own: Path, tmp_path: Path) -> None:
    module = (own / "tests_seeker.py").read_text().replace('["rgb_array"]', "[]").replace("Seeker-v0", "Unseen-v0")
    (own / "tests_unseen.py").write_text(module)
    (own / "seeker.yaml").write_text(SEEKER.replace("tests_seeker:Seeker", "tests_unseen:Unseen"))
    run = preflab.run(["budget=smoke", f"env={own / 'seeker.yaml'}", f"out={tmp_path / 'runs'}"])
    assert "has no pictures" in run.record["video_note"] and "has no pictures" in run.report.read_text(encoding="utf-8")
    assert not (run.folder / "film.npz").exists() and not (run.folder / "video.mp4").exists()


@pytest.mark.slow
def test_a_sweep_of_an_own_environment_runs_every_seed_from_its_folder(own: Path, tmp_path: Path) -> None:
    from preflab.experiments.__main__ import main

    assert main([f"env={own / 'acrobot.yaml'}", "budget=smoke", "video=false", "seed=0..1", f"out={tmp_path / 'runs'}"]) == 0
    records = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/*/record.json")]
    assert sorted(record["seed"] for record in records) == [0, 1]


def test_a_checked_config_makes_its_task_known(own: Path) -> None:
    config: Any = compose_run([f"env={own / 'seeker.yaml'}"])[0]
    check(config)
    assert envs.task("seeker").horizons == {"fixed": 15} and not envs.task("seeker").factors_sum_to_gold


def _documented(root: Path, folder: Path) -> list[Path]:
    """Writes the files that docs/extending.md shows into `folder` and returns its yamls."""
    text = (root / "docs/extending.md").read_text(encoding="utf-8").split("## Your own environment")[1].split("\n## ")[0]
    for path, content in re.findall(r"```(?:yaml|python)\n# my_envs/(\S+)\n(.*?)```", text, re.DOTALL):
        (folder / path).write_text(content)
    assert sorted(path.name for path in folder.iterdir()) == ["pusher.yaml", "seeker.py", "seeker.yaml"]
    return sorted(folder.glob("*.yaml"))


def test_the_documented_files_are_what_they_say(root: Path, tmp_path: Path) -> None:
    for path in _documented(root, tmp_path):
        config, _ = compose_run([f"env={path}"])
        check(config)
        assert config.form == "fixed"
        env = envs.make(path.stem)
        envs.check_gold_is_hidden(env)
        assert env.task.factor_names == config.env.factors and env.horizon == {"pusher": 100, "seeker": 30}[path.stem]


@pytest.mark.slow
def test_the_documented_class_runs(root: Path, tmp_path: Path) -> None:
    run = preflab.run(["budget=smoke", f"env={_documented(root, tmp_path)[1]}", f"out={tmp_path / 'runs'}"])
    assert run.record["video_note"] is None and run.record["env"] == "seeker"
