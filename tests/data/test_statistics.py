from dataclasses import replace

import numpy as np
import pytest
from data_cases import small

from fmlab.data import PreparationStep
from fmlab.data.statistics import lines, measured, published


def made(**changes):
    return replace(small(), **changes)


def pairs(data, rows):
    return len({(int(data.user[r]), int(data.item[r])) for r in rows})


def test_negatives_are_no_samples_and_repeated_pairs_no_cells():
    label = (np.arange(50) % 5 == 0).astype(np.float32)
    for low in (0, -1):
        data = made(label=np.where(label > 0, 1, low).astype(np.float32))
        found = measured(data)
        assert (found["samples"], found["records with negatives"]) == (10, 50)
        assert found["sparsity"] == pytest.approx(1 - pairs(data, range(0, 50, 5)) / 12)
        assert found["density"] == pytest.approx(1 - found["sparsity"])


@pytest.mark.parametrize("label", [None, np.arange(50, dtype=np.float32), np.ones(50, np.float32)])
def test_rows_without_negatives_are_all_samples(label):
    data = made(label=label)
    found = measured(data)
    assert found["samples"] == 50
    assert found["sparsity"] == pytest.approx(1 - pairs(data, range(50)) / 12)
    assert "records with negatives" not in found


def test_labels_of_rows_without_items_are_kept_together():
    data = made(label=(np.arange(50) % 2).astype(np.float32), item=None)
    assert measured(data)["samples"] == 50


PRINTED = {
    "early: instances": "1000",
    "early: users": "9",
    "late: samples": "48",
    "late: sparsity": "1.5%",
    "late: attribute dimension": "7",
    "fuzzy: interactions": "0.05K (with a reason)",
    "fuzzy: density": "98%",
    "other: users": "3",
    "far: samples": "76",
    "far: items": "8",
}


def test_figures_of_papers_stand_by_the_step_that_left_what_they_count():
    steps = (PreparationStep("all", 990, 9, 5, 7), PreparationStep("some", 50, 4, 3, 7))
    data = made(label=None, steps=steps, published=PRINTED)
    assert published(data) == {
        "samples": "late 48, fuzzy 0.05K (with a reason)",
        "sparsity": "late 1.5%",
        "features": "late 7",
        "density": "fuzzy 98%",
        "users": "other 3",
    }
    said = "\n".join(lines(data))
    assert "all: 990 rows, 9 users, 5 items   (published: early 1000 instances, 9 users)" in said
    assert "some: 50 rows, 4 users, 3 items\n" in said
    assert "samples 50   (published: late 48, fuzzy 0.05K (with a reason))" in said
    assert said.endswith("\n  published of other rows than these: far 76 samples, 8 items")
    assert "density 91.67%   (published: fuzzy 98%)" in said
    assert "density" not in "\n".join(lines(replace(data, published={})))


def test_sampled_negatives_do_not_move_the_papers():
    label = np.where(np.arange(50) < 20, 1, -1).astype(np.float32)
    steps = (PreparationStep("all", 20, 4, 3, 7), PreparationStep("2 sampled negatives for each", 50, 4, 3, 7))
    found = {"ours: instances": "20", "ifm: original records": "21", "ifm: records with negatives": "60"}
    data = made(label=label, steps=steps, published=found)
    assert published(data) == {"samples": "ours 20, ifm 21", "records with negatives": "ifm 60"}
