"""Which runs are averaged, which are kept apart, and what rows and leaderboards are called."""

import math

import pytest
from run_folders import make_run

from fmlab.report.leaderboards import best_of_each, leaderboards
from fmlab.report.runs import find_runs


def board_of(folder):
    (board,) = leaderboards(find_runs(folder)[0])
    return board


def test_only_seeds_are_averaged(tmp_path):
    make_run(tmp_path / "a", {"seed": 1, "root": "/x", "cache": "/y", "tags": ["t"], "trainer.threads": 3}, test=0.1)
    make_run(tmp_path / "b", {"seed": 2, "logger.name": "wandb", "trainer.progress": True}, test=0.3)
    (row,) = board_of(tmp_path).rows
    assert row.seeds == (1, 2)
    assert row.metrics["mrr"] == pytest.approx((0.2, math.sqrt(0.02)))
    assert row.title == "fm"


@pytest.mark.parametrize(
    ("key", "values", "labels"),
    [
        ("model.dim", (8, 32), {"model.dim=8", "model.dim=32"}),
        ("optimizer.lr", (0.1, 1.0), {"optimizer.lr=0.1", "optimizer.lr=1.0"}),
        ("batch_size", (64, 128), {"batch_size=64", "batch_size=128"}),
        ("trainer.max_epochs", (3, 4), {"trainer.max_epochs=3", "trainer.max_epochs=4"}),
    ],
)
def test_runs_with_other_options_are_other_rows_and_say_which(tmp_path, key, values, labels):
    for n, value in enumerate(values):
        make_run(tmp_path / str(n), {key: value, "seed": n}, test=0.1 * (n + 1))
    rows = board_of(tmp_path).rows
    assert {row.label for row in rows} == labels
    assert all(row.metrics["mrr"][1] is None for row in rows)


def test_labels_compare_rows_of_one_model_and_options_of_one_plugin(tmp_path):
    make_run(tmp_path / "a", {"model": {"name": "lorentzfm", "dim": 4}, "optimizer": {"name": "rsgd", "lr": 0.3}})
    make_run(tmp_path / "b", {"model": {"name": "lorentzfm", "dim": 4}})
    make_run(tmp_path / "c", {"model.dim": 4})
    make_run(tmp_path / "d", {"model.dim": 4, "optimizer.lr": 0.01})
    assert {row.title for row in board_of(tmp_path).rows} == {
        "lorentzfm  optimizer=rsgd",
        "lorentzfm  optimizer=adam",
        "fm  optimizer.lr=0.001",
        "fm  optimizer.lr=0.01",
    }


def test_an_option_that_an_older_version_lacked_and_that_is_empty_makes_no_difference(tmp_path):
    make_run(tmp_path / "a", {"seed": 1})
    make_run(tmp_path / "b", {"seed": 2, "warm_start": []})
    make_run(tmp_path / "c", {"seed": 3, "warm_start": "best.ckpt"})
    assert sorted((row.label, row.seeds) for row in board_of(tmp_path).rows) == [
        ("", (1, 2)),
        ("warm_start=best.ckpt", (3,)),
    ]


def test_an_empty_option_of_a_newer_protocol_makes_no_other_board(tmp_path):
    make_run(tmp_path / "a", {"seed": 1})
    make_run(tmp_path / "b", {"seed": 2, "protocol.max_negative": None, "protocol.metrics": []})
    (row,) = board_of(tmp_path).rows
    assert row.seeds == (1, 2)
    assert board_of(tmp_path).title == "toy, full_ranking"


def test_the_newest_run_of_a_seed_counts_and_the_others_are_counted(tmp_path):
    make_run(tmp_path / "a", test=0.9, when=2000)
    make_run(tmp_path / "b", test=0.2, when=3000)
    make_run(tmp_path / "c", test=0.5, when=1000)
    board = board_of(tmp_path)
    assert board.rows[0].metrics["mrr"] == (0.2, None)
    assert board.older == 2


