"""What of the judged rows stands in training, against loops, and the figures on the rest."""

from dataclasses import fields, replace

import numpy as np
import torch
from scorers import Whole, data

from fmlab.contracts import Task, Training
from fmlab.data import Dataset
from fmlab.data.negative_sampling import UserItemSet
from fmlab.evaluation import RankedLists, ScoredRows, evaluate
from fmlab.evaluation.audit import audit, audit_of, audited


def logs() -> Dataset:
    """Rows of few users and items, so that pairs come again, some with both labels."""
    base, rng = data(0, context=True), np.random.default_rng(0)
    rows = rng.integers(0, base.rows, 300)
    taken = replace(base, rows=300, user=base.user[rows], item=base.item[rows], context=base.context.take(rows))
    label = np.where(rng.random(300) < 0.2, rng.integers(0, 2, 300), (base.user[rows] + base.item[rows]) % 2)
    return replace(taken, label=label.astype(np.float32))


def test_shares_are_those_of_loops() -> None:
    dataset = logs()
    trained, judged = np.arange(120), np.arange(120, 300)
    found = audit(dataset, trained, judged)
    hour = dataset.context.ids[:, 0]
    known = {}
    for r in trained:
        known.setdefault((dataset.user[r], dataset.item[r]), set()).add(float(dataset.label[r]))
    rows = {(dataset.user[r], dataset.item[r], hour[r]) for r in trained}
    pair = [(dataset.user[r], dataset.item[r]) in known for r in judged]
    answered = [known.get((dataset.user[r], dataset.item[r])) == {float(dataset.label[r])} for r in judged]
    again = [(dataset.user[r], dataset.item[r], hour[r]) in rows for r in judged]
    assert found.shares["pair in training"] == np.mean(pair)
    assert found.shares["answered"] == np.mean(answered)
    assert found.shares["row in training"] == np.mean(again)
    assert 0 < np.mean(answered) < np.mean(pair) < 1
    events = {(dataset.user[r], hour[r]) for r in trained}
    sibling = [(dataset.user[r], hour[r]) in events for r in judged]
    assert 0 < found.shares["sibling in training"] == np.mean(sibling) < 1
    assert found.groups["no siblings"].tolist() == [not s for s in sibling]
    assert found.groups["not answered"].tolist() == [not a for a in answered]
    count = np.bincount(dataset.item[trained], minlength=17)
    assert found.groups["cold items"].tolist() == [count[dataset.item[r]] == 0 for r in judged]
    head = dataset.item[judged][found.groups["head items"]]
    tail = dataset.item[judged][found.groups["tail items"]]
    assert not set(head) & set(tail)
    assert count[list(set(head.tolist()))].min() >= count[list(set(tail.tolist()))].max()
    assert count[list(set(head.tolist()))].sum() >= 0.8 * len(trained) - count.max()
    assert found.lines("test")[0].startswith("  of 180 rows of test have: ")


def test_figures_of_groups_are_those_of_their_rows_alone() -> None:
    dataset = logs()
    trained, judged = np.arange(120), np.random.default_rng(1).permutation(np.arange(120, 300))
    judge = ScoredRows(dataset, judged, ("logloss", "mae"))
    task = Task(dataset, Training(trained), judge, judge, "logloss", False)
    found = audit_of(task, trained)
    made = audited(task, found)
    model = Whole(dataset.schema)
    report = evaluate(made.test, model, dataset)
    assert report.values == evaluate(judge, model, dataset).values
    for name in ("not answered", "new pairs", "new rows", "no siblings", "tail items"):
        mask = found.groups[name]
        alone = evaluate(ScoredRows(dataset, judged[mask], ("logloss", "mae")), model, dataset)
        assert report.groups[name] == {"rows": mask.sum(), **alone.values}


def test_an_audited_task_keeps_all_else_of_the_task() -> None:
    dataset = logs()
    judge = ScoredRows(dataset, np.arange(120, 300), ("logloss",))
    parts = {"refit": np.arange(200), "described": {"split": "x"}, "test_history": np.arange(150)}
    task = Task(dataset, Training(np.arange(120)), judge, judge, "logloss", False, **parts)
    made = audited(task, audit_of(task, np.arange(120)))
    assert [f.name for f in fields(Task) if getattr(made, f.name) is not getattr(task, f.name)] == ["test"]


def test_lists_keep_their_relevant_items_of_a_group() -> None:
    dataset = data(0)
    rows = np.random.default_rng(1).permutation(dataset.rows)
    train, test = rows[:50], rows[50:]
    seen = UserItemSet(dataset.user[train], dataset.item[train], 12, 17)
    metrics = ("recall@3", "mrr", "coverage@2")
    judge = RankedLists(dataset, test, seen, metrics, by="user", trained=train)
    model = Whole(dataset.schema)
    task = Task(dataset, Training(train, 1), judge, judge, "mrr", True)
    found = audit_of(task, train)
    made = audited(task, found)
    report = evaluate(made.test, model, dataset)
    mask, tail = found.groups["tail items"], report.groups["tail items"]
    kept = judge.rows[mask]
    users = sorted(set(dataset.user[kept].tolist()))
    block = [judge.block(n, model, *_state(judge, model, dataset)) for n in range(len(judge))]
    rank = torch.cat([b.columns["rank"] for b in block]).numpy()[: len(judge.rows)]
    best = [rank[mask & (judge.user == u)].min() for u in users]
    assert tail["mrr"] == np.mean(1 / np.array(best))
    assert tail["rows"] == mask.sum()


def _state(judge, model, dataset):
    from fmlab.data.batch import Tables

    tables = Tables.of(dataset)
    return tables, judge.start(model, tables)
