"""Agents that read a Dict and see images: SB3's own policies to the bit, statistics of numbers only, states that are exact."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, VecTransposeImage

from preflab.agents import PPOAgent, ProxyVecEnv
from preflab.agents.extractors import SmallImageExtractor
from preflab.agents.observing import check_observations, new_statistics, normalized_keys, policy_name, policy_space
from preflab.errors import InvalidArgument
from preflab.observations import dtype_of, pack, unpack
from preflab.storage import load_tensors, save_tensors
from preflab.types import AnyArray, Transitions

SEED = 3
Weights = dict[str, torch.Tensor]


def image(side: int, is_first: bool = False) -> gym.spaces.Box:
    return gym.spaces.Box(0, 255, (3, side, side) if is_first else (side, side, 3), np.uint8)


def mixed(side: int) -> gym.spaces.Dict:
    return gym.spaces.Dict({"camera": image(side), "door": gym.spaces.Discrete(3), "place": gym.spaces.Box(-9, 9, (2,))})


def brightness(transitions: Transitions) -> npt.NDArray[np.float32]:
    """A proxy that reads images, of now and of the next step, and numbers where there are any."""
    total = np.zeros(len(transitions))
    for obs, sign in ((transitions.obs, 1.0), (transitions.next_obs, -0.5)):
        parts = unpack(obs) if obs.dtype.names else {"": obs}
        total += sign * sum(part.reshape(len(part), -1).mean(1) for part in parts.values()) / 255
    return total.astype(np.float32)


def some_obs(space: gym.Space[Any], n: int) -> AnyArray:
    rng = np.random.default_rng(0)
    shape = () if isinstance(space, gym.spaces.Dict) else space.shape or ()
    obs: AnyArray = np.zeros((n, *shape), dtype_of(space))
    for key in obs.dtype.names or [None]:
        part = obs if key is None else obs[key]
        part[...] = rng.integers(3 if key == "door" else 256, size=part.shape) if key != "place" else rng.normal(size=part.shape)
    return obs


SPACES = {"dict": mixed(36), "image": image(36), "channels first": image(36, True), "small": image(7), "small in a dict": mixed(7)}


@pytest.fixture(params=list(SPACES))
def space(request: pytest.FixtureRequest) -> gym.Space[Any]:
    return SPACES[request.param]


def trained(tasks: Any, space: gym.Space[Any], **changes: Any) -> PPOAgent:
    agent = PPOAgent(tasks.vec_showing(space), tasks.settings(n_steps=8, batch_size=8, **changes), seed=0)
    agent.train(16, brightness, seed=1, steps_done=0, steps_total=16)
    return agent


def plain_weights(tasks: Any, space: gym.Space[Any], policy: str, keys: list[str]) -> Weights:
    """Trains PPO without anything of preflab's and returns its weights."""
    env: VecEnv = tasks.vec_showing(space)(2, SEED)
    if keys:
        env = VecNormalize(env, norm_reward=False, norm_obs_keys=keys)
    model = PPO(
        policy, env, learning_rate=3e-3, n_steps=16, batch_size=16, n_epochs=2, seed=SEED, device="cpu",
        policy_kwargs={"net_arch": {"pi": [16, 16], "vf": [16, 16]}, "log_std_init": -1.0},
    )
    model.learn(2 * 32)
    return dict(model.policy.state_dict())


@pytest.mark.parametrize(("name", "policy", "keys"), [
    ("dict", "MultiInputPolicy", ["place"]), ("dict", "MultiInputPolicy", []), ("image", "CnnPolicy", []),
    ("channels first", "CnnPolicy", []),
], ids=["dict, standardized", "dict", "image", "channels first"])
def test_weights_equal_plain_sb3_to_the_bit(tasks: Any, name: str, policy: str, keys: list[str]) -> None:
    space, own = SPACES[name], tasks.own_reward()
    assert policy_name(space) == policy
    agent = PPOAgent(tasks.vec_showing(space, own.wrap), tasks.settings(normalize_obs=bool(keys)), seed=SEED)
    report = agent.train(64, own, seed=SEED, steps_done=0, steps_total=64)
    assert report.n_episodes > 2
    through_proxy = {name[7:]: value for name, value in agent.state().items() if name.startswith("policy.")}
    plain = plain_weights(tasks, space, policy, keys)
    assert through_proxy.keys() == plain.keys()
    assert all(torch.equal(value, plain[name]) for name, value in through_proxy.items())


def test_a_rollout_of_a_dict_is_recorded_in_one_array_with_its_final_observations(tasks: Any) -> None:
    space = mixed(7)
    env, twin = ProxyVecEnv(tasks.vec_showing(space)(2, 0), n_steps=7), tasks.vec_showing(space)(2, 0)
    assert isinstance(env.reset(), dict)
    seen = [pack(space, twin.reset())]
    for _ in range(7):
        obs, *_ = env.step(np.zeros((2, 1), np.float32))
        assert isinstance(obs, dict) and set(obs) == {"camera", "door", "place"}
        expected, _, dones, infos = twin.step(np.zeros((2, 1), np.float32))
        seen.append(pack(space, expected))
        if dones.all():
            final = np.stack([pack(space, info["terminal_observation"]) for info in infos])
    moves = env.take_rollout()
    assert moves.obs.shape == moves.next_obs.shape == (14,) and moves.obs.dtype == dtype_of(space)
    assert np.array_equal(moves.obs, np.concatenate(seen[:-1]))
    assert np.array_equal(moves.next_obs[8:10], final) and np.array_equal(moves.next_obs[10:], np.concatenate(seen[6:]))
    assert moves.terminated.tolist() == [False] * 8 + [True] * 2 + [False] * 4


