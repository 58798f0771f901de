"""The index finds what the exact ranking finds."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from trained import fmlab

from fmlab.errors import FmlabError
from fmlab.serving import load_run
from fmlab.serving.ann import lifted, recall


def test_the_nearest_of_lifted_items_has_the_largest_inner_product() -> None:
    rng = np.random.default_rng(0)
    items, queries = rng.normal(size=(300, 6)) * rng.exponential(size=(300, 1)), rng.normal(size=(40, 6))
    items /= np.linalg.norm(items, axis=1).max()
    points = lifted(items).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-6)
    away = ((np.pad(queries, ((0, 0), (0, 1)))[:, None] - points[None]) ** 2).sum(-1)
    products = queries @ items.T
    assert np.argmin(away, 1).tolist() == np.argmax(products, 1).tolist()
    exact = np.argsort(-products, 1)[:, :10]
    assert recall(exact, products, exact) == 1
    assert recall(np.concatenate([exact[:, :9], np.argsort(products, 1)[:, :1]], 1), products, exact) == pytest.approx(
        0.9
    )


@pytest.mark.parametrize("name", ["two_sided", "hyperbolic"])
def test_the_index_of_an_export_gives_the_lists_of_recommend(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    usearch = pytest.importorskip("usearch.index")
    place, out = request.getfixturevalue(name), tmp_path / "out"
    assert fmlab("export", place, "--out", out, "--format", "ann", "--format", "files") == 0
    assert "ann: recall@10 1.0000" in capsys.readouterr().err
    said = json.loads((out / "manifest.json").read_text())["ann"]
    assert said["recall_at_10"] == 1
    index = usearch.Index.restore(str(out / "items.usearch"))
    query = np.load(out / "query_vectors.npy")[7].astype(np.float64)
    found = index.search(np.append(query / np.linalg.norm(query), 0).astype(np.float32), 5).keys
    searcher = runpy.run_path(str(out / "search.py"))["Searcher"](str(out))
    run = load_run(place)
    names = run.data.keys["item"].tolist()
    wanted = run.recommend([run.data.keys["user"].tolist()[7]], k=5, exclude="none")
    assert [names[n] for n in found] == wanted["item"].tolist()
    user = run.data.keys["user"].tolist()[7]
    listed = searcher.search(user, 5, seen=True)
    assert [name for name, _ in listed] == wanted["item"].tolist()
    products = np.load(out / "item_vectors.npy").astype(np.float64) @ query
    np.testing.assert_allclose([p for _, p in listed], np.sort(products)[::-1][:5], rtol=1e-4, atol=1e-4)
    first = listed[0][0]
    assert [n for n, _ in searcher.search(user, 4, exclude={first}, seen=True)] == wanted["item"].tolist()[1:]


def test_an_index_alone_is_searched_by_its_own_program(two_sided: Path, tmp_path: Path) -> None:
    pytest.importorskip("usearch.index")
    load_run(two_sided).export(tmp_path / "out", ["ann"])
    assert {"search.py", "query_vectors.npy", "users.parquet", "items.parquet"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
    searcher = runpy.run_path(str(tmp_path / "out" / "search.py"))["Searcher"](tmp_path / "out")
    assert len(searcher.search(next(iter(searcher.users)), 3)) == 3


def test_an_index_leaves_out_what_its_users_have_met(two_sided: Path, tmp_path: Path) -> None:
    pytest.importorskip("usearch.index")
    run = load_run(two_sided)
    run.export(tmp_path / "out", ["ann"])
    searcher = runpy.run_path(str(tmp_path / "out" / "search.py"))["Searcher"](tmp_path / "out")
    for user in list(searcher.users)[:20]:
        wanted = run.recommend([user], k=5)["item"].tolist()
        assert [name for name, _ in searcher.search(user, 5)] == wanted


def test_an_index_names_the_user_that_it_lacks(two_sided: Path, tmp_path: Path) -> None:
    pytest.importorskip("usearch.index")
    load_run(two_sided).export(tmp_path / "out", ["ann"])
    searcher = runpy.run_path(str(tmp_path / "out" / "search.py"))["Searcher"](tmp_path / "out")
    known = max(searcher.users, key=len)
    with pytest.raises(KeyError) as error:
        searcher.search(f"{known}x")
    rule = f"a user must be one of the {len(searcher.users):,} of the training, got '{known}x'; did you mean '"
    assert str(error.value).startswith(rule)
    program = [sys.executable, str(tmp_path / "out" / "search.py"), "nobody at all"]
    ended = subprocess.run(program, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.endswith("got 'nobody at all'; users.parquet lists them\n")


def test_a_model_that_is_no_product_of_two_sides_has_no_index(deep: Path, tmp_path: Path) -> None:
    pytest.importorskip("usearch.index")
    with pytest.raises(FmlabError, match="the score of deepfm is no product of two sides"):
        load_run(deep).export(tmp_path / "out", ["ann"])
