"""Plots: the numbers that are drawn, and that each kind is drawn or says why not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fmlab_models.fmfm import FmFM
from fmlab_models.ifm import IFM
from trained import fmlab

from fmlab.errors import DataError, FmlabError
from fmlab.serving import load_run
from fmlab.serving.figures import permutation_importance
from fmlab.testing import tiny

pytest.importorskip("matplotlib")


def test_importance_is_the_loss_that_shuffling_adds(clicks: Path, room: Path) -> None:
    run = load_run(clicks)
    rows = pd.read_csv(room / "clicks.csv", dtype=str, keep_default_na=False)
    found = permutation_importance(run, rows, "clicked", repeats=4)
    assert list(found) == [f.name for f in run.data.schema.fields]
    with torch.no_grad():  # the user's weights alone decide: no other field may matter
        weight = run.model.table.weight
        weight.zero_()
        field = run.data.schema.fields[0]
        weight[1 : field.size, 0] = torch.linspace(-3, 3, field.size - 1)
    alone = permutation_importance(run, rows, "clicked", repeats=4)
    assert alone[field.name][0] != 0
    assert alone[field.name][1] > 0
    assert {found for name, found in alone.items() if name != field.name} == {(0.0, 0.0)}
    score = run.predict(rows)["score"].to_numpy(np.float64)
    label = rows["clicked"].astype(float).to_numpy()
    rng, shuffled = np.random.default_rng(0), []
    for _ in range(4):
        moved = score[rng.permutation(len(rows))]
        shuffled.append((np.logaddexp(0, moved) - label * moved).mean())
    base = (np.logaddexp(0, score) - label * score).mean()
    assert alone[field.name][0] == pytest.approx(np.mean(shuffled) - base, abs=1e-6)
    with pytest.raises(DataError, match="rows need the column of labels, got no 'click'; did you mean 'clicked'"):
        permutation_importance(run, rows, "click")


def test_models_say_what_pairs_of_fields_weigh() -> None:
    schema = tiny("context").schema
    model = FmFM(schema, dim=3)
    _, table = model.field_pairs()
    assert table.shape == (5, 5)
    dense = model.matrices()[0]
    assert float(table[0, 2]) == pytest.approx(float(dense[0:3, 6:9].norm()), rel=1e-6)
    torch.testing.assert_close(table, table.T)
    ifm = IFM(schema, dim=3)
    _, norms = ifm.field_pairs()
    place = ifm.pairs.fields.index((1, 3))
    assert float(norms[3, 1]) == pytest.approx(float(ifm.pairs.prototypes()[place].norm()), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("two_sided", "curves"), ("two_sided", "triangles"), ("hyperbolic", "disk"), ("hyperbolic", "tsne")],
)
def test_each_kind_is_drawn(name: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    place = request.getfixturevalue(name)
    if kind == "tsne":
        pytest.importorskip("sklearn")
    assert fmlab("plot", kind, place, "--out", tmp_path / "p.svg") == 0
    assert b"</svg>" in (tmp_path / "p.svg").read_bytes()


def test_what_cannot_be_drawn_is_said(
    two_sided: Path, room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = load_run(two_sided)
    with pytest.raises(FmlabError, match="points of the Poincaré ball, those of fm are elsewhere"):
        run.plot("disk")
    with pytest.raises(FmlabError, match="fm weighs no pairs of fields"):
        run.plot("pairs")
    with pytest.raises(FmlabError, match="a plot must be of a known kind, got 'curve'; did you mean 'curves'"):
        run.plot("curve")
    assert fmlab("plot", "curves", two_sided, "--out", tmp_path / "p.gif") == 2
    assert fmlab("plot", "importance", two_sided, "--out", tmp_path / "p.png") == 2
    assert "--rows goes with importance" in capsys.readouterr().err
