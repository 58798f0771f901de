import json
import subprocess
import sys
from pathlib import Path

import pytest
from fake_packages import GOOD, install, install_broken, install_good

from fmlab.errors import FmlabError
from fmlab.plugin import inventory, registry

MODEL = {"fmlab.model": {"acme": "acme_fm.parts:Acme"}}


@pytest.fixture
def good(site: Path) -> Path:
    install_good(site)
    registry.refresh()
    return site


@pytest.fixture
def broken(good: Path) -> Path:
    install_broken(good)
    registry.refresh()
    return good


def test_an_installed_plugin_is_named_and_built(good: Path) -> None:
    assert "acme" in registry.names("model")
    model = registry.build("model", {"name": "acme", "dim": 3, "hidden": [7]}, "the schema")
    assert model.schema == "the schema"
    assert model.given == (3, (7,), 0.0, "relu", None, False)


def test_a_function_is_a_plugin(good: Path) -> None:
    assert registry.build("optimizer", {"name": "acme_sgd", "lr": 1}, "parameters") == ("parameters", 1.0)


def test_a_signature_is_read_without_importing(good: Path) -> None:
    signature = registry.schema("model", "acme")
    assert [o.name for o in signature.options] == ["dim", "hidden", "dropout", "activation", "path", "option"]
    assert [o.default for o in signature.options] == [8, (4, 2), 0.0, "relu", None, False]
    assert [str(o) for o in signature.options] == [
        "int in [1, inf)",
        "list of int",
        "float in [0, 1)",
        "relu|tanh",
        "str or null",
        "bool",
    ]
    assert signature.summary == "Second-order interactions in one line."
    assert signature.paper == "A. Author, On Acme, Venue 2020"
    assert dict(signature.defaults) == {"loss": "acme_loss", "optimizer": "acme_sgd"}
    assert "acme_fm" not in sys.modules
    assert "acme_fm.parts" not in sys.modules


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": "abc"}, "model.dim must be a whole number in [1, inf), got 'abc'"),
        ({"dim": 0}, "model.dim must be a whole number in [1, inf), got 0"),
        ({"dim": True}, "model.dim must be a whole number in [1, inf), got True"),
        ({"dim": 2.5}, "model.dim must be a whole number in [1, inf), got 2.5"),
        ({"dim": None}, "model.dim must be a whole number in [1, inf), got None"),
        ({"dropout": 1}, "model.dropout must be a finite number in [0, 1), got 1"),
        ({"dropout": float("nan")}, "model.dropout must be a finite number in [0, 1), got nan"),
        ({"hidden": 3}, "model.hidden must be a list [...] of: a whole number, got 3"),
        ({"hidden": "12"}, "model.hidden must be a list [...] of: a whole number, got '12'"),
        ({"hidden": [1, "x"]}, "model.hidden must be a list [...] of: a whole number, got [1, 'x']"),
        ({"activation": "rel"}, "model.activation must be one of relu, tanh, got 'rel'; did you mean 'relu'?"),
        (
            {"path": 7},
            "model.path must be text or null, got 7; quote text that reads as a number or as yes and no, "
            "for the shell too: \"'7'\"",
        ),
        ({"option": 1}, "model.option must be true or false, got 1"),
        (
            {"optoin": 1},
            "model.optoin is not an option of acme; did you mean 'option'? "
            "choices: activation, dim, dropout, hidden, option, path",
        ),
    ],
)
def test_a_wrong_value_is_told_on_one_line(good: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(FmlabError) as error:
        registry.build("model", {"name": "acme"} | options, None)
    assert str(error.value) == message


@pytest.mark.parametrize(("given", "taken"), [("12", 12), (1e2, 100), (7, 7)])
def test_whole_numbers_may_come_as_text_or_as_floats(good: Path, given: object, taken: int) -> None:
    checked = registry.check("model", {"name": "acme", "dim": given})
    assert (checked["dim"], type(checked["dim"])) == (taken, int)


def test_a_required_option_must_be_given(good: Path) -> None:
    with pytest.raises(FmlabError, match=r"^data\.file is required by acme_data: str$"):
        registry.build("data", {"name": "acme_data"}, Path())


def test_secrets_are_not_repeated_in_errors(good: Path) -> None:
    with pytest.raises(FmlabError) as error:
        registry.check("data", {"name": "acme_data", "file": "x", "api_key": 12345})
    assert str(error.value) == "data.api_key has a value of the wrong type"


def test_an_unknown_name_gets_the_nearest_one(good: Path) -> None:
    with pytest.raises(FmlabError, match=r"^no model named 'acmee' is installed; did you mean 'acme'\? choices: "):
        registry.find("model", "acmee")


def test_an_unknown_kind_gets_the_nearest_one() -> None:
    with pytest.raises(FmlabError, match="got 'modle'; did you mean 'model'"):
        registry.names("modle")


def test_a_name_claimed_twice_names_both_packages(broken: Path) -> None:
    with pytest.raises(FmlabError) as error:
        registry.build("model", {"name": "acme"}, None)
    text = str(error.value)
    assert "acme-fm 1.0 (acme_fm.parts:Acme)" in text
    assert "twin-pkg 1.0 (twin_pkg:M)" in text
    assert "model=acme-fm:acme or model=twin-pkg:acme" in text or "model=twin-pkg:acme or model=acme-fm:acme" in text
    assert "acme" not in registry.names("model")
    assert {"acme-fm:acme", "twin-pkg:acme"} < set(registry.names("model"))
    chosen = registry.build("model", {"name": "acme_fm:acme"}, "the schema")
    assert chosen.schema == "the schema"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bad_import", "model 'bad_import' of bad_import-pkg 1.0 cannot be imported: ModuleNotFoundError: No module"),
        ("exits", "model 'exits' of exits-pkg 1.0 cannot be imported: SystemExit: 3"),
        ("missing", "model 'missing' of missing-pkg 1.0 is broken: missing_pkg has no 'M'"),
        ("syntax", "model 'syntax' of syntax-pkg 1.0 is broken: syntax_pkg.py cannot be read: "),
        ("gone", "model 'gone' of gone-pkg 1.0 is broken: module 'gone_pkg.models' is not there"),
    ],
)
def test_a_broken_plugin_says_which_package_and_what(broken: Path, name: str, message: str) -> None:
    with pytest.raises(FmlabError) as error:
        registry.build("model", {"name": name}, None)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("target", "source", "message"),
    [
        ("odd_pkg", "", "an entry point must be 'module:object', got 'odd_pkg'"),
        ("odd-pkg:M", "", "an entry point must be 'module:object', got 'odd-pkg:M'"),
        ("odd_pkg:M", "def M(schema, *, k: 'int |' = 1): ...", "the annotation 'int |' cannot be read: invalid syntax"),
        ("odd_pkg:M", "def M(*, k: int = 1): ...", "a model must take (schema, *, ...options), got ()"),
        ("odd_pkg:M", "def M(schema, k: int = 1): ...", "got (schema, k): 'k' must stand after `*`"),
        ("odd_pkg:M", "def M(schema, **k): ...", "its options must be named one by one after `*`"),
        ("odd_pkg:M", "def M(schema, *, name: str = 'x'): ...", "an option cannot be called 'name'"),
        ("odd_pkg:M", "def M(schema, *, k: list = 1): ...", "got list"),
        (
            "odd_pkg:M",
            "def M(schema, *, k: int = '4x'): ...",
            "the default of option 'k' must be a whole number, got '4x'",
        ),
        (
            "odd_pkg:M",
            "def M(schema, *, k: int = None): ...",
            "the default of option 'k' must be a whole number, got None",
        ),
        ("odd_pkg:M", "class M:\n defaults = ['bce']\n def __init__(self, schema): ...", "must be a dict such as"),
    ],
)
def test_a_beginners_mistake_is_listed_and_told(good: Path, target: str, source: str, message: str) -> None:
    install(good, "odd", {"odd_pkg.py": source}, {"fmlab.model": {"odd": target}})
    registry.refresh()
    found = {p.name: p.error for p in inventory.describe("model")}
    assert message in found["odd"] or "k: list" in source  # such a type may be an alias: only an import tells
    assert found["acme"] == ""
    with pytest.raises(FmlabError) as error:
        registry.build("model", {"name": "odd"}, "the schema")
    assert str(error.value).startswith("model 'odd' of odd 1.0 is broken: ")
    assert message in str(error.value)


