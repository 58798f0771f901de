"""Crosses and target statistics: no row sees its own label, and a row is the same wherever it is met."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_process import metrics, train
from sklearn.metrics import roc_auc_score

from fmlab.contracts import Task
from fmlab.data import Array, Dataset, Field, Schema, Table
from fmlab.data.derived_fields import DerivedFields, Form, _find, distinct
from fmlab.data.derived_fitting import fit
from fmlab.data.derived_groups import Choice, Sample, choose_groups
from fmlab.data.store import kept_groups
from fmlab.errors import DataError
from fmlab.plugin.registry import build
from fmlab.run import derived_task
from fmlab.serving import load_run

USERS, ITEMS, ROWS = 40, 30, 6000
NOT_SHUFFLED = 0.75


def planted(seed: int = 0, rows: int = ROWS) -> Dataset:
    """A user likes an item or does not, at random: only the pair tells, with a tenth of the labels turned around."""
    rng = np.random.default_rng(seed)
    schema = Schema((Field("user", "user", USERS + 1), Field("day", "context", 8), Field("item", "item", ITEMS + 1)))
    schema = replace(schema, n_users=USERS, n_items=ITEMS)
    user, item = rng.integers(0, USERS, rows).astype(np.int32), rng.integers(0, ITEMS, rows).astype(np.int32)
    taste = np.random.default_rng(1).random((USERS, ITEMS)) < 0.5
    label = taste[user, item] ^ (rng.random(rows) < 0.1)
    ids = [np.arange(1, n + 1, dtype=np.int32)[:, None] for n in (USERS, ITEMS)]
    return Dataset(
        "planted",
        schema,
        rows,
        user,
        item,
        Table(ids[0]),
        Table(ids[1] + np.int32(schema.offsets[2])),
        Table((rng.integers(1, 8, (rows, 1)) + schema.offsets[1]).astype(np.int32)),
        label.astype(np.float32),
    )


def numbers(derived: DerivedFields, data: Dataset, rows: Array, name: str) -> Array:
    """The statistic of a group as `rows` have it in the wider data set, 0 where there is none."""
    place = [f.name for f in derived.schema.fields].index(f"label of {name}")
    table = data.row_ids(rows)
    assert table.values is not None
    return np.where(table.ids[:, place] > derived.schema.offsets[place], table.values[:, place], 0.0)


@pytest.mark.parametrize("form", ["bins", "numbers"])
def test_a_row_is_the_same_in_the_data_and_in_serving(form: Form) -> None:
    """Judged rows get in the wider data set what `wider` gives them alone, and training rows do not."""
    data, training, judged = planted(), np.arange(4000), np.arange(4000, ROWS)
    derived = fit(data, training, ["user*item"], ["item", "user*item"], form)
    wide = derived.dataset(data, training)
    assert wide.schema == derived.schema
    found, alone = wide.row_ids(judged), derived.with_fields(data.row_ids(judged))
    np.testing.assert_array_equal(found.ids, alone.ids)
    if form == "numbers":
        assert found.values is not None
        assert alone.values is not None
        np.testing.assert_array_equal(found.values, alone.values)
    own, with_label = wide.row_ids(training), derived.with_fields(data.row_ids(training))
    same = own.ids == with_label.ids if form == "bins" else own.values == with_label.values
    assert not np.asarray(same).all()


def _own(data: Dataset, training: Array) -> Array:
    """The statistics as the training rows have them."""
    derived = fit(data, training, [], ["item", "user*item"], "numbers")
    values = derived.dataset(data, training).row_ids(training).values
    assert values is not None
    return values


def test_statistics_of_a_training_row_leave_its_own_label_out() -> None:
    """Turning one row's label around changes what other rows get, and nothing of the row itself."""
    data, training = planted(), np.arange(4000)
    for row in (0, 17, 3999):
        turned = np.array(data.label)
        turned[row] = 1 - turned[row]
        before, after = (_own(one, training) for one in (data, replace(data, label=turned)))
        # The mean of all labels, to which statistics of few rows are drawn, moves by 1 / 4000.
        np.testing.assert_allclose(before[row], after[row], atol=2e-3)
        assert np.abs(before - after).max() > 0.05


@pytest.mark.parametrize("scheme", ["shuffled", "planted"])
def test_shuffled_labels_gain_nothing(scheme: str) -> None:
    """Seeds 0 to 2: a table of the training rows' statistics says nothing of judged rows whose labels are drawn."""
    areas, own = [], []
    for seed in range(3):
        data = planted(seed, 60_000)
        if scheme == "shuffled":
            data = replace(data, label=np.random.default_rng(seed).permutation(np.asarray(data.label)))
        training, judged = np.arange(40_000), np.arange(40_000, 60_000)
        derived = fit(data, training, [], ["item", "user*item", "user*day*item"], "numbers")
        wide = derived.dataset(data, training)
        label = np.asarray(data.label)
        for part, found in ((judged, areas), (training, own)):
            score = sum(numbers(derived, wide, part, name) for name in ("item", "user*item", "user*day*item"))
            found.append(roc_auc_score(label[part], score))
    if scheme == "planted":
        assert min(areas) > NOT_SHUFFLED
    else:
        assert np.mean(areas) == pytest.approx(0.5, abs=0.005)
        assert np.mean(own) <= 0.505, "training rows must not know their own labels"


