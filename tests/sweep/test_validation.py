"""Mistakes in a space are found before anything runs, each named with the override it stands in."""

import os
import subprocess
import sys

import pytest
from hydra.types import RunMode

from fmlab.config import composition
from fmlab.errors import FmlabError
from fmlab.plugin import registry
from fmlab.sweep.launch import better, share_cores, typed_overrides
from fmlab.sweep.spec import read
from fmlab.sweep.trial_overrides import lasting_overrides
from fmlab.sweep.validation import check_points


@pytest.fixture(scope="module")
def compose():
    environment = {}
    composition.install(environment)
    loader = composition.Loader(composition.search_path(), vault=environment, complete=True)
    return lambda overrides: loader.load_configuration("config", overrides, RunMode.RUN)


def check(compose, space, **fixed):
    sweep = read("s", {"n_trials": 3, "space": space, "fixed": fixed})
    check_points(sweep, lasting_overrides(sweep, [], 1), compose)


def test_a_space_without_a_mistake_passes(compose):
    check(
        compose,
        {
            "model": {"choice": ["fm", "lorentzfm", "deepfm"]},
            "model.hidden": {"choice": [[8], [8, 4]], "when": {"model": "deepfm"}},
            "optimizer": [
                {"const": "rsgd", "when": {"model": "lorentzfm"}},
                {"choice": ["adam", "adagrad"], "when": {"model": ["fm", "deepfm"]}},
            ],
            "optimizer.burn_in": {"const": 3, "when": {"optimizer": "rsgd"}},
            "optimizer.weight_decay": {"float": [1e-8, 1e-3], "log": True, "when": {"optimizer": "adam"}},
            "batch_size": {"choice": [64, 128]},
        },
        **{"trainer.max_epochs": 2, "data": "synthetic"},
    )


def test_options_of_tables_and_searches_are_those_of_the_chosen_one(compose):
    space = {
        "table": {"choice": ["full", "qr", "mixed"]},
        "table.collisions": {"choice": [2, 4], "when": {"table": "qr"}},
        "table.alpha": {"float": [0.1, 0.4], "when": {"table": "mixed"}},
    }
    check(compose, space, data="synthetic", model="fm")
    check(compose, {"search.budget": {"float": [0.1, 0.5]}}, data="synthetic", model="fm", search="pep")
    with pytest.raises(FmlabError, match=r"space\.table\.rank: rank is not an option of table mixed"):
        check(compose, {"table.rank": {"choice": [4]}}, data="synthetic", model="fm", table="mixed")
    with pytest.raises(FmlabError, match=r"space\.table\.collisions: .* is not an option of table full"):
        check(compose, {"table.collisions": {"choice": [4]}}, data="synthetic", model="fm")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model": {"choice": ["fm", "lorenzfm"]}}, "space.model: .*did you mean 'lorentzfm'"),
        ({"model.dims": {"int": [4, 8]}}, "space.model.dims: .*did you mean 'dim'"),
        ({"model.dim": {"int": [0, 8]}}, r"space.model.dim: must be a whole number in \[1, inf\), got 0"),
        ({"batch_size": {"choice": [64, 0]}}, "space.batch_size: must be"),
        ({"batchsize": {"choice": [64]}}, "space.batchsize: .*did you mean 'batch_size'"),
        ({"trainer.max_epoch": {"choice": [64]}}, "space.trainer.max_epoch: .*did you mean 'max_epochs'"),
        (
            {"model": {"choice": ["fm", "lr"]}, "model.dim": {"choice": [4]}},
            "space.model.dim: dim is not an option of model lr",
        ),
        (
            # weight decay is no option of the optimizer that LorentzFM asks for
            {"model": {"choice": ["fm", "lorentzfm"]}, "optimizer.weight_decay": {"choice": [0.1]}},
            "weight_decay is not an option of optimizer radagrad",
        ),
    ],
)
def test_a_mistake_in_a_space_is_found_before_anything_runs(compose, space, message):
    with pytest.raises(FmlabError, match=message):
        check(compose, space)


def test_metrics_know_which_way_is_better():
    assert [better(m) for m in ("hr@10", "sampled_ndcg@10", "logloss", "rmse", "parameters")] == [
        "maximize",
        "maximize",
        "minimize",
        "minimize",
        "minimize",
    ]
    with pytest.raises(FmlabError, match="direction must be given for metric auk"):
        better("auk")


@pytest.mark.parametrize("name", registry.names("metric"))
def test_the_direction_read_from_source_is_that_of_the_class(name: str) -> None:
    assert registry.schema("metric", name).maximize is registry.load("metric", name).maximize


def test_the_process_that_leads_a_sweep_does_without_torch() -> None:
    """Its start would take twice as long: only the workers train."""
    script = """
import sys
from fmlab.sweep import coordinator, launch
launch.better("ndcg@10")
import fmlab.report.leaderboards
print([m for m in ("torch", "pytorch_lightning") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_is_typed_must_have_one_value():
    assert typed_overrides(["sweep=x", "seed=3", "+model.dim=4"]) == {"seed": "seed=3", "model.dim": "+model.dim=4"}
    with pytest.raises(FmlabError, match="seed must have one value"):
        typed_overrides(["seed=1,2"])


@pytest.mark.parametrize(
    ("cores", "asked", "workers", "threads"),
    [(1, {}, 1, 1), (2, {}, 2, 1), (8, {}, 8, 1), (12, {}, 8, 1), (64, {}, 32, 2), (8, {"workers": 2}, 2, 4)],
)
def test_cores_are_shared_among_workers_before_threads(monkeypatch, cores, asked, workers, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    sweep = read("s", {"sampler": "grid", "space": {"seed": {"choice": [1]}}, **asked})
    assert share_cores(sweep) == (workers, threads)
