"""Runs that search the structure of their model and train it anew: what is kept, resumed, loaded, refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fmlab_models.fm import FM
from in_process import SignalAt, differences, metrics, train

import fmlab
from fmlab.cli.resume import overrides
from fmlab.config.composition import compose
from fmlab.data import Schema
from fmlab.errors import FmlabError, StorageError
from fmlab.nn.features import EmbeddingTable
from fmlab.nn.masked import MaskedTable
from fmlab.records.folder import RunFolder
from fmlab.run.loading import build_model, load_model
from fmlab.run.structure import read_structure
from fmlab.training.checkpoint_format import read_checkpoint

SHORT = (
    *("trainer.accelerator=cpu", "trainer.threads=1", "trainer.progress=false", "trainer.max_epochs=4"),
    *("batch_size=100", "optimizer.lr=0.02", "model.dim=4", "model.init_std=0.1"),
)
FEW = ("search.generations=10", "search.judged=0.2")
SEARCHES = {
    "pep": ("search=pep", "search.budget=0.2", "search.lr=0.1", "search.epochs=8", "optimizer.weight_decay=0.01"),
    "optfs": ("search=optfs", "search.penalty=2e-3", "search.epochs=8", "search.lr=0.03"),
    "autofield": ("search=autofield", "search.fields=2", "search.epochs=4", "search.lr=0.05"),
    "optembed": ("search=optembed", "search.penalty=1e-2", "search.epochs=15", "search.lr=0.02", *FEW),
}
BATCHES = 16  # of an epoch over all training rows
BATCHES_OF = {"autofield": 15, "optembed": 13}  # where rows are held out


def table() -> pd.DataFrame:
    """Labels follow two fields; two others, of many features, are noise."""
    rng = np.random.default_rng(0)
    sizes = {"a": 6, "b": 6, "noise": 40, "more": 40}
    frame = pd.DataFrame({name: rng.integers(0, size, 2000) for name, size in sizes.items()})
    frame["y"] = (((frame.a + frame.b) % 2 == 0) ^ (rng.random(2000) < 0.1)).astype(int)
    return frame


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Options of the table as a file."""
    path = tmp_path_factory.mktemp("data") / "clicks.csv"
    table().to_csv(path, index=False)
    roles = ("data=csv", "data.label=y", f"data.path={path}", "protocol=ctr", "protocol.on_leak=allow")
    return (*roles, "model=fm")


