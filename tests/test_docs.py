"""Snippets of docs/extending.md run as they stand."""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
# What begins with a file's name is a file of a user's, which tests/experiments/test_own_env.py writes and runs.
SNIPPETS = re.findall(r"```python\n(?!# my_envs)(.*?)```", TEXT, re.DOTALL)
NAMES = ["judgment", "check our env", "check an own env", "check an agent"]
SAID = {
    "judgment": "", "check our env": "{'law_actions_are_left_alone': 'actions are single numbers'}",
    "check an own env": "{'law_a_saved_state_repeats'", "check an agent": "{}",
}


EVERY = [
    pytest.param(name, snippet, id=name, marks=[pytest.mark.slow] if name == "check an agent" else [])
    for name, snippet in zip(NAMES, SNIPPETS, strict=True)
]


@pytest.mark.parametrize(("name", "snippet"), EVERY)
def test_a_snippet_runs_and_prints_what_it_says(name: str, snippet: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(snippet, "docs/extending.md", "exec"), {"__name__": "docs"})
    printed = capsys.readouterr().out
    assert printed.startswith(SAID[name])
    assert printed.count("law_") == {"check an own env": 4, "check our env": 1}.get(name, 0)
