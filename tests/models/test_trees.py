"""Boosted trees: what is kept scores as the library does, in a run and after it, and a missing package is named."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from fmlab.contracts import FitsRows, Fitting, LabelledRows
from fmlab.data import Field, Schema
from fmlab.data.batch import Features
from fmlab.errors import FmlabError, StorageError
from fmlab.plugin.registry import build

catboost = pytest.importorskip("catboost")
lightgbm = pytest.importorskip("lightgbm")
SCHEMA = Schema((Field("user", "user", 12), Field("age", "context", 2, numeric=True), Field("item", "item", 9)), 11, 8)
NAMES = ("catboost", "lightgbm")
SMALL: dict[str, dict[str, Any]] = {
    "catboost": {"rounds": 40},
    "lightgbm": {"rounds": 80, "min_data_in_leaf": 5, "feature_fraction": 1.0},
}


def rows(n: int, seed: int, *, classes: bool = True) -> LabelledRows:
    """Labels follow the pair of user and item, and the age."""
    rng = np.random.default_rng(seed)
    user, item, age = rng.integers(0, 12, n), rng.integers(0, 9, n), rng.normal(size=n).astype(np.float32)
    missing = rng.random(n) < 0.1
    ids = np.column_stack([user, 12 + ~missing, 14 + item]).astype(np.int32)
    values = np.column_stack([np.ones(n), np.where(missing, 1, age), np.ones(n)]).astype(np.float32)
    score = np.where((user + item) % 2 == 0, 1.5, -1.5) + np.where(missing, 0, age)
    label = (score > 0) if classes else score
    return LabelledRows(Features(torch.tensor(ids), torch.tensor(values)), torch.tensor(label.astype(np.float32)))


def grown(name: str, *, log_odds: bool = True, seed: int = 0) -> Any:
    model: Any = build("model", {"name": name, **SMALL[name]}, SCHEMA, gives=nn.Module)
    parts = rows(600, 0, classes=log_odds), rows(200, 1, classes=log_odds)
    model.kept_rounds = model.fit_rows(*parts, Fitting(log_odds, seed))
    return model


def of_library(name: str, model: Any, part: LabelledRows) -> np.ndarray:
    """Scores of the kept file, read and asked through the library alone."""
    ids, values = part.features.ids.numpy(), part.features.values
    assert values is not None
    age = np.where(ids[:, 1] == 12, np.nan, values[:, 1].numpy())
    kept = model.get_extra_state().numpy().tobytes()
    if name == "catboost":
        table = pd.DataFrame({"0": ids[:, 0].astype(str), "1": age, "2": (ids[:, 2] - 14).astype(str)})
        other = catboost.CatBoost().load_model(blob=kept)
        return other.predict(catboost.Pool(table, cat_features=["0", "2"]), prediction_type="RawFormulaVal")
    matrix = np.column_stack([ids[:, 0], age, ids[:, 2] - 14])
    return lightgbm.Booster(model_str=kept.decode()).predict(matrix, raw_score=True)


@pytest.mark.parametrize("log_odds", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_library(name: str, log_odds: bool) -> None:
    """For catboost and lightgbm; and they tell held-out rows apart, which neither the user nor the item alone does."""
    model, held = grown(name, log_odds=log_odds), rows(400, 2, classes=log_odds)
    found = model(*held.features).double().numpy()
    np.testing.assert_allclose(found, of_library(name, model, held), rtol=0, atol=1e-5)
    label = held.label.numpy()
    if log_odds:
        loss = np.log1p(np.exp(-np.where(label > 0, found, -found))).mean()
        assert loss < 0.8 * np.log(2)
    else:
        assert np.mean((found - label) ** 2) < 0.5 * label.var()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_rebuilds_the_trees(name: str, tmp_path: Path) -> None:
    model, held, file = grown(name), rows(50, 3), tmp_path / "model.pt"
    torch.save(model.state_dict(), file)
    again: Any = build("model", {"name": name, **SMALL[name]}, SCHEMA, gives=nn.Module)
    assert isinstance(again, FitsRows)
    assert not again(*held.features).any()
    again.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(again(*held.features), model(*held.features))


@pytest.mark.parametrize("name", NAMES)
def test_growing_ends_where_it_is_told_to(name: str) -> None:
    model: Any = build("model", {"name": name, **SMALL[name]}, SCHEMA, gives=nn.Module)
    asked: list[int] = []
    rounds = model.fit_rows(rows(300, 0), rows(100, 1), Fitting(True, 0, goes_on=lambda n: asked.append(n) or n < 4))
    assert asked == [0, 1, 2, 3, 4]
    assert 1 <= rounds <= 5


@pytest.mark.parametrize("name", NAMES)
def test_bytes_that_are_no_trees_are_refused(name: str) -> None:
    model: Any = build("model", {"name": name, **SMALL[name]}, SCHEMA, gives=nn.Module)
    with pytest.raises(StorageError, match="cannot be read"):
        model.set_extra_state(torch.arange(60, dtype=torch.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_package_is_named_with_the_command_that_brings_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(FmlabError, match=r"pip install 'fmlab\[automl\]'"):
        build("model", {"name": name}, SCHEMA)


@pytest.mark.parametrize("name", NAMES)
def test_a_number_of_rounds_needs_no_validation(name: str) -> None:
    model: Any = build("model", {"name": name, **SMALL[name]}, SCHEMA, gives=nn.Module)
    assert model.fit_rows(rows(300, 0), rows(0, 1), Fitting(True, 0, rounds=7)) == 7
    assert model(*rows(20, 2).features).abs().min() > 0
