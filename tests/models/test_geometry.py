"""Pairs on curved spaces against geodesic distances, and the models that are made of them."""

from itertools import combinations
from typing import Any

import pytest
import torch
from fmlab_models.fm import FM
from fmlab_models.fmfm import FmFM, FvFM, FwFM
from fmlab_models.lightgcn import LightGCN
from fmlab_models.mf import MF
from torch import Tensor, nn

from fmlab.data import Field, Schema
from fmlab.errors import FmlabError
from fmlab.manifolds import Lorentz, Manifold, Poincare, Product, Sphere, manifold_of
from fmlab.nn.geometry import Geometry
from fmlab.plugin.registry import build
from fmlab.testing import ModelContract

CURVED = ("hyperboloid", "ball", "sphere", "product")
SCHEMA = Schema((Field("user", "user", 7), Field("hour", "context", 5), Field("item", "item", 6)), 6, 5)
ROWS = torch.cartesian_prod(torch.arange(7), torch.arange(7, 12), torch.arange(12, 18))


def points(kind: str, n: int, dim: int, curvature: float) -> Tensor:
    """Random points of moderate radius, in the coordinates of one factor."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, dim, generator=generator, dtype=torch.float64) / curvature**0.5
    return 0.5 * x / (1 + curvature**0.5 * x.norm(dim=-1, keepdim=True)) if kind == "ball" else x


def by_distances(manifold: Manifold, x: Tensor, y: Tensor) -> Tensor:
    """The pair, by the law of cosines of the space: nothing but its geodesic distances."""
    o, c = torch.zeros_like(x), float(manifold.curvature)
    d, a, b = (c**0.5 * manifold.dist(p, q) for p, q in ((x, y), (o, x), (o, y)))
    if isinstance(manifold, Sphere):
        return (d.cos() - a.cos() - b.cos() + 1) / c
    return (a.cosh() + b.cosh() - d.cosh() - 1) / c


def pair(space: str, x: Tensor, y: Tensor, curvature: float) -> Tensor:
    if space == "euclidean":
        return (x * y).sum(-1)
    if space != "product":
        return by_distances({"hyperboloid": Lorentz, "ball": Poincare, "sphere": Sphere}[space](curvature), x, y)
    n = x.shape[-1]
    cuts = (0, n // 3, 2 * n // 3, n)
    parts = zip(("hyperboloid", "sphere", "euclidean"), cuts[:-1], cuts[1:], strict=True)
    return sum((pair(s, x[..., a:b], y[..., a:b], curvature) for s, a, b in parts), torch.zeros(()).double())


@pytest.mark.parametrize("curvature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("space", CURVED)
def test_a_pair_is_that_of_the_distances(space: str, curvature: float) -> None:
    geometry, x = Geometry(space, curvature), points(space, 12, 5, curvature)
    lifted = geometry.lift(x)
    assert lifted.shape[-1] == geometry.width(5)
    expected = pair(space, x.unsqueeze(1), x.unsqueeze(0), curvature)
    torch.testing.assert_close(lifted @ geometry.signed(lifted).T, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        geometry.inner(lifted[:6], lifted[6:]), expected[:6, 6:].diagonal(), rtol=1e-9, atol=1e-9
    )
    torch.testing.assert_close(geometry.square(lifted), expected.diagonal(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("space", CURVED)
def test_flat_space_is_the_limit_of_no_curvature_and_of_no_distance(space: str) -> None:
    vectors = points("flat", 8, 6, 1.0)
    for curvature, size in ((1e-8, 1.0), (1.0, 1e-4)):
        geometry = Geometry(space, curvature)
        lifted = geometry.lift(geometry.table(size * vectors).detach())
        wanted = size**2 * vectors @ vectors.T
        torch.testing.assert_close(lifted @ geometry.signed(lifted).T / size**2, wanted / size**2, rtol=0, atol=1e-6)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("space", CURVED)
def test_points_start_as_far_out_as_their_vectors_are_long(space: str, learned: bool) -> None:
    curvature, vectors = 2.0, 0.4 * points("flat", 8, 6, 1.0)  # within half the sphere
    geometry = Geometry(space, curvature, learned)
    table = geometry.table(torch.cat([torch.zeros(8, 1).double(), vectors], 1), first=1)
    assert isinstance(table, nn.Parameter)
    found, manifold = table.detach()[:, 1:], manifold_of(table)
    assert isinstance(manifold, Product)
    scale = torch.full((6,), curvature**0.5 if learned else 1.0, dtype=torch.float64)
    if space == "product":
        scale[4:] = 1
    distance = manifold.dist(torch.zeros_like(table), table)
    torch.testing.assert_close(distance, (scale * vectors).norm(dim=-1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(geometry.tangent(found), scale * vectors, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(geometry.point(geometry.tangent(found)), found, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("space", CURVED)
def test_a_trained_curvature_begins_as_the_given_one(space: str) -> None:
    vectors = 0.4 * points("flat", 8, 6, 1.0)
    fixed, trained = Geometry(space, 2.0), Geometry(space, 2.0, learn_curvature=True).double()
    tables = [g.lift(g.table(vectors)) for g in (fixed, trained)]
    pairs = [t @ g.signed(t).T for t, g in zip(tables, (fixed, trained), strict=True)]
    torch.testing.assert_close(*pairs, rtol=1e-6, atol=1e-6)
    grads = torch.autograd.grad(pairs[1].sum(), list(trained.parameters()))
    assert len(grads) == (2 if space == "product" else 1)
    assert all(g != 0 for g in grads)


def spread(model: nn.Module) -> nn.Module:
    """Points far enough out that the curvature counts, within the ball."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.double().parameters():
            p.copy_(manifold_of(p).project(0.15 * torch.randn(p.shape, generator=generator, dtype=torch.float64)))
    return model.eval()


