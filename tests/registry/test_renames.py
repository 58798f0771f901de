"""Former names of options: everywhere an option is written, its old name works, with a warning that has the new one."""

import logging
from pathlib import Path
from typing import Annotated, get_args

import pytest
from fake_packages import install
from omegaconf import OmegaConf

from fmlab.config import composition
from fmlab.errors import FmlabError
from fmlab.plugin import registry, renames
from fmlab.plugin import signature as signatures
from fmlab.plugin.option import Option, Range, Renamed

MODEL = '''
from typing import Annotated, Literal

from old_types import Size
from fmlab.plugin.option import Range, Renamed

Words = Annotated[tuple[str, ...], "words that are kept, "
    "in their order", Renamed("texts")]


class Model:
    """Renamed."""

    def __init__(
        self,
        schema,
        *,
        dim: Annotated[Size, Renamed("width")] = 8,
        words: Words = (),
        on_leak: Annotated[
            Literal["error", "drop"], "what a leak does", Renamed("leaks", {"refuse": "error"})
        ] = "drop",
        start: Annotated[Literal["normal", "ones"], Renamed("start", {"identity": "ones"})] = "normal",
        half: Size | None = None,
    ) -> None:
        self.given = (dim, words, on_leak, start, half)
'''
TYPES = """
from typing import Annotated

from fmlab.plugin.option import Range

Size = Annotated[int, Range(1, None), "size of the vectors"]
"""
EXPERIMENT = "# @package _global_\ndefaults:\n  - override /model: older\nmodel:\n  leaks: refuse\n  texts: [a, b]\n"


@pytest.fixture(autouse=True)
def older(site: Path) -> None:
    install(
        site,
        "older",
        {
            "old_model.py": MODEL,
            "old_types.py": TYPES,
            "old_conf/__init__.py": "",
            "old_conf/experiment/old.yaml": EXPERIMENT,
        },
        {"fmlab.model": {"older": "old_model:Model"}, "fmlab.conf": {"older": "old_conf"}},
    )
    registry.refresh()
    renames.forget_warnings()


def model(*overrides: str) -> dict[str, object]:
    found = OmegaConf.to_container(composition.compose(["model=older", *overrides]).model)
    assert isinstance(found, dict)
    return {str(k): v for k, v in found.items()}


def test_source_and_object_declare_the_same_options() -> None:
    source, loaded = registry.schema("model", "older"), signatures.of_object(registry.load("model", "older"))
    assert [o.name for o in source.options] == ["dim", "words", "on_leak", "start", "half"]
    for a, b in zip(source.options, loaded.options, strict=True):
        assert (a.description, a.renamed, str(a), a.default) == (b.description, b.renamed, str(b), b.default)
    assert [o.description for o in source.options] == [
        *("size of the vectors", "words that are kept, in their order", "what a leak does", "", "size of the vectors"),
    ]
    assert str(source.options[0]) == "int in [1, inf)"
    assert source.options[4].check(None) is None


def test_a_description_and_a_former_name_change_no_check() -> None:
    option = Option.of("x", Annotated[int, Range(1, 3), "how many", Renamed("y")], 2)
    assert (option.description, option.renamed, option.check("3")) == ("how many", (Renamed("y"),), 3)
    assert get_args(option.type)[0] is int
    with pytest.raises(ValueError, match=r"whole number in \[1, 3\], got 4"):
        option.check(4)


def test_without_old_names_nothing_is_said_and_nothing_is_left(caplog: pytest.LogCaptureFixture) -> None:
    assert model() == {"name": "older", "dim": 8, "words": [], "on_leak": "drop", "start": "normal", "half": None}
    assert "now" not in caplog.text


@pytest.mark.parametrize(
    ("typed", "new", "value", "said"),
    [
        ("model.width=3", "dim", 3, "model.width is called model.dim now"),
        ("model.texts=[a,b]", "words", ["a", "b"], "model.texts is called model.words now"),
        ("model.leaks=refuse", "on_leak", "error", "model.leaks=refuse is called model.on_leak=error now"),
        ("model.leaks=error", "on_leak", "error", "model.leaks is called model.on_leak now"),
        ("model.start=identity", "start", "ones", "model.start=identity is called model.start=ones now"),
        ("model.width=${batch_size}", "dim", "${batch_size}", "model.width is called model.dim now"),
    ],
)
def test_overrides_take_old_names(
    typed: str, new: str, value: object, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert model() | {new: value} == model(typed)
    assert [r.getMessage().partition(";")[0] for r in caplog.records if "now" in r.getMessage()] == [said]
    assert caplog.records[-1].levelno == logging.WARNING


def test_files_take_old_names_and_overrides_win(caplog: pytest.LogCaptureFixture) -> None:
    found = composition.compose(["experiment=old"]).model
    assert (found.on_leak, list(found.words)) == ("error", ["a", "b"])
    assert composition.compose(["experiment=old", "model.on_leak=drop"]).model.on_leak == "drop"
    assert composition.compose(["experiment=old", "model.leaks=drop"]).model.on_leak == "drop"
    assert caplog.text.count("model.texts is called model.words now") == 1  # once in a process


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("model.width=2", "model.dim=3"), "one name of an option must be given, got both: model.width is model.dim"),
        (("model.width=0",), r"model.dim must be a whole number in \[1, inf\), got 0"),
        (("model.widht=3",), "model.widht is not an option of model older"),
    ],
)
def test_mistakes_name_the_new_option(typed: tuple[str, ...], said: str) -> None:
    with pytest.raises(FmlabError, match=said) as error:
        model(*typed)
    assert "texts" not in str(error.value)  # old names are no choices


def test_python_and_saved_options_take_old_names(caplog: pytest.LogCaptureFixture) -> None:
    made = registry.build("model", {"name": "older", "width": 3, "leaks": "refuse"}, None)
    assert made.given == (3, (), "error", "normal", None)
    assert "model.width is called model.dim now" in caplog.text
    with pytest.raises(FmlabError, match=r"got both: model\.width is model.dim now"):
        registry.build("model", {"name": "older", "width": 3, "dim": 3}, None)