def test_training_acting_and_loading_are_exact(tasks: Any, space: gym.Space[Any], tmp_path: Path) -> None:
    agent = trained(tasks, space, normalize_obs=True)
    save_tensors(tmp_path / "agent.safetensors", agent.state())
    restored = PPOAgent(tasks.vec_showing(space), tasks.settings(n_steps=8, batch_size=8, normalize_obs=True), seed=99)
    restored.load_state(load_tensors(tmp_path / "agent.safetensors"))
    obs = some_obs(space, 5)
    assert np.array_equal(agent.act(obs), restored.act(obs)) and (agent.kl_to(agent.state(), obs) == 0).all()
    for each in (agent, restored):
        each.train(16, brightness, seed=7, steps_done=16, steps_total=32)
    first, second = agent.state(), restored.state()
    assert first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_saved_policy_opens_with_sb3_and_acts_the_same(tasks: Any, space: gym.Space[Any], tmp_path: Path) -> None:
    agent = trained(tasks, space, normalize_obs=True)
    agent.save(tmp_path / "policy.zip")
    obs = some_obs(space, 5)
    shown: Any = unpack(obs) if obs.dtype.names else obs
    if normalized_keys(space):
        stored = load_tensors(tmp_path / "policy.vecnormalize.safetensors")
        mean, var = (stored[f"place.{part}"].numpy() for part in ("mean", "var"))
        assert mean.min() > 3 and mean.max() < 7  # drawn around 5
        shown["place"] = np.clip((shown["place"] - mean) / np.sqrt(var + 1e-8), -10, 10).astype(np.float32)
    else:
        assert not (tmp_path / "policy.vecnormalize.safetensors").exists()
    actions, _ = PPO.load(tmp_path / "policy.zip", device="cpu").predict(shown, deterministic=True)
    np.testing.assert_allclose(actions, agent.act(obs), atol=1e-5)


def test_many_images_are_read_in_parts(tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, obs = trained(tasks, SPACES["small"]), some_obs(SPACES["small"], 10)
    whole = agent.act(obs)
    monkeypatch.setattr("preflab.agents.actor._MOST_IMAGES", 3)
    np.testing.assert_allclose(agent.act(obs), whole, atol=1e-6)


def test_only_float_boxes_are_standardized_and_images_have_channels_first_for_the_policy(tasks: Any) -> None:
    assert normalized_keys(SPACES["dict"]) == ["place"] and normalized_keys(SPACES["image"]) == []
    assert normalized_keys(gym.spaces.Box(-1, 1, (3,))) == [""] and normalized_keys(gym.spaces.Discrete(2)) == []
    assert list(new_statistics(SPACES["dict"])) == ["place"]
    venv = VecTransposeImage(tasks.vec_showing(SPACES["dict"])(1, 0))
    assert policy_space(SPACES["dict"]) == venv.observation_space
    assert policy_space(SPACES["channels first"]) == SPACES["channels first"]


def test_small_images_have_an_extractor_of_their_own_and_large_ones_sb3s(tasks: Any) -> None:
    both = gym.spaces.Dict({"far": image(40), "near": image(7), "place": gym.spaces.Box(-9, 9, (2,))})
    agent = trained(tasks, both)
    extractor = agent._learner.policy.features_extractor
    assert isinstance(extractor, SmallImageExtractor) and extractor.features_dim == 256 + 256 + 2


@pytest.mark.parametrize(("space", "said"), [
    (gym.spaces.Dict({"far": image(40), "near": image(40, True)}), "all its images channels first, or all channels last"),
    (gym.spaces.Dict({"inner": gym.spaces.Dict({"a": gym.spaces.Discrete(2)})}), "must not be nested"),
    (gym.spaces.Dict({"n": gym.spaces.Box(0, 9, (2,), np.int32)}), r"observation space\['n'\] must be a floating-point Box"),
    (gym.spaces.Dict({"door": gym.spaces.Discrete(2, start=1)}), "must be a Discrete that starts at 0"),
    (gym.spaces.MultiBinary(3), "is not supported"),
], ids=["layouts", "nested", "integers", "start", "multi-binary"])
def test_an_observation_space_that_no_policy_reads_is_refused(space: gym.Space[Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        check_observations(space)


def test_a_batch_of_other_observations_is_refused(tasks: Any) -> None:
    agent = trained(tasks, mixed(7))
    for wrong in (np.zeros((2, 7, 7, 3), np.uint8), some_obs(mixed(7), 2)[["camera", "place"]], some_obs(mixed(7), 2)[None]):
        with pytest.raises(InvalidArgument, match="structured"):
            agent.act(wrong)
    seeing = trained(tasks, image(7))
    assert seeing.act(np.zeros((2, 3, 7, 7), np.uint8)).shape == (2, 1)
    with pytest.raises(InvalidArgument, match="obs"):
        seeing.act(np.zeros((2, 7, 3, 7), np.uint8))
