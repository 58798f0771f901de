import pytest

from fmlab.errors import FmlabError
from fmlab.sweep.commandline import translate
from fmlab.sweep.spec import read, seconds

SPACE = {"optimizer.lr": {"choice": [0.1, 0.2]}, "batch_size": {"choice": [64, 128]}}


def test_what_the_user_types_wins_over_the_file():
    raw = {"sampler": "grid", "fixed": {"data": "steam", "seed": 1}, "space": SPACE}
    sweep = read("x", raw, {"seed": "7", "batch_size": "64"})
    assert sweep.given == {"data": "steam", "seed": 7, "batch_size": 64}
    assert sweep.total == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"trils": 3}, "did you mean 'n_trials'"),
        ({"sampler": "tpx"}, "did you mean 'tpe'"),
        ({"sampler": {"name": "random"}, "n_trials": None}, "a sweep must end"),
        ({"sampler": "grid", "n_trials": 3}, "n_trials must be null"),
        ({"n_trials": 0}, "sweep.n_trials must be a whole number"),
        ({"n_trials": 3, "direction": "max"}, "did you mean 'maximize'"),
        ({"n_trials": 3, "metric": ["auc", "seconds_fit"], "direction": "maximize"}, "for each of 2 metrics"),
        ({"n_trials": 3, "pruner": "wilcoxon"}, "needs several, got seeds"),
        ({"n_trials": 3, "initial_points": [{"optimizer.lrr": 1}]}, "did you mean 'optimizer.lr'"),
        ({"budget": "20 minutes"}, "budget must be a time"),
    ],
)
def test_a_mistake_in_a_sweep_is_named(more, message):
    with pytest.raises(FmlabError, match=message):
        read("x", {"space": SPACE, **more})


def test_times_are_read():
    assert [seconds(t) for t in ("90", "90s", "20m", "1.5h", "2d", 30)] == [90, 90, 1200, 5400, 172800, 30]


def test_where_results_go_is_not_part_of_what_a_study_searches():
    raw = {"sampler": "grid", "fixed": {"data": "steam"}, "space": SPACE}
    plain = read("x", raw).identity()
    assert read("x", raw, {"root": "/data", "logger": "wandb", "trainer.threads": "4"}).identity() == plain
    assert read("x", raw, {"trainer.max_epochs": "3"}).identity() != plain


def test_options_of_a_sweep_reach_the_sweeper_and_the_rest_the_runs():
    typed = ["sweep=automl", "data=frappe", "budget=20m", "workers=4", "seed=1"]
    assert translate(typed, multirun=True) == [
        "sweep=automl",
        "data=frappe",
        "hydra.sweeper.budget=20m",
        "hydra.sweeper.workers=4",
        "seed=1",
    ]
    assert translate(["model=fm,lorentzfm", "seed=1,2"], multirun=True) == ["model=fm,lorentzfm", "seed=1,2"]
    with pytest.raises(FmlabError, match="add -m"):
        translate(typed, multirun=False)
