import errno
import json
import logging
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_packages import install, install_broken, install_good
from omegaconf import DictConfig, OmegaConf

from fmlab.cli import main
from fmlab.cli.command_line import COMMANDS
from fmlab.errors import DataError, FmlabError, StorageError
from fmlab.plugin import registry
from fmlab.training.processes import LAUNCHER

BASE = ["model=acme", "data=acme_plain", "protocol=acme_protocol2"]
Runner = Callable[[DictConfig, Path], float]


@pytest.fixture
def room(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the good plugins installed."""
    install_good(site)
    registry.refresh()
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def runs(room: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Runner], None]:
    """Replaces training, which has its own tests: what a job does is given by the test."""

    def replace(run: Runner) -> None:
        module = types.ModuleType("fmlab.run.experiment")
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "fmlab.run.experiment", module)

    return replace


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# ------------------------------------------------------------------------------------------ one run


def test_a_run_gets_its_config_and_a_folder_of_its_own(room: Path, runs: Any) -> None:
    seen: list[tuple[DictConfig, Path]] = []
    runs(lambda config, folder: seen.append((config, folder)) or 0.5)
    assert main([*BASE, "model.dim=3"]) == 0
    assert main(BASE) == 0
    (first, folder), (second, other) = seen
    assert (first.model.dim, second.model.dim) == (3, 8)
    assert "hydra" not in first
    assert folder.parent == other.parent == room / "runs" / "acme_plain" / "acme_protocol2" / "acme"
    assert folder != other
    assert files(folder) == ["run.log"]


def test_a_program_that_calls_main_keeps_its_logging(room: Path, runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    runs(lambda config, folder: 0.5)
    for arguments in (["--help"], BASE, ["-m", *BASE], ["data", "list"], ["no-such-command"]):
        main(arguments)
        assert (root.handlers, root.level) == before


def test_progress_is_shown_on_a_terminal_only(runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []
    runs(lambda config, folder: seen.append(config.trainer.progress) or 0.0)
    main(BASE)
    main([*BASE, "trainer.progress=true"])
    assert seen == [False, True]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (FmlabError("the rule,\n got this"), 2, "error: the rule, got this\n"),
        (DataError("no rows"), 65, "error: no rows\n"),
        (StorageError("disk full"), 74, "error: disk full\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "best.ckpt"),
            74,
            "error: best.ckpt: No space left on device\n",
        ),
    ],
)
def test_a_known_error_is_one_line_and_an_exit_code(
    runs: Any, capsys: pytest.CaptureFixture[str], error: Exception, code: int, text: str
) -> None:
    def fail(config: DictConfig, folder: Path) -> float:
        raise error

    runs(fail)
    assert main(BASE) == code
    assert capsys.readouterr().err == text


def test_a_refused_run_that_left_its_log_alone_leaves_no_folder(room: Path, runs: Any) -> None:
    more: list[str] = []

    def refuse(config: DictConfig, folder: Path) -> float:
        (folder / ".lock").touch()
        for name in more:
            (folder / name).write_text("x")
        raise FmlabError("refused")

    runs(refuse)
    (room / "mine").mkdir()
    assert main([*BASE, "hydra.run.dir=mine/a/b"]) == 2
    assert list(room.iterdir()) == [room / "mine"]
    assert list((room / "mine").iterdir()) == []
    assert main([*BASE, "hydra.run.dir=mine"]) == 2  # a folder of the user's
    assert (room / "mine" / "run.log").is_file()
    more.append("config.yaml")
    assert main([*BASE, "hydra.run.dir=kept"]) == 2
    assert files(room / "kept") == [".lock", "config.yaml", "run.log"]


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_a_closed_stream_is_no_error(name: str, room: Path, runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(lambda config, folder: 0.5)
    monkeypatch.setattr(sys, name, None)
    assert main([*BASE, "hydra.run.dir=run"]) == 0
    assert files(room) == ["run/run.log"]


def test_a_working_folder_that_is_gone_is_said(
    room: Path, runs: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (room / "gone").mkdir()
    monkeypatch.chdir(room / "gone")
    (room / "gone").rmdir()
    assert main(["plugins"]) in (0, 74)
    assert main([*BASE]) == 74
    assert "the working folder is not there any more" in capsys.readouterr().err


def fail_unexpectedly(config: DictConfig, folder: Path) -> float:
    return 1 / 0


def test_a_defect_keeps_its_traceback_in_the_log(
    room: Path, runs: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs(fail_unexpectedly)
    assert main(BASE) == 1
    (log,) = room.rglob("run.log")
    line = capsys.readouterr().err
    assert line.startswith(f"error: ZeroDivisionError: division by zero ({__file__}:")
    assert line.endswith(f"; traceback in {log}\n")
    assert "in fail_unexpectedly\n    return 1 / 0" in log.read_text("utf-8")
    monkeypatch.setenv("FMLAB_TRACEBACK", "1")
    assert main(BASE) == 1
    assert "in fail_unexpectedly" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt("in epoch 3"), 130),
        (SystemExit(None), 1),
        (SystemExit(0), 1),
        (SystemExit(5), 5),
        (SystemExit("no"), 1),
    ],
)
def test_an_exit_keeps_its_meaning(runs: Any, error: BaseException, code: int) -> None:
    def leave(config: DictConfig, folder: Path) -> float:
        raise error

    runs(leave)
    assert main(BASE) == code


def test_an_exit_that_lightning_made_of_ctrl_c_is_an_interruption(
    runs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave(config: DictConfig, folder: Path) -> float:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    runs(leave)
    assert main(BASE) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["model.optoin=3"],
        ["model.dim=0"],
        ["trainer.max_epochs=abc"],
        ["model.path=${env:NOPE}"],
        ["+model._target_=os.system"],
        ["-m", "model.dim=0,1"],
        ["-m", "trainer=ddp"],
        ["-m", "trainer.devices=2", "seed=1,2"],
        ["model.dim=1,2"],
        ["sweep=nothing"],
        ["sweep=tryout"],
        ["--config-dir", "nowhere"],
        ["--nonsense"],
        ["-m", "--cfg", "job"],
        ["--resolve"],
        ["--experimental-rerun", "x.pickle"],
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_trace(
    room: Path, runs: Any, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    runs(fail_unexpectedly)
    assert main([*BASE, *arguments]) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert [f for f in files(room) if not f.endswith("multirun.yaml")] == []


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (
            "plugin",
            f"got 'plugin'; did you mean 'plugins'? commands: {', '.join(sorted(COMMANDS))}",
        ),
        ("acme", f"got 'acme'; commands: {', '.join(sorted(COMMANDS))}"),
    ],
)
def test_an_unknown_command_gets_the_nearest_one(word: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    assert capsys.readouterr().err.strip().endswith(text)


def test_a_process_of_another_device_shares_the_folder_of_the_first(
    room: Path, runs: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv(LAUNCHER, str(os.getppid()))

    def run(config: DictConfig, folder: Path) -> float:
        logging.getLogger("fmlab").info("a line")
        return float(folder.name == "of-the-first")

    runs(run)
    added = ['hydra.run.dir="runs/of-the-first"', "hydra.job.name=train_ddp_process_1", "hydra.output_subdir=null"]
    assert main([*BASE, "trainer=ddp", *added]) == 0
    assert files(room) == ["runs/of-the-first/train_ddp_process_1.log"]
    assert "a line" not in capsys.readouterr().err


# ------------------------------------------------------------------------------------------ multirun


def test_all_jobs_of_a_multirun_run_and_failures_are_listed(
    room: Path, runs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[int, str]] = []

    def run(config: DictConfig, folder: Path) -> float:
        seen.append((config.model.dim, folder.name))
        if config.model.dim == 2:
            raise DataError("two is too few")
        if config.model.dim == 3:
            return 1 / 0
        return 0.5

    runs(run)
    assert main([*BASE, "-m", "model.dim=1,2,3,4"]) == 3
    assert seen == [(1, "0"), (2, "1"), (3, "2"), (4, "3")]
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]
    assert lines[0] == f"failed: {' '.join(BASE)} model.dim=2: two is too few"
    assert lines[1].startswith(f"failed: {' '.join(BASE)} model.dim=3: ZeroDivisionError: division by zero")
    (log,) = room.glob("runs/sweeps/*/2/run.log")
    assert "ZeroDivisionError" in log.read_text("utf-8")


def test_a_multirun_without_failures_ends_well(room: Path, runs: Any) -> None:
    seen: list[tuple[str, int]] = []
    runs(lambda config, folder: seen.append((config.optimizer.name, config.seed)) or 0.0)
    assert main(["-m", *BASE, "optimizer=acme_sgd,acme_sgd2", "seed=1,2"]) == 0
    assert seen == [("acme_sgd", 1), ("acme_sgd", 2), ("acme_sgd2", 1), ("acme_sgd2", 2)]


def test_ctrl_c_ends_a_multirun(runs: Any) -> None:
    seen: list[int] = []

    def run(config: DictConfig, folder: Path) -> float:
        seen.append(config.seed)
        raise KeyboardInterrupt

    runs(run)
    assert main(["-m", *BASE, "seed=1,2"]) == 130
    assert seen == [1]


# ------------------------------------------------------------------------------------------- secrets


def test_secrets_reach_the_run_and_nothing_else(
    room: Path, runs: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FMLAB_SECRET_DATA_API_KEY", "FMLAB_SECRET_DATA_FILE"):
        monkeypatch.setenv(name, "")  # restored afterwards
    canary, address = "canary-4711", "https://me:canary-4711@host/x"
    seen: list[tuple[str, str]] = []
    runs(lambda config, folder: seen.append((config.data.api_key, config.data.file)) or 0.0)
    arguments = ["model=acme", "data=acme_data", f"data.file='{address}'", f"data.api_key={canary}"]
    assert main(arguments) == 0
    assert main(["-m", *arguments, "seed=1,2"]) == 0
    assert main([*arguments, "--cfg", "job"]) == 0
    assert main([*arguments, "--cfg", "job", "--resolve"]) == 0
    assert main([*arguments, "--cfg", "all"]) == 0
    assert main([*arguments, "--help"]) == 0
    assert main([*arguments, "--info", "config"]) == 0
    assert seen == [(canary, address)] * 3
    out = capsys.readouterr()
    assert canary not in out.out + out.err
    texts = [p.read_text("utf-8") for p in room.rglob("*") if p.is_file()]
    assert len(texts) == 4  # three logs and multirun.yaml
    assert not any(canary in t for t in texts)


# ------------------------------------------------------------------------- help, listings, completion


def test_help_shows_groups_options_and_examples(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BASE, "model.dim=5", "--help"]) == 0
    text = capsys.readouterr().out
    assert "fmlab -m model=fm,lorentzfm seed=1,2,3" in text
    assert "trainer: cpu, ddp, debug, default, gpu" in text
    assert "model=acme: Second-order interactions in one line.\n" in text
    assert "  model.dim         5      int in [1, inf)\n" in text
    assert "  optimizer.lr  0.1  float in (0, inf)\n" in text
    assert '$(fmlab --shell-completion install=bash)"' in text


def test_the_config_is_shown_without_running(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BASE, "--cfg", "job", "--resolve"]) == 0
    config = OmegaConf.create(capsys.readouterr().out)
    assert (config.model.dim, config.data_dir) == (8, "data")
    assert files(room) == []


def test_folders_come_from_the_environment(
    room: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FMLAB_DATA_DIR", "/raw")
    monkeypatch.setenv("FMLAB_CACHE", "~/prepared")
    assert main([*BASE, "--cfg", "job", "--resolve"]) == 0
    config = OmegaConf.create(capsys.readouterr().out)
    assert (config.data_dir, config.cache_dir) == ("/raw", str(Path.home() / "prepared"))
    monkeypatch.setenv("FMLAB_DATA_DIR", "")  # as if they were not set
    monkeypatch.setenv("FMLAB_CACHE", "")
    assert main([*BASE, "--cfg", "job", "--resolve"]) == 0
    config = OmegaConf.create(capsys.readouterr().out)
    assert (config.data_dir, config.cache_dir) == ("data", str(Path.home() / ".cache/fmlab"))


def test_a_folder_of_configs_can_be_added(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (room / "mine" / "experiment").mkdir(parents=True)
    (room / "mine" / "experiment" / "small.yaml").write_text("# @package _global_\nmodel: {dim: 2}\n")
    assert main([*BASE, "--config-dir", "mine", "experiment=small", "--cfg", "job", "-p", "model"]) == 0
    assert "dim: 2" in capsys.readouterr().out


def test_plugins_are_listed_broken_ones_too(room: Path, site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install_broken(site)
    registry.refresh()
    assert main(["plugins", "model"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "model"
    words = " ".join(w for line in lines for w in line.split())
    claimed = "broken: another package claims this name too: select it as"
    assert f"acme acme-fm 1.0 {claimed} acme-fm:acme acme twin-pkg 1.0 {claimed} twin-pkg:acme" in words
    assert any("missing-pkg 1.0" in line and "broken: missing_pkg has no 'M'" in line for line in lines)
    assert main(["plugins", "--json"]) == 0
    listed = {(p["kind"], p["name"]): p for p in json.loads(capsys.readouterr().out)}
    assert listed["optimizer", "acme_sgd"]["options"] == [
        {"name": "lr", "type": "float in (0, inf)", "required": False, "default": 0.1, "description": ""}
    ]


def test_plugins_can_be_imported_to_see_what_fails(room: Path, site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(
        site,
        "exits",
        {"exits_pkg.py": "raise SystemExit(3)\ndef f(root, *, k: int = 1): ...\n"},
        {"fmlab.data": {"exits": "exits_pkg:f"}},
    )
    registry.refresh()
    assert main(["plugins", "data"]) == 0
    assert "SystemExit" not in capsys.readouterr().out
    assert main(["plugins", "data", "--check"]) == 2
    assert "cannot be imported: SystemExit: 3" in capsys.readouterr().out


def test_one_plugin_is_shown_with_its_options(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "show", "model", "acme"]) == 0
    text = capsys.readouterr().out
    assert "model=acme  acme-fm 1.0, acme_fm.parts:Acme" in text
    assert "  hidden      [4,2]  list of int" in text
    assert "unless said otherwise: loss=acme_loss, optimizer=acme_sgd" in text
    assert main(["plugins", "show", "model", "acmee"]) == 2
    assert main(["plugins", "modle"]) == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("fmlab model=ac", ["model=acme"]),
        ("fmlab model=acme data=acme_plain protocol=acme_protocol2 model.d", ["model.dim=", "model.dropout="]),
        ("fmlab model=nonsense model.d", []),
    ],
)
def test_the_shell_completes(
    room: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, words: list[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    main(["-sc", "query=bash"])
    assert capsys.readouterr().out.split() == words


def test_a_report_is_a_command(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "nowhere"]) == 74
    assert "nowhere" in capsys.readouterr().err


def test_the_version_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("fmlab ")


# ----------------------------------------------------------------------------------------- processes


@pytest.fixture
def environment(room: Path, site: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(site), "COMP_LINE": "fmlab model=ac"}


def test_help_listings_and_completion_do_not_import_torch(environment: dict[str, str]) -> None:
    script = f"""
import sys
from fmlab.cli import main
base = {BASE}
for arguments in (["--help"], ["--cfg", "job"], ["--info", "config"], ["-sc", "query=bash"]):
    assert main([*base, *arguments]) == 0, arguments
assert main(["plugins"]) == 0
assert main(["plugins", "show", "model", "acme"]) == 0
heavy = ["torch", "pytorch_lightning", "lightning_fabric", "pandas", "numpy", "optuna", "wandb", "rich", "acme_fm"]
found = [m for m in heavy if m in sys.modules]
for arguments in (["data", "list"], ["sweep", "list"], ["experiment", "list"], ["schema"]):
    assert main(arguments) == 0, arguments
print([*found, *(m for m in heavy[:3] if m in sys.modules)])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_module_is_the_program(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "fmlab", *BASE, "model.optoin=3"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: model.optoin is not an option of model acme; did you mean 'option'?")
    assert done.stdout == ""


def test_a_closed_pipe_is_no_error(environment: dict[str, str]) -> None:
    command = f"{sys.executable} -u -m fmlab plugins | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_program_with_its_code(
    environment: dict[str, str], number: signal.Signals, code: int
) -> None:
    script = f"""
import signal, sys, time, types
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests run under nohup, and then left alone
module = types.ModuleType("fmlab.run.experiment")
def run(config, folder):
    try:
        print("running", flush=True)
        time.sleep(60)
    finally:
        (folder / "cleaned").touch()
module.run = run
sys.modules["fmlab.run.experiment"] = module
from fmlab.cli import main
sys.exit(main({BASE}))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in err
    assert len(list(Path().rglob("cleaned"))) == 1
