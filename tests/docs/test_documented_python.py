"""Python of the pages: it parses, and what it asks of `fmlab` and of a run is there and takes these arguments."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fmlab
from fmlab.report.export import frame_of
from fmlab.workflow.automl import automl

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CALLED = {"automl": automl, "report": frame_of}  # packages that can be called


def blocks() -> Iterator[Any]:
    for path in PAGES:
        shown = re.findall(r"^( *)```python\n(.*?)^ *```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
        for n, (indent, code) in enumerate(shown):
            yield pytest.param(re.sub(f"^{indent}", "", code, flags=re.MULTILINE), id=f"{path.name}-{n}")


@pytest.mark.parametrize("code", list(blocks()))
def test_what_python_on_a_page_asks_for_is_there(code: str) -> None:
    owners = {"fmlab": fmlab, "run": fmlab.FittedRun}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in owners:
            assert hasattr(owners[node.value.id], node.attr) or node.attr == "folder", ast.unparse(node)
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        whose, name = node.func.value, node.func.attr
        if isinstance(whose, ast.Name) and whose.id in owners:
            taken = inspect.signature(CALLED.get(name) or getattr(owners[whose.id], name))
            itself = [None] if whose.id == "run" else []
            taken.bind(*itself, *node.args, **{k.arg: k.value for k in node.keywords if k.arg})
