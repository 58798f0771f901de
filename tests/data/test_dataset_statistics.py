from dataclasses import replace

import numpy as np
import pytest
from data_cases import small
from fmlab_datasets.published import published as printed

from fmlab.data import PreparationStep, PublishedFigure
from fmlab.data.dataset_statistics import lines, measured, plain_published, published


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


PRINTED = (
    PublishedFigure("early", "instances", 1000, "1000"),
    PublishedFigure("early", "users", 9, "9"),
    PublishedFigure("late", "samples", 48, "48"),
    PublishedFigure("late", "sparsity", 0.015, "1.5%"),
    PublishedFigure("late", "attribute dimension", 7, "7"),
    PublishedFigure("fuzzy", "interactions", 50, "0.05K", "with a reason"),
    PublishedFigure("fuzzy", "density", 0.98, "98%"),
    PublishedFigure("other", "users", 3, "3"),
    PublishedFigure("far", "samples", 76, "76"),
    PublishedFigure("far", "items", 8, "8"),
)


def papers(data):
    return {name: [figure.paper for figure in figures] for name, figures in published(data).items()}


def test_figures_of_papers_stand_by_the_step_that_left_what_they_count():
    steps = (PreparationStep("all", 990, 9, 5, 7), PreparationStep("some", 50, 4, 3, 7))
    data = made(label=None, steps=steps, published=PRINTED)
    assert papers(data) == {
        "samples": ["late", "fuzzy"],
        "sparsity": ["late"],
        "features": ["late"],
        "density": ["fuzzy"],
        "users": ["other"],
    }
    assert plain_published(data)["sparsity"] == [
        {"paper": "late", "statistic": "sparsity", "value": 0.015, "printed": "1.5%", "reason": ""}
    ]
    said = "\n".join(lines(data))
    assert "all: 990 rows, 9 users, 5 items   (published: early 1000 instances, 9 users)" in said
    assert "some: 50 rows, 4 users, 3 items\n" in said
    assert "samples 50   (published: late 48, fuzzy 0.05K (with a reason))" in said
    assert said.endswith("\n  published of other rows than these: far 76 samples, 8 items")
    assert "density 91.67%   (published: fuzzy 98%)" in said
    assert "density" not in "\n".join(lines(replace(data, published=())))


def test_sampled_negatives_do_not_move_the_papers():
    label = np.where(np.arange(50) < 20, 1, -1).astype(np.float32)
    steps = (PreparationStep("all", 20, 4, 3, 7), PreparationStep("2 sampled negatives for each", 50, 4, 3, 7))
    found = (
        PublishedFigure("ours", "instances", 20, "20"),
        PublishedFigure("ifm", "original records", 21, "21"),
        PublishedFigure("ifm", "records with negatives", 60, "60"),
    )
    data = made(label=label, steps=steps, published=found)
    assert papers(data) == {"samples": ["ours", "ifm"], "records with negatives": ["ifm"]}


def test_the_numbers_of_the_table_are_those_that_papers_print():
    found = printed(*{"steam", "movielens-1m", "kkbox", "avazu", "frappe", "criteo", "movielens-20m", "amazon-auto"})
    assert len(found) > 40
    units = {"K": 1e3, "M": 1e6, "%": 1e-2}
    for figure in found:
        number, unit = figure.printed.rstrip("KM%"), figure.printed[-1]
        assert figure.value == pytest.approx(float(number) * units.get(unit, 1)), figure


def test_figures_of_a_part_of_a_set_say_so_but_for_its_fields():
    whole = {f.statistic: f.reason for f in printed("avazu", rows=10, whole=10)}
    part = {f.statistic: f.reason for f in printed("avazu", rows=9, whole=10)}
    assert whole["samples"] == ""
    assert part["samples"] == "of the whole set of 10 rows; here are 9"
    assert part["fields"] == whole["fields"] != ""
