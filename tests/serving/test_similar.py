"""Similar items against brute force over the model's own tables."""

from pathlib import Path

import numpy as np
import pytest
import torch
from trained import train

from fmlab.errors import DataError, FmlabError
from fmlab.manifolds import Lorentz, Poincare
from fmlab.serving import load_run

SMALL = ("data=synthetic", "data.users=60", "data.items=40", "data.positives=8", "batch_size=64")


def test_two_sided_items_are_compared_by_the_cosine_of_their_vectors(two_sided: Path) -> None:
    run = load_run(two_sided)
    table = run.similar(["3", "17"], k=39)
    assert table.columns.tolist() == ["item", "rank", "similar", "score"]
    assert table.attrs["measure"] == "cosine of item vectors"
    keys, items = run.data.keys["item"].tolist(), run.data.items
    weight = run.model.state_dict()["table.weight"].double().numpy()
    vectors = weight[items.ids][:, :, 1:].sum(1)
    for name, part in table.groupby("item"):
        number = keys.index(name)
        cosine = vectors @ vectors[number] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[number])
        order = [n for n in np.argsort(-cosine, kind="stable") if n != number]
        assert part["similar"].tolist() == [keys[n] for n in order]
        np.testing.assert_allclose(part["score"], cosine[order], atol=1e-5)
    inner = run.similar(["3"], k=39, measure="inner")
    np.testing.assert_allclose(
        inner["score"], vectors[[keys.index(i) for i in inner["similar"]]] @ vectors[keys.index("3")], atol=1e-5
    )


def test_points_are_compared_by_the_distance_of_their_manifold(hyperbolic: Path) -> None:
    run = load_run(hyperbolic)
    table = run.similar(["5"], k=4)
    points = run.model.tables.item.weight.detach().double()[1:]
    keys = run.data.keys["item"].tolist()
    distance = Poincare(1.0).dist(points[keys.index("5")].unsqueeze(0), points)
    order = [n for n in torch.argsort(distance, stable=True).tolist() if keys[n] != "5"][:4]
    assert table["similar"].tolist() == [keys[n] for n in order]
    np.testing.assert_allclose(table["score"], -distance[order].numpy(), rtol=1e-5)
    assert "Poincare" in table.attrs["measure"]


def test_lorentzfm_compares_centroids_of_features(room: Path) -> None:
    run = load_run(train(room, "lorentz", "model=lorentzfm", "optimizer.lr=0.5", *SMALL))
    keys, items = run.data.keys["item"].tolist(), run.data.items
    v = run.model.table.weight.detach().double()[torch.from_numpy(items.ids).long()]
    ambient = torch.cat([(1 + v.square().sum(-1, keepdim=True)).sqrt(), v], -1).sum(1)
    centroid = ambient / (ambient[:, :1].square() - ambient[:, 1:].square().sum(1, keepdim=True)).sqrt()
    distance = torch.arccosh((centroid[:, :1] @ centroid[:, :1].T - centroid[:, 1:] @ centroid[:, 1:].T).clamp_min(1))
    table = run.similar(["7"], k=39)
    found = [float(-distance[keys.index("7"), keys.index(i)]) for i in table["similar"]]
    np.testing.assert_allclose(table["score"], found, atol=1e-6)
    assert (np.diff(table["score"]) <= 0).all()
    alone = Lorentz().dist(v[keys.index("7"), 0], v[:, 0])
    assert v.shape[1] > 1 or np.allclose(alone, distance[keys.index("7")], atol=1e-6)


def test_neighbours_compare_items_by_what_their_scores_sum(room: Path) -> None:
    knn = load_run(train(room, "knn", "model=itemknn", "model.n_neighbors=5", *SMALL))
    keys = knn.data.keys["item"].tolist()
    near = knn.model.nearest[1 + keys.index("5")].tolist()
    table = knn.similar(["5"], k=5)
    assert set(table["similar"][table["score"] > 0]) == {
        keys[n] for n, s in zip(near, knn.model.similarity[1 + keys.index("5")].tolist(), strict=True) if s > 0
    }
    ease = load_run(train(room, "ease-alike", "model=ease", *SMALL))
    weights = ease.model.weight[1:, keys.index("5")].numpy()  # [score of, met "5"]
    order = [n for n in np.argsort(-weights, kind="stable") if keys[n] != "5"]
    assert ease.similar(["5"], k=6)["similar"].tolist() == [keys[n] for n in order[:6]]


def test_states_are_compared_where_there_is_no_vector(deep: Path) -> None:
    table = load_run(deep).similar(["x"], k=3)
    assert table.attrs["measure"] == "cosine of item states"
    assert len(table) == 3
    assert "x" not in table["similar"].tolist()


def test_what_cannot_be_compared_is_said(two_sided: Path, constant: Path) -> None:
    run = load_run(two_sided)
    with pytest.raises(DataError, match="items are compared that training knew, got 'nowhere'"):
        run.similar(["nowhere"])
    with pytest.raises(FmlabError, match="those of constant are all equal"):
        load_run(constant).similar(["3"])
    with pytest.raises(FmlabError, match="points of a manifold, fm is none"):
        run.similar(["3"], measure="distance")
    with pytest.raises(FmlabError, match="a measure must be one of auto, inner, cosine, distance, got 'near'"):
        run.similar(["3"], measure="near")  # type: ignore[arg-type]
    with pytest.raises(FmlabError, match="1 or more items, got k=0"):
        run.similar(["3"], k=0)
    assert run.similar([], k=2).empty
