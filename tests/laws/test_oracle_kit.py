"""The kit itself: its rows, its decorator, what it asks for, and what it refuses."""

from typing import Any

import pytest

from preflab.errors import InvalidArgument, UnknownName
from preflab.interfaces import Oracle
from preflab.oracles import Argmax, Boltzmann, ComposedOracle, Mistakes, OrderBias, PartialReturn
from preflab.tabular import TabularMDP
from preflab.testing import LawBroken, OracleTags, check_oracle, oracle_laws
from preflab.testing.elsewhere import call_elsewhere
from preflab.testing.oracles import LAWS, random_world, tags_of

SYMMETRIC, SHARES = "law_swapping_mirrors", "law_rows_are_probabilities"


def make(mdp: TabularMDP, *, seed: int = 0, beta: float | None = None, mistake_rate: float | None = None) -> Oracle:
    response = Mistakes(Boltzmann(1.0 if beta is None else beta), mistake_rate or 0.0)
    return ComposedOracle(PartialReturn(), response, seed=seed, name="x")


def make_biased(mdp: TabularMDP, *, seed: int = 0, **settings: Any) -> Oracle:
    return ComposedOracle(PartialReturn(), OrderBias(Boltzmann(1.0), 0.5), seed=seed, name="x")


def make_plain(mdp: TabularMDP, *, seed: int = 0) -> Oracle:
    return ComposedOracle(PartialReturn(), Argmax(), seed=seed, name="plain")


@oracle_laws(
    {
        "mine": make, "plain": (make_plain, OracleTags(takes_beta=False, takes_mistakes=False)),
        "leaning": (make_biased, OracleTags(takes_beta=False)),
    },
    laws={name: LAWS[name] for name in (SYMMETRIC, SHARES, "law_identical_segments_are_even")},
    expected_failures={"leaning": {SYMMETRIC: "it leans", "law_identical_segments_are_even": "it leans"}},
)
def test_the_decorator_calls_every_law_with_every_oracle(oracle: Any, law: Any) -> None:
    law(oracle)


def test_ids_name_the_oracle_and_the_law() -> None:
    mark = oracle_laws({"mine": make}, laws={SHARES: LAWS[SHARES]})
    assert [each.id for each in mark.args[1]] == [f"mine-{SHARES}"]  # type: ignore[attr-defined]


def test_a_row_a_law_says_what_was_skipped_and_why() -> None:
    rows = {row.law: row for row in check_oracle(make)}
    assert list(rows) == list(LAWS)
    assert rows[SHARES].status == "passed" and rows["law_regret_ignores_shaping"].status == "skipped"
    assert rows["law_regret_ignores_shaping"].said == "it does not judge by regret"
    assert {row.status for row in rows.values()} == {"passed", "skipped"}


def test_a_broken_law_raises_or_is_reported() -> None:
    tags = OracleTags(takes_beta=False)
    with pytest.raises(LawBroken, match=f"^{SYMMETRIC}: swapping the sides"):
        check_oracle(make_biased, tags)
    rows = {row.law: row.status for row in check_oracle(make_biased, tags, on_fail="report")}
    assert [law for law, status in rows.items() if status == "failed"] == [
        SYMMETRIC, "law_mistakes_flip_at_their_rate", "law_identical_segments_are_even",
    ]


def test_an_expected_failure_has_a_reason_and_must_fail() -> None:
    laws = {SYMMETRIC: LAWS[SYMMETRIC]}
    row, = check_oracle(make_biased, OracleTags(), laws=laws, expected_failures={SYMMETRIC: "it leans"})
    assert row.status == "failed as expected" and row.said.startswith("it leans: swapping")
    with pytest.raises(LawBroken, match=r"was expected to break \(it leans\), and holds"):
        check_oracle(make, laws=laws, expected_failures={SYMMETRIC: "it leans"})
    with pytest.raises(InvalidArgument, match="must have a reason"):
        check_oracle(make, laws=laws, expected_failures={SYMMETRIC: " "})
    with pytest.raises(UnknownName, match="did you mean law_swapping_mirrors"):
        check_oracle(make, expected_failures={"law_swaping_mirrors": "it leans"})
    with pytest.raises(UnknownName, match="yours"):
        oracle_laws({"mine": make}, expected_failures={"yours": {SYMMETRIC: "it leans"}})
    with pytest.raises(InvalidArgument, match="on_fail"):
        check_oracle(make, on_fail="warn")


def test_tags_are_seen_from_the_outside() -> None:
    tags = tags_of(make_biased(random_world().mdp))
    assert tags.p_first_if_same == pytest.approx(0.6224593) and not tags.reads_observations and not tags.is_hierarchy


def test_another_process_has_other_hashes_and_says_what_went_wrong() -> None:
    assert call_elsewhere(hash, "preflab") == call_elsewhere(hash, "preflab") != hash("preflab")
    with pytest.raises(RuntimeError, match="in another process: ZeroDivisionError"):
        call_elsewhere(divmod, 1, 0)
