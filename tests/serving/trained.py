"""Small trained runs, and rows scored by hand: through the data set's own tables and the model, without the encoder."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fmlab.cli import main
from fmlab.config.composition import compose
from fmlab.contracts import Task
from fmlab.data import Dataset
from fmlab.run.experiment import run
from fmlab.run.task_opening import open_task

USERS = ("7", "007", "NA", "u3", "u4", "u5", "u6", "löwe")
ITEMS = ("1", "01", "x", "y", "z", "w")
HEADER = ("uid", "movie", "clicked", "age", "brand", "price", "tags", "color", "visits", "dwell", "when")
ROLES = (
    *("data.user=uid", "data.item=movie", "data.label=clicked", "data.time=when", "data.on_leak=allow"),
    *("data.user_fields=[age]", "data.item_fields=[brand]", "data.numeric=[price,age]", "data.multi_valued=[tags]"),
    *("data.categorical=[color,brand]", "data.log_squared=[visits]", "data.quantile_bins=[dwell]", "data.n_bins=4"),
    *("data.time_features=[hour]", "data.na_values=[none]"),
)


def write_clicks(path: Path, rows: int = 300) -> Path:
    """A table with every kind of column, a byte order mark, missing values and ids that a number would merge."""
    rng = np.random.default_rng(0)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for n in range(rows):
            user, item = int(rng.integers(len(USERS))), int(rng.integers(len(ITEMS)))
            price = "" if n % 17 == 3 else f"{rng.normal(20, 4):.2f}"
            tags = "|".join(rng.permutation(["a", "b", "c", "d"])[: rng.integers(0, 4)])
            color = ("red", "green", "none", "")[int(rng.integers(4))]
            age = "" if user == 5 else f"{20 + 3.5 * user}"
            numbers = (int(rng.integers(0, 50)), f"{rng.exponential(3):.3f}", 1_600_000_000 + n * 5000)
            label = int(rng.random() < 0.5)
            writer.writerow((USERS[user], ITEMS[item], label, age, f"brand{item % 3}", price, tags, color, *numbers))
    return path


def train(folder: Path, name: str, *arguments: str) -> Path:
    """A run of one epoch, prepared in `folder/cache`."""
    place = folder / name
    few = ("trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.threads=1", "trainer.progress=false")
    folders = (f"data_dir={folder}", f"cache_dir={folder / 'cache'}")
    run(compose([*arguments, *few, *folders]), place)
    return place


def task_of(place: Path) -> Task:
    """What a run was trained on, by the way that training takes."""
    import yaml

    return open_task(yaml.safe_load((place / "config.yaml").read_text()))


def data_of(place: Path) -> Dataset:
    """The data set that a run was trained on."""
    return task_of(place).dataset


def forward(model: torch.nn.Module, ids: np.ndarray, values: np.ndarray | None) -> np.ndarray:
    with torch.no_grad():
        numbers = None if values is None else torch.from_numpy(np.array(values))
        return model(torch.from_numpy(np.array(ids)), numbers).numpy()


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


def fmlab(*arguments: object) -> int:
    return main([str(a) for a in arguments])
