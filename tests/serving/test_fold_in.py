"""A history of a new user gets a list, by Python, by the command line and by the server; the model is not trained."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from trained import fmlab

from fmlab.errors import FmlabError
from fmlab.serving import load_run
from fmlab.serving.engine import Engine
from fmlab.serving.fold_in import SHRINK, QueryPredictor


def history_of(run, user: int) -> list[int]:
    seen = run.data.seen
    return (seen.key[(seen.part == 0) & (seen.key // seen.n_items == user)] % seen.n_items).tolist()


@pytest.mark.parametrize("name", ["two_sided", "hyperbolic"])
def test_the_vector_is_that_of_least_squares(name: str, request: pytest.FixtureRequest) -> None:
    run = load_run(request.getfixturevalue(name))
    model, data = run.model, run.data
    with torch.no_grad():
        _, queries = model.encode_query(torch.from_numpy(np.array(data.users.ids)))
        nobody_bias, nobody = model.encode_query(run.ranker.nobody.ids)
        bias, items = model.encode_item(torch.from_numpy(np.array(data.items.ids)))
    items, users = items.double().numpy(), np.flatnonzero(data.seen.trained)
    inputs = np.array([[*items[h].sum(0), len(h)] for h in (history_of(run, u) for u in users)])
    inputs /= inputs[:, -1:] + SHRINK
    target = queries.double().numpy()[users] - nobody.double().numpy()
    matrix = np.linalg.lstsq(inputs, target, rcond=None)[0]
    history = [3, 9, 11]
    one = np.array([*items[history].sum(0), 3]) / (3 + SHRINK)
    z = torch.from_numpy(items @ (nobody.double().numpy()[0] + one @ matrix) + bias.double().numpy()) + nobody_bias
    found = QueryPredictor(run).fold_in(torch.tensor(history))
    torch.testing.assert_close(found, z, atol=1e-3, rtol=1e-3)
    listed = run.recommend(history=[run.data.keys["item"].tolist()[i] for i in history], k=3)
    best = [i for i in torch.argsort(-z).tolist() if i not in history][:3]
    assert [run.data.keys["item"].tolist().index(i) for i in listed["item"]] == best
    np.testing.assert_allclose(listed["score"], model.link(z[best]), rtol=1e-2, atol=1e-3)
    assert float(found.std()) > 0


def test_every_way_in_gives_the_same_list(two_sided: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = load_run(two_sided)
    found = run.recommend(history=["3", "9", 11, "11"], k=5)
    assert list(found.columns) == ["rank", "item", "score"]
    assert not set(found["item"]) & {"3", "9", "11"}
    assert found["score"].is_monotonic_decreasing
    assert found.attrs == {"by_popularity": 0, "unknown_items": 0}
    whole = run.recommend(history=["3", "9", "11"], k=40, exclude="none")
    assert {"3", "9", "11"} <= set(whole["item"])
    (answer,) = Engine(run).recommend([{"histories": [["3", "9", 11]], "k": 5}])
    assert [i["item"] for i in answer["results"][0]["items"]] == found["item"].tolist()
    out = tmp_path / "list.csv"
    assert fmlab("recommend", two_sided, "--history", "3", "9", "11", "nowhere", "-k", "5", "--out", out) == 0
    assert pd.read_csv(out, dtype={"item": str})["item"].tolist() == found["item"].tolist()
    assert "1 of 4 items of the history are unknown to the model" in capsys.readouterr().err


def test_nothing_known_gets_popular_items_and_it_is_said(two_sided: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = load_run(two_sided)
    found = run.recommend(history=["nowhere"], k=3)
    assert found.attrs == {"by_popularity": 1, "unknown_items": 1}
    assert found["score"].tolist() == sorted(run.data.popularity.tolist(), reverse=True)[:3]
    assert fmlab("recommend", two_sided, "--history", "nowhere") == 0
    assert "nothing is known of the user" in capsys.readouterr().err


def test_what_cannot_be_is_refused(two_sided: Path, clicks: Path) -> None:
    run = load_run(two_sided)
    with pytest.raises(FmlabError, match="recommend takes either users"):
        run.recommend()
    with pytest.raises(FmlabError, match="recommend takes either users"):
        run.recommend(["7"], history=["3"])
    with pytest.raises(FmlabError, match="a history is a list of ids of items, got '3'"):
        run.recommend(history="3")
    with pytest.raises(FmlabError, match="also has a context"):
        load_run(clicks).recommend(history=["x"])
    (answer,) = Engine(run).recommend([{"histories": ["3"]}])
    assert "a history must be a list of one or more ids" in str(answer)
