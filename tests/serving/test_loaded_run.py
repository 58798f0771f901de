"""A run in Python: frames of pandas against what the command makes of the same rows, and paths against one another."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from trained import HEADER, cells, data_of, fmlab, forward, task_of, train, write

from fmlab.data import Dataset
from fmlab.errors import DataError, FmlabError, StorageError
from fmlab.run.loading import load_model
from fmlab.run.locate import locate
from fmlab.serving import load_run


def by_hand(place: Path, data: Dataset) -> np.ndarray:
    table = data.row_ids(np.arange(data.rows))
    return forward(load_model(place / "checkpoints" / "best.ckpt"), table.ids, table.values)


@pytest.mark.parametrize("kind", ["text", "typed", "arrow"])
def test_a_frame_gets_the_scores_of_its_rows(kind: str, clicks: Path, room: Path) -> None:
    run, path = load_run(clicks), room / "clicks.csv"
    if kind == "typed":
        frame = pd.read_csv(path, dtype={"uid": str, "movie": str}, keep_default_na=False, na_values=[""])
        frame["tags"] = [t.split("|") if isinstance(t, str) else [] for t in frame["tags"]]
        frame["brand"] = frame["brand"].astype("category")
        frame["visits"] = frame["visits"].astype(float)  # 7 as 7.0
        frame["when"] = pd.to_datetime(frame["when"], unit="s")
    elif kind == "arrow":
        frame = pd.read_csv(path, dtype="string[pyarrow]", keep_default_na=False, na_values=[""])
    else:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.index = pd.Index([f"r{n}" for n in range(len(frame))])
    found = run.predict(frame.assign(extra=[{}] * len(frame))[["extra", *reversed(frame.columns)]])
    np.testing.assert_allclose(found["score"], by_hand(clicks, data_of(clicks)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["probability"], 1 / (1 + np.exp(-found["score"])), rtol=1e-5)
    assert found.index.equals(frame.index)
    assert found.attrs["unseen"] == {}
    assert set(run.columns) == set(HEADER) - {"clicked", "age", "brand"}


def test_numbers_find_the_ids_that_they_are_written_as(two_sided: Path) -> None:
    run = load_run(str(two_sided))
    wanted = run.predict(pd.DataFrame({"user": ["5", "7"], "item": ["3", "1"]}))["score"].to_numpy()
    for user in ([5, 7], [5.0, 7.0], np.array([5, 7], np.int8), pd.array([5, 7], "Int64")):
        found = run.predict(pd.DataFrame({"user": user, "item": [3, 1]}))
        np.testing.assert_array_equal(found["score"].to_numpy(), wanted)
        assert found.attrs["unseen"] == {}
    found = run.predict(pd.DataFrame({"user": [5.0, None], "item": ["3", "strange"]}))
    assert found["score"].to_numpy()[0] == wanted[0]
    assert found.attrs["unseen"] == {"item": 1}
    assert len(run.predict(pd.DataFrame({"user": [], "item": []}))) == 0


def test_what_is_wrong_with_a_frame_is_said(two_sided: Path, clicks: Path) -> None:
    run = load_run(two_sided)
    with pytest.raises(DataError, match="the frame has no 'item' \\(did you mean 'items'"):
        run.predict(pd.DataFrame({"user": [1], "items": [2]}))
    with pytest.raises(DataError, match="has no 'item'; its columns are user"):  # a column that is needed means itself
        run.predict(pd.DataFrame({"user": [1]}))
    with pytest.raises(DataError, match="'user' twice"):
        run.predict(pd.DataFrame([[1, 2, 3]], columns=["user", "user", "item"]))
    with pytest.raises(DataError, match="column 'user' must hold numbers, texts"):
        run.predict(pd.DataFrame({"user": [{}], "item": [2]}))
    frame = pd.DataFrame({c: ["1"] for c in load_run(clicks).columns})
    with pytest.raises(DataError, match="'price' must hold finite numbers"):
        load_run(clicks).predict(frame.assign(price="cheap"))
    with pytest.raises(FmlabError, match="k=0"):
        run.recommend([1], k=0)
    with pytest.raises(FmlabError, match="exclude must be one of none, train, train\\+validation, all, got 'test'"):
        run.recommend([1], exclude="test")  # type: ignore[arg-type]


def test_lists_are_those_of_the_command(two_sided: Path, clicks: Path, tmp_path: Path) -> None:
    run = load_run(two_sided)
    assert fmlab("recommend", two_sided, "--user", "5", "--user", "new", "-k", 4, "--out", tmp_path / "o.csv") == 0
    wanted = cells(tmp_path / "o.csv")
    found = run.recommend(["5", "new"], k=4)
    assert found.attrs["by_popularity"] == 1
    assert found["item"].tolist() == [row["item"] for row in wanted]
    assert found["rank"].tolist() == [1, 2, 3, 4] * 2
    np.testing.assert_allclose(found["score"], [float(row["score"]) for row in wanted], rtol=1e-6)
    assert found.equals(run.recommend(pd.DataFrame({"user": ["5", "new"]}), k=4))
    context = {"price": 20, "tags": "a", "color": "red", "visits": 3, "dwell": 1, "when": 1600000000}
    assert len(load_run(clicks).recommend(["007"], 2, exclude="none", context=context)) == 2


@pytest.mark.parametrize("exclude", ["none", "train", "train+validation", "all"])
def test_lists_can_be_judged_by_the_parts_that_are_not_left_out(exclude: str, two_sided: Path, tmp_path: Path) -> None:
    task = task_of(two_sided)
    data, out = task.dataset, tmp_path / "out.csv"
    users, items = (data.keys[n].tolist() for n in ("user", "item"))
    rows = {"train": task.training.rows, "validation": task.validation.rows, "test": task.test.rows}  # type: ignore[attr-defined]
    gone = {"none": [], "train": ["train"], "train+validation": ["train", "validation"], "all": list(rows)}[exclude]
    tested = np.asarray(rows["test"])[:5]
    given = [x for r in tested for x in ("--user", users[data.user[r]])]
    assert fmlab("recommend", two_sided, *given, "-k", 40, "--exclude", exclude, "--out", out) == 0
    for row in tested:
        user = int(data.user[row])
        met = {int(data.item[r]) for part in gone for r in np.asarray(rows[part]) if data.user[r] == user}
        listed = {line["item"] for line in cells(out) if line["user"] == users[user]}
        assert listed == set(items) - {items[n] for n in met}
        assert (items[int(data.item[row])] in listed) == (exclude != "all")


def test_a_user_of_whom_a_model_knows_nothing_gets_what_is_popular(room: Path, tmp_path: Path) -> None:
    small = ("data=synthetic", "data.users=60", "data.items=40", "data.positives=8")
    place = train(room, "ease", "model=ease", *small)
    run, task = load_run(place), task_of(place)
    count = np.bincount(task.dataset.item[task.training.rows], minlength=40)
    keys = np.array(task.dataset.keys["item"].tolist())
    found = run.recommend(["nobody"], k=40)
    assert found["item"].tolist() == keys[np.argsort(-count, kind="stable")].tolist()
    assert found["score"].tolist() == sorted(count.tolist(), reverse=True)
    ages = pd.DataFrame({"user": ["nobody"], "age": ["age-2"]})  # which the model does not read
    assert run.recommend(ages, k=40)["item"].tolist() == found["item"].tolist()


def test_the_scores_that_were_judged_are_those_that_are_served(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [[f"u{u}", f"i{i}", str(rng.integers(1, 6))] for u in range(30) for i in rng.permutation(20)[:12]]
    write(tmp_path / "stars.csv", ["u", "i", "stars"], rows)
    options = ("data=csv", "data.path=stars.csv", "data.user=u", "data.item=i", "data.label=stars")
    rating = ("protocol=rating", "protocol.negatives=0", "optimizer.lr=3", "model.dim=8")
    place = train(tmp_path, "run", "model=mf", *options, *rating)
    test = task_of(place).test.rows  # type: ignore[attr-defined]
    frame = pd.DataFrame(rows, columns=["u", "i", "stars"]).iloc[test]
    score = load_run(place).predict(frame)["score"].to_numpy(np.float64)
    judged = json.loads((place / "metrics.json").read_text())["test"]
    errors = score - frame["stars"].astype(float).to_numpy()
    assert np.sqrt((errors**2).mean()) == pytest.approx(judged["rmse"], rel=1e-5)
    assert np.abs(errors).mean() == pytest.approx(judged["mae"], rel=1e-5)
    assert (score.min(), score.max()) == (1, 5)  # clipped, or this shows nothing
    assert fmlab("predict", place, tmp_path / "stars.csv", "--out", tmp_path / "out.csv") == 0
    written = np.array([float(r["score"]) for r in cells(tmp_path / "out.csv")])[test]
    np.testing.assert_allclose(written, score, rtol=1e-6)


# ------------------------------------------------------------------------------------------------- passed on


ODD: dict[str, list[Any]] = {
    "list": [[1, 2], [], None],
    "struct": [{"a": 1}, {"a": None}, None],
    "deep": [[{"a": [1]}], [], None],
    "bytes": [b"\xff\x00", b"x", None],
    "number": [1.5, float("nan"), None],
}


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_columns_that_training_ignored_may_hold_anything(kind: str, two_sided: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path, ids = tmp_path / f"rows.{kind}", {"user": ["1", "2", "3"], "item": ["4", "5", "6"]}
    if kind == "parquet":
        parquet.write_table(pa.table({**ODD, **ids}), path)
    elif kind == "jsonl":
        odd = {k: v for k, v in ODD.items() if k != "bytes"}
        path.write_text("".join(json.dumps({k: v[n] for k, v in (odd | ids).items()}) + "\n" for n in range(3)))
    else:
        lines = ["text,user,item", '"two\nlines, ""quoted""",1,4', "\x00".strip("\x00") + ",2,5", '"{}",3,6']
        path.write_text("\n".join(lines) + "\n")
    wanted = load_run(two_sided).predict(pd.DataFrame(ids))["score"].to_numpy()
    for out in ("o.csv", "o.parquet"):
        assert fmlab("predict", two_sided, path, "--out", tmp_path / out) == 0
        read = pd.read_csv if out.endswith("csv") else pd.read_parquet
        found: pd.DataFrame = read(tmp_path / out)
        np.testing.assert_allclose(found["score"].to_numpy(), wanted, rtol=1e-5)
        if kind == "csv":
            assert found["text"].tolist()[0] == 'two\nlines, "quoted"'
    if kind == "parquet":
        made, source = (parquet.read_table(tmp_path / n) for n in ("o.parquet", "rows.parquet"))
        assert made.drop_columns(["score"]).schema.types == source.schema.types


