"""Snippets of docs/distances.md run as they stand and print what the page says."""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "distances.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize(("snippet", "printed"), SNIPPETS, ids=["exact", "sampled"])
def test_a_snippet_prints_what_the_page_says(snippet: str, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(snippet, "docs/distances.md", "exec"), {"__name__": "docs"})
    assert capsys.readouterr().out == printed


def test_the_figure_is_there() -> None:
    assert all((Path(__file__).resolve().parents[3] / "docs" / name).is_file() for name in re.findall(r"!\[.*?\]\((.*?)\)", TEXT))
