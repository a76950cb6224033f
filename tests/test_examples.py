"""The notebooks: executed in order, without an error, of this code and of no particular machine; and they still run."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
SMOKE = {"first_run": {"n_answers": 12, "n_heldout": 8, "n_env_steps": 2048, "n_rounds": 2, "n_episodes": 8}}
OUTPUTS = {
    "stream": {"output_type", "name", "text"},
    "display_data": {"output_type", "data", "metadata"},
    "execute_result": {"output_type", "data", "metadata", "execution_count"},
}
A_MACHINE = re.compile(r"/(?:home|root|work|tmp|usr|opt|mnt|Users|var)/|[A-Z]:\\|site-packages|localhost|Traceback")

_spec = importlib.util.spec_from_file_location("execute", EXAMPLES / "execute.py")
assert _spec is not None and _spec.loader is not None
execute: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(execute)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def cells_of(notebook: dict[str, Any], kind: str = "code") -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def notebook_of(*sources: str, tags: tuple[str, ...] = ()) -> dict[str, Any]:
    cells = [{"cell_type": "code", "id": str(i), "metadata": {}, "source": [source]} for i, source in enumerate(sources)]
    cells[0]["metadata"] = {"tags": list(tags)}
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def test_there_is_a_notebook_and_a_smoke_test_for_each() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(SMOKE)


@each_notebook
def test_a_notebook_is_valid_nbformat_4(path: Path) -> None:
    notebook = read(path)
    assert notebook["nbformat"] == 4 and notebook["nbformat_minor"] >= 5
    assert notebook["metadata"]["kernelspec"] == {"display_name": "Python 3", "language": "python", "name": "python3"}
    identities = [cell["id"] for cell in notebook["cells"]]
    assert len(set(identities)) == len(identities) and all(re.fullmatch(r"[\w-]{1,64}", one) for one in identities)
    for cell in notebook["cells"]:
        fields = {"cell_type", "id", "metadata", "source"}
        assert cell.keys() == (fields | {"execution_count", "outputs"} if cell["cell_type"] == "code" else fields)
        assert cell["cell_type"] in ("code", "markdown") and all(isinstance(line, str) for line in cell["source"])
        for output in cell.get("outputs", []):
            assert output.keys() == OUTPUTS[output["output_type"]]


@each_notebook
def test_a_notebook_was_executed_in_order_and_by_its_own_code(path: Path) -> None:
    notebook = read(path)
    counts = [cell["execution_count"] for cell in cells_of(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert notebook["metadata"]["preflab"]["executed_code"] == execute.code_hash(notebook), (
        f"the code of {path.name} is not the code that its outputs come from: python examples/execute.py {path.name}"
    )
    assert all("outputs" in cell for cell in cells_of(notebook))


@each_notebook
def test_a_notebook_names_no_machine_and_is_small(path: Path) -> None:
    notebook = read(path)
    for cell in notebook["cells"]:
        texts = [*cell["source"]]
        for output in cell.get("outputs", []):
            texts += output.get("text", []) + output.get("data", {}).get("text/plain", [])
        assert not A_MACHINE.search("".join(texts)), cell["id"]
    assert path.stat().st_size <= 300_000


def test_the_first_run_says_what_it_shows() -> None:
    outputs = [output for cell in cells_of(read(EXAMPLES / "first_run.ipynb")) for output in cell["outputs"]]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
    printed = "".join(line for output in outputs for line in output.get("text", []))
    rows = {name: float(value) for name, value in re.findall(r"^(\w[\w ]*?) +(-\d+) ± \d+$", printed, re.MULTILINE)}
    assert list(rows) == ["untrained", "round 1", "round 2", "round 3", "constant", "gold itself"]
    # What its prose says of the run that is kept.
    assert rows["constant"] < rows["untrained"] < rows["round 2"] and rows["round 1"] < rows["round 3"]


@pytest.mark.slow
@each_notebook
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = read(path)
    done = execute.executed(kept, SMOKE[path.stem])
    for before, after in zip(cells_of(kept), cells_of(done), strict=True):
        kinds = [[one["output_type"] for one in cell["outputs"] if one.get("name") != "stderr"] for cell in (before, after)]
        assert kinds[0] == kinds[1], before["id"]
    assert list(tmp_path.iterdir()) == []


def test_executing_keeps_text_values_warnings_and_figures_in_order() -> None:
    done = execute.executed(notebook_of(
        "n = 1\nprint('one')\nimport warnings\nwarnings.warn('careful')\nprint('two')\nn + 1",
        "import matplotlib.pyplot as plt\nprint(n)\nplt.subplots(figsize=(1, 1))\nplt.show()\nprint('after')",
        tags=("parameters",),
    ), {"n": 7})
    first, second = (cell["outputs"] for cell in cells_of(done))
    assert [one.get("text", one.get("data")) for one in first] == [
        ["one\n"], ["UserWarning: careful\n"], ["two\n"], {"text/plain": ["2"]},
    ]
    assert [one["output_type"] for one in second] == ["stream", "display_data", "stream"]
    assert second[0]["text"] == ["7\n"] and second[2]["text"] == ["after\n"]
    assert second[1]["data"]["text/plain"] == ["<Figure size 80x80 with 1 Axes>"]
    assert [cell["execution_count"] for cell in cells_of(done)] == [1, 2]


def test_a_cell_that_fails_is_named_and_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "broken.ipynb"
    path.write_text(json.dumps(notebook_of("x = 1", "x / 0")), encoding="utf-8")
    before = path.read_bytes()
    monkeypatch.setattr("sys.argv", ["execute.py", str(path)])
    with pytest.raises(RuntimeError, match="cell 2 failed: ZeroDivisionError"):
        execute.main()
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_changed_code_is_told_from_executed_code() -> None:
    done = execute.executed(notebook_of("x = 1"))
    assert done["metadata"]["preflab"]["executed_code"] == execute.code_hash(done)
    done["cells"][0]["source"] = ["x = 2"]
    assert done["metadata"]["preflab"]["executed_code"] != execute.code_hash(done)