@pytest.fixture(scope="module", params=list(SEARCHES))
def searched(request: pytest.FixtureRequest, clicks: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "run"
    train(folder, *clicks, *SEARCHES[request.param], small=SHORT)
    return folder


def test_it_drops_the_noise_and_counts_what_is_left(searched: Path) -> None:
    found = metrics(searched)["search"]
    share = {name: f["numbers_kept"] / f["numbers"] for name, f in found["fields"].items()}
    # Which sizes an evolution of few generations comes to differs between processors: the sums are told apart.
    assert min(share["a"], share["b"]) > max(share["noise"], share["more"]), share
    assert share["a"] + share["b"] > 2 * (share["noise"] + share["more"]), share
    model: Any = load_model(searched / "checkpoints" / "best.ckpt")
    dense = sum(p.numel() for p in model.parameters())
    assert found["parameters_before"] == dense
    assert found["parameters"] == metrics(searched)["parameters"] == dense - int((~model.table.kept).sum()) < dense
    assert (model.table.weight[~model.table.kept] == 0).all()
    assert (model.table.weight[model.table.kept] != 0).any()
    assert not (searched / "search").exists()


def test_it_is_trained_anew_from_the_recorded_start(clicks: tuple[str, ...], tmp_path: Path) -> None:
    """With a learning rate of almost 0 the trained weights are those at the start, but for what was dropped."""
    still = (*clicks, "optimizer.lr=1e-30", "optimizer.weight_decay=0", "search=autofield", "search.fields=2")
    train(tmp_path / "run", *still, small=[o for o in SHORT if "lr" not in o])
    model: Any = load_model(tmp_path / "run" / "checkpoints" / "best.ckpt")
    saved = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")["fmlab"]
    start: Any = build_model(saved["model"], Schema.from_dict(saved["schema"]), saved["seed"])
    kept = read_structure(RunFolder(tmp_path / "run").structure).kept["table"]
    assert 0 < int(kept.sum()) < kept.numel()
    assert torch.equal(model.table.kept, kept)
    torch.testing.assert_close(model.table.weight, start.table.weight * kept, rtol=0, atol=1e-20)


@pytest.mark.parametrize("name", ["pep", "autofield", "optembed"])
def test_a_run_that_is_stopped_anywhere_goes_on_as_if_it_were_not(
    name: str, clicks: tuple[str, ...], tmp_path: Path
) -> None:
    options = (*clicks, *SEARCHES[name])
    train(tmp_path / "whole", *options, small=SHORT)
    steps = round(metrics(tmp_path / "whole")["search"]["epochs"] * BATCHES_OF.get(name, BATCHES))
    for at in (3, BATCHES + 2, steps + 5):
        folder = tmp_path / str(at)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(folder, *options, small=SHORT, callbacks=[SignalAt(at)])
        assert (folder / "search").exists() == (at < steps), "it stopped in another phase"
        assert "if_exists=resume" in overrides([str(folder)])[1]  # of `fmlab resume`
        train(folder, *options, "if_exists=resume", small=SHORT)
        assert not differences(tmp_path / "whole", folder)
        for key in ("parameters", "fields"):
            assert metrics(folder)["search"][key] == metrics(tmp_path / "whole")["search"][key]


def test_a_run_goes_on_elsewhere_with_its_structure(searched: Path, clicks: tuple[str, ...], tmp_path: Path) -> None:
    name = metrics(searched)["search"]["name"]
    longer = (*clicks, *SEARCHES[name], "trainer.max_epochs=5", f"ckpt_path={searched}")
    train(tmp_path / "rest", *longer, small=SHORT)
    assert metrics(tmp_path / "rest")["epochs"] == 5
    a, b = (load_model(f / "checkpoints" / "last.ckpt") for f in (searched, tmp_path / "rest"))
    assert torch.equal(a.table.kept, b.table.kept)  # type: ignore[union-attr, arg-type]
    other = [o for o in longer if not o.startswith("search.epochs")]
    with pytest.raises(FmlabError, match=r"was found with other options or data; if_exists=overwrite"):
        train(tmp_path / "other", *other, "search.epochs=9", small=SHORT)
    (searched.parent / "copy").mkdir()
    (searched.parent / "copy" / "checkpoints").symlink_to(searched / "checkpoints")
    with pytest.raises(FmlabError, match=r"goes on with the structure it found, there is no .*structure.safetensors"):
        train(
            tmp_path / "lost", *longer[:-1], f"ckpt_path={searched.parent / 'copy/checkpoints/last.ckpt'}", small=SHORT
        )
    damaged = tmp_path / "structure.safetensors"
    damaged.write_bytes(RunFolder(searched).structure.read_bytes()[:50])
    with pytest.raises(StorageError, match="holds no structure"):
        read_structure(damaged)


def test_it_predicts_and_exports_alike_when_loaded(searched: Path, tmp_path: Path) -> None:
    run, frame = fmlab.load(searched), table().drop(columns="y").head(50)
    scores = run.predict(frame)["score"].to_numpy()
    assert np.isfinite(scores).all()
    run.export(tmp_path / "hub", ["huggingface"])
    again = fmlab.load(tmp_path / "hub").predict(frame)["score"].to_numpy()
    np.testing.assert_array_equal(again, scores)
    small = (
        run.quantize(tmp_path / "small", cache_dir=str(searched.parent / "cache")).predict(frame)["score"].to_numpy()
    )
    np.testing.assert_allclose(small, scores, atol=0.2)
    model: Any = load_model(searched / "checkpoints" / "best.ckpt")
    saved = read_checkpoint(searched / "checkpoints" / "best.ckpt")["fmlab"]
    plain = FM(Schema.from_dict(saved["schema"]), dim=4)
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if k != "table.kept"})
    ids = torch.randint(0, len(model.table.weight), (20, 4))
    assert torch.equal(plain(ids), model(ids))  # the numbers in the table are all that there is to export


def test_a_refit_keeps_the_structure(clicks: tuple[str, ...], tmp_path: Path) -> None:
    train(tmp_path / "run", *clicks, *SEARCHES["autofield"], "refit_on=train+validation", small=SHORT)
    model: Any = load_model(tmp_path / "run" / "checkpoints" / "best.ckpt")
    kept = read_structure(RunFolder(tmp_path / "run").structure).kept["table"]
    assert torch.equal(model.table.kept, kept)
    assert metrics(tmp_path / "run")["refit"]["rows"] > metrics(tmp_path / "run")["training_rows"]


