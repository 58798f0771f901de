"""An object stands for no number, text or time: where a cell holds one, the column and the object are named."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from trained import cells, fmlab

from fmlab.errors import DataError
from fmlab.serving import load_run


@pytest.mark.parametrize("cell", [{"a": 1}, [{"a": 1}]])
def test_an_object_is_refused_in_frames_and_files(
    cell: Any, clicks: Path, room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[dict[str, Any]] = [
        {k: v for k, v in row.items() if k != "clicked"} for row in cells(room / "clicks.csv")
    ]
    rows = [row | {"price": cell} if n == 1 else row for n, row in enumerate(rows[:3])]
    with pytest.raises(DataError, match=r"column 'price' must hold .*: an object is none of them, got \{'a': 1\}"):
        load_run(clicks).predict(pd.DataFrame(rows))
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    assert fmlab("predict", clicks, file) == 65
    assert "column 'price' of" in capsys.readouterr().err
