"""Lists of items against brute force: every item scored by `forward`, what was met left out, sorted."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from trained import cells, data_of, fmlab, forward, task_of, train, write

from fmlab.contracts import Task, Training
from fmlab.data import Dataset, Field, Schema, Table
from fmlab.run.loading import load_model
from fmlab.run.seen_items import met, seen_of
from fmlab.serving.ranking import Ranker

CONTEXT = ("price=20", "tags=a", "color=red", "visits=3", "dwell=1", "when=1600000000")


def best(place: Path, user: str, met: set[str], k: int, query: np.ndarray | None = None) -> list[tuple[str, float]]:
    """`query`: ids and values `[2, columns]`, for the user's row where none is given."""
    data = data_of(place)
    assert data.users is not None
    assert data.items is not None
    keys = data.keys["item"].tolist()
    if query is None:
        known = data.keys["user"].tolist()
        ids = (
            data.users.ids[known.index(user)]
            if user in known
            else np.array(data.schema.offsets[: data.users.ids.shape[1]])
        )
        query = np.stack([ids, np.ones(len(ids))])
    items = data.items.ids
    rows = np.concatenate([np.repeat(query[:1].astype(np.int32), len(items), 0), items], 1)
    values = None
    if data.schema.numeric:
        own = np.ones(items.shape) if data.items.values is None else data.items.values
        values = np.concatenate([np.repeat(query[1:].astype(np.float32), len(items), 0), own.astype(np.float32)], 1)
    score = forward(load_model(place / "checkpoints" / "best.ckpt"), rows, values)
    order = [n for n in np.argsort(-score, kind="stable") if keys[n] not in met]
    return [(keys[n], float(score[n])) for n in order[:k]]


def most_trained(place: Path, k: int) -> list[tuple[str, float]]:
    task = task_of(place)
    item = np.asarray(task.dataset.item)[task.training.rows]
    count = np.bincount(item, minlength=task.dataset.schema.n_items)
    keys = task.dataset.keys["item"].tolist()
    return [(keys[n], float(count[n])) for n in np.argsort(-count, kind="stable")[:k]]


def met_in(data: Dataset, user: str) -> set[str]:
    who = data.keys["user"].tolist().index(user)
    keys = data.keys["item"].tolist()
    return {keys[n] for n in np.asarray(data.item)[np.asarray(data.user) == who]}


def lists(path: Path, user: str = "user", item: str = "item") -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for row in cells(path):
        found.setdefault(row[user], []).append((row[item], float(row["score"])))
        assert int(row["rank"]) == len(found[row[user]])
    return found


def assert_same(got: list[tuple[str, float]], wanted: list[tuple[str, float]]) -> None:
    assert [item for item, _ in got] == [item for item, _ in wanted]
    np.testing.assert_allclose([s for _, s in got], [s for _, s in wanted], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["two_sided", "hyperbolic"])
