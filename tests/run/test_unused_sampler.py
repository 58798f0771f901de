"""A sampler that the user chose is used or refused, never ignored."""

from pathlib import Path

import pytest
from in_process import SMALL, metrics, train

from fmlab.errors import FmlabError

ONE = ("trainer.max_epochs=1", "model=fm")


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("rating", ["protocol.negatives=2"]),  # its negatives are rows, drawn before the split
        ("cold_start", []),
    ],
)
def test_a_sampler_is_refused_where_training_draws_nothing(tmp_path: Path, protocol: str, options: list[str]) -> None:
    given = [f"protocol={protocol}", *options, *ONE]
    with pytest.raises(FmlabError, match=f"protocol={protocol} with its options draws none; got sampler=popularity"):
        train(tmp_path / "run", *given, "sampler=popularity")
    train(tmp_path / "plain", *given)
    assert metrics(tmp_path / "plain")["status"] == "complete"


def test_a_sampler_is_taken_where_negatives_are_drawn(tmp_path: Path) -> None:
    train(tmp_path / "run", "protocol=full_ranking", *ONE, "sampler=popularity", small=SMALL)
    assert metrics(tmp_path / "run")["status"] == "complete"
