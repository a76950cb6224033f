"""Runs every code cell of a notebook in this process and keeps what it prints and shows; needs no Jupyter.

    python examples/execute.py examples/first_run.ipynb

Kept are printed text, warnings (without the path of the file that warns), the value of a last expression, and figures at
`plt.show()`. A cell that fails leaves the notebook as it was. Names of the cell tagged "parameters" can be replaced, which
is how a test runs a notebook in seconds.
"""

import ast
import base64
import contextlib
import hashlib
import io
import json
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DPI = 80
Notebook = dict[str, Any]


def main() -> None:
    """Executes the notebook named on the command line in place."""
    path = Path(sys.argv[1])
    done = executed(json.loads(path.read_text(encoding="utf-8")), progress=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished.replace(path)


def executed(notebook: Notebook, parameters: Mapping[str, Any] | None = None, progress: bool = False) -> Notebook:
    """Returns `notebook` with the outputs of a run in which `parameters` replace names of the cell so tagged.

    Raises:
        RuntimeError: a cell failed; the message has its number and the error its cause.
    """
    import matplotlib

    matplotlib.use("Agg")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells, count = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            if progress:
                print(f"cell {count}", file=sys.stderr, flush=True)
            cell = {**cell, "execution_count": count, "outputs": outputs_of("".join(cell["source"]), namespace, count)}
            if "parameters" in cell["metadata"].get("tags", []):
                namespace |= parameters or {}
        cells.append(cell)
    kept = {"executed_code": code_hash(notebook)}
    return {**notebook, "cells": cells, "metadata": {**notebook["metadata"], "preflab": kept}}


def code_hash(notebook: Notebook) -> str:
    """Returns a hash of all code, which tells whether outputs belong to it."""
    code = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:16]


def outputs_of(source: str, namespace: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Returns what a cell gives out, in nbformat 4, and runs it in `namespace`."""
    import matplotlib.pyplot as plt

    outputs: list[dict[str, Any]] = []
    printed = io.StringIO()

    def flush() -> None:
        if printed.getvalue():
            outputs.append({"name": "stdout", "output_type": "stream", "text": printed.getvalue().splitlines(keepends=True)})
        printed.seek(0)
        printed.truncate()

    def show(*_: Any, **__: Any) -> None:
        flush()
        for number in plt.get_fignums():
            outputs.append(picture(plt.figure(number)))
        plt.close("all")

    def warn(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        flush()
        text = f"{category.__name__}: {message}\n"
        outputs.append({"name": "stderr", "output_type": "stream", "text": [text]})

    shown, plt.show = plt.show, show
    try:
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.showwarning = warn
            value = value_of(source, namespace, f"<cell {count}>")
    except Exception as error:
        raise RuntimeError(f"cell {count} failed: {type(error).__name__}: {error}") from error
    finally:
        plt.show = shown
        plt.close("all")
    flush()
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        outputs.append({"data": data, "execution_count": count, "metadata": {}, "output_type": "execute_result"})
    return outputs


def value_of(source: str, namespace: dict[str, Any], name: str) -> Any:
    """Runs `source` and returns the value of its last statement, if that is an expression."""
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)
    return eval(compile(ast.Expression(last.value), name, "eval"), namespace) if isinstance(last, ast.Expr) else None


def picture(figure: Any) -> dict[str, Any]:
    """Returns a figure as an output."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=DPI, metadata={"Software": None})
    size = "x".join(f"{DPI * inches:.0f}" for inches in figure.get_size_inches())
    encoded = base64.b64encode(data.getvalue()).decode()
    return {
        "data": {"image/png": encoded, "text/plain": [f"<Figure size {size} with {len(figure.axes)} Axes>"]},
        "metadata": {}, "output_type": "display_data",
    }


if __name__ == "__main__":
    main()
