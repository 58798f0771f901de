"""Scores of raw rows against scores of the same rows as the data set itself holds them."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from trained import HEADER, cells, data_of, fmlab, forward, train, write, write_clicks

from fmlab.run.loading import load_model
from fmlab.serving import outputs


def by_hand(place: Path) -> np.ndarray:
    data = data_of(place)
    table = data.row_ids(np.arange(data.rows))
    return forward(load_model(place / "checkpoints" / "best.ckpt"), table.ids, table.values)


def scores(path: Path) -> np.ndarray:
    return np.array([float(row["score"]) for row in cells(path)])


@pytest.mark.parametrize("name", ["clicks", "deep"])
def test_rows_of_training_get_the_scores_they_had(
    name: str, room: Path, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    place, out = request.getfixturevalue(name), tmp_path / "out.csv"
    assert fmlab("predict", place, room / "clicks.csv", "--out", out) == 0
    np.testing.assert_allclose(scores(out), by_hand(place), rtol=1e-5, atol=1e-6)
    source, made = cells(room / "clicks.csv"), cells(out)
    assert [{k: row[k] for k in HEADER} for row in made] == source
    chance = np.array([float(row["probability"]) for row in made])
    np.testing.assert_allclose(chance, 1 / (1 + np.exp(-by_hand(place))), rtol=1e-4)
    said = capsys.readouterr().err
    assert "300 rows scored" in said
    assert "unseen" not in said
    price = sum(row["price"] == "" for row in source)
    assert any(line.split()[:2] == ["price", str(price)] for line in said.splitlines())


def test_new_users_and_items_have_the_attributes_that_the_rows_give(clicks: Path, room: Path, tmp_path: Path) -> None:
    source = cells(room / "clicks.csv")
    rows = [[f"new {row[k]}" if k in ("uid", "movie") else row[k] for k in HEADER] for row in source]
    out = tmp_path / "out.csv"
    assert fmlab("predict", clicks, write(tmp_path / "rows.csv", HEADER, rows), "--out", out) == 0
    data = data_of(clicks)
    table, schema = data.row_ids(np.arange(data.rows)), data.schema
    for column, field in enumerate(schema.column_field):
        if schema.fields[field].name in ("user", "item"):
            table.ids[:, column] = schema.offsets[field]
    expected = forward(load_model(clicks / "checkpoints" / "best.ckpt"), table.ids, table.values)
    np.testing.assert_allclose(scores(out), expected, rtol=1e-5, atol=1e-6)


ROW = {
    **{"uid": "7", "movie": "x", "clicked": "1", "age": "", "brand": "", "price": "20.5", "tags": "a|b"},
    **{"color": "red", "visits": "7", "dwell": "1.5", "when": "1600000000"},
}


def encoded(place: Path, path: Path, **changes: str) -> tuple[list[str | None], list[float], str]:
    """Values of the fields by name, one for each column, as a model sees them."""
    from fmlab.data.raw.table import batches, detect_format
    from fmlab.serving import load_run

    data = load_run(place).data
    encoder, row = data.encoder(), ROW | changes
    form = detect_format(write(path / "one.csv", list(row), [list(row.values())]))
    (batch,) = batches(path / "one.csv", form, form.names)
    tallies = encoder.tallies()
    table = encoder.encode(batch, tallies)
    texts: list[str | None] = []
    for column, field in enumerate(data.schema.column_field):
        one, code = data.schema.fields[field], int(table.ids[0, column]) - data.schema.offsets[field]
        assert 0 <= code < one.size
        texts.append(f"{one.name}={[None, *data.keys[one.name].tolist()][code]}")
    found = ", ".join(
        f"{k} {t.unseen} {t.missing} {t.dropped}" for k, t in tallies.items() if vars(t) != vars(type(t)())
    )
    assert table.values is not None
    return texts, table.values[0].tolist(), found


@pytest.mark.parametrize(
    ("changes", "wanted", "counted"),
    [
        ({}, ["user=7", "price=present", "tags=a", "tags=b", "color=red", "hour=12", "item=x"], ""),
        ({"uid": "007", "movie": "01"}, ["user=007", "item=01"], ""),
        ({"uid": "0007"}, ["user=None", "age=None"], "user 1 0 0, age 0 1 0"),
        ({"uid": ""}, ["user=None"], "user 0 1 0, age 0 1 0"),
        ({"movie": "x "}, ["item=None", "brand=None"], "item 1 0 0, brand 0 1 0"),
        ({"movie": "new", "brand": "brand1"}, ["item=None", "brand=brand1"], "item 1 0 0"),
        ({"color": "Red"}, ["color=None"], "color 1 0 0"),
        ({"color": "none"}, ["color=None"], "color 0 1 0"),
        ({"price": ""}, ["price=None"], "price 0 1 0"),
        ({"tags": "d||zz|a|d"}, ["tags=d", "tags=None", "tags=a"], "tags 1 0 0"),
        ({"tags": "a|b|c|d"}, ["tags=a", "tags=b", "tags=c"], "tags 0 0 1"),
        ({"tags": "|"}, ["tags=None"], "tags 0 1 0"),
        ({"visits": "2"}, ["visits==2"], ""),
        ({"visits": "1e30"}, ["visits=None"], "visits 1 0 0"),
        ({"when": "2020-09-13T23:00:00"}, ["hour=23"], ""),
    ],
    ids=str,
)
def test_values_become_the_features_of_preparation_or_are_counted(
    changes: dict[str, str], wanted: list[str], counted: str, clicks: Path, tmp_path: Path
) -> None:
    texts, _, found = encoded(clicks, tmp_path, **changes)
    assert found == counted
    for name in {w.split("=")[0] for w in wanted}:
        made = [t for t in texts if str(t).split("=")[0] == name]
        expected = [w for w in wanted if w.split("=")[0] == name]
        assert made == [*expected, *[f"{name}=None"] * (len(made) - len(expected))]


def test_numbers_are_scaled_as_those_of_training(clicks: Path, room: Path, tmp_path: Path) -> None:
    texts, values, _ = encoded(clicks, tmp_path, price="31.25", uid="somebody", age="30")
    for name, number in (("price", 31.25), ("age", 30.0)):
        known = np.array([float(row[name]) for row in cells(room / "clicks.csv") if row[name]])
        assert values[texts.index(f"{name}=present")] == pytest.approx((number - known.mean()) / known.std(), rel=1e-4)


def test_an_unknown_id_is_told_on_stderr_and_rows_go_to_stdout(
    two_sided: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write(tmp_path / "rows.csv", ["note", "item", "user"], [["a, b", "3", "5"], ["", "999", "-1"]])
    assert fmlab("predict", two_sided, rows) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "note,item,user,score"  # no probability: bpr's scores are no log-odds
    made = pd.read_csv(pd.io.common.StringIO(said.out), dtype=str)
    assert made["note"].tolist()[0] == "a, b"
    assert np.isfinite(made["score"].astype(float)).all()
    lines = [line.split() for line in said.err.splitlines()]
    assert ["user", "1", "'-1'"] in lines
    assert ["item", "1", "'999'"] in lines


def test_forms_of_rows_and_of_results_do_not_change_a_score(clicks: Path, room: Path, tmp_path: Path) -> None:
    source = cells(room / "clicks.csv")
    typed = pa.table({n: pa.array([row[n] or None for row in source], pa.string()) for n in HEADER})
    typed = typed.set_column(2, "clicked", typed["clicked"].cast(pa.int64()))
    parquet.write_table(typed, tmp_path / "rows.parquet", row_group_size=70)
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({k: v.split("|") if k == "tags" else v for k, v in row.items()}) + "\n" for row in source)
    )
    with gzip.open(tmp_path / "rows.tsv.gz", "wt", encoding="utf-8") as file:
        file.writelines("\t".join(line) + "\n" for line in [HEADER, *(row.values() for row in source)])
    expected = by_hand(clicks)
    for rows, out in (("rows.parquet", "1.parquet"), ("rows.jsonl", "2.tsv"), ("rows.tsv.gz", "3.csv")):
        assert fmlab("predict", clicks, tmp_path / rows, "--out", tmp_path / out) == 0
        if out.endswith(".parquet"):
            made = parquet.read_table(tmp_path / out)
            assert made.schema.field("clicked").type == pa.int64()
            found = made["score"].to_numpy()
        else:
            found = scores(tmp_path / out)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir() if ".tmp" in p.name) == []


def test_batches_of_rows_give_the_scores_of_all_at_once(
    clicks: Path, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fmlab.data.raw import table as tabular

    whole, seen = tabular.batches, []

    def small(path: Path, form: tabular.TableFormat, columns: list[str], block: int, loose: list[str]) -> object:
        for batch in whole(path, form, columns, block=1000, loose=loose):
            seen.append(len(batch))
            yield batch

    monkeypatch.setattr(tabular, "batches", small)
    monkeypatch.setattr(outputs, "ROWS", 7)
    assert fmlab("predict", clicks, room / "clicks.csv", "--out", tmp_path / "out.csv") == 0
    assert len(seen) > 5
    np.testing.assert_allclose(scores(tmp_path / "out.csv"), by_hand(clicks), rtol=1e-5, atol=1e-6)


def failed(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    assert fmlab(*arguments) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return said.err


def test_what_is_wrong_with_rows_is_said(clicks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error(header: list[str], values: list[str], code: int = 65) -> str:
        rows, out = write(tmp_path / "rows.csv", header, [values]), tmp_path / "out.csv"
        out.write_text("of before")
        found = failed(capsys, code, "predict", clicks, rows, "--out", out)
        assert out.read_text() == "of before"
        assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".tmp")] == []
        return found

    names, values = list(ROW), list(ROW.values())
    said = error([{"price": "prize", "uid": "id"}.get(n, n) for n in names], values)
    assert "has no 'uid'" in said
    assert "'price' (did you mean 'prize'?)" in said
    assert "'price' must hold finite numbers, 1 values are none: 'cheap'" in error(
        names, list((ROW | {"price": "cheap"}).values())
    )
    assert "'visits' must hold finite numbers" in error(names, list((ROW | {"visits": "many"}).values()))
    assert "a time is a number" in error(names, list((ROW | {"when": "noon"}).values()))
    assert "'score' is added" in error([*names, "score"], [*values, "1"])
    assert "every row needs the 11 columns" in error(names, [*values, "1"])
    (tmp_path / "empty.csv").write_text(",".join(names) + "\n")
    assert "has no rows" in failed(capsys, 65, "predict", clicks, tmp_path / "empty.csv")
    assert "is not there" in failed(capsys, 2, "predict", clicks, tmp_path / "none.csv")
    assert ".csv, .tsv, .parquet" in failed(capsys, 2, "predict", clicks, tmp_path / "rows.csv", "--out", "x.json")
    assert "another file" in failed(
        capsys, 2, "predict", clicks, *[tmp_path / "rows.csv", "--out", tmp_path / "rows.csv"]
    )
    assert "either ROWS" in failed(capsys, 2, "predict", clicks)


def test_a_feature_named_score_keeps_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    rows = "".join(f"u{n % 7},i{n % 5},{n % 2},{n % 3}\n" for n in range(200))
    (tmp_path / "rows.csv").write_text("user,item,y,score\n" + rows)
    roles = (
        "data=csv",
        "data.path=rows.csv",
        "data.user=user",
        "data.item=item",
        "data.label=y",
        "data.numeric=[score]",
    )
    place = train(tmp_path, "run", "model=fm", "protocol=ctr", "data=csv", "data.path=rows.csv", *roles)
    out = tmp_path / "out.csv"
    assert fmlab("predict", place, tmp_path / "rows.csv", "--out", out) == 0
    assert "names that begin with 'predicted_'" in caplog.text
    made = cells(out)
    assert list(made[0]) == ["user", "item", "y", "score", "predicted_score", "predicted_probability"]
    assert [row["score"] for row in made] == [str(n % 3) for n in range(200)]
    np.testing.assert_allclose([float(row["predicted_score"]) for row in made], by_hand(place), rtol=1e-5, atol=1e-6)
    assert fmlab("predict", place, out) == 65  # columns of an earlier prediction are not added twice
    assert "'predicted_score' is added to the rows" in capsys.readouterr().err


def test_columns_lists_what_rows_need(clicks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fmlab("predict", clicks, "--columns") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.split()}
    assert set(lines) >= set(HEADER) - {"clicked"}
    assert "clicked" not in lines
    assert "required" in lines["uid"]
    assert "for a new user" in lines["age"]
    assert "split at '|'" in lines["tags"]


# ------------------------------------------------------------------------------------- runs that cannot be used


def test_a_run_folder_is_used_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_clicks(tmp_path / "own.csv", 60)
    rows = shutil.copy(table, tmp_path / "rows.csv")
    place = train(tmp_path, "run", "model=mf", "data=csv", "data.path=own.csv", "protocol=ctr", *USERS_AND_ITEMS)
    expected = by_hand(place)
    elsewhere = tmp_path / "elsewhere" / "copied"
    shutil.copytree(place, elsewhere)
    for gone in (place, tmp_path / "cache"):
        shutil.rmtree(gone)
    table.unlink()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert fmlab("predict", elsewhere, rows, "--out", tmp_path / "out.csv") == 0
    np.testing.assert_allclose(scores(tmp_path / "out.csv"), expected, rtol=1e-5, atol=1e-6)
    assert fmlab("recommend", elsewhere, "--user", "7", "--out", tmp_path / "list.csv") == 0
    assert fmlab("export", elsewhere, "--out", tmp_path / "export") == 0
    new = {p for p in tmp_path.rglob("*") if before.get(p) != p.stat().st_mtime_ns} - {tmp_path}
    assert {p.relative_to(tmp_path).parts[0] for p in new} == {"out.csv", "list.csv", "export"}


USERS_AND_ITEMS = ("data.user=uid", "data.item=movie", "data.label=clicked", "data.categorical=[uid]")


def test_folders_that_are_no_run_are_told_apart(
    two_sided: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write(tmp_path / "rows.csv", ["user", "item"], [["1", "1"]])
    assert "is not there" in failed(capsys, 74, "predict", tmp_path / "nothing", rows)
    assert "has none" in failed(capsys, 74, "predict", tmp_path, rows)
    folder = tmp_path / "run"
    shutil.copytree(two_sided, folder)
    assert fmlab("predict", folder / "checkpoints" / "last.ckpt", rows) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {"status": "interrupted", "error": "in epoch 3"}))
    assert fmlab("predict", folder, rows) == 0
    best = folder / "checkpoints" / "best.ckpt"
    content = best.read_bytes()
    best.write_bytes(content[:-100])
    assert "cut short" in failed(capsys, 74, "predict", folder, rows)
    import torch

    torch.save({"model": torch.zeros(3)}, best)
    assert "not written by fmlab" in failed(capsys, 74, "predict", folder, rows)
    best.unlink()
    assert "its status is interrupted: in epoch 3" in failed(capsys, 74, "predict", folder, rows)
    shutil.copy(two_sided / "checkpoints" / "best.ckpt", tmp_path / "stray.ckpt")
    assert "keeps what serving needs in serving.bin" in failed(capsys, 74, "predict", tmp_path / "stray.ckpt", rows)
    best.write_bytes(content)
    (folder / "config.yaml").write_text("data: [1, 2")  # it is not read
    assert fmlab("predict", folder, rows) == 0
    (folder / "serving.bin").unlink()
    assert "trained by an earlier version of fmlab" in failed(capsys, 74, "predict", folder, rows)


def test_a_checkpoint_of_other_data_is_refused(
    two_sided: Path, clicks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write(tmp_path / "rows.csv", ["user", "item"], [["1", "1"]])
    folder = tmp_path / "run"
    shutil.copytree(two_sided, folder)
    shutil.copy(clicks / "checkpoints" / "best.ckpt", folder / "checkpoints" / "best.ckpt")
    assert "must come from one run" in failed(capsys, 2, "predict", folder, rows)