def test_lists_are_those_of_brute_force(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    place, out = request.getfixturevalue(name), tmp_path / "out.csv"
    assert fmlab("recommend", place, "--user", "5", "--user", "nobody", "--user", "5", "-k", 7, "--out", out) == 0
    found = lists(out)
    assert list(found) == ["5", "nobody"]
    assert_same(found["5"], best(place, "5", met_in(data_of(place), "5"), 7))
    assert_same(found["nobody"], most_trained(place, 7))
    assert "1 of 2 users are unknown; 1 of whom the model knows nothing" in capsys.readouterr().err
    assert fmlab("recommend", place, "--user", "5", "-k", 40, "--seen", "--out", out) == 0
    assert_same(lists(out)["5"], best(place, "5", set(), 40))
    assert "too few" not in capsys.readouterr().err
    assert fmlab("recommend", place, "--user", "5", "-k", 50, "--out", out) == 0
    left = 40 - len(met_in(data_of(place), "5"))
    assert len(lists(out)["5"]) == left
    assert f"{50 - left} items too few" in capsys.readouterr().err


def test_equal_scores_stand_in_the_order_of_the_items(constant: Path, tmp_path: Path) -> None:
    assert fmlab("recommend", constant, "--user", "3", "-k", 9, "--out", tmp_path / "out.csv") == 0
    data = data_of(constant)
    left = [key for key in data.keys["item"].tolist() if key not in met_in(data, "3")]
    assert [item for item, _ in lists(tmp_path / "out.csv")["3"]] == left[:9]


def test_predict_and_recommend_agree(two_sided: Path, tmp_path: Path) -> None:
    assert fmlab("recommend", two_sided, "--user", "8", "--out", tmp_path / "lists.csv") == 0
    found = lists(tmp_path / "lists.csv")["8"]
    rows = write(tmp_path / "rows.csv", ["user", "item"], [["8", item] for item, _ in found])
    assert fmlab("predict", two_sided, rows, "--out", tmp_path / "scores.csv") == 0
    np.testing.assert_allclose(
        [float(r["score"]) for r in cells(tmp_path / "scores.csv")], [s for _, s in found], rtol=1e-5
    )


def test_a_file_of_users_gives_a_list_to_each(two_sided: Path, tmp_path: Path) -> None:
    users = write(tmp_path / "users.tsv.csv", ["user", "age"], [["4", ""], ["new", "age-2"], ["4", ""], ["9", "x"]])
    assert fmlab("recommend", two_sided, "--users", users, "-k", 3, "--out", tmp_path / "out.csv") == 0
    found, data = lists(tmp_path / "out.csv"), data_of(two_sided)
    assert list(found) == ["4", "new", "9"]
    for user in ("4", "9"):
        assert_same(found[user], best(two_sided, user, met_in(data, user), 3))
    query = np.array(data.schema.offsets[:4])
    query[1] += 1 + data.keys["age"].tolist().index("age-2")
    assert_same(found["new"], best(two_sided, "new", set(), 3, np.stack([query, np.ones(4)])))


@pytest.mark.parametrize("name", ["clicks", "deep"])
def test_a_model_with_context_scores_in_the_context_that_is_given(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    place, out = request.getfixturevalue(name), tmp_path / "out.csv"
    assert fmlab("recommend", place, "--user", "7") == 2
    said = capsys.readouterr().err
    assert all(f"--context {text.split('=')[0]}=..." in said for text in CONTEXT)
    assert fmlab("recommend", place, "--user", "7", "--context", "colors=red") == 2
    assert "did you mean 'color'" in capsys.readouterr().err
    given = [part for text in CONTEXT for part in ("--context", text)]
    assert fmlab("recommend", place, "--user", "007", *given, "-k", 2, "--seen", "--out", out) == 0
    rows = write(
        tmp_path / "rows.csv",
        ["uid", "movie", *(c.split("=")[0] for c in CONTEXT)],
        [["007", item, *(c.split("=")[1] for c in CONTEXT)] for item in ("1", "01", "x", "y", "z", "w")],
    )
    assert fmlab("predict", place, rows, "--out", tmp_path / "scores.csv") == 0
    scored = [(r["movie"], float(r["score"])) for r in cells(tmp_path / "scores.csv")]
    assert_same(lists(out, "uid", "movie").get("007", []), sorted(scored, key=lambda s: -s[1])[:2])
    queries = write(
        tmp_path / "q.csv", ["uid", *(c.split("=")[0] for c in CONTEXT)], [["007", *(c.split("=")[1] for c in CONTEXT)]]
    )
    assert fmlab("recommend", place, "--users", queries, "-k", 2, "--seen", "--out", tmp_path / "two.csv") == 0
    assert (tmp_path / "two.csv").read_text() == out.read_text()


def test_what_the_protocol_left_out_was_met_all_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [[f"u{u}", f"i{i}", str(rng.integers(1, 6))] for u in range(12) for i in rng.permutation(20)[:8]]
    write(tmp_path / "stars.csv", ["user", "item", "stars"], rows)
    roles = ("data.user=user", "data.item=item", "data.label=stars", "protocol.min_label=4")
    place = train(tmp_path, "run", "model=mf", "data=csv", "data.path=stars.csv", "protocol=full_ranking", *roles)
    assert fmlab("recommend", place, "--user", "u3", "-k", 20, "--out", tmp_path / "out.csv") == 0
    found = {item for item, _ in lists(tmp_path / "out.csv")["u3"]}
    ranked = set(data_of(place).keys["item"].tolist())
    assert found == ranked - {item for user, item, _ in rows if user == "u3"}
    assert any(int(stars) < 4 and item in ranked for user, item, stars in rows if user == "u3")  # or it shows nothing


@pytest.mark.parametrize(
    ("label", "wanted"),
    [
        ([0, 1, 1, 0], [False, True, True, False]),
        ([-1, 1, 1, -1], [False, True, True, False]),
        ([-1, 0, 1, 1], None),  # whoever rated it knows it
        ([1, 2, 3, 0], None),
        ([-10, 10, 0, 3], None),
        (None, None),
    ],
    ids=str,
)
def test_a_row_says_that_the_item_was_met_unless_it_stands_for_a_sampled_one(
    label: list[float] | None, wanted: list[bool] | None
) -> None:
    found = met(None if label is None else np.array(label, np.float32))
    assert (None if found is None else found.tolist()) == wanted


def test_pairs_are_known_by_the_first_part_that_has_them() -> None:
    schema = Schema((Field("user", "user", 4), Field("item", "item", 4)), 3, 3)
    keys = {"user": np.array(["a", "b", "c"]), "item": np.array(["x", "y", "z"])}
    user, item = np.array([0, 0, 0, 1, 2, 0], np.int32), np.array([0, 1, 2, 2, 1, 0], np.int32)
    source = Dataset("d", schema, 6, user, item, keys=keys)
    left = Schema((Field("user", "user", 3), Field("item", "item", 3)), 2, 2)  # without c and x
    names = {"user": np.array(["a", "b"]), "item": np.array(["y", "z"])}
    data = Dataset("d", left, 3, np.array([0, 0, 1], np.int32), np.array([0, 1, 1], np.int32), keys=names)
    part = lambda *rows: SimpleNamespace(rows=np.array(rows))  # noqa: E731
    seen = seen_of(source, Task(data, Training(np.array([0])), part(1), part(2), "m", True))
    assert seen is not None

    def items(user: str, number: int, exclude: str) -> list[str]:
        return [names["item"][n] for n in seen.of([number], [user], exclude)[1]]

    assert items("a", 0, "none") == []
    assert items("a", 0, "train") == ["y"]
    assert items("a", 0, "train+validation") == ["y", "z"]
    assert (items("b", 1, "train+validation"), items("b", 1, "all")) == ([], ["z"])
    assert items("c", -1, "all") == ["y"]  # left out by the protocol
    assert items("?", -1, "all") == []


def test_blocks_of_queries_give_the_lists_of_all_at_once(
    two_sided: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from fmlab.serving import ranking

    users = write(tmp_path / "users.csv", ["user"], [[str(n)] for n in range(-2, 20)])
    for out in ("whole.csv", "blocks.csv"):
        assert fmlab("recommend", two_sided, "--users", users, "-k", 4, "--out", tmp_path / out) == 0
        monkeypatch.setattr(ranking, "CELLS", 130)
    assert lists(tmp_path / "whole.csv").keys() == lists(tmp_path / "blocks.csv").keys()
    for user, wanted in lists(tmp_path / "whole.csv").items():
        assert_same(lists(tmp_path / "blocks.csv")[user], wanted)


class Few(nn.Module):
    """Scores with many ties."""

    def forward(self, ids: torch.Tensor, values: torch.Tensor | None = None) -> torch.Tensor:
        return ((ids[..., 0] * 7 + ids[..., 1] * 5) % 4).float()


def test_ties_of_many_items_are_cut_at_k_by_item_order() -> None:
    from fmlab.data.batch import Features

    schema = Schema((Field("user", "user", 6), Field("item", "item", 31)), 5, 30)
    items = Table(np.arange(7, 37, dtype=np.int32)[:, None])
    ranker = Ranker(Few(), SimpleNamespace(name="d", schema=schema, items=items, popularity=None))
    met = (np.array([1, 1]), np.array([3, 0]))
    query, item, score, _ = ranker.top(Features(torch.arange(5)[:, None].int()), 9, met)
    for q in range(5):
        scores = (q * 7 + items.ids[:, 0] * 5) % 4
        left = [n for n in np.argsort(-scores, kind="stable").tolist() if q != 1 or n not in (3, 0)]
        assert item[query == q].tolist() == left[:9]
        assert score[query == q].tolist() == scores[left[:9]].tolist()


def test_foreign_ids_move_no_cursor_and_reach_programs_as_they_are(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["a", "b\x1b[2Jb", "two\nlines", "c\u202ec", "d", "e"]
    met = [(f"u{user}", names[(user + n) % 6]) for user in range(6) for n in range(4)]
    rows = write(tmp_path / "rows.csv", ("u", "i"), met)
    roles = ("data.user=u", "data.item=i", "protocol=full_ranking")
    place = train(tmp_path, "run", "model=popularity", "data=csv", f"data.path={rows}", *roles)
    for terminal in (False, True):
        capfdbinary.readouterr()
        monkeypatch.setattr(sys.stdout, "isatty", lambda said=terminal: said)
        assert fmlab("recommend", place, "--user", "u0", "--seen", "-k", "6") == 0
        sys.stdout.flush()
        out = capfdbinary.readouterr().out.decode()
        assert ("\x1b" in out, "\u202e" in out) == (not terminal, not terminal)
        assert "two\nlines" in out
        assert (r"b\x1b[2Jb" in out) is terminal


def test_mistakes_are_said(clicks: Path, two_sided: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error(*arguments: object, code: int = 2) -> str:
        assert fmlab("recommend", *arguments) == code
        return capsys.readouterr().err

    users = write(tmp_path / "users.csv", ["usr"], [["1"]])
    assert "-k must be 1 or more" in error(two_sided, "--user", "1", "-k", 0)
    assert "required" in error(two_sided)
    assert "did you mean 'usr'" in error(two_sided, "--users", users, code=65)
    assert "--context goes with --user" in error(two_sided, "--users", users, "--context", "a=1")
    assert "must be NAME=VALUE" in error(clicks, "--user", "7", "--context", "color")
    given = ("--context", "color=red")
    assert "'color' was given two" in error(clicks, "--user", "7", *given, *given)


def test_rows_without_items_are_scored_but_not_recommended(
    room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (
        "data=csv",
        f"data.path={room / 'clicks.csv'}",
        "data.label=clicked",
        "data.categorical=[color,brand]",
        "protocol=ctr",
    )
    place = train(tmp_path, "rows", "model=lr", *options)
    rows = write(tmp_path / "rows.csv", ["brand", "color"], [["brand1", "red"], ["brand9", ""]])
    assert fmlab("predict", place, rows) == 0
    assert fmlab("recommend", place, "--user", "7") == 65
    assert "see fmlab predict" in capsys.readouterr().err
    assert fmlab("export", place, "--out", tmp_path / "export") == 0
    assert "no vectors: the rows of 'csv' have no items" in capsys.readouterr().err
    assert not list((tmp_path / "export").glob("*.npy"))
