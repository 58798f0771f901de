"""Whole runs with samplers: stopped within an epoch and resumed, they end with the same weights."""

from pathlib import Path

import pytest
from in_process import SignalAt, differences, last, train

from fmlab.errors import FmlabError


@pytest.mark.parametrize(
    "options",
    [
        ("sampler=dynamic", "sampler.drawn=3", "loss=bpr", "model=deepfm", "model.hidden=[8]", "model.dropout=0.5"),
        ("sampler=in_batch", "loss=sampled_softmax", "model=mf"),
    ],
    ids=["dynamic", "in_batch"],
)
def test_a_run_with_a_sampler_resumes_to_the_bit(options: tuple[str, ...], tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(whole, *options, "trainer.max_epochs=2")
    with pytest.raises(KeyboardInterrupt):
        train(stopped, *options, "trainer.max_epochs=2", callbacks=[SignalAt(3)])
    path = f"ckpt_path={stopped}/checkpoints/last.ckpt"
    assert last(stopped)["fmlab"]["sampler"]["name"] == options[0].removeprefix("sampler=")
    with pytest.raises(FmlabError, match="sampler"):
        train(stopped, *options, "trainer.max_epochs=2", path, "sampler=uniform")
    train(stopped, *options, "trainer.max_epochs=2", path)
    assert differences(whole, stopped) == []
