"""What a person sees of training where no bar can move."""

from types import SimpleNamespace

import pytest

from fmlab.training import progress
from fmlab.training.learner import Learner


@pytest.mark.parametrize("installed", [True, False])
def test_a_notebook_without_widgets_gets_a_line_an_epoch(installed, monkeypatch, capsys):
    monkeypatch.setattr(progress, "Console", lambda **_: SimpleNamespace(is_jupyter=True))
    monkeypatch.setattr(progress, "find_spec", lambda name: object() if installed else None)
    callback = progress.EpochLogger(bar=True)
    assert callback.bar is installed
    trainer = SimpleNamespace(
        state=SimpleNamespace(fn="fit"), is_global_zero=True, current_epoch=3, callback_metrics={"val/auc": 0.75}
    )
    learner = object.__new__(Learner)
    object.__setattr__(learner, "pace", SimpleNamespace(rows_per_second=10.0))
    callback.on_validation_end(trainer, learner)
    said = capsys.readouterr().out
    assert said == "" if installed else said.startswith("epoch 3  val/auc 0.7500")
