"""Two processes give the metrics of one: with every sampler and table, histories, several targets and row weights."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import SMALL, metrics

PLUGINS = Path(__file__).parents[2] / "plugins"
TWO = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
MF = ("model=mf", "model.dim=8", "loss=sampled_softmax", "protocol=full_ranking", "trainer.max_epochs=2")
WALKS = ("data=walks", "data.users=60", "data.items=20", "data.steps=6", "trainer.max_epochs=2")
SASREC = ("model=sasrec", "model.dim=8", "model.n_blocks=1", "model.history_length=4", "model.dropout=0")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example packages, installed offline."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(site)]
    for name in ("example", "example_sequences"):
        shutil.copytree(PLUGINS / name, source / name)
        subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source / name)], check=True)
    return site


def run(folder: Path, site: Path | None, *arguments: str) -> dict[str, float]:
    usual = ("trainer.threads=1", "trainer.progress=false", "logger=none", f"hydra.run.dir={folder}")
    environment = os.environ | {"FMLAB_CACHE": str(folder.parent / "cache"), "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONPATH": str(site)} if site else {}
    command = [sys.executable, "-m", "fmlab", *usual, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder.parent, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found = metrics(folder)
    return {**found["test"], **{f"validation {k}": v for k, v in found["validation"].items()}}


def same(tmp_path: Path, site: Path | None, *arguments: str) -> None:
    one, two = run(tmp_path / "one", site, *arguments), run(tmp_path / "two", site, *arguments, *TWO)
    assert two.keys() == one.keys()
    for name, value in one.items():  # sums in another order may part two equal scores, which moves an area by a pair
        assert two[name] == pytest.approx(value, abs=1e-3 if "auc" in name else 1e-5), name


@pytest.mark.parametrize("sampler", ["uniform", "popularity", "in_batch", "mixed", "dynamic"])
def test_samplers(tmp_path: Path, sampler: str) -> None:
    same(tmp_path, None, *MF, *SMALL[:4], f"sampler={sampler}")


@pytest.mark.parametrize(
    "table", [("qr",), ("hashed", "table.buckets=60"), ("tensor_train", "table.rank=4"), ("mixed", "table.alpha=0.5")]
)
def test_tables(tmp_path: Path, table: tuple[str, ...]) -> None:
    same(tmp_path, None, "model=fm", "model.dim=8", "trainer.max_epochs=2", *SMALL[:4], f"table={table[0]}", *table[1:])


def test_histories(tmp_path: Path, site: Path) -> None:
    composed = ("protocol=composed", "protocol.split=user_time", "protocol.validation=1", "protocol.test=2")
    same(tmp_path, site, *WALKS, *SASREC, *composed, "batch_size=64")


def test_targets_and_weights(tmp_path: Path, site: Path) -> None:
    rng, n = np.random.default_rng(0), 1500
    frame = pd.DataFrame({name: rng.integers(0, 6, n) for name in ("place", "hour")})
    frame["click"] = (rng.random(n) < np.where((frame.place + frame.hour) % 3 == 0, 0.8, 0.3)).astype(int)
    frame["buy"], frame["share"] = frame.click * (rng.random(n) < 0.5), rng.random(n)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    data = ("data=csv", "data.path=rows.csv", "data.targets=[click,buy]", "data.weight=share", "protocol=ctr")
    columns = ("data.categorical=[place,hour]", "trainer.max_epochs=2", "batch_size=64")
    same(tmp_path, site, *data, *columns, "model=esmm")
