"""Judgments from outside: functions of whole segments, and reward code in a file, refused with the reason."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preflab import oracles
from preflab.errors import InvalidArgument, Refused
from preflab.oracles import CallableJudgment, OracleSettings, RewardCode
from preflab.oracles.plugged import imported
from preflab.types import AnyArray, FloatArray, ScoredSegments

DrawSegments = Callable[..., ScoredSegments]
NAMES = ("speed", "effort", "height")


def longest_rise(scored: ScoredSegments) -> FloatArray:
    """How much gold rises from the first step to the best."""
    gold = np.where(scored.segments.valid, scored.gold_rewards, -np.inf)
    return np.asarray(gold.max(axis=1) - gold[:, 0])


def written(folder: Path, body: str, *, head: str = "import numpy as np", name: str = "mine.py") -> Path:
    """Returns a file of reward code with this body."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    path = folder / name
    path.write_text(f"{head}\n\n\ndef compute(obs, act, next_obs, info):\n{lines}\n", encoding="utf-8")
    return path


def judged(folder: Path, scored: ScoredSegments, body: str, **arguments: Any) -> FloatArray:
    """Returns what code with this body pays segments for, after it was probed on them."""
    code = RewardCode.from_file(written(folder, body, **arguments), NAMES)
    code.probe(scored)
    return code.values(scored)


def test_a_callable_judges_whole_segments(draw_segments: DrawSegments) -> None:
    scored, judgment = draw_segments(), CallableJudgment(longest_rise)
    assert judgment.values(scored).tolist() == longest_rise(scored).tolist()
    card = judgment.card()
    assert (card["function"], card["formula"]) == ("longest_rise", "How much gold rises from the first step to the best.")
    assert CallableJudgment(longest_rise, "mine:rise").card()["source"] == "mine:rise"


def test_a_callable_needs_no_docstring_and_no_name() -> None:
    class Blank:
        __doc__ = "   "

        def __call__(self, scored: ScoredSegments) -> FloatArray:
            return np.zeros(len(scored))

    card = CallableJudgment(Blank()).card()
    assert (card["function"], card["formula"]) == ("Blank", "a function of the whole segment")


@pytest.mark.parametrize(("function", "said"), [
    (lambda scored: np.zeros((len(scored), 1)), r"judgment mine must return \(40,\) finite numbers, got \(40, 1\)"),
    (lambda scored: 0.0, r"must return \(40,\) finite numbers, got \(\)"),
    (lambda scored: np.full(len(scored), np.nan), "got 'a value that is not finite'"),
    (lambda scored: np.full(len(scored), np.inf), "got 'a value that is not finite'"),
])
def test_a_callable_of_another_shape_or_without_numbers_is_refused(function: Any, said: str, draw_segments: DrawSegments) -> None:
    with pytest.raises(InvalidArgument, match=said):
        CallableJudgment(function, "mine").values(draw_segments())


def test_what_a_callable_raises_is_not_hidden(draw_segments: DrawSegments) -> None:
    def broken(scored: ScoredSegments) -> FloatArray:
        raise KeyError("gold")

    with pytest.raises(KeyError, match="gold"):
        CallableJudgment(broken).values(draw_segments())


