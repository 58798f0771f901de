"""The kept text of `fmlab --help`: it is that of a fresh one, and only while nothing of it has changed."""

import json
from pathlib import Path

import pytest

from fmlab.cli import command_line, help_cache, main


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("FMLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_the_second_help_is_the_first_and_composes_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = printed(capsys, "--help")
    assert "lorentzfm" in first
    monkeypatch.setattr(command_line, "run_hydra", lambda _: pytest.fail("a config was composed"))
    assert printed(capsys, "-h") == printed(capsys) == first


def test_a_text_of_another_key_or_one_that_was_edited_is_not_shown(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = printed(capsys, "--help")
    place = cache / "help.json"
    content = json.loads(place.read_text())
    for change in ({"key": "another"}, {"text": "something else"}, {"text": None}):
        place.write_text(json.dumps(content | change))
        assert printed(capsys, "--help") == first
    place.write_text("{")
    assert printed(capsys, "--help") == first


@pytest.mark.parametrize("file", ["conf/config.yaml", "fmlab/config/schema.py", "sweeps/quick.yaml"])
def test_a_file_that_changes_makes_another_key(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = help_cache._PACKAGE.parent
    if not (root / file).is_file():
        pytest.skip("not a checkout")
    before, line = help_cache.key_of(), help_cache._line
    assert help_cache.key_of() == before
    monkeypatch.setattr(help_cache, "_line", lambda path: line(path) + "later" * (path == str(root / file)))
    assert help_cache.key_of() != before


def test_without_a_cache_folder_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FMLAB_CACHE", str(tmp_path / "none"))
    assert "lorentzfm" in printed(capsys, "--help")
    assert not (tmp_path / "none").exists()