def test_what_a_plugin_raises_or_gives_names_the_plugin(good: Path) -> None:
    source = "def fails(): raise KeyError('k')\ndef gives(): return 3"
    install(good, "odd", {"odd_pkg.py": source}, {"fmlab.loss": {"fails": "odd_pkg:fails", "gives": "odd_pkg:gives"}})
    registry.refresh()
    with pytest.raises(FmlabError, match=r"loss 'fails' of odd 1.0 cannot be built with \{\}: KeyError: 'k'"):
        registry.build("loss", {"name": "fails"})
    with pytest.raises(FmlabError, match=r"loss 'gives' of odd 1.0 must give a str, got int"):
        registry.build("loss", {"name": "gives"}, gives=str)


def test_broken_plugins_do_not_stop_the_others(broken: Path) -> None:
    found = {(p.name, p.package): p.error for p in inventory.describe("model")}
    assert found["bad_import", "bad_import-pkg 1.0"] == "imports 'not_installed_anywhere', which is not installed"
    assert found["missing", "missing-pkg 1.0"] == "missing_pkg has no 'M'"
    assert found["gone", "gone-pkg 1.0"] == "module 'gone_pkg.models' is not there"
    assert found["slow", "slow-pkg 1.0"] == ""
    assert "select it as twin-pkg:acme" in found["acme", "twin-pkg 1.0"]
    assert not hasattr(sys, "slow_was_imported")


