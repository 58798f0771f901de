"""A plugin that breaks a rule is named with the rule before anything is trained."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "registry"))

from fake_packages import install, site

from fmlab.cli import main
from fmlab.errors import FmlabError
from fmlab.evaluation import score_metric
from fmlab.plugin import registry
from fmlab.run import task_opening as runs

__all__ = ["site"]

PROTOCOL = """
from dataclasses import replace
import numpy as np
import torch
from fmlab.evaluation import ScoredRows, RankedLists
from fmlab.contracts import BlockResult, Report, Task, Training
from fmlab.plugin.registry import build

class Judge:
    def __init__(self, dataset): self.data = dataset
    def __len__(self): return 1
    def start(self, scorer, tables): return None
    def block(self, index, scorer, tables, state):
        return BlockResult(torch.arange(2), {"s": torch.zeros(2, dtype=torch.float64)})
    def finish(self, unit, columns): return Report({"odd": 0.5})

def bad(dataset):
    task = build("protocol", {"name": "full_ranking"}, dataset)
    own = Judge(dataset)
    return replace_task(task, own)

def changed(task, **more):
    return Task(**{**{k: getattr(task, k) for k in Task.__dataclass_fields__}, **more})

def replace_task(task, own):
    CHANGE
"""

BREACHES = {
    "misspelt monitor": (
        "return changed(task, monitor='nddg')",
        "monitor of its task must be a metric of the validation, got 'nddg'; did you mean 'ndcg'?",
    ),
    "misspelt monitor of an own evaluation": (
        "return changed(task, validation=own, test=own, monitor='ood')",
        "monitor of its task must be a metric of the validation, got 'ood'; did you mean 'odd'?",
    ),
    "no task": ("return [task]", "must give a Task, got list"),
    "monitor of the wrong type": (
        "return changed(task, monitor=['mrr'])",
        "monitor of its task must be text, got list",
    ),
    "direction of the wrong type": (
        "return changed(task, maximize='yes')",
        "maximize of its task must be true or false",
    ),
    "rows of the wrong type": (
        "return changed(task, training=Training([1, 2, 3]))",
        "rows of its training must be a NumPy array int64[rows], got list",
    ),
    "rows as a mask": (
        "return changed(task, training=Training(np.ones(5, bool)))",
        "rows of its training must be a NumPy array int64[rows], got bool[5]",
    ),
    "rows out of range": ("return changed(task, training=Training(np.array([0, 10**6])))", "must be in [0, "),
    "rows twice": ("return changed(task, training=Training(np.array([0, 1, 0])))", "must stand once"),
    "no rows": ("return changed(task, training=Training(np.array([], int)))", "must have rows, got none"),
    "training of the wrong type": ("return changed(task, training=task.training.rows)", "training of its task must be"),
    "negatives of the wrong type": (
        "return changed(task, training=Training(task.training.rows, 1.5))",
        "negatives of its training must be a whole number from 0 on, got 1.5",
    ),
    "an evaluation without finish": (
        "own = Judge(0); own.finish = None; return changed(task, validation=own)",
        "validation of its task must have __len__, start(scorer, tables)",
    ),
    "an evaluation whose start takes nothing": (
        "own.start = lambda: None; return changed(task, test=own)",
        "start of Judge takes ()",
    ),
    "an evaluation that is a list": ("return changed(task, validation=[1])", "list has no start"),
    "a block that gives numbers": (
        "own.block = lambda i, m, t, s: [1.0]; return changed(task, validation=own, test=own, monitor='odd')",
        "block must give a fmlab.contracts.BlockResult, got list",
    ),
    "a block that fails": (
        "own.block = lambda i, m, t, s: 1 / 0; return changed(task, validation=own, test=own, monitor='odd')",
        "a block of its validation failed: ZeroDivisionError",
    ),
    "a report that is a number": (
        "own.finish = lambda u, c: 0.5; return changed(task, validation=own, test=own, monitor='odd')",
        "finish must give a fmlab.contracts.Report, got float",
    ),
    "a report of texts": (
        "own.finish = lambda u, c: Report({'odd': 'x'}); return changed(task, validation=own, test=own, monitor='odd')",
        "finish must give a Report whose values are a number by name",
    ),
}
SMALL = ("data=synthetic", "data.users=40", "data.items=30", "data.positives=6", "logger=none", "model=mf")


@pytest.fixture(autouse=True)
def nothing_open():
    runs._open.clear()


def run(tmp_path, *arguments):
    code = main([*SMALL, *arguments, f"cache_dir={tmp_path}/cache", f"hydra.run.dir={tmp_path}/run"])
    epochs = tmp_path / "run" / "metrics.csv"
    assert not epochs.exists()
    assert not list(tmp_path.rglob("*.ckpt"))
    return code


@pytest.mark.parametrize("breach", BREACHES)
def test_a_protocol_that_breaks_a_rule_is_named_before_training(breach, site, tmp_path, capsys):
    change, message = BREACHES[breach]
    install(
        site, "acme", {"acme_bad.py": PROTOCOL.replace("CHANGE", change)}, {"fmlab.protocol": {"bad": "acme_bad:bad"}}
    )
    registry.refresh()
    assert run(tmp_path, "protocol=bad") == 2
    told = capsys.readouterr().err
    assert "protocol 'bad' of acme 1.0" in told
    assert message in told


METRIC = """
import numpy as np

class Bad:
    name, maximize = "bad", True
    def __init__(self): ...
    METHOD
