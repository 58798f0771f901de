"""Whole numbers of a column with gaps: typed tables give 43, files that other programs write of them give 43.0."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fmlab
from fmlab.data.encoding.fitted_encoder import other_spelling
from fmlab.serving import load_run
from fmlab.serving.encoder_table import write_encoder
from fmlab.serving.onnx_scorer import Encoder


@pytest.mark.parametrize(
    ("text", "other"),
    [("43", "43.0"), ("43.0", "43"), ("-7.00", "-7"), ("43.5", None), ("", None), ("4e1", None), ("a", None)],
)
def test_a_whole_number_has_two_spellings(text: str, other: str | None) -> None:
    assert other_spelling(text) == other


def test_a_file_made_of_a_frame_gets_the_scores_of_the_frame(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    plan = np.where(rng.random(300) < 0.2, np.nan, rng.integers(40, 46, 300))
    frame = pd.DataFrame({"plan": plan, "city": rng.choice(["a", "b"], 300)})
    frame["label"] = ((frame["plan"] > 42) ^ (rng.random(300) < 0.1)).astype(int)
    run = fmlab.fit(
        frame,
        model="lr",
        label="label",
        protocol="ctr",
        **{"data.categorical": ["plan"], "trainer.max_epochs": 2, "optimizer.lr": 0.1},
    )
    expected = run.predict(frame)["score"].to_numpy()
    assert len(np.unique(expected[frame["city"] == "a"])) > 3, "plans have scores of their own"
    file = tmp_path / "rows.csv"
    frame.to_csv(file, index=False)
    assert "43.0" in file.read_text()
    rows = load_run(run.folder).predict(pd.read_csv(file, dtype=str, keep_default_na=False))
    np.testing.assert_array_equal(rows["score"].to_numpy(), expected)
    write_encoder(load_run(run.folder).data, tmp_path / "encoder.json")
    encoder = Encoder(tmp_path / "encoder.json")
    for number in (40, 43, 45):
        assert encoder.encode({"plan": f"{number}.0", "city": "a"}) == encoder.encode(
            {"plan": str(number), "city": "a"}
        )
    assert encoder.encode({"plan": "43.5", "city": "a"}) == encoder.encode({"plan": "nothing", "city": "a"})