def sides(model: Any) -> Tensor:
    (a, p), (b, q) = model.encode_query(ROWS[:, :2]), model.encode_item(ROWS[:, 2:])
    return a + b + (p * q).sum(-1)


def check(model: Any, expected: Tensor) -> None:
    parameters = list(model.parameters())
    wanted = torch.autograd.grad(expected.sin().sum(), parameters, allow_unused=True)
    for scores in (model(ROWS), sides(model)):
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-9)
        found = torch.autograd.grad(scores.sin().sum(), parameters, allow_unused=True)
        for a, b in zip(found, wanted, strict=True):
            if a is not None or b is not None:
                torch.testing.assert_close(a.to_dense(), b.to_dense(), rtol=0, atol=1e-8)


def rows_by_field(model: Any) -> Tensor:
    return model.tables.tables[0].weight


@pytest.mark.parametrize("space", CURVED)
def test_fm_is_its_double_sum(space: str) -> None:
    model: Any = spread(FM(SCHEMA, dim=4, geometry=space, curvature=1.5))
    w, v = model.table.weight[:, 0], model.table.weight[:, 1:]
    expected = model.bias + w[ROWS].sum(-1)
    for a, b in combinations(range(3), 2):
        expected = expected + pair(space, v[ROWS[:, a]], v[ROWS[:, b]], 1.5)
    check(model, expected)


