# ruff: noqa: D103
"""Models of two targets: their equations, a planted task, whole runs, and predictions from a copied run folder."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fmlab_example.conversion import ESMM, MMoE

from fmlab.api import FmlabError, load_run
from fmlab.config.composition import compose
from fmlab.run.experiment import run
from fmlab.testing import tiny

SMALL = ("trainer.accelerator=cpu", "trainer.threads=1", "trainer.progress=false", "logger=none")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clicks follow the place and the hour, purchases the place and the brand, and only clicks lead to them."""
    rng, n = np.random.default_rng(0), 6000
    frame = pd.DataFrame({name: rng.integers(0, 6, n) for name in ("place", "hour", "brand")})
    frame["click"] = (rng.random(n) < np.where((frame.place + frame.hour) % 3 == 0, 0.9, 0.2)).astype(int)
    buys = rng.random(n) < np.where((frame.place + frame.brand) % 2 == 0, 0.8, 0.1)
    frame["buy"] = frame.click * buys
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    frame.to_csv(path, index=False)
    return path


def train(folder: Path, rows: Path, *options: str) -> Path:
    data = ("data=csv", f"data.path={rows}", "protocol=ctr", "data.categorical=[place,hour,brand]")
    usual = ("optimizer.lr=0.02", "batch_size=256", "trainer.max_epochs=12")
    config = compose([*data, *usual, *SMALL, *options], {"FMLAB_CACHE": str(folder.parent / "cache")})
    run(config, folder)
    return folder


def test_esmm_multiplies_probabilities() -> None:
    data = tiny("rows")
    model = ESMM(data.schema)
    ids, values = (torch.tensor(a) for a in (data.context.ids, data.context.values))
    found = model(ids, values)
    x = (model.embedding(ids) * values.unsqueeze(-1)).flatten(1)
    ctr, cvr = (torch.sigmoid(t(x)).squeeze(1).double() for t in (model.click_tower, model.conversion_tower))
    torch.testing.assert_close(torch.sigmoid(found["click"]).double(), ctr, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(torch.sigmoid(found["buy"]).double(), ctr * cvr, atol=1e-6, rtol=1e-5)


def test_mmoe_mixes_its_experts() -> None:
    data = tiny("rows")
    model = MMoE(data.schema, targets=("a.b", "c"), experts=3)
    ids, values = (torch.tensor(a) for a in (data.context.ids, data.context.values))
    x = (model.embedding(ids) * values.unsqueeze(-1)).flatten(1)
    share = torch.exp(model.gates["of_c"](x))
    share = share / share.sum(1, keepdim=True)
    mixed = sum(share[:, n : n + 1] * e(x).clamp(min=0) for n, e in enumerate(model.experts))
    torch.testing.assert_close(model(ids, values)["c"], model.towers["of_c"](mixed).squeeze(1))
    assert list(model(ids, values)) == ["a.b", "c"]


@pytest.mark.parametrize("model", ["esmm", "mmoe"])
def test_a_planted_task_is_learned_and_served_from_a_copy(model: str, rows: Path, tmp_path: Path) -> None:
    folder = train(tmp_path / "run", rows, f"model={model}", "data.targets=[click,buy]")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "cache")
    loaded = load_run(copy)
    frame = pd.read_csv(rows, dtype=str)
    found = loaded.predict(frame)
    assert list(found) == ["score.click", "probability.click", "score.buy", "probability.buy"]
    odd = (frame.place.astype(int) + frame.hour.astype(int)) % 3 == 0
    even = (frame.place.astype(int) + frame.brand.astype(int)) % 2 == 0
    for p, truth in (
        (found["probability.click"], np.where(odd, 0.9, 0.2)),
        (found["probability.buy"], np.where(odd, 0.9, 0.2) * np.where(even, 0.8, 0.1)),
    ):
        assert np.abs(p - truth).mean() < 0.06
    with pytest.raises(FmlabError, match=r"items are recommended by one score: .* gives scores of click, buy"):
        loaded.recommend(["1"])


def test_models_and_targets_that_do_not_fit_are_named(rows: Path, tmp_path: Path) -> None:
    several = "data.targets=[click,buy]"
    for options, message in (
        (("model=lr", several), "the data have the targets click, buy: .* model 'lr' gives one score"),
        (("model=esmm", "data.label=click"), "model 'esmm' gives scores of the targets buy, click, .* have one label"),
        (("model=mmoe", several, "model.targets=[a,b]"), "'mmoe' gives scores of a, b"),
        (("model=esmm", several, "loss.target_weights=[1]"), "target_weights must be a number .* got"),
        (("model=lr", "data.label=buy", "loss.target_weights=[1,2]"), "target_weights are of several targets"),
        (("model=esmm", several, "model.click=buy"), "esmm needs two targets"),
        (("model=esmm", several, "protocol.monitor=copc"), "copc is best at 1"),
        (("model=esmm", several, "protocol.metrics=[gauc]"), "gauc needs groups of rows"),
    ):
        with pytest.raises(FmlabError, match=message):
            train(tmp_path / "run", rows, *options)
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