# ------------------------------------------------------------------------------------------------- paths


def test_every_path_of_a_run_means_its_model(two_sided: Path) -> None:
    best = two_sided / "checkpoints" / "best.ckpt"
    for path in (two_sided, best, best.parent, two_sided / "metrics.json", two_sided / "config.yaml"):
        assert locate(path).checkpoint == best
        assert locate(path).folder == two_sided
    assert locate(Path(str(two_sided) + "/./")).checkpoint == best
    assert locate(two_sided, "last").checkpoint.name == "last.ckpt"
    assert locate(best.with_name("last.ckpt")).checkpoint.name == "last.ckpt"


def test_a_folder_of_several_runs_means_the_best_of_them(two_sided: Path, clicks: Path, tmp_path: Path) -> None:
    def copied(name: str, value: float, source: Path = two_sided) -> Path:
        place = tmp_path / name
        shutil.copytree(source, place)
        content = json.loads((place / "metrics.json").read_text())
        content["validation"][content["monitor"]] = value
        (place / "metrics.json").write_text(json.dumps(content))
        return place

    copied("sweep/trials/0000", 0.1)
    better = copied("sweep/trials/0001/seed-0", 0.3)
    copied("sweep/trials/0001/seed-1", 0.2)
    copied("sweep/trials/0002", 10**400)  # no float holds it
    sweep = tmp_path / "sweep"
    assert locate(sweep).folder == better
    assert locate(sweep / "trials" / "0001").folder == better
    (sweep / "results.json").write_text(json.dumps({"best": [{"number": 0}]}))
    assert locate(sweep).folder == sweep / "trials" / "0000"
    for best in ([{"number": "../../.."}], [{"number": 10**30}], "x", [], [{"number": True}]):
        (sweep / "results.json").write_text(json.dumps({"best": best}))
        assert locate(sweep).folder == better
    shutil.copy(better / "serving.bin", sweep)
    shutil.copy(better / "checkpoints" / "best.ckpt", sweep)
    (sweep / "study.journal").write_text("")
    for path in (sweep, sweep / "best.ckpt", sweep / "study.journal", sweep / "results.json"):  # what a refit leaves
        assert load_run(path).checkpoint == sweep / "best.ckpt"
    copied("other/a", 0.1)
    copied("other/b", 0.1, clicks)
    with pytest.raises(FmlabError, match="holds 2 of different data or protocols"):
        locate(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match="has none"):
        locate(tmp_path / "empty")


def test_a_pipe_in_a_run_folder_is_not_waited_for(two_sided: Path, tmp_path: Path) -> None:
    import os

    place = tmp_path / "run"
    shutil.copytree(two_sided, place)
    (place / "metrics.json").unlink()
    os.mkfifo(place / "metrics.json")
    assert load_run(place).name == "fm"
    (place / "serving.bin").unlink()
    os.mkfifo(place / "serving.bin")
    with pytest.raises(StorageError):
        load_run(place)
    (place / "serving.bin").unlink()
    (place / "serving.bin").symlink_to("/dev/zero")
    with pytest.raises(StorageError):
        load_run(place)
