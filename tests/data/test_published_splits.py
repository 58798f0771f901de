"""Splits as others publish them: atomic files, the files of NCF, adjacency lists in three parts."""

from pathlib import Path

import numpy as np
import pytest
from fmlab_datasets.adjacency_lists import Adjacency
from fmlab_datasets.ncf import NCF
from fmlab_datasets.recbole import RecBole

from fmlab.data import Dataset
from fmlab.errors import DataError
from fmlab.evaluation import evaluate
from fmlab.plugin.registry import build


def made(source, root: Path) -> Dataset:
    return source.build({raw.path: root / raw.path for raw in source.raw}, root)


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        (root / name.replace("_", ".", 1)).write_text(text)


INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\tdevice:token\n"


def test_atomic_files_have_their_types_and_parts(tmp_path: Path) -> None:
    (tmp_path / "t.train.inter").write_text(INTER + "u1\ti1\t4\t100\tphone\nu2\ti2\t2.5\t200\ttv\n")
    (tmp_path / "t.valid.inter").write_text(INTER + "u1\ti2\t1\t300\ttv\n")
    (tmp_path / "t.test.inter").write_text(INTER + "u2\ti1\t5\t400\tphone\n")
    (tmp_path / "t.item").write_text(
        "item_id:token\tclass:token_seq\tprice:float\nem\tx\t1\ni1\ta b\t2.0\ni2\tb\t4.0\n"
    )
    parts = {"path": "t.train.inter", "valid": "t.valid.inter", "test": "t.test.inter"}
    data = made(RecBole(tmp_path, **parts, items="t.item"), tmp_path)
    assert (data.rows, data.split.tolist(), data.label.tolist()) == (4, [0, 0, 1, 2], [4, 2.5, 1, 5])
    assert data.time.tolist() == [100_000_000, 200_000_000, 300_000_000, 400_000_000]
    fields = {f.name: (f.side, f.slots, f.numeric) for f in data.schema.fields}
    assert fields["class"] == ("item", 2, False)
    assert fields["price"][0::2] == ("item", True)
    assert fields["device"] == ("context", 1, False)
    assert sorted(data.keys["class"].tolist()) == ["a", "b"]
    few = made(RecBole(tmp_path, **parts, items="t.item", label="none", fields=("price",)), tmp_path)
    assert few.label is None
    assert [f.name for f in few.schema.fields] == [few.schema.fields[0].name, few.schema.fields[1].name, "price"]
    with pytest.raises(DataError, match="has no column 'stars'"):
        made(RecBole(tmp_path, **parts, label="stars"), tmp_path)
    (tmp_path / "bad.inter").write_text("user,item\n1,2\n")
    with pytest.raises(DataError, match="named name:type"):
        made(RecBole(tmp_path, path="bad.inter"), tmp_path)


def test_files_of_ncf_are_ranked_among_the_published_negatives(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    train, test, negative = [], [], []
    for user in range(12):
        items = rng.permutation(30)
        times = rng.permutation(9)
        train += [f"{user}\t{i}\t5\t{t}" for i, t in zip(items[:8], times[:8], strict=True)]
        test.append(f"{user}\t{items[8]}\t3\t99")
        negative.append(f"({user},{items[8]})\t" + "\t".join(map(str, items[9:14])))
    for name, rows in (("x.train.rating", train), ("x.test.rating", test), ("x.test.negative", negative)):
        (tmp_path / name).write_text("\n".join(rows) + "\n")
    data = made(NCF(tmp_path, path="x"), tmp_path)
    assert np.bincount(data.split).tolist() == [84, 12, 12]
    for user in range(12):
        mine = data.user == user
        assert data.time[mine & (data.split == 1)].min() > data.time[mine & (data.split == 0)].max()
    options = {"by": "row", "candidate_file": str(tmp_path / "x.test.negative"), "n_candidates": 5, "refit": True}
    task = build("protocol", {"name": "composed", **options}, data)
    names = data.keys["item"].tolist()
    shown = {int(task.test.user[n]): [names[c] for c in row] for n, row in enumerate(task.test.candidates.tolist())}
    for line in negative:
        head, *others = line.split("\t")
        user = data.keys["user"].tolist().index(head.strip("()").split(",")[0])
        assert shown[user] == others

    class Zero:
        def score_all(self, user, context, more=None):
            import torch

            return torch.zeros(len(user), data.schema.n_items)

        def score_items(self, user, context, item, more=None):
            return self.score_all(user, context).gather(1, item)

    report = evaluate(task.test, Zero(), task.dataset)
    assert set(report.units["sampled_mrr"]) == {1 / 3.5}


def test_adjacency_lists_may_come_in_three_parts(tmp_path: Path) -> None:
    for name, text in (("a", "1 10 11 12\n2 10\n"), ("b", "1 13\n"), ("c", "2 11 12\n")):
        (tmp_path / name).write_text(text)
    data = made(Adjacency(tmp_path, path="a", valid="b", test="c"), tmp_path)
    assert np.bincount(data.split).tolist() == [4, 1, 2]
    with pytest.raises(DataError, match="needs a test part"):
        Adjacency(tmp_path, path="a", valid="b")
