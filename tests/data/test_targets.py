import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fmlab.data import Dataset
from fmlab.data.encoding.tables import encode_table
from fmlab.data.store.serialization import pack, unpack
from fmlab.data.store.validation import check
from fmlab.errors import DataError
from fmlab.plugin.registry import build
from fmlab.testing import tiny


def test_targets_weights_and_groups_are_stored(tmp_path: Path) -> None:
    rows = tiny("interactions").rows
    buy, weight = np.arange(rows, dtype=np.float32) % 3, np.linspace(0, 2, rows, dtype=np.float32)
    data = replace(
        tiny("interactions"),
        targets={"click": np.zeros(rows, np.float32), "buy": buy},
        weight=weight,
        group=np.arange(rows, dtype=np.int32) // 4,
    )
    assert data.targets["click"] is data.label  # the label wins
    arrays, plain = pack(data)
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    back = unpack("tiny", tmp_path, plain, "")
    assert list(back.targets) == ["click", "buy"]
    assert back.targets["click"] is back.label
    for name in ("label", "weight", "group"):
        np.testing.assert_array_equal(getattr(back, name), getattr(data, name))
    np.testing.assert_array_equal(back.targets["buy"], buy)
    check(data)
    with pytest.raises(DataError, match="weight must be 0 or more in every row, got -1"):
        check(replace(data, weight=weight - 1))


def test_the_only_target_given_is_the_label() -> None:
    data = tiny("rows")
    assert replace(data, label=None, targets={"buy": data.label}).label is data.label


CSV = "u,i,click,buy,w,session,hour\na,x,1,0,0.5,s1,3\na,y,0,0,2,s1,4\nb,x,1,1,1,s2,3\nb,y,0,1,0,s2,5\n"


def read(folder: Path, **options: object) -> Dataset:
    (folder / "rows.csv").write_text(CSV)
    source = build("data", {"name": "csv", "path": "rows.csv", "user": "u", "item": "i", **options}, folder)
    return source.build({raw.path: Path(raw.path) for raw in source.raw}, folder)


def test_csv_reads_targets_weights_and_groups(tmp_path: Path) -> None:
    data = read(tmp_path, targets=("click", "buy"), weight="w", group="session")
    assert list(data.targets) == ["click", "buy"]
    np.testing.assert_array_equal(data.label, [1, 0, 1, 0])
    np.testing.assert_array_equal(data.targets["buy"], [0, 0, 1, 1])
    np.testing.assert_array_equal(data.weight, [0.5, 2, 1, 0])
    np.testing.assert_array_equal(data.group, [0, 0, 1, 1])
    assert [f.name for f in data.schema.fields] == ["user", "hour", "item"]  # none of them is a feature


def test_a_group_may_have_another_role(tmp_path: Path) -> None:
    data = read(tmp_path, label="click", group="u", drop_columns=("buy", "w", "session"))
    np.testing.assert_array_equal(data.group, data.user)
    data = read(tmp_path, label="click", group="hour", categorical=("hour",))
    np.testing.assert_array_equal(data.group, [0, 1, 0, 2])
    assert "hour" in [f.name for f in data.schema.fields]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "click", "targets": ("buy",)}, "rows have a label or targets, got label=click and targets="),
        ({"targets": ("click", "bye")}, "bye"),
        ({"label": "click", "weight": "session"}, "column 'session' must hold finite numbers"),
        ({"targets": ("click", "click")}, "'click' was given two"),
    ],
)
def test_wrong_roles_are_named(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, **options)


def test_tables_in_memory_have_them_too(tmp_path: Path) -> None:
    frame = pd.read_csv(io.StringIO(CSV))
    roles = {"user": "u", "item": "i", "weight": "w", "group": "session"}
    data = encode_table("rows", frame, tmp_path, targets=("click", "buy"), **roles)
    assert list(data.targets) == ["click", "buy"]
    np.testing.assert_array_equal(data.weight, [0.5, 2, 1, 0])
    np.testing.assert_array_equal(data.group, [0, 0, 1, 1])
    one = encode_table("rows", frame, tmp_path, targets=("click",), ignore=("buy",), **roles)
    assert not one.targets
    np.testing.assert_array_equal(one.label, [1, 0, 1, 0])
