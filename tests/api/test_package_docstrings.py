"""What the docstrings of packages say of their modules is so."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "fmlab"
LISTING = ("automl", "data", "report", "run", "sweep")  # packages whose docstrings name modules by plain words


def docstring(package: str) -> str:
    return ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text("utf-8"))) or ""


@pytest.mark.parametrize("package", LISTING)
def test_modules_that_a_package_names_are_there(package: str) -> None:
    named = re.findall(r"`([a-z]\w*)`", docstring(package))
    there = {path.stem for path in (ROOT / package).iterdir()}
    assert named
    assert not [name for name in named if name not in there]


def test_modules_that_packages_name_in_full_are_there() -> None:
    packages = [path.parent for path in ROOT.glob("**/__init__.py")]
    named = {name for package in packages for name in re.findall(r"`(fmlab(?:\.\w+)+)`", docstring(str(package)))}
    assert named
    for name in named:
        above, _, last = name.rpartition(".")
        place = ROOT.parent.joinpath(*name.split("."))
        assert place.is_dir() or place.with_suffix(".py").is_file() or hasattr(import_module(above), last), name


def test_the_package_of_data_says_which_of_its_modules_need_torch() -> None:
    named = set(re.findall(r"`([a-z]\w*)`", docstring("data")))
    assert named == {p.stem for p in (ROOT / "data").glob("*.py") if imports(p, "torch")}


def imports(path: Path, library: str) -> bool:
    """Whether a module imports a library where it begins."""
    for node in ast.parse(path.read_text("utf-8")).body:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.partition(".")[0] == library for name in names):
            return True
    return False