@pytest.mark.parametrize(("path", "said"), [
    ("math", "function must name a function, got 'math'; valid: module:function"), (":sqrt", "must name a function"),
    ("math:", "must name a function"), ("no_such_module:f", "function cannot be imported .*No module named 'no_such_module'"),
    ("math:no_such", "function cannot be imported .*no attribute 'no_such'"),
    ("math:pi", "function must be callable, got 'math:pi'"),
    ("..math:sqrt", "function cannot be imported"),
])
def test_functions_that_cannot_be_imported_are_refused(path: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        imported(path)


def test_a_function_is_named_by_its_module_in_the_settings(draw_segments: DrawSegments) -> None:
    settings = OracleSettings(judgment="callable", function="builtins:len")
    with pytest.raises(InvalidArgument, match=r"judgment builtins:len must return \(40,\) finite numbers, got \(\)"):
        oracles.build("mine", settings, seed=0, calibration=draw_segments(), task="t", form="fixed")
    with pytest.raises(InvalidArgument, match="function cannot be imported"):
        oracles.check("mine", OracleSettings(judgment="callable", function="builtins:lne"), NAMES, "t")


def test_code_is_summed_over_the_steps_that_really_happened(tmp_path: Path, draw_segments: DrawSegments) -> None:
    scored = draw_segments()
    found = judged(tmp_path, scored, "return next_obs[:, 0] - 2 * obs[:, 1] * act[:, 0] + info['effort'] + 5 * info['terminated']")
    taken = scored.segments
    for i in range(len(scored)):
        total = 0.0
        for t in range(int(taken.valid[i].sum())):
            moved = taken.observations[i, t + 1, 0] - 2 * taken.observations[i, t, 1] * taken.actions[i, t, 0]
            total += float(moved + scored.factors[i, t, 1] + 5 * taken.terminated[i, t])
        assert found[i] == pytest.approx(total, abs=1e-12)


def test_absorbing_steps_are_never_shown_to_code(draw_segments: DrawSegments) -> None:
    """Padding holds NaN in every array, so that one shown step of it would show."""
    scored, shown = draw_segments(), []

    def compute(obs: AnyArray, act: AnyArray, next_obs: AnyArray, info: Any) -> FloatArray:
        arrays = obs, act, next_obs, *(info[name] for name in NAMES)
        shown.append((len(obs), all(np.isfinite(array).all() for array in arrays), sorted(info)))
        return np.asarray(obs[:, 0])

    RewardCode(compute, NAMES, name="mine").values(scored)
    assert shown == [(int(scored.segments.valid.sum()), True, ["effort", "height", "speed", "terminated"])]
    assert RewardCode(compute, NAMES, name="mine").values(scored[:0]).shape == (0,)
    assert len(shown) == 1  # of nothing, nothing is asked


def test_code_of_discrete_tasks_sees_numbers_of_states(tmp_path: Path, make_segments: DrawSegments) -> None:
    scored = replace(make_segments([[0, 0], [0, 0]], states=[[1, 2, 3], [3, 0, 9]], real=[2, 1]), factors=np.zeros((2, 2, 3)))
    assert judged(tmp_path, scored, "return 10.0 * obs + next_obs").tolist() == [12 + 23, 30]


@pytest.mark.parametrize(("body", "said"), [
    ("return undefined", "fails: NameError: name 'undefined' is not defined"),
    ("return obs[:, 7]", "fails: IndexError"),
    ("return info['spede']", "fails: KeyError: 'spede'"),
    ("return 'much'", "fails: ValueError"),
    ("return obs", r"returns shape \(\d+, 3\) for \d+ transitions; it must return \(\d+,\)"),
    ("return 1.0", r"returns shape \(\) for \d+ transitions"),
    ("return None", r"returns shape \(\) for \d+ transitions"),
    ("return np.where(obs[:, 0] > 0, np.nan, 0.0)", r"returns \d+ of \d+ rewards that are not finite"),
    ("return 1 / (0 * obs[:, 0])", r"returns \d+ of \d+ rewards that are not finite"),
    ("return 1e7 * np.sign(obs[:, 0])", r"returns a reward of 1e\+07, beyond the bound of 1e\+06 \(oracle.code_bound\)"),
    ("return np.random.rand(len(obs))", "returns other rewards when asked again; they must follow from its arguments"),
    ("return obs[:, 0] - obs[:, 0].mean()", "pays a transition by what else is in the batch"),
    ("return obs[:, 0] / np.abs(obs).max()", "pays a transition by what else is in the batch"),
    ("return np.arange(len(obs)) * 1.0", "pays a transition by what else is in the batch"),
    ("return np.diff(act[:, 0], prepend=0.0)", "pays a transition by what else is in the batch"),
    ("return np.cumsum(obs[:, 0])", "pays a transition by what else is in the batch"),
    ("return np.full(len(obs), 1.0 * len(obs))", "pays a transition by what else is in the batch"),
    ("obs[:] = 0\nreturn obs[:, 0]", "fails: ValueError: assignment destination is read-only"),
    ("info['speed'][:] = 0\nreturn obs[:, 0]", "fails: ValueError: assignment destination is read-only"),
    ("info['speed'] = 0\nreturn obs[:, 0]", "fails: TypeError: 'mappingproxy' object does not support item assignment"),
])
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_code_that_is_no_reward_is_refused_with_the_reason(
    body: str, said: str, tmp_path: Path, draw_segments: DrawSegments
) -> None:
    with pytest.raises(Refused, match=rf"^reward code \S*mine\.py {said}"):
        judged(tmp_path, draw_segments(), body)


def test_code_that_takes_other_arguments_is_refused(draw_segments: DrawSegments) -> None:
    with pytest.raises(Refused, match="reward code mine fails: TypeError"):
        RewardCode(lambda obs: obs[:, 0], NAMES, name="mine").values(draw_segments())  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(("text", "said"), [
    ("def compute(obs:\n", r"cannot be imported: SyntaxError"),
    ("import no_such_module\n", "cannot be imported: ModuleNotFoundError"),
    ("1 / 0\n", "cannot be imported: ZeroDivisionError: division by zero"),
    ("def reward(obs, act, next_obs, info):\n    return obs\n", r"defines no function compute\(obs, act, next_obs, info\)"),
    ("compute = 3\n", "defines no function compute"),
])
def test_files_without_code_that_runs_are_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Refused, match=rf"^reward code \S*mine\.py {said}"):
        RewardCode.from_file(path, NAMES)


