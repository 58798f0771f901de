"""Modules of fmlab import each other one way, also inside of functions; imports for types alone do not count."""

import pytest


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Sets of modules that reach each other: what is left once modules without imports, and without importers, go."""
    left = {name: set(found) for name, found in graph.items()}
    while True:
        importers = {m for found in left.values() for m in found}
        ends = {m for m, found in left.items() if not found & left.keys() or m not in importers}
        if not ends:
            return [sorted(left)] if left else []
        left = {m: found - ends for m, found in left.items() if m not in ends}


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == [["b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_modules_import_each_other() -> None:
    grimp = pytest.importorskip("grimp")
    graph = grimp.build_graph("fmlab", exclude_type_checking_imports=True, cache_dir=None)
    found = circles({m: set(graph.find_modules_directly_imported_by(m)) for m in graph.modules})
    assert not found, f"modules import each other: {found}"
