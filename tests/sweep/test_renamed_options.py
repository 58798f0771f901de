"""Sweep files and command lines of the release before: their names of options still mean the same sweep."""

import logging

import pytest
from hydra.types import RunMode

from fmlab.config import composition, sources
from fmlab.config.schema import sweep_options
from fmlab.errors import FmlabError
from fmlab.plugin import renames
from fmlab.sweep.commandline import translate
from fmlab.sweep.launch import _options as options_of
from fmlab.sweep.spec import read

FILE = """
sampler: random
trials: 4
part: 0.5
share: 0.25
refit: [1]
extend: true
first: [{optimizer.lr: 0.1}]
space:
  optimizer.lr: {float: [0.001, 0.1], log: true}
  model.dim: {value: 4}
"""


@pytest.fixture(autouse=True)
def _warn_again() -> None:
    renames.forget_warnings()


def given(folder, *typed: str) -> dict[str, object]:
    (folder / "sweep").mkdir(exist_ok=True)
    (folder / "sweep" / "old.yaml").write_text(FILE)
    overrides = translate(["sweep=old", *typed], multirun=True)
    composition.install({}, typed=overrides)
    path = composition.search_path()
    for place in reversed(sources.places(folder)):
        path.prepend("own", place)
    loader = composition.Loader(path, complete=False)
    return options_of(loader.load_configuration("config", [*overrides, "hydra.mode=MULTIRUN"], RunMode.MULTIRUN))[1]


def test_a_file_with_old_names_is_the_same_sweep(tmp_path, caplog):
    raw = given(tmp_path)
    assert set(raw) <= {o.name for o in sweep_options()}
    sweep = read("old", raw)
    assert (sweep.total, sweep.settings.train_fraction, sweep.settings.trial_time_fraction) == (4, 0.5, 0.25)
    assert (sweep.settings.refit_seeds, sweep.settings.allow_space_change) == ((1,), True)
    assert sweep.initial_points == ({"optimizer.lr": 0.1},)
    assert next(sweep.space.branches()).overrides["model.dim"] == 4
    said = [r.getMessage().partition(";")[0] for r in caplog.records if r.levelno == logging.WARNING]
    assert "sweep.trials is called sweep.n_trials now" in said
    assert "space.model.dim.value is called space.model.dim.const now" in said
    assert len(said) == 7


@pytest.mark.parametrize("typed", ["trials=9", "n_trials=9", "hydra.sweeper.trials=9"])
def test_what_is_typed_wins_by_either_name(typed, tmp_path):
    assert read("old", given(tmp_path, typed)).total == 9


def test_both_names_in_a_sweep_are_a_mistake():
    with pytest.raises(FmlabError, match=r"got both: sweep\.trials is sweep\.n_trials now"):
        read("s", {"trials": 1, "n_trials": 2, "space": {"seed": {"choice": [1]}}})