def test_files_that_are_not_there_or_no_python_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"code must be a Python file, got '\S*none.py'; valid: a file that defines compute"):
        RewardCode.from_file(tmp_path / "none.py", NAMES)
    with pytest.raises(InvalidArgument, match="code must be a Python file"):
        RewardCode.from_file(tmp_path, NAMES)
    with pytest.raises(InvalidArgument, match=r"code must be a Python file, got '\S*mine.txt'; valid: a name that ends with .py"):
        RewardCode.from_file(written(tmp_path, "return obs[:, 0]", name="mine.txt"), NAMES)


def test_code_may_define_dataclasses(tmp_path: Path, draw_segments: DrawSegments) -> None:
    head = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    head += "\n\n@dataclass\nclass Weights:\n    of_obs: float = 2.0"
    scored = draw_segments()
    found = judged(tmp_path, scored, "return Weights().of_obs * obs[:, 0]", head=head)
    np.testing.assert_allclose(found, judged(tmp_path, scored, "return 2.0 * obs[:, 0]"), atol=1e-12)


@pytest.mark.parametrize("bound", [0.0, -1.0, np.inf, np.nan])
def test_a_bound_that_bounds_nothing_is_refused(bound: float) -> None:
    with pytest.raises(InvalidArgument, match="code_bound must be finite and above 0"):
        RewardCode(lambda *arguments: 0, NAMES, name="mine", bound=bound)


def test_code_is_probed_when_the_oracle_is_built_and_named_in_its_card(tmp_path: Path, draw_segments: DrawSegments) -> None:
    def built(body: str) -> Any:
        settings = OracleSettings(judgment="reward_code", code=str(written(tmp_path, body)), code_bound=50.0)
        return oracles.build("mine", settings, seed=0, calibration=draw_segments(), factor_names=NAMES, task="t", form="fixed")

    card = built("return obs[:, 0]").card()
    assert card["judgment"]["code"].endswith("mine.py") and card["judgment"]["bound"] == 50.0
    with pytest.raises(Refused, match="returns other rewards when asked again"):
        built("return np.random.rand(len(obs))")
    with pytest.raises(Refused, match="beyond the bound of 50 "):
        built("return 51 * np.sign(obs[:, 0])")