def test_protocol_options_and_the_data_itself_make_boards(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", {"protocol.negatives": 5})
    make_run(tmp_path / "c", {"data.users": 7}, fingerprint="0" * 64)
    make_run(tmp_path / "d", {"data.users": 7}, fingerprint="1" * 64)
    titles = {b.title for b in leaderboards(find_runs(tmp_path)[0])}
    assert titles == {
        "toy, full_ranking  protocol.negatives=10 data.users=5",
        "toy, full_ranking  protocol.negatives=5 data.users=5",
        "toy, full_ranking  protocol.negatives=10 data.users=7 fingerprint=00000000",
        "toy, full_ranking  protocol.negatives=10 data.users=7 fingerprint=11111111",
    }


def test_the_known_best_belongs_to_one_fingerprint(tmp_path):
    make_run(tmp_path / "a", known_best={"mrr": 0.5})
    make_run(tmp_path / "b", fingerprint="0" * 64, known_best={"mrr": 0.7})
    make_run(tmp_path / "c", fingerprint="1" * 64)
    shown = {b.fingerprint[0]: [r.metrics["mrr"][0] for r in b.rows] for b in leaderboards(find_runs(tmp_path)[0])}
    assert shown == {"f": [0.5, 0.1], "0": [0.7, 0.1], "1": [0.1]}


def test_the_best_row_is_first_and_undefined_values_last(tmp_path):
    for n, value in enumerate([0.2, None, 0.1, 0.4]):
        make_run(tmp_path / str(n), {"model.dim": n}, test={"mrr": value}, maximize=False)
    assert [row.option("model.dim") for row in board_of(tmp_path).rows] == [2, 0, 3, 1]


def test_rows_stand_in_the_order_of_the_validation_behind_the_known_best(tmp_path):
    for n, (value, test) in enumerate([(0.2, 0.9), (None, 0.95), (0.4, 0.1), (0.3, None)]):
        options = {"model.dim": n}
        make_run(tmp_path / str(n), options, test={"mrr": test}, validation={"mrr": value}, known_best={"mrr": 0.05})
    board = board_of(tmp_path)
    assert [row.option("model.dim") for row in board.rows] == [None, 2, 3, 0, 1]
    assert [row.validation for row in board.rows][:2] == [None, (0.4, None)]
    assert best_of_each(board).own == [board.rows[1]]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"status": "complete"', '{"status": "complete"}', "null", "\x00\x01"]
)
def test_what_cannot_be_read_is_told_and_the_rest_is_shown(tmp_path, text):
    make_run(tmp_path / "good")
    bad = make_run(tmp_path / "bad") / "metrics.json"
    bad.write_text(text)
    runs, unreadable = find_runs(tmp_path)
    assert [r.folder.name for r in runs] == ["good"]
    assert [u.path for u in unreadable] == [bad]
    assert unreadable[0].why


@pytest.mark.parametrize("text", [None, "", "seed: [", "model: fm\n"])
def test_a_run_without_its_config_is_unreadable(tmp_path, text):
    path = make_run(tmp_path / "run") / "config.yaml"
    path.unlink() if text is None else path.write_text(text)
    runs, unreadable = find_runs(tmp_path)
    assert not runs
    assert len(unreadable) == 1


def test_a_run_that_did_not_finish_needs_no_config(tmp_path):
    (make_run(tmp_path / "a", status="failed", error="no") / "config.yaml").unlink()
    assert [r.content["status"] for r in find_runs(tmp_path)[0]] == ["failed"]
    assert leaderboards(find_runs(tmp_path)[0]) == []


def test_the_seconds_of_a_part_are_not_those_of_an_epoch(tmp_path):
    make_run(tmp_path / "whole", {"model.dim": 8}, test=0.2, seconds_fit=9.0, epochs=2)
    make_run(tmp_path / "part", {"model.dim": 9, "trainer.limit_train_batches": 0.1}, test=0.1, seconds_fit=1.0)
    assert [row.published_counterpart("seconds_per_epoch") for row in board_of(tmp_path).rows] == [(4.5, None), None]


def test_operations_stand_beside_those_of_papers(tmp_path):
    make_run(tmp_path / "a", flops=1920)
    make_run(tmp_path / "b", {"model.dim": 8})  # a run of before they were counted
    assert sorted(str(row.published_counterpart("flops")) for row in board_of(tmp_path).rows) == [
        "(1920.0, None)",
        "None",
    ]


def test_the_best_point_trained_with_several_seeds_stands_for_its_sweep(tmp_path):
    sweep = tmp_path / "automl"
    for n, (model, dim, value) in enumerate([("fm", 8, 0.30), ("fm", 9, 0.31), ("mf", 8, 0.1)]):
        make_run(sweep / "trials" / f"{n:04d}", {"model.name": model, "model.dim": dim}, test=value)
    best = [r.runs[0].config["model.dim"] for r in best_of_each(board_of(tmp_path)).own]
    assert best == [9, 8]
    for seed, value in ((1, 0.28), (2, 0.29)):
        make_run(sweep / "refit-0000" / "trials" / f"{seed:04d}", {"model.dim": 8, "seed": seed}, test=value)
    first, second = best_of_each(board_of(tmp_path)).own
    assert (first.runs[0].config["model.dim"], first.seeds, second.model) == (8, (0, 1, 2), "mf")
    make_run(tmp_path / "by-hand", {"model.dim": 10}, test=0.4)
    assert best_of_each(board_of(tmp_path)).own[0].runs[0].config["model.dim"] == 10
