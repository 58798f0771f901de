"""Words that are no command, option or preset: the nearest full name is told."""

import sys
from pathlib import Path

import pytest

from fmlab.cli import main
from fmlab.config.suggestions import nearest, presets_like


def told(capsys, *arguments):
    assert main([*arguments]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("lr=0.1", "did you mean 'optimizer.lr'?"),
        ("+lr=0.1", "did you mean 'optimizer.lr'?"),
        ("epochs=3", "did you mean 'trainer.max_epochs'?"),
        ("max_epochs=3", "did you mean 'trainer.max_epochs'?"),
        ("dim=8", "did you mean 'model.dim'?"),
        ("learning_rate=1", "did you mean 'optimizer.lr'?"),
        ("patience=2", "did you mean 'trainer.patience'?"),
        ("trainer.epochs=3", "did you mean 'max_epochs'?"),
        ("optimizer.learning_rate=1", "did you mean 'optimizer.lr'?"),
        ("model.learning_rate=1", "did you mean 'optimizer.lr'?"),
        ("negative=3", "did you mean 'protocol.negatives'?"),
        ("traner.max_epochs=3", "did you mean 'trainer"),
        ("tensorbord=true", "did you mean 'logger'?"),
        ("tensorbord", "did you mean 'logger=tensorboard'?"),
        ("epochs", "did you mean 'trainer.max_epochs='?"),
        ("shwo", "did you mean 'plugins show' or 'data show'?"),
        ("model=FM", "no model named 'FM'; did you mean 'fm'?"),
        ("model.DIM=8", "did you mean 'model.dim'?"),
        ("time_limit=5m", "time_limit is an option of a sweep, which is many runs: fmlab -m sweep=<name> time_limit="),
        ("n_trials=3", "n_trials is an option of a sweep"),
        ("=fm", "must look like key=value"),
        ("tags={a: 1}", "tags cannot be {a: 1}"),
        ("plugin", "did you mean 'plugins'?"),
        ("reprot", "did you mean 'report'?"),
        ("deepfm", "did you mean 'model=deepfm'?"),
        ("lorentfm", "did you mean 'model=lorentzfm'?"),
        ("experiment=hyperml", "did you mean 'hyperml-movielens-1m/hyperml' or 'hyperml-toys/hyperml'?"),
        ("experiment=hyperml-toys", "did you mean 'hyperml-toys/cml'"),
        ("experiment=hyperml-toy/hyperml", "did you mean 'hyperml-toys/hyperml'?"),
        ("experiment=frappe", "did you mean 'bars-frappe/afm'"),
        ("experiment=nothing-like-it", "choices: bars-frappe/afm, "),
    ],
)
def test_the_nearest_full_name_is_told(argument, hint, capsys):
    assert hint in told(capsys, argument)


JOBLIB = 'hydra/launcher=joblib comes with a package that is not installed: pip install "fmlab[joblib]"'


@pytest.mark.parametrize(
    ("argument", "command"),
    [
        ("hydra/launcher=joblib", JOBLIB),
        ("hydra/launcher=jobli", f"did you mean 'joblib'? {JOBLIB}"),
        ("hydra/launcher=submitit_slurm", "pip install hydra-submitit-launcher"),
        ("hydra/sweeper=ax", "pip install hydra-ax-sweeper"),
        ("hydra/job_logging=colorlog", "pip install hydra-colorlog"),
    ],
)
def test_a_part_of_hydra_that_is_not_installed_is_named_with_its_command(argument, command, capsys):
    name = argument.partition("=")[2]
    if any(Path(p, "hydra_plugins", f"hydra_{name}_launcher").is_dir() for p in sys.path):
        pytest.skip(f"{name} is installed")
    assert command in told(capsys, "-m", argument, "model=fm,mf")


def test_the_extra_is_one_of_the_project():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["optional-dependencies"]["joblib"] == ["hydra-joblib-launcher>=1.2"]


def test_the_program_alone_shows_its_help(capsys):
    assert main([]) == 0
    alone = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert alone == capsys.readouterr().out
    assert "fmlab model=" in alone


def test_an_empty_argument_is_a_mistake(capsys):
    assert "must be a command or look like key=value, got ''" in told(capsys, "")


def test_experiments_are_listed_with_what_they_are(capsys, tmp_path):
    assert main(["experiment", "list", "toys"]) == 0
    shown = capsys.readouterr().out
    assert "hyperml-toys/hyperml" in shown
    assert "WSDM 2020" in shown
    assert "bars-frappe" not in shown
    mine = tmp_path / "experiment" / "deep" / "er" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("# @package _global_\n# My own, [red]not markup[/].\nseed: 3\n")
    assert main(["experiment", "list", "--config-dir", str(tmp_path), "mine"]) == 0
    shown = capsys.readouterr().out
    assert "deep/er/mine" in shown
    assert "My own, [red]not markup[/]." in shown
    assert "deep/er/mine" in told(capsys, "--config-dir", str(tmp_path), "experiment=mine")


@pytest.mark.parametrize(
    "typed", ["experiment=", "experiment=hyperml", "experiment=hyperml-toys/", "-m experiment=hyp"]
)
def test_nested_presets_are_completed(typed, capsys, monkeypatch):
    monkeypatch.setenv("COMP_LINE", f"fmlab {typed}")
    assert main(["--shell-completion", "query=bash"]) == 0
    assert "experiment=hyperml-toys/hyperml" in capsys.readouterr().out.split()


def test_the_best_kind_of_likeness_counts():
    paths = ["optimizer.lr", "model.lr", "trainer.max_epochs", "seed", "trainer.reduce_lr"]
    assert nearest("lr", paths) == ["model.lr", "optimizer.lr"]
    assert nearest("reduce", paths) == ["trainer.reduce_lr"]
    assert nearest("sed", paths) == ["seed"]
    assert nearest("zzzz", paths) == []
    assert presets_like("b", ["a/b", "b/c"]) == ["b/c"]
    assert presets_like("", ["a/b"]) == []