def test_the_values_of_columns_multiply_their_pairs() -> None:
    model: Any = spread(FM(SCHEMA, dim=4, geometry="ball", curvature=1.5))
    x = torch.randn(ROWS.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    w, v = model.table.weight[:, 0], model.table.weight[:, 1:]
    expected = model.bias + (w[ROWS] * x).sum(-1)
    for a, b in combinations(range(3), 2):
        expected = expected + pair("ball", v[ROWS[:, a]], v[ROWS[:, b]], 1.5) * x[:, a] * x[:, b]
    torch.testing.assert_close(model(ROWS, x), expected, rtol=0, atol=1e-9)
    _, shown = model.column_pairs(ROWS[:1])
    one = pair("ball", v[ROWS[0]].unsqueeze(1), v[ROWS[0]].unsqueeze(0), 1.5)
    torch.testing.assert_close(shown[0], one, rtol=0, atol=1e-9)


def test_fm_drops_whole_coordinates_of_all_pairs() -> None:
    """With one coordinate dropped in two, the mean over many draws is the score without dropout."""
    model: Any = spread(FM(SCHEMA, dim=3, geometry="hyperboloid", dropout=0.5))
    ids = ROWS[:1].expand(20000, -1)
    whole = model(ids[:1]).item()
    model.train()
    torch.manual_seed(0)
    scores = model(ids)
    assert scores.std() > 0.01
    assert abs(scores.mean().item() - whole) < 5 * scores.std().item() / 20000**0.5


@pytest.mark.parametrize("space", CURVED)
def test_fwfm_weighs_the_pairs_of_its_fields(space: str) -> None:
    model: Any = spread(FwFM(SCHEMA, dim=4, linear="plain", geometry=space, curvature=1.5))
    table = rows_by_field(model)
    expected = model.bias + table[ROWS, 0].sum(-1)
    for n, (a, b) in enumerate(combinations(range(3), 2)):
        expected = expected + model.matrices.weight[0, n] * pair(
            space, table[ROWS[:, a], 1:], table[ROWS[:, b], 1:], 1.5
        )
    check(model, expected)
    torch.testing.assert_close(model.cached()(ROWS), model(ROWS), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", [FvFM, FmFM])
@pytest.mark.parametrize("space", CURVED)
def test_forms_of_ambient_displacements(space: str, kind: Any) -> None:
    """With the signs of the inner product in d or M, it is the sum of all pairs."""
    model: Any = spread(kind(SCHEMA, dim=4, linear="plain", geometry=space, curvature=1.5))
    width = model.dims[0]
    signs = Geometry(space).signed(torch.ones(width)).double()
    with torch.no_grad():
        one = torch.diag(signs) if kind is FmFM else signs.unsqueeze(1)
        if kind is FvFM:
            model.matrices.weight.copy_(one.expand(-1, 3))
        else:  # rows of the upper half: coordinate after coordinate, each with all coordinates of later fields
            stripes = [torch.cat([one] * (2 - f), 1).flatten() for f in range(2)]
            model.matrices.weight.copy_(torch.cat(stripes).unsqueeze(0))
    table = rows_by_field(model)
    expected = model.bias + table[ROWS, 0].sum(-1)
    for a, b in combinations(range(3), 2):
        expected = expected + pair(space, table[ROWS[:, a], 1:], table[ROWS[:, b], 1:], 1.5)
    torch.testing.assert_close(model(ROWS), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(sides(model), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(model.cached()(ROWS), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("space", CURVED)
def test_mf_is_one_pair(space: str) -> None:
    model: Any = spread(MF(SCHEMA, dim=4, geometry=space, curvature=1.5))
    u, i = model.tables.user.weight[ROWS[:, 0]], model.tables.item.weight[ROWS[:, 2] - 12]
    check(model, model.bias + u[:, 0] + i[:, 0] + pair(space, u[:, 1:], i[:, 1:], 1.5))


@pytest.mark.parametrize("space", CURVED)
def test_lightgcn_passes_logarithms_at_the_origin(space: str) -> None:
    model: Any = spread(LightGCN(SCHEMA, dim=4, layers=2, geometry=space, curvature=1.5))
    met = torch.rand(6, 5, generator=torch.Generator().manual_seed(2)) < 0.5
    model.fit_interactions(*met.nonzero(as_tuple=True))
    a = torch.zeros(13, 13, dtype=torch.float64)
    a[1:7, 8:] = met.double()
    a = a + a.T
    root = a.sum(1).clamp_min(1).sqrt()
    a = a / root / root.unsqueeze(1)
    mean = sum(torch.linalg.matrix_power(a, n) for n in range(3)) / 3
    manifold = manifold_of(model.nodes)
    nodes = manifold.expmap0(mean @ manifold.logmap0(model.nodes))
    check(model, pair(space, nodes[ROWS[:, 0]], nodes[ROWS[:, 2] - 12 + 7], 1.5))


@pytest.mark.parametrize("name", ["fm", "mf", "fwfm", "fvfm", "fmfm", "lightgcn"])
def test_euclidean_is_the_model_that_has_no_geometry(name: str) -> None:
    """No parameter, no buffer and no manifold more, and the bits of the plain inner product."""
    model = build("model", {"name": name, "dim": 4}, SCHEMA)
    assert not [n for n in model.state_dict() if "geometry" in n]
    assert all(type(p) is nn.Parameter for p in model.parameters())
    vectors = torch.randn(9, 4)
    flat = Geometry()
    assert flat.lift(vectors) is vectors
    assert flat.signed(vectors) is vectors
    assert flat.table(vectors) is vectors
    assert torch.equal(flat.inner(vectors, vectors[:1]), (vectors * vectors[:1]).sum(-1))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(FmlabError, match=r"geometry=euclidean with curvature=2.0; hyperboloid, ball, sphere, product"):
        FM(SCHEMA, curvature=2.0)
    with pytest.raises(FmlabError, match="geometry=euclidean with learn_curvature=true"):
        MF(SCHEMA, learn_curvature=True)
    with pytest.raises(FmlabError, match=r"product has hyperboloid, sphere, euclidean, each .* got dim=2"):
        FM(SCHEMA, dim=2, geometry="product")
    trained = FwFM(SCHEMA, dim=3, geometry="sphere")
    with pytest.raises(FmlabError, match="read from flat vectors, got geometry=sphere"):
        FmFM.options_from({"variance": 0.9, "dims": None}, trained)
    deep = build("model", {"name": "nfm", "dim": 3, "hidden": [4]}, SCHEMA)
    with pytest.raises(FmlabError, match="must have flat vectors, got geometry=ball"):
        deep.warm_start(FM(SCHEMA, dim=3, geometry="ball"))


def _contract(name: str, space: str, learned: bool) -> type[ModelContract]:
    def make(self: ModelContract, schema: Schema) -> nn.Module:
        options = {"geometry": space, "learn_curvature": learned, "dim": 6}
        return build("model", {"name": name, **options}, schema)

    return type(f"Test_{name}_{space}", (ModelContract,), {"make": make})


for _name, _space, _learned in (
    *(("fm", space, space != "hyperboloid") for space in CURVED),
    ("fwfm", "hyperboloid", True),
    ("fmfm", "product", False),
    ("mf", "product", True),
    ("lightgcn", "ball", True),
):
    globals()[f"Test_{_name}_{_space}"] = _contract(_name, _space, _learned)