def test_auto_finds_the_pair_that_tells() -> None:
    data = planted()
    training = np.arange(4000)
    chosen = choose_groups(Sample.of(data, training, np.arange(4000, ROWS))).groups
    derived = fit(data, training, "auto", "auto", "bins", chosen)
    assert derived.crosses[0].fields == ("user", "item")
    assert ("user", "item") in [s.fields for s in derived.statistics]
    assert ("user", "day") not in [s.fields for s in derived.statistics]


def test_auto_makes_no_fields_where_there_are_only_numbers(tmp_path: Path) -> None:
    """A table of numbers trains and serves as it does without target statistics."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(1500, 3)), columns=["a", "b", "c"])
    frame["y"] = (frame.a + rng.normal(size=1500) > 0).astype(int)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    named = ("data.label=y", "protocol=ctr", "trainer.max_epochs=2", "target_statistics=auto", "crosses=auto")
    folder = tmp_path / "run"
    train(folder, "model=fm", "data=csv", f"data.path={tmp_path / 'rows.csv'}", *named, small=())
    assert len(load_run(folder).predict(frame)) == 1500


def _watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """As many entries as groups were chosen."""
    asked: list[int] = []
    known = kept_groups.choose_groups

    def choose(sample: Sample) -> Choice:
        asked.append(1)
        return known(sample)

    monkeypatch.setattr(kept_groups, "choose_groups", choose)
    return asked


def test_groups_are_chosen_once_for_categories_and_numbers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So are the fields made once where both forms take turns, and with them what is widened."""
    asked, made = _watched(monkeypatch), []
    data = planted()
    task = build("protocol", {"name": "ctr"}, data, gives=Task)
    for form in ("bins", "numbers", "bins"):
        options = {"target_statistics": "auto", "target_statistics_as": form, "warm_start": None}
        config = {"protocol": {"name": "ctr"}, "cache_dir": str(tmp_path), **options}
        found = derived_task.with_derived_fields(config, task)[1]
        assert found is not None
        assert found.form == form
        made.append(found)
    assert len(asked) == 1
    assert made[0] is made[2]


def test_another_process_takes_the_choice_from_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same rows have the same choice, other labels another, and a damaged file is written again."""
    asked = _watched(monkeypatch)
    data, training, judged = planted(), np.arange(4000), np.arange(4000, ROWS)
    first = kept_groups.kept_choice(Sample.of(data, training, judged), tmp_path)
    again = kept_groups.kept_choice(Sample.of(data, training, judged), tmp_path)
    assert (len(asked), again) == (1, first)
    (file,) = (tmp_path / "groups").glob("*.json")
    file.write_text('{"groups": {"2": [["user", "nothing"]]}, "met": 0.5, "siblings": []}')
    assert kept_groups.kept_choice(Sample.of(data, training, judged), tmp_path) == first
    assert len(asked) == 2
    label = np.array(data.label)
    label[3] = 1 - label[3]
    kept_groups.kept_choice(Sample.of(replace(data, label=label), training, judged), tmp_path)
    assert len(asked) == 3


@pytest.mark.parametrize("largest", [50, 10**6, 10**9])
def test_numbers_are_told_apart_as_by_sorting(largest: int) -> None:
    rng = np.random.default_rng(0)
    key, other = rng.integers(0, largest, 3000), rng.integers(-3, largest + 5, 3000)
    kinds, place = distinct(key)
    expected = np.unique(key, return_inverse=True)
    np.testing.assert_array_equal(kinds, expected[0])
    np.testing.assert_array_equal(place, expected[1])
    found, there = _find(kinds, other)
    np.testing.assert_array_equal(there, np.isin(other, kinds))
    np.testing.assert_array_equal(kinds[found[there]], other[there])


def test_groups_are_checked() -> None:
    data, training = planted(), np.arange(100)
    with pytest.raises(DataError, match="did you mean 'item'"):
        fit(data, training, ["user*iten"], [], "bins")
    with pytest.raises(DataError, match="each field once"):
        fit(data, training, ["user*user"], [], "bins")


def test_a_run_with_statistics_is_judged_and_served_alike(tmp_path: Path) -> None:
    """What `predict` gives the test rows of a run is what the run was judged by."""
    rng = np.random.default_rng(3)
    data = planted(0, 3000)
    assert data.user is not None
    assert data.item is not None
    frame = pd.DataFrame({"u": data.user, "i": data.item, "day": rng.integers(0, 7, 3000)})
    frame["y"], frame["split"] = np.asarray(data.label), np.repeat(["train", "valid", "test"], 1000)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    named = ("data.user=u", "data.item=i", "data.label=y", "data.split=split", "protocol=ctr", "trainer.max_epochs=2")
    extra = (
        "crosses=[user*item]",
        "target_statistics=auto",
        "trainer.accelerator=cpu",
        "trainer.progress=false",
        "protocol.leaks=allow",
    )
    overrides = ("model=fm", "data=csv", f"data.path={tmp_path / 'rows.csv'}", *named, *extra)
    train(tmp_path / "run", *overrides, small=())
    test = frame[frame["split"] == "test"]
    score = load_run(tmp_path / "run").predict(test)["score"]
    area = roc_auc_score(test["y"], score)
    assert area == pytest.approx(metrics(tmp_path / "run")["test"]["auc"], abs=1e-9)


def test_a_protocol_that_ranks_items_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="scores labeled rows"):
        train(tmp_path / "no", "model=fm", "target_statistics=auto", "protocol=full_ranking")
