"""Installed packages made of nothing: a folder on the path with modules and a dist-info folder."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from fmlab.plugin import registry


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path into which packages are installed; what was imported from it is forgotten."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    registry.refresh()
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
            del sys.modules[name]
    registry.refresh()


def install(site: Path, package: str, modules: Mapping[str, str], plugins: Mapping[str, Mapping[str, str]]) -> None:
    """Put a package in `site`: `modules` are sources by file name, `plugins` are entry points by group."""
    for name, source in modules.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    info = site / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    groups = [f"[{g}]\n" + "".join(f"{n} = {t}\n" for n, t in entries.items()) for g, entries in plugins.items()]
    (info / "entry_points.txt").write_text("\n".join(groups), encoding="utf-8")


GOOD = '''
from typing import Annotated, Literal

from fmlab.plugin.option import Range


class Acme:
    """Second-order interactions in one line.

    Paper: A. Author, On Acme,
        Venue 2020

    Equations.
    """

    defaults = {"loss": "acme_loss", "optimizer": "acme_sgd"}

    def __init__(
        self,
        schema,
        *,
        dim: Annotated[int, Range(1, None)] = 8,
        hidden: tuple[int, ...] = (4, 2),
        dropout: Annotated[float, Range(0, 1, open_high=True)] = 0.0,
        activation: Literal["relu", "tanh"] = "relu",
        path: str | None = None,
        option: bool = False,
    ) -> None:
        self.schema, self.given = schema, (dim, hidden, dropout, activation, path, option)


class Data:
    """Rows."""

    defaults = {"protocol": "acme_protocol", "loss": "acme_other"}

    def __init__(self, root, *, file: str, rows: int = 10, api_key: str = "") -> None:
        self.root = root


class Plain:
    """Rows without options."""

    def __init__(self, root) -> None:
        self.root = root


class Protocol:
    """A split."""

    defaults = {"batch_size": 4096, "loss": "acme_third"}

    def __init__(self, dataset, *, negatives: Annotated[int, Range(0, None)] = 1) -> None:
        self.dataset = dataset


class OtherProtocol:
    """Another split."""

    def __init__(self, dataset) -> None:
        self.dataset = dataset


def loss(*, margin: float = 1.0):
    """A loss."""
    return margin


def sgd(parameters, *, lr: Annotated[float, Range(0, None, open_low=True)] = 0.1):
    """An optimizer."""
    return parameters, lr
'''


def install_good(site: Path) -> None:
    """A package `acme-fm` with one plugin of each kind; importing its top package would be noticed."""
    modules = {"acme_fm/__init__.py": "import sys\nsys.acme_was_imported = True\n", "acme_fm/parts.py": GOOD}
    where = "acme_fm.parts:"
    plugins = {
        "fmlab.model": {"acme": f"{where}Acme"},
        "fmlab.data": {"acme_data": f"{where}Data", "acme_plain": f"{where}Plain"},
        "fmlab.protocol": {"acme_protocol": f"{where}Protocol", "acme_protocol2": f"{where}OtherProtocol"},
        "fmlab.loss": {n: f"{where}loss" for n in ("acme_loss", "acme_other", "acme_third")},
        "fmlab.optimizer": {"acme_sgd": f"{where}sgd", "acme_sgd2": f"{where}sgd"},
    }
    install(site, "acme-fm", modules, plugins)


def install_broken(site: Path) -> None:
    """Six more packages, each with one model that goes wrong in its own way; `slow` only takes its time."""
    model = 'class M:\n    """A model."""\n\n    def __init__(self, schema, *, dim: int = 1) -> None: ...\n'
    for name, source in {
        "bad_import": f"import not_installed_anywhere\n\n\n{model}",
        "exits": f"raise SystemExit(3)\n\n\n{model}",
        "twin": model,
        "missing": "class N: ...\n",
        "slow": f"import sys, time\nsys.slow_was_imported = True\ntime.sleep(10)\n\n\n{model}",
        "syntax": "class M(:\n",
    }.items():
        claimed = "acme" if name == "twin" else name
        install(site, f"{name}-pkg", {f"{name}_pkg.py": source}, {"fmlab.model": {claimed: f"{name}_pkg:M"}})
    install(site, "gone-pkg", {}, {"fmlab.model": {"gone": "gone_pkg.models:M"}})
