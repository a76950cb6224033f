"""Replay buffers of Dict and image observations: plain SB3's weights to the bit, sources that see what was shown, exact states."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
import torch
from stable_baselines3 import DQN, SAC
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecNormalize

from preflab import agents
from preflab.agents import KLSettings, OffPolicyAgent, SB3Settings
from preflab.agents.label_free import StateEntropyReward
from preflab.agents.reference import OffPolicyKL
from preflab.errors import InvalidArgument, Refused
from preflab.observations import dtype_of, for_policy, pack, shape_of
from preflab.storage import load_tensors, save_tensors
from preflab.types import AnyArray, Transitions

State = dict[str, torch.Tensor]


def image(height: int, width: int, is_first: bool = False) -> gym.spaces.Box:
    return gym.spaces.Box(0, 255, (3, height, width) if is_first else (height, width, 3), np.uint8)


def mixed(camera: gym.spaces.Box) -> gym.spaces.Dict:
    place = gym.spaces.Box(-9, 9, (2,), np.float64)
    return gym.spaces.Dict({"camera": camera, "door": gym.spaces.Discrete(3), "place": place})


NUMBERS = {"door": gym.spaces.Discrete(3), "place": gym.spaces.Box(-9, 9, (2,))}
SPACES: dict[str, gym.Space[Any]] = {
    "dict": mixed(image(5, 7)), "dict, channels first": mixed(image(5, 7, True)), "image": image(5, 7),
    "image, channels first": image(5, 7, True), "numbers": gym.spaces.Dict(NUMBERS),
}
FEW = ["dict", "image"]
PLAIN = {  # the environment's reward as the proxy: algorithm, space, SB3's policy, whether numbers are standardized
    "sac, dict with image": (SAC, gym.spaces.Dict({"camera": image(36, 38), **NUMBERS}), "MultiInputPolicy", False),
    "sac, dict": (SAC, gym.spaces.Dict(NUMBERS), "MultiInputPolicy", False),
    "sac, standardized": (SAC, gym.spaces.Dict({"camera": image(36, 38, True), **NUMBERS}), "MultiInputPolicy", True),
    "dqn, image": (DQN, image(36, 38), "CnnPolicy", False),
    "dqn, channels first": (DQN, image(36, 38, True), "CnnPolicy", True),
    "dqn, dict": (DQN, gym.spaces.Dict(NUMBERS), "MultiInputPolicy", False),
}
VALUES: dict[str, Any] = {
    "path": "stable_baselines3.SAC", "n_envs": 2, "hidden": (8, 8), "learning_starts": 12, "batch_size": 4, "report_every": 10,
    "max_buffer_size": 60, "train_freq": 1, "gradient_steps": 1,
}


def numbers(obs: AnyArray) -> npt.NDArray[np.float64]:
    """Returns (B,) mean of each observation's numbers, the left half of an image counted twice."""
    if obs.dtype.names:
        return np.asarray(sum(numbers(obs[name]) for name in obs.dtype.names))
    flat: AnyArray = obs.reshape(len(obs), -1)
    half = flat[:, : flat.shape[1] // 2 + 1]
    return np.asarray(flat.mean(1) + half.mean(1)) / 100


def proxy(transitions: Transitions) -> npt.NDArray[np.float32]:
    return np.asarray(numbers(transitions.obs) - 0.5 * numbers(transitions.next_obs) - transitions.terminated, dtype=np.float32)


def other(transitions: Transitions) -> npt.NDArray[np.float32]:
    return np.asarray(transitions.actions.reshape(len(transitions), -1).sum(-1) + numbers(transitions.next_obs), dtype=np.float32)


def made(tasks: Any, space: gym.Space[Any], wrapper: Any = lambda venv: venv, kl: KLSettings | None = None,
         shows: dict[str, Any] | None = None, **changes: Any) -> OffPolicyAgent:
    vec = tasks.vec_showing(space, wrapper, **(shows or {}))
    return OffPolicyAgent(vec, SB3Settings.from_mapping(VALUES | changes), seed=0, kl=kl)


def train(agent: OffPolicyAgent, n: int = 40, source: Any = proxy, seed: int = 1) -> OffPolicyAgent:
    agent.train(n, source, seed=seed, steps_done=0, steps_total=100)
    return agent


def assert_equal(first: State, second: State) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.fixture(params=list(SPACES))
def space(request: pytest.FixtureRequest) -> gym.Space[Any]:
    return SPACES[request.param]


@pytest.mark.parametrize("case", PLAIN)
def test_the_envs_reward_as_the_proxy_gives_plain_sb3s_weights(tasks: Any, case: str) -> None:
    """Where observations are standardized no episode ends: SB3 keeps a rounded final observation, preflab the one shown."""
    algorithm, space, policy, is_normalized = PLAIN[case]
    own = tasks.own_reward()
    shows = {"n_actions": 0 if algorithm is SAC else 3, "n_steps": 100 if is_normalized else 5}
    changes: dict[str, Any] = {
        "path": f"stable_baselines3.{algorithm.__name__}", "shows": shows, "normalize_obs": is_normalized,
    }
    agent = made(tasks, space, own.wrap, **changes)
    train(agent, 30, own, seed=3)
    env: VecEnv = tasks.vec_showing(space, **shows)(2, 3)
    if isinstance(space, gym.spaces.Dict) and is_normalized:
        env = VecNormalize(env, norm_reward=False, norm_obs_keys=["place"])
    plain: Any = algorithm(
        policy, env, seed=3, device="cpu", learning_starts=12, batch_size=4, buffer_size=60, train_freq=1, learning_rate=3e-4,
        gradient_steps=1, policy_kwargs={"net_arch": [8, 8], "activation_fn": torch.nn.ReLU},
    )
    plain.policy.load_state_dict(made(tasks, space, **changes)._learner.policy.state_dict())
    if algorithm is DQN:  # whose exploration preflab lets fall over the 100 steps that `train` names
        plain.exploration_schedule = _over(plain.exploration_schedule, plain)
    plain.learn(30)
    assert plain._n_updates == int(agent.state()["n_updates"]) > 5
    for name, value in plain.policy.state_dict().items():
        assert torch.equal(value, agent.state()[f"policy.{name}"]), name


def _over(schedule: Any, model: Any) -> Any:
    return lambda _: schedule(1 - model.num_timesteps / 100)


class Witness(VecEnvWrapper):
    """Keeps what the environments show, packed: of each step (obs, action, next_obs, terminated)."""

    def reset(self) -> Any:
        self.rows: list[tuple[Any, ...]] = []
        self.current = self.venv.reset()
        return self.current

    def step_async(self, actions: AnyArray) -> None:
        self.actions = np.array(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        new_obs, rewards, dones, infos = self.venv.step_wait()
        space = self.observation_space
        next_obs = pack(space, new_obs).copy()
        for i in np.flatnonzero(dones):
            next_obs[i] = pack(space, infos[i]["terminal_observation"])
        cut = np.array([info.get("TimeLimit.truncated", False) for info in infos])
        self.rows.append((pack(space, self.current).copy(), self.actions, next_obs, dones & ~cut))
        self.current = new_obs
        return new_obs, rewards, dones, infos


@pytest.mark.parametrize("is_normalized", [False, True], ids=["as they are", "standardized"])
def test_sources_are_given_what_the_environment_showed(tasks: Any, space: gym.Space[Any], is_normalized: bool) -> None:
    witnesses: list[Witness] = []
    seen: list[Transitions] = []

    def wrapper(venv: VecEnv) -> VecEnv:
        witnesses.append(Witness(venv))
        return witnesses[-1]

    def source(transitions: Transitions) -> npt.NDArray[np.float32]:
        seen.append(transitions)
        return np.zeros(len(transitions), dtype=np.float32)

    train(made(tasks, space, wrapper, normalize_obs=is_normalized, shows={"reuses": False}), 40, source)
    expected = [np.concatenate(part) for part in zip(*witnesses[-1].rows, strict=True)]
    found = [np.concatenate([getattr(each, name) for each in seen]) for name in ("obs", "actions", "next_obs", "terminated")]
    assert found[0].dtype == found[2].dtype == dtype_of(space) and found[0].shape == (40, *shape_of(space))
    assert expected[3].sum() == 4 and np.array_equal(found[3], expected[3])
    assert np.array_equal(found[0], expected[0]) and np.array_equal(found[2], expected[2])
    np.testing.assert_allclose(found[1], expected[1], atol=1e-6)


@pytest.mark.parametrize("n_returns", [1, 2])
def test_a_relabelled_buffer_equals_a_freshly_collected_one(tasks: Any, space: gym.Space[Any], n_returns: int) -> None:
    if n_returns > 1 and isinstance(space, gym.spaces.Dict):
        with pytest.raises(Refused, match="no n-step returns of Dict"):
            made(tasks, space, n_steps=n_returns)
        return
    frozen: dict[str, Any] = {"n_steps": n_returns, "gradient_steps": 0}
    once = train(made(tasks, space, **frozen), source=other).state()
    twice = train(made(tasks, space, **frozen), source=proxy)
    before = twice.state()["buffer.rewards"]
    twice.load_state(twice.state())
    after = train(twice, 2, other, seed=9).state()
    for name, value in once.items():
        if name.startswith("buffer.") and name != "buffer.timeouts":  # where the first training was cut
            assert torch.equal(value, after[name][: len(value)]), name
    assert not torch.equal(before, once["buffer.rewards"])


@pytest.mark.parametrize(("path", "n_actions", "name"), [
    ("stable_baselines3.SAC", 0, "dict"), ("sb3_contrib.TQC", 0, "numbers"), ("stable_baselines3.SAC", 0, "image, channels first"),
    ("sb3_contrib.QRDQN", 3, "dict, channels first"), ("stable_baselines3.DQN", 3, "image"),
])
def test_training_is_a_pure_function_of_state_and_seed_and_survives_files(
    tasks: Any, path: str, n_actions: int, name: str, tmp_path: Path
) -> None:
    space = SPACES[name]
    changes: dict[str, Any] = {"path": path, "normalize_obs": True, "shows": {"n_actions": n_actions}}
    agent = train(made(tasks, space, **changes), 24)
    save_tensors(tmp_path / "agent.safetensors", agent.state())
    restored = made(tasks, space, **changes)
    restored.load_state(load_tensors(tmp_path / "agent.safetensors"))
    assert_equal(agent.state(), restored.state())
    obs = np.zeros((3, *shape_of(space)), dtype_of(space))
    assert np.array_equal(agent.act(obs), restored.act(obs))
    ends = [train(each, 10, other, seed=5).state() for each in (agent, restored)]
    assert_equal(*ends)
    stored = {name: value.dtype for name, value in ends[0].items() if name.startswith(("buffer.obs", "buffer.next_obs"))}
    kinds = {"camera": torch.uint8, "door": torch.int64, "place": torch.float32}
    if isinstance(space, gym.spaces.Dict):
        assert stored == {f"buffer.{side}.{key}": kinds[key] for side in ("observations", "next_observations") for key in space}
    else:
        assert set(stored.values()) == {torch.uint8}


@pytest.mark.parametrize("space", FEW, indirect=True)
def test_rewards_and_infos_of_the_env_poisoned_by_nan_change_no_bit(tasks: Any, space: gym.Space[Any]) -> None:
    clean, poisoned = (train(made(tasks, space, wrapper), 20).state() for wrapper in (lambda venv: venv, tasks.poison))
    assert_equal(clean, poisoned)


def test_many_images_are_scored_in_parts(tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def source(transitions: Transitions) -> npt.NDArray[np.float32]:
        sizes.append(len(transitions))
        return proxy(transitions)

    agent = train(made(tasks, SPACES["dict"], learning_starts=100))
    before = agent.state()["buffer.rewards"]
    monkeypatch.setattr("preflab.agents.replay._IMAGE_BYTES", 5 * 7 * 3 * 9)
    assert torch.equal(train(agent, 2, source, seed=4).state()["buffer.rewards"][:20], before)
    assert max(sizes) == 8 and sum(sizes) == 42 + 2 * 4


@pytest.mark.parametrize("space", FEW, indirect=True)
def test_a_label_free_start_pays_what_a_fresh_source_pays_for_the_same_steps(tasks: Any, space: gym.Space[Any]) -> None:
    class Copied:
        scores_only_new = True

        def __init__(self) -> None:
            self.twins = [StateEntropyReward(np.random.default_rng(0), k=2, capacity=10) for _ in range(2)]

        def __call__(self, transitions: Transitions) -> npt.NDArray[np.float32]:
            obs, size = transitions.next_obs, len(transitions)
            parts = [obs[name] for name in obs.dtype.names or ()] or [obs]
            states = np.concatenate([part.reshape(size, -1).astype(np.float64) for part in parts], axis=1)
            paid = self.twins[0](transitions)
            again = self.twins[1](Transitions(states, transitions.actions, states, transitions.terminated))
            np.testing.assert_array_equal(paid, again)
            return paid

    agent = train(made(tasks, space), 30, Copied())
    paid = agent.state()["buffer.rewards"]
    assert (paid > 0).float().mean() > 0.8
    agent.reset_critic(3)
    assert not torch.equal(train(agent, 10, proxy, seed=2).state()["buffer.rewards"][:15], paid)


@pytest.mark.parametrize("place", ["reward", "loss"])
@pytest.mark.parametrize("space", FEW, indirect=True)
def test_kl_to_a_reference_is_that_of_the_observations_which_were_shown(tasks: Any, space: gym.Space[Any], place: str) -> None:
    agent = made(tasks, space, kl=KLSettings(place, 0.3), n_envs=1, max_buffer_size=20, learning_rate=3e-3)
    reference, kept = agent.state(), list[tuple[Any, ...]]()
    original = OffPolicyKL.on_samples

    def spy(self: OffPolicyKL, samples: Any) -> Any:
        taken, buffer = original(self, samples), self.model.replay_buffer
        is_row = np.isclose(buffer.actions[: buffer.n_rows, 0], samples.actions[:, None]).all(-1)
        expected = agent.kl_to(reference, buffer.transitions(is_row.argmax(1)).next_obs)
        kept.append((samples, taken, self.kl(samples.next_observations).detach().numpy(), self.model, expected))
        return taken

    OffPolicyKL.on_samples = spy  # type: ignore[method-assign]
    try:
        train(agent, 20)
    finally:
        OffPolicyKL.on_samples = original  # type: ignore[method-assign]
    assert kept[-1][2].max() > 1e-6
    for samples, taken, kl, model, expected in kept:
        np.testing.assert_allclose(kl, expected, rtol=1e-3, atol=1e-7)
        loss = (samples.rewards - taken.rewards)[:, 0].numpy()
        open_ended = 1 - samples.dones[:, 0].numpy()
        np.testing.assert_allclose(loss, 0.3 * model.gamma * open_ended * kl * (place == "reward"), atol=1e-6)


@pytest.mark.parametrize(("name", "algorithm"), [("dict", SAC), ("image", DQN)])
def test_the_saved_policy_is_plain_sb3s_and_acts_alike(tasks: Any, name: str, algorithm: Any, tmp_path: Path) -> None:
    space = SPACES[name]
    shows = {"n_actions": 0 if algorithm is SAC else 3}
    agent = train(made(tasks, space, path=f"stable_baselines3.{algorithm.__name__}", shows=shows))
    agent.save(tmp_path / "policy.zip")
    obs = np.zeros((6, *shape_of(space)), dtype_of(space))
    for part in [obs[key] for key in obs.dtype.names or ()] or [obs]:
        part[...] = np.random.default_rng(0).integers(3, size=part.shape)
    model = algorithm.load(tmp_path / "policy.zip", device="cpu")
    assert model.buffer_size == 60 and not type(model.replay_buffer).__name__.startswith("Proxy")
    np.testing.assert_array_equal(agent.act(obs), model.predict(for_policy(space, obs), deterministic=True)[0])


def test_before_any_work_n_step_returns_of_a_dict_are_refused_and_another_agents_buffer_too(tasks: Any) -> None:
    box, both = gym.spaces.Box(-1, 1, (1,), np.float32), SPACES["dict"]
    agents.check(SB3Settings.from_mapping(VALUES), both, box, KLSettings("reward", 0.1))
    agents.check(SB3Settings.from_mapping(VALUES | {"n_steps": 3}), SPACES["image"], box, KLSettings())
    with pytest.raises(Refused, match=r"agent\.n_steps=3: .* no n-step returns of Dict observations"):
        agents.check(SB3Settings.from_mapping(VALUES | {"n_steps": 3}), both, box, KLSettings())
    with pytest.raises(Refused, match=r"kl\.place=loss of PPO reads vectors and discrete states"):
        agents.check(tasks.settings(), both, box, KLSettings("loss", 0.1))
    agent = train(made(tasks, both), 20)
    state = agent.state()
    del state["buffer.observations.door"]
    agent.load_state(state)
    with pytest.raises(InvalidArgument, match=r"state\['buffer.observations.door'\]"):
        train(agent, 10)
