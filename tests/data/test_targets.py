from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fmlab.data.store.serialization import pack, unpack
from fmlab.data.store.validation import check
from fmlab.errors import DataError
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
