"""A foreign config: nothing is written outside the working folder, nothing is run, no variable is set or read."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_packages import install_good
from omegaconf import DictConfig

from fmlab.cli import main
from fmlab.config.hydra_keys import ACCEPTED
from fmlab.plugin import registry
from fmlab.run import experiment

BASE = ["model=acme", "data=acme_plain", "protocol=acme_protocol2"]
CANARY = "canary-4711-secret"


@pytest.fixture
def room(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a folder `mine` of foreign configs, and training that only notes its config."""
    install_good(site)
    registry.refresh()
    folder = tmp_path / "work"
    (folder / "mine" / "experiment").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(experiment, "run", lambda config, folder: 0.5)
    return folder


def outside(folder: Path) -> set[Path]:
    return {p for p in folder.parent.rglob("*") if p.is_file() and "site" not in p.parts and "mine" not in p.parts}


def put(folder: Path, name: str, text: str) -> None:
    path = folder / "mine" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


GLOBAL = "# @package _global_\n"
REFUSED = {
    "env_set": GLOBAL + "hydra: {job: {env_set: {PYTHONPATH: /tmp/x}}}\n",
    "env_copy": GLOBAL + "hydra: {job: {env_copy: [HOME]}}\n",
    "package": "# @package hydra\njob: {env_set: {PATH: x}}\n",
    "deep package": "# @package hydra.job.env_set\nPATH: x\n",
    "interpolated part": GLOBAL + 'hydra: {job: "${evil}"}\nevil: {env_set: {A: b}}\n',
    "interpolated whole": GLOBAL + "hydra: ${evil}\nevil: {job: {env_set: {A: b}}}\n",
    "group in another package": GLOBAL + "defaults: [{/trainer@hydra.job.env_set: evil}]\n",
    "own launcher": GLOBAL + "defaults: [{override /hydra/launcher: evil}]\n",
    "launcher that calls": GLOBAL + "hydra: {launcher: {setup: [touch x]}}\n",
    "callbacks": GLOBAL + "hydra: {callbacks: {x: {_target_: os.system}}}\n",
    "log file": GLOBAL + "hydra: {job_logging: {handlers: {file: {filename: ../x.log}}}}\n",
    "log of a multirun": GLOBAL
    + "hydra: {hydra_logging: {handlers: {f: {class: logging.FileHandler, filename: x}}}}\n",
    "run folder": GLOBAL + "hydra: {run: {dir: /tmp/fmlab-out}}\n",
    "run folder above": GLOBAL + "hydra: {run: {dir: runs/../../x}}\n",
    "run folder by time": GLOBAL + 'hydra: {run: {dir: "${now:/tmp/x}"}}\n',
    "run folder at home": GLOBAL + "hydra: {run: {dir: ~/x}}\n",
    "escape in a folder": GLOBAL + 'hydra: {run: {dir: "runs/\\e[2J"}}\n',
    "job name": GLOBAL + "hydra: {job: {name: ../../x}}\n",
    "subfolder": GLOBAL + "hydra: {sweep: {subdir: ../../x}}\n",
    "output folder": GLOBAL + "hydra: {output_subdir: ../../x}\n",
    "overrides": GLOBAL + 'hydra: {overrides: {hydra: ["hydra.job.env_set={A: b}"]}}\n',
    "options varied": GLOBAL + "hydra: {sweeper: {params: {hydra.run.dir: x}}}\n",
    "help": GLOBAL + "hydra: {help: {template: x}}\n",
    "cache_dir": GLOBAL + "cache_dir: /etc\n",
    "cache by a default": GLOBAL + "cache: ${env:FMLAB_CACHE_2,'/etc'}\n",
    "a variable": GLOBAL + 'tags: ["${oc.env:FMLAB_TEST_USER}"]\n',
    "a variable by another": GLOBAL + 'tags: ["${oc.env:${model.name}}"]\n',
    "the vault": GLOBAL + 'tags: ["${secret:PATH}"]\n',
    "a path of a plugin": GLOBAL + "model: {path: ~/.local/usercustomize.py}\n",
    "a path above": GLOBAL + "model: {path: a/../../b}\n",
    "a server": GLOBAL + "model: {path: http://127.0.0.1:9/x}\n",
    "a server of another kind": GLOBAL + 'model: {path: "DataBricks+x://a@b"}\n',
    "an alias bomb": GLOBAL
    + "a: &a [1,1,1,1,1,1,1,1,1]\n"
    + "".join(f"{n}: &{n} [{','.join([f'*{m}'] * 9)}]\n" for m, n in zip("abcde", "bcdef", strict=True)),
    "a long list": GLOBAL + f"tags: [{','.join('a' * 30_000)}]\n",
    "a deep list": GLOBAL + f"tags: {'[' * 500}{']' * 500}\n",
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_foreign_experiment_is_refused_and_leaves_nothing(
    room: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(room, "experiment/evil", REFUSED[what])
    put(room, "trainer/evil", "A: b\n")
    put(room, "hydra/launcher/evil", "_target_: os.system\n")
    before, variables = outside(room), dict(os.environ)
    assert main(["--config-dir", "mine", *BASE, "experiment=evil"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert outside(room) == before
    assert dict(os.environ) == variables


@pytest.mark.parametrize(
    "override",
    [
        "hydra.job.env_set.X=1",
        "+hydra.job.env_set.X=1",
        "++hydra.job={env_set: {X: y}}",
        "+hydra={job: {env_set: {X: y}}}",
        "hydra.job.env_copy=[HOME]",
        "hydra.callbacks={x: 1}",
        "hydra.help.header=x",
        "hydra.job.name=../x",
        "hydra.output_subdir=../x",
        "hydra.searchpath=[pkg://evil]",
        "+hydra.searchpath=[pkg://evil]",
        "hydra.searchpath=[pkg://evil.sub]",
        "hydra.launcher=x",
        "~hydra.job",
        "hydra/job_logging=evil",
    ],
)
@pytest.mark.parametrize("flag", ["--help", "--cfg=job", ""])
def test_keys_that_are_not_accepted_are_refused_where_they_are_typed(room: Path, override: str, flag: str) -> None:
    (room / "evil.py").write_text("raise SystemExit('imported')\n")
    put(room, "hydra/job_logging/evil", "version: 1\nroot: {handlers: []}\n")
    assert main(["--config-dir", "mine", *BASE, override, *([flag] if flag else [])]) == 2
    assert "evil" not in sys.modules
    assert outside(room) == {room / "evil.py"}


def test_a_primary_config_cannot_name_a_search_path(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(room, "config", "hydra: {searchpath: [pkg://evil]}\n")
    assert main(["--config-path", "mine", "--help"]) == 2
    assert "hydra.searchpath is for the command line" in capsys.readouterr().err


def test_the_user_may_name_any_folder_and_read_any_variable(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FMLAB_TEST_USER", "bob")
    elsewhere = tmp_path / "elsewhere"
    typed = [f"cache_dir={elsewhere}", f"hydra.run.dir={elsewhere}/run", "tags=['${oc.env:FMLAB_TEST_USER}']"]
    assert main([*BASE, *typed]) == 0
    assert (elsewhere / "run" / "run.log").is_file()
    assert main([*BASE, *typed, "--cfg", "job", "--resolve"]) == 0
    assert "- bob" in capsys.readouterr().out


def test_a_file_may_set_folders_inside(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(room, "experiment/good", GLOBAL + 'hydra: {run: {dir: "runs/mine/${seed}"}, job: {name: log}}\ntags: [/x]\n')
    assert main(["--config-dir", "mine", *BASE, "experiment=good"]) == 0
    assert (room / "runs/mine/0/log.log").is_file()


@pytest.mark.parametrize(
    "content",
    [
        "study: ../../X\n",
        "folder: /tmp/fmlab-x\n",
        "storage: postgresql://evil/db\n",
        "storage: ../x.journal\n",
        "fixed: {hydra.run.dir: x}\n",
        "fixed: {+hydra.job.env_set.A: b}\n",
        "fixed: {cache: /etc}\n",
        "fixed: {'trainer@hydra.job': x}\n",
        "fixed: {tags: ['\\${oc.env:HOME}']}\n",
        "_target_: os.system\n",
        "initial_points: [{hydra.run.dir: x}]\n",
    ],
)
def test_a_foreign_sweep_is_refused(room: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    put(room, "sweep/evil", f"sampler: grid\nspace: {{model.dim: {{choice: [1, 2]}}}}\n{content}")
    assert main(["--config-dir", "mine", "-m", *BASE, "sweep=evil"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert [p for p in outside(room) if "workers" in p.parts or p.suffix == ".journal"] == []


def test_the_security_policy_lists_the_keys_that_are_accepted() -> None:
    text = (Path(__file__).parents[2] / "SECURITY.md").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| `hydra.")]
    listed = {(line.split("`")[1], line.split("|")[2].strip()) for line in lines}
    plain = [k for k in ACCEPTED if not (k.name.startswith("hydra.sweeper.") and k.what == "an option of a sweep")]
    wanted = {(k.name, "yes" if k.file else "no") for k in plain} | {("hydra.sweeper.<option of a sweep file>", "yes")}
    assert listed == wanted


def test_secrets_of_the_environment_are_hidden(
    room: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    put(
        room, "experiment/reads", GLOBAL + 'tags: ["${oc.env:AWS_SECRET_ACCESS_KEY}", "${env:AWS_SECRET_ACCESS_KEY}"]\n'
    )
    typed = "tags=['${oc.env:AWS_SECRET_ACCESS_KEY}','a-${env:AWS_SECRET_ACCESS_KEY}-b']"
    seen: list[list[str]] = []
    run: Callable[[DictConfig, Path], float] = lambda config, folder: seen.append(list(config.tags)) or 0.5  # noqa: E731
    monkeypatch.setattr(experiment, "run", run)
    for arguments in ([typed], ["--config-dir", "mine", "experiment=reads"]):
        assert main([*BASE, *arguments, "hydra.output_subdir=.hydra"]) == 0
        assert main([*BASE, *arguments, "--cfg", "job", "--resolve"]) == 0
        assert main([*BASE, *arguments, "--cfg", "all"]) == 0
    assert main([*BASE, "model.dim=${oc.env:AWS_SECRET_ACCESS_KEY}"]) == 2
    assert main([*BASE, f"+model.nosuch={CANARY}"]) == 2
    out = capsys.readouterr()
    assert CANARY not in out.out + out.err
    assert not any(CANARY in p.read_text("utf-8", "replace") for p in room.rglob("*") if p.is_file())
    assert seen == [[CANARY, f"a-{CANARY}-b"], ["***", "***"]]
