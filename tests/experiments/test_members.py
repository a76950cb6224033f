"""What the record says of members, and the level of pessimism that no agent can be paid by."""

from pathlib import Path

import pytest

import preflab
from preflab.errors import Refused
from preflab.experiments.config import compose_run
from preflab.experiments.members import NAMES, member_figures
from preflab.experiments.stages import check
from preflab.types import ScoredStore


@pytest.mark.filterwarnings("ignore::preflab.rewards.FewComparisonsWarning")
def test_the_record_says_how_members_became_one_reward_and_how_far_they_agree(tmp_path: Path) -> None:
    run = preflab.run(
        ["reward.pessimism=variance", "reward.pessimism_knob=0.7"], env="pendulum", budget="smoke", video=False, out=str(tmp_path)
    )
    record = run.record
    assert (record["pessimism"], record["pessimism_level"], record["pessimism_knob"]) == ("variance", "step", 0.7)
    assert record["pessimism_unit"] > 0 and -1 <= record["member_rank_correlation"] <= 1


def test_a_reward_without_members_has_no_such_figures() -> None:
    assert member_figures(None, ScoredStore()) == dict.fromkeys(NAMES)


def test_no_agent_is_paid_by_whole_segments() -> None:
    config, _ = compose_run(["env=pendulum", "reward.pessimism=worst", "reward.pessimism_level=return"])
    with pytest.raises(Refused, match="paid step by step"):
        check(config)
