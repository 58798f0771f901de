"""Rows of two ids alone, a few of each user: LorentzFM at its defaults learns from them what FM learns."""

from pathlib import Path

import numpy as np
import pytest
from in_process import metrics, train

USERS, ITEMS, GROUPS = 1200, 600, 6


@pytest.fixture
def sparse(tmp_path: Path) -> tuple[str, ...]:
    """Four to eight rows of each user, nine of ten with items of the user's group, by popularity."""
    rng = np.random.default_rng(0)
    chance = 1 / np.arange(1, ITEMS // GROUPS + 1) ** 0.5
    lines = ["u,i"]
    for user in range(USERS):
        own = rng.choice(len(chance), size=rng.integers(4, 9), replace=False, p=chance / chance.sum())
        items = own * GROUPS + user % GROUPS
        lines += [f"{user},{item if rng.random() < 0.9 else rng.integers(ITEMS)}" for item in items]
    (tmp_path / "two.csv").write_text("\n".join(lines) + "\n")
    return ("data=csv", f"data.path={tmp_path / 'two.csv'}", "data.user=u", "data.item=i", "protocol=leave_one_out")


def test_lorentzfm_ranks_as_well_as_fm_at_the_defaults(sparse: tuple[str, ...], tmp_path: Path) -> None:
    small = (*sparse, "batch_size=256", "trainer.max_epochs=20", "trainer.accelerator=cpu", "logger=none")
    found = {}
    for model in ("popularity", "fm", "lorentzfm"):
        train(tmp_path / model, f"model={model}", small=small)
        found[model] = metrics(tmp_path / model)["test"]["sampled_hr@10"]
    assert found["lorentzfm"] > found["fm"] - 0.02
    assert found["lorentzfm"] > found["popularity"] + 0.1
