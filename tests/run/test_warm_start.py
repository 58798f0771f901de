"""A model goes on from yesterday's on data that have grown: what is known is kept, the rest is new, all is counted."""

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from fmlab.config.composition import compose
from fmlab.contracts import NeedsInteractions, Task
from fmlab.data import Dataset
from fmlab.errors import FmlabError
from fmlab.plugin.registry import names
from fmlab.run.experiment import run
from fmlab.run.loading import build_model, load_model
from fmlab.run.serving_data import ServingData
from fmlab.run.task_opening import open_task
from fmlab.run.warm_start import Trained, match_vocabularies, open_trained, start_from
from fmlab.serving import load_run
from fmlab.training.checkpoint_format import read_checkpoint

HEADER = "user,item,y,age,color,tags,price\n"
ROLES = (
    *(
        "data=csv",
        "data.user=user",
        "data.item=item",
        "data.label=y",
        "data.numeric=[price]",
        "data.multi_valued=[tags]",
    ),
    *("data.categorical=[color,age]", "data.user_fields=[age]", "data.on_leak=allow", "protocol=ctr"),
)
FEW = ("trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.progress=false", "logger=none")


def write(path: Path, users: range, items: range, rows: int = 120) -> None:
    """`users` and `items` in any order: ids of features change from table to table."""
    rng = np.random.default_rng(len(users))
    with path.open("w") as file:
        file.write(HEADER)
        for n in range(rows):
            user, item = users[n % len(users)], items[int(rng.integers(len(items)))]
            tags = "|".join(rng.permutation(["a", "b"])[: 1 + n % 2])
            label, price = int(rng.random() < 0.5), n * len(users) + 0.5
            file.write(f"u{user},i{item},{label},{user % 3},c{n % len(items)},{tags},{price}\n")


def plain(folder: Path, table: str, *options: str) -> list[str]:
    return [*ROLES, *FEW, f"data_dir={folder}", f"cache_dir={folder / 'cache'}", f"data.path={table}", *options]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("warm")
    write(folder / "monday.csv", range(10), range(6))
    write(folder / "tuesday.csv", range(12, -1, -1), range(8, 1, -1))
    for model in ("deepfm", "mf", "fm"):
        run(compose(plain(folder, "monday.csv", f"model={model}", "model.dim=4")), folder / model)
    return folder


def rows_of(data: Dataset, field: str) -> dict[str, int]:
    at = next(n for n, f in enumerate(data.schema.fields) if f.name == field)
    return {key: data.schema.offsets[at] + n for n, key in enumerate([None, *data.keys[field].tolist()])}


def task_of(folder: Path, table: str) -> Task:
    config = compose(plain(folder, table))
    return open_task({k: config[k] for k in ("data_dir", "cache_dir", "data", "protocol")})


def data_of(folder: Path, table: str) -> Dataset:
    return task_of(folder, table).dataset


