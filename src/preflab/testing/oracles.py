"""The conformance kit of oracles: `check_oracle(make)` for your own, or `oracle_laws` over several in pytest.

A factory `make(mdp, *, seed, beta, mistake_rate)` builds the oracle under test for a small finite MDP; what it claims is in
`OracleTags`. Each law is a plain function of the `OracleCase` made of both, in `preflab.testing.oracle_laws`: it raises
`LawBroken` with the figures if it is broken, and `SaysNothing` where the tags make it none of the oracle's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from preflab.errors import InvalidArgument, UnknownName
from preflab.interfaces import Oracle
from preflab.testing.laws import LawBroken, SaysNothing
from preflab.testing.oracle_laws import LAWS, Law, MakeOracle, OracleCase, OracleTags
from preflab.testing.oracle_worlds import FACTOR_NAMES, World, random_world, regolded

_Test = TypeVar("_Test", bound=Callable[..., None])
PASSED, FAILED, SKIPPED, EXPECTED = "passed", "failed", "skipped", "failed as expected"


@dataclass(frozen=True)
class Row:
    """What one law says of an oracle.

    Attributes:
        law: its name.
        status: passed, failed, skipped (it says nothing of this oracle), or failed as expected.
        said: why, where it did not pass.
    """

    law: str
    status: str
    said: str = ""


def check_oracle(
    make: MakeOracle, tags: OracleTags | None = None, *, world: World | None = None,
    laws: Mapping[str, Law] | None = None, expected_failures: Mapping[str, str] | None = None, on_fail: str = "raise",
) -> list[Row]:
    """Holds an oracle against every law that is about it, and returns one row a law.

    Args:
        make: builds the oracle for an MDP; called with `seed`, and with `beta` and `mistake_rate` where the tags say so.
        tags: what the oracle claims; those that can be seen from the outside, if not given (`tags_of`).
        world: where it is tried; `random_world()` by default.
        laws: by name; all of `LAWS` by default.
        expected_failures: by law, the reason why this oracle is known to break it. A law that holds after all is broken too.
        on_fail: "raise" at the first law broken, or "report" it in its row.

    Raises:
        LawBroken: the first law that is broken, by name, with the figures.
        InvalidArgument: an expected failure without a reason, or `on_fail` is not known.
    """
    laws, expected = LAWS if laws is None else laws, dict(expected_failures or {})
    _check_expected(expected, laws)
    if on_fail not in ("raise", "report"):
        raise InvalidArgument("on_fail", "is not known", on_fail, "raise, report")
    place = random_world() if world is None else world
    case = OracleCase(make, tags_of(make(place.mdp)) if tags is None else tags, place)
    rows = []
    for name, law in laws.items():
        rows.append(_row(name, law, case, expected.get(name)))
        if rows[-1].status == FAILED and on_fail == "raise":
            raise LawBroken(f"{name}: {rows[-1].said}")
    return rows


def tags_of(oracle: Oracle) -> OracleTags:
    """Returns what an oracle claims, as far as its attributes and its card say it.

    Whether its factory takes β and mistakes is not to be seen: both are assumed, with iid mistakes.
    """
    card = oracle.card()
    judgment, response, calibration = (card.get(name) or {} for name in ("judgment", "response", "calibration"))
    bias = float(oracle.p_first_if_same)
    kind = str(judgment.get("kind", "")) if isinstance(judgment, Mapping) else ""
    weighting = str(judgment.get("weighting", "uniform")) if kind == "regret" else ""
    solved = calibration if isinstance(calibration, Mapping) else {}
    return OracleTags(
        p_first_if_same=0.5 if math.isnan(bias) else bias, reads_observations=getattr(oracle, "needs_observations", True),
        reads_states=oracle.needs_sim_states, regret=weighting,
        is_hierarchy="levels" in response, tie_rate=solved.get("tie_rate"), skip_rate=solved.get("skip_rate"),
    )


def oracle_laws(
    cases: Mapping[str, MakeOracle | tuple[MakeOracle, OracleTags]], *, laws: Mapping[str, Law] | None = None,
    expected_failures: Mapping[str, Mapping[str, str]] | None = None, world: World | None = None,
) -> Callable[[_Test], _Test]:
    """Decorates a test of (oracle, law), to be called for every oracle of `cases` and every law: `law(oracle)`.

    Ids read "mine-law_swapping_mirrors". A law that says nothing of an oracle skips, and one that is expected to break must
    break, with the reason given.

    Args:
        cases: by name, a factory, or one with its tags.
        laws: by name; all of `LAWS` by default.
        expected_failures: by oracle and law, the reason.
        world: where they are tried.
    """
    import pytest

    laws = LAWS if laws is None else laws
    expected = expected_failures or {}
    for name, reasons in expected.items():
        if name not in cases:
            raise UnknownName("expected_failures", name, cases)
        _check_expected(dict(reasons), laws)
    place = random_world() if world is None else world
    parameters = []
    for name, given in cases.items():
        make, tags = given if isinstance(given, tuple) else (given, None)
        for law_name, law in laws.items():
            reason = expected.get(name, {}).get(law_name)
            marks = [pytest.mark.xfail(reason=reason, strict=True, raises=LawBroken)] if reason else []
            parameters.append(pytest.param(_Lazy(make, tags, place), _skipping(law), id=f"{name}-{law_name}", marks=marks))
    mark: Callable[[_Test], _Test] = pytest.mark.parametrize(("oracle", "law"), parameters)
    return mark


@dataclass(frozen=True)
class _Lazy:
    """A case that is made when its test runs."""

    make: MakeOracle
    tags: OracleTags | None
    world: World

    def case(self) -> OracleCase:
        return OracleCase(self.make, tags_of(self.make(self.world.mdp)) if self.tags is None else self.tags, self.world)


def _skipping(law: Law) -> Callable[[_Lazy], None]:
    def call(oracle: _Lazy) -> None:
        import pytest

        try:
            law(oracle.case())
        except SaysNothing as reason:
            pytest.skip(str(reason))

    return call


def _row(name: str, law: Law, case: OracleCase, expected: str | None) -> Row:
    try:
        law(case)
    except SaysNothing as reason:
        return Row(name, SKIPPED, str(reason))
    except LawBroken as broken:
        return Row(name, FAILED if expected is None else EXPECTED, str(broken) if expected is None else f"{expected}: {broken}")
    if expected is not None:
        return Row(name, FAILED, f"was expected to break ({expected}), and holds")
    return Row(name, PASSED)


def _check_expected(expected: Mapping[str, str], laws: Iterable[str]) -> None:
    known = list(laws)
    for name, reason in expected.items():
        if name not in known:
            raise UnknownName("expected_failures", name, known)
        if not str(reason).strip():
            raise InvalidArgument(f"expected_failures.{name}", "must have a reason", reason, "a sentence")


__all__ = [
    "FACTOR_NAMES", "LAWS", "Law", "MakeOracle", "OracleCase", "OracleTags", "Row", "World", "check_oracle", "oracle_laws",
    "random_world", "regolded", "tags_of",
]
