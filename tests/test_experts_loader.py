"""The shared loader of experts: networks by hand, tabular experts against exact planning, refusals by name."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from preflab.errors import DamagedFile, InvalidArgument, Refused
from preflab.experts import (
    FOLDER,
    CategoricalPolicy,
    Critic,
    EpsilonRandom,
    GaussianPolicy,
    TabularExpert,
    load_expert,
    policy_from,
    shipped_experts,
    tabular_expert,
)
from preflab.interfaces import ActionValueFunction, Policy, ValueFunction
from preflab.storage import save_json, save_tensors
from preflab.tabular import TabularMDP

Tensors = dict[str, torch.Tensor]


def network(weight: list[list[float]], bias: list[float], clip: float = 10.0) -> Tensors:
    """One layer on two inputs with mean (1, 0) and variance (4, 1) − ε."""
    return {
        "normalizer.mean": torch.tensor([1.0, 0.0]), "normalizer.var": torch.tensor([3.5, 0.5]),
        "normalizer.epsilon": torch.tensor(0.5), "normalizer.clip": torch.tensor(clip),
        "layers.0.weight": torch.tensor(weight), "layers.0.bias": torch.tensor(bias),
    }


def gaussian(std: float = 1.0, bound: float = 100.0) -> Tensors:
    return network([[1.0, 0.0], [0.0, 2.0]], [0.5, 0.0]) | {
        "log_std": torch.full((2,), float(np.log(std))),
        "low": torch.full((2,), -bound), "high": torch.full((2,), bound),
    }


def critic() -> Tensors:
    return network([[1.0, 1.0]], [0.0]) | {
        "output.mean": torch.tensor(7.0), "output.scale": torch.tensor(10.0),
        "gamma": torch.tensor(0.9, dtype=torch.float64),
    }


@pytest.fixture
def mdp() -> TabularMDP:
    """State 0: action 0 stays and earns 1, action 1 goes to terminal state 1 and earns 5; γ = ½, so V* = 5."""
    transitions, rewards = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    transitions[0, 0, 0] = transitions[0, 1, 1] = transitions[1, :, 1] = 1.0
    rewards[0, 0, 0], rewards[0, 1, 1] = 1.0, 5.0
    return TabularMDP(transitions, rewards, 0.5, np.array([False, True]), np.array([1.0, 0.0]))


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[str, str], Path]:
    def store(task: str, form: str) -> Path:
        home = tmp_path / f"{task}-{form}"
        save_tensors(home / "policy.safetensors", gaussian())
        save_tensors(home / "middle.safetensors", gaussian(std=2.0))
        save_tensors(home / "critic.safetensors", critic())
        save_json(home / "card.json", {"task": task, "form": form})
        return tmp_path

    return store


def test_a_gaussian_policy_normalizes_clips_and_acts_as_computed_by_hand() -> None:
    # (3, 4) normalizes to (1, 4); the layer makes (1.5, 8).
    np.testing.assert_allclose(GaussianPolicy(gaussian()).act(np.array([[3.0, 4.0]])), [[1.5, 8.0]], rtol=1e-6)
    np.testing.assert_allclose(GaussianPolicy(gaussian(bound=2.0)).act(np.array([[3.0, 4.0]])), [[1.5, 2.0]], rtol=1e-6)
    clipped = GaussianPolicy(gaussian() | {"normalizer.clip": torch.tensor(3.0)})
    np.testing.assert_allclose(clipped.act(np.array([[3.0, 400.0]])), [[1.5, 6.0]], rtol=1e-6)


def test_a_gaussian_policy_draws_with_its_own_spread() -> None:
    policy = GaussianPolicy(gaussian(std=0.5))
    drawn = policy.act(np.tile([[3.0, 4.0]], (40_000, 1)), np.random.default_rng(0))
    # 5 standard errors of mean (.5/200) and spread (.5/√80000) twice: false alarms below 1e-5.
    np.testing.assert_allclose(drawn.mean(0), [1.5, 8.0], atol=5 * 0.5 / 200)
    np.testing.assert_allclose(drawn.std(0), 0.5, atol=5 * 0.5 / 80_000**0.5)


def test_a_categorical_policy_draws_actions_as_often_as_its_softmax_says() -> None:
    policy = CategoricalPolicy(network([[0.0, 0.0], [0.0, 0.0]], [0.0, float(np.log(3.0))]))
    obs = np.zeros((40_000, 2))
    assert policy.act(obs[:3]).tolist() == [1, 1, 1]
    share = policy.act(obs, np.random.default_rng(0)).mean()
    assert abs(share - 0.75) < 5 * (0.75 * 0.25 / 40_000) ** 0.5  # false alarm below 1e-6


def test_a_critic_scales_its_output_and_carries_its_discount() -> None:
    value = Critic(critic())
    np.testing.assert_allclose(value.values(np.array([[3.0, 4.0], [1.0, 0.0]])), [57.0, 7.0], rtol=1e-6)
    assert value.gamma == 0.9
    assert value.values(np.zeros((0, 2))).shape == (0,)


def test_batches_do_not_matter_to_networks() -> None:
    obs = np.random.default_rng(0).normal(size=(70_001, 2))
    whole = Critic(critic()).values(obs)
    np.testing.assert_allclose(whole[-3:], Critic(critic()).values(obs[-3:]), rtol=1e-6)


def test_networks_name_what_is_wrong_with_their_input() -> None:
    with pytest.raises(InvalidArgument, match=r"obs must be \(N, 2\)"):
        GaussianPolicy(gaussian()).act(np.zeros((1, 3)))
    with pytest.raises(InvalidArgument, match=r"normalizer\.var"):
        Critic({name: tensor for name, tensor in critic().items() if name != "normalizer.var"})
    with pytest.raises(InvalidArgument, match="fit each other"):
        Critic(critic() | {"layers.0.weight": torch.zeros(1, 5)})


def test_a_tabular_expert_is_exact(mdp: TabularMDP) -> None:
    expert = TabularExpert(mdp)
    states = np.array([0, 1, 0])
    assert expert.values(states).tolist() == [5.0, 0.0, 5.0]
    assert expert.action_values(states, np.array([0, 0, 1])).tolist() == [3.5, 0.0, 5.0]
    assert expert.act(np.array([0, 0])).tolist() == [1, 1]
    assert expert.gamma == 0.5


def test_a_tabular_expert_spreads_evenly_over_equally_good_actions(mdp: TabularMDP) -> None:
    rewards = mdp.rewards.copy()
    rewards[0, 0, 0] = 2.5  # staying forever now earns 5 as well
    expert = TabularExpert(TabularMDP(mdp.transitions, rewards, 0.5, mdp.terminal, mdp.initial))
    share = expert.act(np.zeros(40_000, dtype=np.int64), np.random.default_rng(0)).mean()
    assert abs(share - 0.5) < 5 * 0.5 / 200  # false alarm below 1e-6


def test_a_tabular_expert_keeps_every_promise_and_its_middle_errs_on_half_the_steps(mdp: TabularMDP) -> None:
    expert = tabular_expert("random-mdp", "fixed", mdp)
    assert isinstance(expert.policy, Policy) and isinstance(expert.value, ValueFunction)
    assert isinstance(expert.value, ActionValueFunction)
    acts = expert.middle.act(np.zeros(40_000, dtype=np.int64), np.random.default_rng(0))
    assert abs(acts.mean() - 0.75) < 5 * (0.75 * 0.25 / 40_000) ** 0.5  # half of the random steps hit action 1 too
    assert expert.card["expert_return"]["discounted_from_initial"] == 5.0
    with pytest.raises(InvalidArgument, match="epsilon"):
        EpsilonRandom(expert.policy, 2, 1.5)


def test_an_expert_comes_back_from_its_folder(stored: Callable[[str, str], Path]) -> None:
    folder = stored("mujoco-ant", "fixed")
    expert = load_expert("mujoco-ant", "fixed", folder=folder)
    assert shipped_experts(folder=folder) == [("mujoco-ant", "fixed")]
    assert expert.value.values(np.array([[1.0, 0.0]])).tolist() == [7.0]
    np.testing.assert_allclose(expert.policy.act(np.array([[3.0, 4.0]])), [[1.5, 8.0]], rtol=1e-6)
    assert expert.checked("mujoco-ant", "fixed") is expert


def test_an_expert_refuses_another_task_or_form_by_name(stored: Callable[[str, str], Path]) -> None:
    expert = load_expert("mujoco-ant", "fixed", folder=stored("mujoco-ant", "fixed"))
    for task, form in (("mujoco-ant", "terminating"), ("pendulum", "fixed")):
        with pytest.raises(Refused, match=rf"mujoco-ant \(form=fixed\) cannot judge {task} \(form={form}\)"):
            expert.checked(task, form)


def test_a_missing_expert_is_refused_with_those_there_are_and_the_command(stored: Callable[[str, str], Path]) -> None:
    folder = stored("mujoco-ant", "fixed")
    with pytest.raises(Refused) as refusal:
        load_expert("mujoco-ant", "terminating", folder=folder)
    command = "make experts ENV=mujoco-ant ARGS=form=terminating"
    for part in ("mujoco-ant (form=terminating)", "mujoco-ant (fixed)", command):
        assert part in str(refusal.value)


def test_a_damaged_file_and_a_wrong_card_are_named(stored: Callable[[str, str], Path]) -> None:
    folder = stored("mujoco-ant", "fixed")
    home = folder / "mujoco-ant-fixed"
    save_json(home / "card.json", {"task": "mujoco-ant", "form": "terminating"})
    with pytest.raises(DamagedFile, match=r"card\.json"):
        load_expert("mujoco-ant", "fixed", folder=folder)
    save_json(home / "card.json", {"task": "mujoco-ant", "form": "fixed"})
    (home / "critic.safetensors").write_bytes(b"nonsense")
    with pytest.raises(DamagedFile, match=r"critic\.safetensors"):
        load_expert("mujoco-ant", "fixed", folder=folder)


def test_a_critic_without_its_discount_counts_as_damaged(stored: Callable[[str, str], Path]) -> None:
    folder = stored("mujoco-ant", "fixed")
    save_tensors(
        folder / "mujoco-ant-fixed" / "critic.safetensors", {k: v for k, v in critic().items() if k != "gamma"}
    )
    with pytest.raises(DamagedFile, match="gamma"):
        load_expert("mujoco-ant", "fixed", folder=folder)


@pytest.mark.parametrize(("task", "form"), shipped_experts())
def test_every_shipped_expert_acts_values_and_has_a_whole_card(task: str, form: str) -> None:
    expert = load_expert(task, form)
    n_inputs = len(torch.as_tensor(_tensors(task, form)["normalizer.mean"]))
    obs = np.random.default_rng(0).normal(size=(5, n_inputs)).astype(np.float32)
    assert np.isfinite(expert.value.values(obs)).all() and expert.value.values(obs).shape == (5,)
    for policy in (expert.policy, expert.middle):
        assert len(policy.act(obs)) == 5
        assert np.array_equal(policy.act(obs), policy.act(obs))
    for name in ("gamma", "expert_return", "middle_return", "random_return", "gap", "critic", "how", "versions"):
        assert name in expert.card, name
    assert expert.card["gamma"] == expert.value.gamma
    means = [expert.card[f"{name}_return"]["mean"] for name in ("expert", "middle", "random")]
    assert means[0] > means[1] > means[2]


def test_shipped_experts_are_small_and_their_cards_strict_json() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 10_000_000
    for path in FOLDER.rglob("card.json"):
        json.loads(path.read_text(), parse_constant=_fail)


def _fail(word: str) -> None:
    raise AssertionError(f"{word} is no json")


def _tensors(task: str, form: str) -> Tensors:
    from safetensors.torch import load_file

    tensors: Tensors = load_file(FOLDER / f"{task}-{form}" / "policy.safetensors")
    assert policy_from(tensors)
    return tensors