def test_runs_without_a_search_are_what_they_were(clicks: tuple[str, ...], tmp_path: Path) -> None:
    train(tmp_path / "run", *clicks, small=SHORT)
    saved = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert "search" not in saved["fmlab"]
    assert "search" not in metrics(tmp_path / "run")
    assert not RunFolder(tmp_path / "run").structure.exists()
    model: Any = load_model(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert type(model.table) is EmbeddingTable
    assert not isinstance(model.table, MaskedTable)


PAIRS = ("search=autofis", "search.epochs=8", "search.lr=0.5", "search.c=0.05", "optimizer.weight_decay=0.01")


@pytest.mark.parametrize("model", ["fm", "fwfm"])
def test_pairs_are_dropped_and_stay_so(model: str, clicks: tuple[str, ...], tmp_path: Path) -> None:
    options = (*clicks[:-1], f"model={model}", *PAIRS)
    train(tmp_path / "whole", *options, small=SHORT)
    found = metrics(tmp_path / "whole")["search"]
    assert "a*b" in found["pairs"]["kept"]
    assert len(found["pairs"]["kept"]) <= 4
    assert found["pairs"]["all"] == 6
    own = 6 - len(found["pairs"]["kept"]) if model == "fwfm" else 0
    assert found["parameters"] == found["parameters_before"] - own == metrics(tmp_path / "whole")["parameters"]
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(tmp_path / "half", *options, small=SHORT, callbacks=[SignalAt(BATCHES + 2)])
    train(tmp_path / "half", *options, "if_exists=resume", small=SHORT)
    assert not differences(tmp_path / "whole", tmp_path / "half")
    fmlab.load(tmp_path / "whole").export(tmp_path / "hub", ["huggingface"])
    loaded_runs = [fmlab.load(folder) for folder in (tmp_path / "whole", tmp_path / "hub")]
    np.testing.assert_array_equal(*(run.predict(table().head(50))["score"].to_numpy() for run in loaded_runs))
    loaded: Any = load_model(tmp_path / "whole" / "checkpoints" / "best.ckpt")
    gone = [n for n, kept in enumerate(loaded.pair_gates.kept.tolist()) if not kept]
    assert len(gone) == 6 - len(found["pairs"]["kept"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("model=dcn", "search=autofis"),
            r"adds up pairs of fields, dcn does not; fm, deepfm",
        ),
        (("model=constant",), "needs a model that is trained by gradients, constant is not; it takes search=none"),
        (("model=fm", "table=hashed"), "needs a row for each feature, got table=hashed"),
        (("model=fm", "warm_start=[x]"), "trains anew from where a model starts; got warm_start"),
        (("model=fm", "trainer.devices=2"), r"trains in one process, got 2; set trainer.devices=1"),
        (("model=lorentzfm",), r"drops numbers of flat vectors, those of lorentzfm are points of a Lorentz manifold"),
        (("model=fm", "model.geometry=ball"), r"points of a Product manifold; .*geometry=euclidean"),
        (("model=deeplight",), "reads its tables as a whole"),
    ],
    ids=lambda o: str(o[-1]) if isinstance(o, tuple) else "",
)
def test_what_takes_no_search_is_refused_by_name(
    options: tuple[str, ...], message: str, clicks: tuple[str, ...], tmp_path: Path
) -> None:
    small = [o for o in SHORT if not o.startswith(("model.", "optimizer."))]
    with pytest.raises(FmlabError, match=message):
        train(tmp_path / "run", *clicks[:-1], "search=optfs", *options, small=small)


def test_a_search_that_keeps_nothing_says_so(clicks: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(FmlabError, match="drops every number of the tables"):
        train(tmp_path / "run", *clicks, "search=optfs", "search.penalty=100", "search.lr=0.1", small=SHORT)


def test_it_is_an_option_of_python_and_of_sweeps() -> None:
    config = compose(["search=pep", "search.budget=0.2", "search.granularity=field"], {})
    assert (config.search.name, config.search.budget, config.search.epochs) == ("pep", 0.2, 20)
    with pytest.raises(FmlabError, match=r"search.budget must be .* got 2"):
        compose(["search=pep", "search.budget=2"], {})
    search = {"name": "autofield", "fields": 2, "epochs": 2}
    run = fmlab.fit(
        table(), model="fm", label="y", protocol="ctr", search=search, trainer={"max_epochs": 1, "progress": False}
    )
    fields: Any = run.record["search"]["fields"]
    assert sum(f["features_kept"] > 0 for f in fields.values()) == 2