"""
METRICS = {
    "one value": ("def of_ranks(self, rank): return float((1 / rank).mean())", "of_ranks must give one number a list"),
    "one value in an array": ("def of_ranks(self, rank): return (1 / rank)[:1]", "an array [3], got an array [1]"),
    "a list": ("def of_ranks(self, rank): return [1 / r for r in rank]", "an array [3], got list"),
    "texts": ("def of_ranks(self, rank): return rank.astype(str)", "of_ranks must give one number a list"),
    "two columns": ("def of_ranks(self, rank): return np.stack([rank, rank], 1)", "an array [3], got an array [3, 2]"),
    "fails": ("def of_ranks(self, rank): return rank.nothing", "of_ranks(rank) fails: AttributeError"),
    "too many arguments": ("def of_ranks(self, rank, k): return rank", "of_ranks(rank) fails: TypeError"),
    "no name": ("name = None\n    def of_ranks(self, rank): return 1 / rank", "its name must be text"),
    "no direction": ("maximize = 'up'\n    def of_ranks(self, rank): return 1 / rank", "maximize true or false"),
}  # fmt: skip
SCORES = {
    "a number alone": ("return float(score.mean())", "of_scores must give (a number, numbers of the rows or None)"),
    "rows for the number": ("return score, None", "of_scores must give (a number"),
    "a list of rows": ("return 0.5, [0.5] * len(score)", "of_scores must give one number a row, an array [4], or None"),
    "one row": ("return 0.5, score[:1]", "of_scores must give one number a row, an array [4], or None"),
}


@pytest.mark.parametrize("breach", [*METRICS, *SCORES])
def test_a_metric_that_breaks_a_rule_is_named_before_training(breach, site, tmp_path, capsys):
    method, message = METRICS.get(breach) or SCORES[breach]
    if breach in SCORES:
        method = f"def of_scores(self, score, label): {method}"
    install(site, "acme", {"acme_bad.py": METRIC.replace("METHOD", method)}, {"fmlab.metric": {"bad": "acme_bad:Bad"}})
    registry.refresh()
    if breach in SCORES:
        with pytest.raises(FmlabError) as error:
            score_metric("bad")
        told = str(error.value)
    else:
        assert run(tmp_path, "protocol.metrics=[mrr,bad]") == 2
        told = capsys.readouterr().err
    assert "metric 'bad' of acme 1.0" in told
    assert message in told


DATA = """
from fmlab.contracts import RawFile

class Bad:
    raw, version, license, citation = (), "1", "", ""
    def __init__(self, root): ...
    def build(self, files, workspace): return {"user": [1], "item": [2]}

class File(Bad):
    raw = "file.csv"

class Number(Bad):
    version = 1

class Nothing:
    version = license = citation = "1"
    def __init__(self, root): ...

class Old:
    raw, version, licence, citation = (), "1", "", ""
    def __init__(self, root): ...
    def build(self, files, workspace): return {"user": [1], "item": [2]}
"""


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("Bad", "build must give a fmlab.data.Dataset, got dict"),
        ("File", "raw must be a list of fmlab.contracts.RawFile, got 'file.csv'"),
        ("Number", "version must be text, got 1"),
        ("Nothing", "must have raw, version, license, citation, build, got Nothing without raw, build"),
        ("Old", "names its license `licence`, which ends with the next release: licence -> license"),
        ("Old", "build must give a fmlab.data.Dataset, got dict"),
    ],
)
def test_data_that_break_a_rule_are_named_before_training(target, message, site, tmp_path, capsys):
    install(site, "acme", {"acme_bad.py": DATA}, {"fmlab.data": {"bad": f"acme_bad:{target}"}})
    registry.refresh()
    code = main(["data=bad", "model=mf", "logger=none", f"cache_dir={tmp_path}/cache", f"hydra.run.dir={tmp_path}/run"])
    told = capsys.readouterr().err
    assert (code, "data 'bad' of acme 1.0" in told, message in told) == (2, True, True), told


MODEL = """
from torch import nn

class Bad(nn.Module):
    def __init__(self, schema):
        super().__init__()
        self.table = nn.Embedding(schema.n_features, 4)
    def forward(self, ids, values=None): return self.table(ids).sum((-1, -2))
    def link(self, z): return z
    def user(self, ids, values=None): return self.table(ids).sum((-1, -2)), self.table(ids).sum(-2)
    def item(self, ids, values=None): ITEM
"""


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("return self.table(ids).sum(-2)", "`encode_item` of model 'bad' must give (bias"),
        ("return self.table(ids).sum(-2), self.table(ids).sum(-2)", "`encode_item` of model 'bad' must give (bias"),
        ("return self.table(ids).sum((-1, -2)), self.table(ids).sum(-2)[..., :3]", "must be of one length, got [4, 3]"),
        (
            "return 1\n    def forward(self, ids, values=None): return self.table(ids.zero_()).sum((-1, -2))",
            "model 'bad' must leave ids and values as they are, and changes them in place",
        ),
        ("return nothing", "`encode_item` of model 'bad' failed: NameError"),
    ],
)
def test_a_model_whose_sides_break_a_rule_is_named_before_training(item, message, site, tmp_path, capsys):
    install(site, "acme", {"acme_bad.py": MODEL.replace("ITEM", item)}, {"fmlab.model": {"bad": "acme_bad:Bad"}})
    registry.refresh()
    assert run(tmp_path, "model=bad") == 2
    assert message in capsys.readouterr().err


def test_labeled_rows_have_their_old_name_for_one_release() -> None:
    from fmlab import testing

    with pytest.warns(FutureWarning, match="is called labeled"):
        assert testing.labelled is testing.labeled  # codespell:ignore
