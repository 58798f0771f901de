"""Every command in README.md and docs/ is one that the program accepts: each run composes, each subcommand is known."""

import re
import shlex
from itertools import product
from pathlib import Path

import pytest

from fmlab.cli import main
from fmlab.cli.command_line import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"(?:\.venv/bin/)?(?:python3? -m )?fmlab (.*)")
NOT_HERE = ("acme", "mine", "experiment=...", "sweep=...")  # what the reader makes or chooses
JOBS = 12  # of a multirun that are composed


def commands():
    """The words of every command of the program in a block of shell code."""
    for page in PAGES:
        for block in re.findall(r"^ *```bash\n(.*?)^ *```", page.read_text(), re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.split("&&"):
                    if match := COMMAND.fullmatch(part.strip()):
                        words = shlex.split(match[1], comments=True)
                        yield pytest.param(words, id=f"{page.stem}: {' '.join(words)}"[:90])


def jobs(words):
    """The jobs of a multirun: every combination of values that commas separate outside brackets."""
    pairs = [w.partition("=") for w in words]
    values = [[v] if v[:1] in "[{'" else v.split(",") for _, _, v in pairs]
    values = [["0", "1"] if v[0].startswith("range(") else v for v in values]
    for choice in product(*values):
        yield [f"{key}={value}" for (key, _, _), value in zip(pairs, choice, strict=True)]


@pytest.mark.parametrize("words", list(commands()))
def test_a_documented_command_is_accepted(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if any(part in word for part in NOT_HERE for word in words):
        pytest.skip("names what the reader makes")
    if "=" not in words[0] and not words[0].startswith("-"):
        assert words[0] in COMMANDS
        return
    options = [w for w in words if "=" in w and not w.startswith(("hydra/", "ckpt_path=", "warm_start="))]
    if "--help" in words or any(w.startswith("sweep=") for w in options):
        return  # sweeps are composed by tests/sweep, help texts by tests/cli
    for job in list(jobs(options))[:JOBS]:
        assert main([*job, "--cfg", "job"]) == 0, capsys.readouterr().err
