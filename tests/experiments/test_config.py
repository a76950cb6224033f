"""The configuration: Hydra composes, dataclasses validate, and every refusal says what would be valid."""

import itertools

import pytest

from preflab.errors import InvalidArgument, Refused, UnknownName
from preflab.experiments import docs
from preflab.experiments.__main__ import listing, main
from preflab.experiments.config import GROUPS, BudgetConfig, compose_run, describe, names, seeds


def test_the_defaults_are_those_of_the_makefile() -> None:
    config, _ = compose_run()
    assert (config.env.name, config.oracle_name, config.reward_name, config.agent_name) == (
        "pendulum", "partial_return", "ensemble", "ppo",
    )
    assert (config.budget.name, config.seed, config.device, config.form) == ("demo", 0, "auto", "fixed")


def test_an_env_overlays_its_presets_and_the_command_line_overlays_the_env() -> None:
    plain, _ = compose_run(["env=mujoco-humanoid"])
    changed, _ = compose_run(["env=mujoco-humanoid", "agent.n_envs=4", "budget.n_comparisons=7"])
    assert plain.agent.hidden == (256, 256) and plain.budget.n_comparisons == 400
    assert changed.agent.n_envs == 4 and changed.budget.n_comparisons == 7
    assert changed.agent.hidden == plain.agent.hidden


def test_the_oracle_changes_one_thing_only() -> None:
    partial, _ = compose_run(["oracle=partial_return"])
    regret, _ = compose_run(["oracle=regret"])
    assert partial.reward == regret.reward and partial.agent == regret.agent and partial.budget == regret.budget
    assert regret.reward.likelihood == "partial_return"


def test_reward_heron_is_the_ensemble_and_implies_the_oracle() -> None:
    heron, tree = compose_run(["env=pendulum", "reward=heron"])
    assert heron.oracle_name == tree["oracle"]["name"] == "heron" and heron.reward_name == "heron"
    for env in ("pendulum", "mujoco-humanoid"):  # whose yamls change the ensemble
        same, _ = compose_run([f"env={env}", "reward=ensemble", "oracle=heron"])
        implied, _ = compose_run([f"env={env}", "reward=heron"])
        said, _ = compose_run([f"env={env}", "oracle=heron", "reward=heron"])
        assert implied == said and implied.reward == same.reward and implied.oracle == same.oracle
    with pytest.raises(Refused, match=r"REWARD=heron is the ensemble fitted to HERON's answers; ORACLE=regret gives others"):
        compose_run(["reward=heron", "oracle=regret"])


@pytest.mark.parametrize("override", ["env=pendulm", "oracle=regrett", "reward.n_member=5", "sed=1", "agent=dpo"])
def test_an_unknown_name_is_refused_with_the_nearest_and_the_whole_list(override: str) -> None:
    with pytest.raises(UnknownName, match="all of them:") as caught:
        compose_run([override])
    assert "did you mean" in str(caught.value) or override == "agent=dpo"


@pytest.mark.parametrize("override", ["seed", "budget.first_share=2", "budget.n_rounds=0", "reward.n_members=0", "agent.gamma=2"])
def test_a_value_that_breaks_a_rule_is_refused_by_name(override: str) -> None:
    with pytest.raises(InvalidArgument, match="got"):
        compose_run([override])


def test_seeds_are_one_or_a_rising_range() -> None:
    assert seeds("3") == [3] and seeds("100..104") == [100, 101, 102, 103, 104] and seeds(7) == [7]
    with pytest.raises(InvalidArgument, match="rising range"):
        seeds("4..0")


def test_a_budget_is_spent_exactly() -> None:
    budget = BudgetConfig("b", n_comparisons=401, n_env_steps=1001, n_rounds=6, round_starts=(0, 0.08, 0.2, 0.35, 0.5, 0.7))
    assert sum(budget.comparisons_by_round()) == 401 and budget.comparisons_by_round()[0] == 120
    assert budget.steps_by_round() == [80, 200, 350, 500, 701, 1001]
    assert sum(BudgetConfig("b", n_comparisons=6, n_rounds=6).comparisons_by_round()) == 6


def test_every_preset_composes_and_says_what_it_is_and_where_it_comes_from() -> None:
    for group in GROUPS:
        for name in names(group):
            assert all(describe(group, name)), (group, name)
    for chosen in itertools.zip_longest(*(names(group) for group in GROUPS)):
        overrides = [f"{group}={name}" for group, name in zip(GROUPS, chosen, strict=True) if name]
        compose_run([override for override in overrides if "reward=heron" not in overrides or "oracle=" not in override])
    assert "regret" in listing("oracle") and "2206.02231" in listing("oracle")


def test_the_configuration_page_is_not_stale_and_documents_every_setting() -> None:
    assert docs.PAGE.read_text(encoding="utf-8") == docs.page(), "run python -m preflab.experiments.docs"
    assert docs.undocumented() == []


def test_a_refusal_is_one_sentence_and_exit_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env=mujoco-humaniod"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("preflab: env is not a known name") and "mujoco-humanoid" in said and "Traceback" not in said


def test_cuda_without_a_gpu_is_refused_before_anything_is_made(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        return
    assert main(["device=cuda", f"out={tmp_path}"]) == 2
    assert "no CUDA GPU" in capsys.readouterr().err
    assert not list(__import__("pathlib").Path(str(tmp_path)).iterdir())