def test_an_entry_point_with_an_evil_name_cannot_be_selected(good: Path) -> None:
    install(good, "evil", {}, {"fmlab.model": {"../x": "acme_fm.parts:Acme"}})
    registry.refresh()
    assert "../x" not in registry.names("model")
    assert [p.error for p in inventory.describe("model") if p.name == "../x"] == [
        "its name must be letters, digits and _.+-"
    ]


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("import math\n\ndef acme(*, low: float = math.pi): ...\n", {"low": 3.141592653589793}),
        ("from acme_other import acme\n", {"dim": 3}),
        ("def made(**defaults):\n    def acme(*, k: int = 5): ...\n    return acme\n\nacme = made()\n", {"k": 5}),
        (
            "class Base:\n    def __init__(self, *, dim: 'int | None' = 4) -> None: ...\n\n\nclass acme(Base): ...\n",
            {"dim": 4},
        ),
        ("from dataclasses import dataclass\n\n\n@dataclass(kw_only=True)\nclass acme:\n    k: int = 2\n", {"k": 2}),
        ("Size = int\n\n\ndef acme(*, k: Size = 6): ...\n", {"k": 6}),
    ],
)
def test_what_the_source_does_not_say_plainly_is_asked_of_the_object(
    site: Path, source: str, options: dict[str, object]
) -> None:
    modules = {"acme_hidden.py": source, "acme_other.py": "def acme(*, dim: int = 3): ...\n"}
    install(site, "hidden", modules, {"fmlab.loss": {"acme": "acme_hidden:acme"}})
    registry.refresh()
    assert {o.name: o.default for o in registry.schema("loss", "acme").options} == options


@pytest.mark.parametrize("parameter", ["k=3", "k: list = ()", "k: dict[str, int] = 3", "k: 'torch.device' = 3"])
def test_an_option_without_a_literal_type_is_refused(site: Path, parameter: str) -> None:
    install(
        site,
        "untyped",
        {"acme_untyped.py": f"def acme(*, {parameter}): ...\n"},
        {"fmlab.loss": {"acme": "acme_untyped:acme"}},
    )
    registry.refresh()
    with pytest.raises(FmlabError, match=r"loss 'acme' of untyped 1\.0 is broken: "):
        registry.schema("loss", "acme")


def test_re_exports_are_followed_without_importing(site: Path) -> None:
    modules = {
        "acme_pkg/__init__.py": "from acme_pkg.inner import Model as Acme\n",
        "acme_pkg/inner/__init__.py": "from .deep import *\nfrom .deep import Model\n",
        "acme_pkg/inner/deep.py": GOOD.replace("class Acme", "class Model"),
    }
    install(site, "nested", modules, {"fmlab.model": {"acme": "acme_pkg:Acme"}})
    registry.refresh()
    assert [o.name for o in registry.schema("model", "acme").options][:2] == ["dim", "hidden"]
    assert "acme_pkg" not in sys.modules


def test_an_inherited_constructor_is_read_without_importing(site: Path) -> None:
    modules = {
        "acme_base.py": "class Base:\n"
        "    defaults = {'loss': 'bpr'}\n"
        "    def __init__(self, schema, *, dim: int = 4): ...\n",
        "acme_child.py": "from acme_base import Base as B\nclass Middle(B): ...\nclass acme(Middle): ...\n1 / 0\n",
    }
    install(site, "child", modules, {"fmlab.model": {"acme": "acme_child:acme"}})
    registry.refresh()
    signature = registry.schema("model", "acme")
    assert ([o.name for o in signature.options], signature.positional) == (["dim"], ("schema",))
    assert signature.defaults == {"loss": "bpr"}


def test_the_registry_needs_neither_torch_nor_hydra() -> None:
    script = (
        "import json, sys; from fmlab.plugin import inventory; inventory.describe();"
        "print(json.dumps([m for m in ('torch', 'pytorch_lightning', 'pandas', 'numpy', 'hydra') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
