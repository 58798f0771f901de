"""Plots: the numbers that are drawn, and that each kind is drawn or says why not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fmlab_models.fm import FM
from fmlab_models.fmfm import FmFM
from fmlab_models.ifm import IFM
from fmlab_models.lorentzfm import LorentzFM
from trained import fmlab

from fmlab.data import Table
from fmlab.errors import DataError, FmlabError
from fmlab.serving import load_run, run_plots
from fmlab.serving.drawing import axes_of, heat_map
from fmlab.serving.feature_importance import pair_information, permutation_importance
from fmlab.serving.loaded_run import LoadedRun
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
    [("two_sided", "curves"), ("hyperbolic", "disk"), ("hyperbolic", "tsne")],
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
    assert "--rows goes with importance, interactions, mutual_information" in capsys.readouterr().err


def test_pairs_of_columns_are_those_of_the_score() -> None:
    schema = tiny("numeric").schema
    torch.manual_seed(0)
    fm, lorentz = FM(schema, dim=3, init_std=0.5), LorentzFM(schema, dim=4, init_std=0.5)
    ids = torch.tensor([schema.offsets[f] + 1 for f in schema.column_field]).unsqueeze(0)
    values = torch.linspace(0.5, 2, schema.n_columns).unsqueeze(0)
    with torch.no_grad():
        for model, times in ((fm, 0.5), (lorentz, 1.0)):
            _, pairs = model.column_pairs(ids, values)
            total = times * (pairs.sum() - pairs[0].diagonal().sum())
            linear = model(ids, values) - total
            if model is fm:
                linear = linear - model.bias - (model.table(ids)[..., 0] * values).sum()
            torch.testing.assert_close(linear.double(), torch.zeros(1).double(), atol=1e-5, rtol=0)


def test_information_of_pairs_is_that_of_their_table(clicks: Path) -> None:
    run = load_run(clicks)
    schema = run.data.schema
    rng, columns = np.random.default_rng(0), schema.n_columns
    ids = np.array([[schema.offsets[f] for f in schema.column_field]] * 400, np.int32)
    ids[:, 0] += 1 + rng.integers(0, 2, 400)
    item = schema.item.start
    ids[:, item] += 1 + rng.integers(0, 2, 400)
    label = ((ids[:, 0] + ids[:, item]) % 2).astype(float)  # each alone tells nothing, both tell all
    found = pair_information(run, Table(ids, np.ones((400, columns), np.float32)), label)
    a, b = schema.column_field[0], schema.column_field[item]
    share = label.mean()
    assert found[a, b] == pytest.approx(-(share * np.log(share) + (1 - share) * np.log(1 - share)))
    assert found[a, a] < 0.02
    np.testing.assert_array_equal(found, found.T)


def test_plots_of_rows_are_drawn(clicks: Path, room: Path, tmp_path: Path) -> None:
    for kind in ("interactions", "mutual_information"):
        out = tmp_path / f"{kind}.png"
        assert fmlab("plot", kind, clicks, "--rows", room / "clicks.csv", "--label", "clicked", "--out", out) == 0
        assert out.stat().st_size > 5000


def test_sizes_of_fields_are_drawn(clicks: Path) -> None:
    run = load_run(clicks)
    with pytest.raises(FmlabError, match="fm has vectors of one size"):
        run.plot("dimensions")
    sizes = tuple(range(2, 2 + len(run.data.schema.fields)))
    sized = replace(run, model=FmFM(run.data.schema, dims=sizes))
    shown = sized.plot("dimensions").axes[0].images[0].get_array()
    assert shown[1, 3] == sizes[1]


def test_a_name_is_no_formula(clicks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["$\\frac{$", "a$_{b$"]

    def bars(_: LoadedRun) -> Any:
        figure, axes = axes_of(names[1])
        axes.barh(names, [1, 2])
        return figure

    run = load_run(clicks)
    for picture in (bars, lambda _: heat_map(names[0], np.eye(2), names, names)):
        monkeypatch.setitem(run_plots.KINDS, "curves", picture)
        figure = run.plot("curves", tmp_path / "names.png")
        figure.savefig(tmp_path / "again.svg")
        assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == names


@pytest.mark.parametrize(("numbers", "low"), [([[1.0, 9.0]], 0.0), ([[8.0, 9.0]], 8.0), ([[-1.0, 9.0]], -9.0)])
def test_colors_of_a_heat_map_tell_close_numbers_apart(numbers: list[list[float]], low: float) -> None:
    pytest.importorskip("matplotlib")
    from fmlab.serving.drawing import heat_map

    figure = heat_map("title", np.array(numbers), ["a"], ["b", "c"])
    assert figure.axes[0].images[0].get_clim() == (low, 9.0)