def test_rows_of_known_values_are_kept_and_others_start_anew(room: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        trained = open_trained(str(room / "deepfm"))
        old, before = trained.model, data_of(room, "monday.csv")
        now = data_of(room, "tuesday.csv")
        match_vocabularies(trained, now, 3)
    assert trained.counts["user"] == {"known": 10, "new": 3, "gone": 0}
    assert trained.counts["item"]["gone"] == 2
    assert "user 10 known, 3 new, 0 gone" in caplog.text
    assert "price is scaled by mean" in caplog.text
    for field in ("user", "item", "color", "tags", "age"):
        known, new = rows_of(before, field), rows_of(now, field)
        for key, row in new.items():
            made = trained.model.get_parameter("table.weight")[row]
            if key in known:
                assert torch.equal(made, old.get_parameter("table.weight")[known[key]])
            else:
                assert made[0] == 0  # as the model starts a weight
    assert torch.equal(trained.model.get_parameter("first.weight"), old.get_parameter("first.weight"))


def test_a_run_goes_on_with_grown_data(room: Path, tmp_path: Path) -> None:
    import json

    options = ("model=deepfm", "model.dim=4", f"warm_start=[{room / 'deepfm'}]", "optimizer.lr=0.000001")
    run(compose(plain(room, "tuesday.csv", *options)), tmp_path / "next")
    first, second = (load_model(p / "checkpoints" / "best.ckpt") for p in (room / "deepfm", tmp_path / "next"))
    known, new = (rows_of(data_of(room, t), "user") for t in ("monday.csv", "tuesday.csv"))
    one, two = first.get_parameter("table.weight")[known["u4"]], second.get_parameter("table.weight")[new["u4"]]
    torch.testing.assert_close(one, two, atol=1e-3, rtol=0)
    told = json.loads((tmp_path / "next" / "metrics.json").read_text())["warm_start"][0]
    assert told["fields"]["user"] == {"known": 10, "new": 3, "gone": 0}
    assert load_run(tmp_path / "next").name == "deepfm"


@pytest.mark.parametrize("name", [n for n in names("model") if n != "nearest"])
def test_every_model_goes_on_with_grown_data(name: str, room: Path) -> None:
    """Scores of rows whose values are all known are those of before, but for models that read the training rows."""
    tasks = [task_of(room, "monday.csv"), task_of(room, "tuesday.csv")]
    before, now = (task.dataset for task in tasks)
    options = {"name": name}
    try:
        old = build_model(options, before.schema, 1).eval()
    except FmlabError as error:
        pytest.skip(str(error))
    known, later = (ServingData.of(task.dataset, task, log_odds=True) for task in tasks)
    trained = Trained(Path("x"), options, old, known, before.schema, before.fingerprint)
    match_vocabularies(trained, now, 2)
    fresh = build_model(options, now.schema, 5)
    start_from(fresh, options, [trained])
    if isinstance(fresh, NeedsInteractions) or trained.reinitialized or name in ("poly2", "constant"):
        return
    cells = {"user": "u3", "item": "i4", "age": "0", "color": "c2", "tags": "a", "price": None}
    rows = pa.RecordBatch.from_pydict({k: pa.array([v], pa.string()).dictionary_encode() for k, v in cells.items()})
    scores = []
    for encoder, model in ((known.encoder(), old), (later.encoder(), fresh.eval())):
        table = encoder.encode(rows, encoder.tallies())
        values = None if table.values is None else torch.tensor(table.values)
        scores.append(model(torch.tensor(table.ids), values).detach())
    torch.testing.assert_close(scores[0], scores[1])


def test_other_sizes_and_other_models_are_refused(room: Path, tmp_path: Path) -> None:
    def start(*options: str) -> None:
        run(compose(plain(room, "tuesday.csv", *options)), tmp_path / "run")

    with pytest.raises(FmlabError, match=r"goes on with the sizes .* dim: 4 there, 6 here"):
        start("model=deepfm", "model.dim=6", f"warm_start=[{room / 'deepfm'}]")
    with pytest.raises(FmlabError, match="mf cannot"):
        start("model=mf", f"warm_start=[{room / 'fm'}]")


def test_a_model_that_starts_from_another_does_so_on_grown_data_too(room: Path, tmp_path: Path) -> None:
    options = ("model=deepfm", "model.dim=4", f"warm_start=[{room / 'fm' / 'checkpoints' / 'best.ckpt'}]")
    run(compose(plain(room, "tuesday.csv", *options, "optimizer.lr=0.000001")), tmp_path / "run")
    first, second = (load_model(p / "checkpoints" / "best.ckpt") for p in (room / "fm", tmp_path / "run"))
    known, new = (rows_of(data_of(room, t), "item") for t in ("monday.csv", "tuesday.csv"))
    one, two = first.get_parameter("table.weight")[known["i3"]], second.get_parameter("table.weight")[new["i3"]]
    torch.testing.assert_close(one, two, atol=1e-3, rtol=0)


def test_the_optimizer_goes_on_with_its_state_row_by_row(room: Path, tmp_path: Path) -> None:
    options = ("model=fm", "model.dim=4", f"warm_start=[{room / 'fm'}]", "warm_start_optimizer=true")
    stopped = (*options, "optimizer.lr=0.0000001", "trainer.limit_train_batches=1")
    run(compose(plain(room, "tuesday.csv", *stopped)), tmp_path / "next")
    old, new = (
        read_checkpoint(p / "checkpoints" / "best.ckpt")["optimizer_states"][0]["state"]
        for p in (room / "fm", tmp_path / "next")
    )
    at = next(n for n, entry in old.items() if entry["exp_avg_sq"].dim() == 2)
    known, now = (rows_of(data_of(room, t), "user") for t in ("monday.csv", "tuesday.csv"))
    assert float(new[at]["step"]) == float(old[at]["step"]) + 1
    before, after = (entry[at]["exp_avg_sq"] for entry in (old, new))
    kept = [
        float(after[now[u]].sum() / before[known[u]].sum()) for u in known if u in now and before[known[u]].sum() > 0
    ]
    assert len(kept) == 10
    assert min(kept) > 0.99  # one step forgets a thousandth of it
    anew = [float(after[now[u]].sum()) for u in now if u not in known]
    assert max(anew) < float(before.sum(1).median())


def test_what_an_optimizer_cannot_go_on_from_is_refused(room: Path, tmp_path: Path) -> None:
    for options, said in (
        (("model=fm", "model.dim=4"), "goes on from one run of the same model"),
        (("model=deepfm", "model.dim=4", f"warm_start=[{room / 'fm'}]"), "goes on from one run of the same model"),
        (
            ("model=fm", "model.dim=4", f"warm_start=[{room / 'fm'}]", "optimizer=sgd"),
            "got 'adam' there and 'sgd' here",
        ),
    ):
        with pytest.raises(FmlabError, match=said):
            run(compose(plain(room, "tuesday.csv", *options, "warm_start_optimizer=true")), tmp_path / "run")
