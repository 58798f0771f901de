"""Fields that a model does not get: a run without them is the run on a table that lacks them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import metrics, train
from sklearn.metrics import roc_auc_score

from fmlab.data import Dataset, Field, Schema, Table
from fmlab.data.derived_fitting import fit
from fmlab.data.kept_fields import KeptFields, repeating_fields
from fmlab.data.store.container import Container, to_bytes
from fmlab.errors import DataError, FmlabError
from fmlab.records.folder import SERVING
from fmlab.serving import load_run
from fmlab.serving.export import export

ROWS, USERS, ITEMS = 3000, 300, 40
ROLES = ("data.user=u", "data.item=i", "data.label=y", "data.split=split", "protocol=ctr")
SHORT = ("trainer.max_epochs=2", "trainer.accelerator=cpu", "trainer.progress=false", "protocol.on_leak=allow")


def table(seed: int = 0) -> pd.DataFrame:
    """Users with a zip code each that few others have, ages, tags, prices; only the pair of user and item tells."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, USERS, ROWS), rng.integers(0, ITEMS, ROWS)
    zips, ages = np.random.default_rng(1).integers(0, USERS, USERS), np.random.default_rng(2).integers(0, 5, USERS)
    frame = pd.DataFrame({"u": user, "zip": zips[user], "age": ages[user], "price": rng.normal(size=ROWS).round(2)})
    frame["tags"] = np.array(["a|b", "a", "c|b|a", "c"])[item % 4]
    frame["i"], frame["y"] = item, ((user + item) % 3 > 0) ^ (rng.random(ROWS) < 0.1)
    return frame.assign(y=frame.y.astype(int), split=np.repeat(["train", "valid", "test"], ROWS // 3))


def run(folder: Path, frame: pd.DataFrame, *overrides: str) -> Path:
    folder.mkdir()
    frame.to_csv(folder / "rows.csv", index=False)
    kinds = {"categorical": ("zip", "age"), "numeric": ("price",), "multi_valued": ("tags",)}
    columns = [f"data.{kind}=[{','.join(n for n in names if n in frame)}]" for kind, names in kinds.items()]
    data = ("data=csv", f"data.path={folder / 'rows.csv'}", *ROLES, *columns)
    train(folder / "run", *data, *SHORT, *overrides, small=())
    return folder / "run"


@pytest.mark.parametrize("ignored", [["zip"], ["price"], ["tags", "zip"], ["age", "price", "tags"]])
@pytest.mark.parametrize("model", ["fm", "lightgbm"])
def test_a_run_is_the_one_on_a_table_that_lacks_them(model: str, ignored: list[str], tmp_path: Path) -> None:
    if model == "lightgbm":
        pytest.importorskip("lightgbm")
    frame = table()
    one = run(tmp_path / "one", frame, f"model={model}", f"ignored_fields=[{','.join(ignored)}]")
    other = run(tmp_path / "other", frame.drop(columns=ignored), f"model={model}")
    for part in ("validation", "test"):
        assert metrics(one)[part] == metrics(other)[part]


@pytest.mark.parametrize(
    "more", [(), ("target_statistics=[zip,user*item]", "crosses=[user*age]"), ("refit_on=train+validation",)]
)
def test_what_is_served_is_what_was_judged(more: tuple[str, ...], tmp_path: Path) -> None:
    """Crosses and statistics may be of a field that is ignored; so may those of a model that is trained anew."""
    frame = table()
    folder = run(tmp_path / "one", frame, "model=fm", "ignored_fields=[zip,price]", *more)
    test = frame[frame["split"] == "test"]
    loaded = load_run(folder)
    area = roc_auc_score(test.y, loaded.predict(test)["score"])
    assert area == pytest.approx(metrics(folder)["test"]["auc"], abs=1e-9)
    for other in (test.assign(price=100.0), test.drop(columns="price")):
        np.testing.assert_array_equal(loaded.predict(other)["score"], loaded.predict(test)["score"])


@pytest.mark.parametrize("ignored", ["user", "item,tags", "user,zip,age", "user,zip,age,item,tags"])
def test_a_whole_side_may_be_left_out(ignored: str, tmp_path: Path) -> None:
    frame = table()
    folder = run(tmp_path / "one", frame, "model=fm", f"ignored_fields=[{ignored}]")
    test = frame[frame["split"] == "test"]
    area = roc_auc_score(test.y, load_run(folder).predict(test)["score"])
    assert area == pytest.approx(metrics(folder)["test"]["auc"], abs=1e-9)


def test_a_column_that_a_statistic_reads_is_required(tmp_path: Path) -> None:
    frame = table().assign(shop=lambda f: f.i % 7)
    (tmp_path / "one").mkdir()
    frame.to_csv(tmp_path / "one" / "rows.csv", index=False)
    named = ("model=fm", "data=csv", f"data.path={tmp_path / 'one' / 'rows.csv'}", "data.user=u", "data.label=y")
    more = ("data.categorical=[i,shop,age]", "data.split=split", "protocol=ctr", *SHORT, "ignored_fields=[shop,age]")
    train(tmp_path / "run", *named, *more, "target_statistics=[shop]", small=())
    loaded = load_run(tmp_path / "run")
    assert len(loaded.predict(frame.drop(columns="age"))) == ROWS
    with pytest.raises(DataError, match="shop"):
        loaded.predict(frame.drop(columns="shop"))


@pytest.mark.parametrize("ignored", ["zip", "price", "zip,tags"])
def test_a_program_reads_rows_of_all_fields(ignored: str, tmp_path: Path) -> None:
    """What is exported gives the scores of `predict`, which the export checks itself."""
    folder = run(tmp_path / "one", table(), "model=deepfm", f"ignored_fields=[{ignored}]")
    export(load_run(folder), tmp_path / "out", ["torch"])
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert told["torch"]["largest_difference_from_predict"] <= 1e-5


def test_lists_are_ranked_without_them(tmp_path: Path) -> None:
    folder = run(tmp_path / "one", table(), "model=fm", "ignored_fields=[tags]")
    lists = load_run(folder).recommend(pd.DataFrame({"u": [0], "zip": [0], "age": [0], "price": [0.0]}), k=5)
    assert len(lists) == 5


def test_a_list_of_them_that_somebody_else_wrote_is_refused(tmp_path: Path) -> None:
    """The last two are lists that could have been, of a model with other fields."""
    folder = run(tmp_path / "one", table(), "model=fm", "ignored_fields=[zip]")
    source = Container(folder / SERVING)
    arrays = {name: source.array(name) for name in source._entries}
    every = ["user", "zip", "age", "price", "tags", "item"]
    (folder / SERVING).write_bytes(to_bytes(source.content, arrays))
    load_run(folder)  # what is unchanged is read
    for ignored in ("zip", None, {}, 1, [1], [["zip"]], ["nosuch"], ["zip", "../x"], every, [], ["age"]):
        derived = source.content["derived"] | {"ignored": ignored}
        (folder / SERVING).write_bytes(to_bytes(source.content | {"derived": derived}, arrays))
        with pytest.raises(FmlabError):
            load_run(folder)


def test_auto_ignores_what_repeats_another_field(tmp_path: Path) -> None:
    folder = run(tmp_path / "one", table(), "model=fm", "ignored_fields=auto")
    named = run(tmp_path / "other", table(), "model=fm", "ignored_fields=[zip]")
    assert metrics(folder)["test"] == metrics(named)["test"]


def plain(**columns: np.ndarray) -> Dataset:
    """A labeled table of context columns, numbers from 0 on."""
    fields = tuple(Field(name, "context", int(values.max()) + 2) for name, values in columns.items())
    schema, rows = Schema(fields), len(next(iter(columns.values())))
    ids = np.stack([v + 1 + o for v, o in zip(columns.values(), schema.offsets, strict=True)], 1).astype(np.int32)
    return Dataset("plain", schema, rows, context=Table(ids), label=np.arange(rows) % 2)


def test_repeating_fields_are_told_by_their_values() -> None:
    rng = np.random.default_rng(0)
    device = rng.integers(0, 1000, 20_000)
    address, brand = np.random.default_rng(1).integers(0, 500, 1000), np.random.default_rng(2).integers(0, 120, 1000)
    columns = {"brand": brand[device], "device": device, "address": address[device], "copy": (device * 7) % 1000}
    data = plain(**columns, free=rng.integers(0, 900, 20_000), few=device % 50)
    assert repeating_fields(data, np.arange(20_000)) == ("address", "copy")


def test_named_fields_are_checked() -> None:
    data = plain(a=np.arange(8), b=np.arange(8))
    with pytest.raises(DataError, match="ignored_fields names fields of the data, got 'c'"):
        fit(data, np.arange(8), (), (), "bins", ignored=["c"])
    with pytest.raises(DataError, match="must leave a field"):
        KeptFields(data.schema, ("a", "b"))


def test_a_protocol_that_ranks_items_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="need a protocol that scores labeled rows"):
        train(tmp_path / "run", "model=fm", "data=synthetic", "ignored_fields=[item_group]")


@pytest.mark.parametrize("ignored", [[], ["b"]])
def test_vectors_that_no_model_gets_are_named(ignored: list[str], caplog: pytest.LogCaptureFixture) -> None:
    data = plain(a=np.arange(20) % 3, b=np.arange(20) % 5)
    here = Field("here", "context", 0, width=2)
    data = replace(
        data, schema=replace(data.schema, auxiliary=(here,)), vectors={"here": np.zeros((20, 2), np.float32)}
    )
    fit(data, np.arange(20), [], [], "bins", ignored=ignored)
    assert ("no model gets vectors or sequences: here" in caplog.text) == bool(ignored)
