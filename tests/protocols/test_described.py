"""Every protocol of ours says in words what it splits, judges and leaves out, and the numbers in them are true."""

from typing import Any

import numpy as np
import pytest
from toys import interactions

from fmlab.contracts import Task
from fmlab.plugin import inventory, registry

PAIRS = [(u, i) for u in range(12) for i in range(15) if (u + i) % 4]
TIME = np.array([100 * u + (7 * i) % 20 for u, i in PAIRS])
LABEL = (np.arange(len(PAIRS)) % 3 > 0).astype(np.float32)
POSITIVES, LABELED = interactions(PAIRS, time=TIME), interactions(PAIRS, time=TIME, label=LABEL)
CASES: dict[str, tuple[Any, dict[str, Any], dict[str, str]]] = {
    "ctr": (LABELED, {"negative_rate": 0.5}, {"judged": "labeled rows", "training": "0.5 of the rows with label 0"}),
    "full_ranking": (
        POSITIVES,
        {"validation": 20, "test": 20},
        {
            "split": "random, validation 20, test 20, seed 0",
            "judged": "all items, a list for each test row",
            "left out of lists": "in any part",
            "ties": "expected",
            "negatives": "10 negatives are drawn to each training positive, anew in every epoch",
        },
    ),
    "leave_one_out": (
        POSITIVES,
        {"n_candidates": 2, "negatives": 1, "resample_negatives": False},
        {
            "split": "each user's last interaction is the test, the last one before it the validation, by time",
            "judged": "2 candidates, drawn uniformly by seed 0 and all items",
            "negatives": "1 negative is drawn to each training positive, once",
        },
    ),
    "temporal": (POSITIVES, {"task": "ranking", "cold_entities": "keep"}, {"split": "one moment for all"}),
    "cold_start": (POSITIVES, {}, {"split": "the latest 20% of the users are cold", "judged": "2 sampled rows"}),
    "rating": (POSITIVES, {"negatives": 1}, {"judged": "one sampled row of its user's unmet items"}),
    "composed": (
        POSITIVES,
        {"ties": "worst", "exclude_validation": False},
        {"judged": "all relevant items of a user", "left out of lists": "training items of the user", "ties": "worst"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_protocol_says_what_it_does(name: str) -> None:
    data, options, words = CASES[name]
    made: Task = registry.build("protocol", {"name": name, **options}, data)
    parts = (made.training, made.validation, made.test)
    got = [int(part.split()[0].replace(",", "")) for part in made.described["rows"].split(", ")]
    assert got == [len(np.asarray(part.rows)) for part in parts]
    assert {"split", "judged"} <= made.described.keys()
    for key, text in words.items():
        assert text in made.described[key]


def test_no_protocol_of_ours_is_silent() -> None:
    found = [p.name for p in inventory.describe("protocol")]
    assert {n for n in found if registry.package(registry.find("protocol", n)) == "fmlab"} == set(CASES)
