"""A package of plugins is installed, found, trained with, and missed when it is gone."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "plugins" / "example"
Fmlab = Callable[..., "subprocess.CompletedProcess[str]"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the example, offline."""
    source, target = tmp_path_factory.mktemp("source") / "example", tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE, source)
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return target


@pytest.fixture
def fmlab(site: Path, tmp_path: Path) -> Fmlab:
    """Runs the program in an empty folder, with the example installed."""

    def start(*arguments: str, installed: bool = True) -> "subprocess.CompletedProcess[str]":
        path = str(site) if installed else ""
        folders = {"FMLAB_CACHE": str(tmp_path / "cache"), "FMLAB_DATA_DIR": str(tmp_path / "data")}
        environment = {**os.environ, **folders, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "fmlab", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)

    return start


def test_an_installed_package_is_found(fmlab: Fmlab) -> None:
    done = fmlab("plugins")
    assert done.returncode == 0
    lines = [line.split()[:3] for line in done.stdout.splitlines()]
    for name in ("nearest", "listwise", "frequency", "visits", "decoupled", "half_cosine"):
        assert [name, "fmlab-example", "1.0"] in lines


def test_its_model_trains_on_its_data_with_its_loss(fmlab: Fmlab, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    visits = [f"person{p}\tplace{q}\n" for p in range(40) for q in range(30) if (p + q) % 3 == 0]
    (tmp_path / "data" / "visits.tsv").write_text("".join(visits), encoding="utf-8")
    done = fmlab("model=nearest", "data=visits", "model.dim=4", "sampler=frequency", "trainer=debug")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs" / "visits" / "full_ranking" / "nearest").iterdir()
    config = (folder / "config.yaml").read_text("utf-8")
    assert "name: listwise" in config
    assert "dim: 4" in config
    assert "name: frequency" in config
    assert {"metrics.json", "run.log"} <= {p.name for p in folder.iterdir()}


def test_its_optimizer_and_its_scheduler_learn_a_planted_task(fmlab: Fmlab, tmp_path: Path) -> None:
    planted = ("data=synthetic", "data.users=300", "data.items=150", "data.positives=20", "batch_size=256")
    ways = {"theirs": ("model=fm", "optimizer=decoupled", "scheduler=half_cosine"), "popular": ("model=popularity",)}
    found = {}
    for name, way in ways.items():
        done = fmlab(*planted, *way, "trainer.max_epochs=15", f"hydra.run.dir={tmp_path}/{name}")
        assert done.returncode == 0, done.stderr
        found[name] = json.loads((tmp_path / name / "metrics.json").read_text("utf-8"))
    assert (found["theirs"]["optimizer"], found["theirs"]["scheduler"]) == ("decoupled", "half_cosine")
    popular, theirs, best = (found["popular"]["test"], found["theirs"]["test"], found["theirs"]["known_best"])
    assert theirs["mrr"] > popular["mrr"] + 0.5 * (best["mrr"] - popular["mrr"])


def test_a_wrong_option_gets_the_nearest_one(fmlab: Fmlab) -> None:
    done = fmlab("model=nearest", "model.dmi=3")
    assert (done.returncode, done.stdout) == (2, "")
    text = "error: model.dmi is not an option of model nearest; did you mean 'dim'? choices: dim, init_std, name\n"
    assert done.stderr == text


def test_a_package_that_is_gone_is_missed_by_name(fmlab: Fmlab) -> None:
    done = fmlab("model=nearest", installed=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no model named 'nearest'; ")


def test_the_package_keeps_the_contracts(site: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests")]
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout
    assert "[100%]" in done.stdout
