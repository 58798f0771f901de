"""Figures of a model: operations are counted, and the command line shows them on data."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fmlab.cli.plugins import main
from fmlab.data import Dataset, Field, Schema
from fmlab.errors import FmlabError
from fmlab.evaluation.flops import counting
from fmlab.inspection import model_summary as modelcard
from fmlab.plugin import inventory, registry
from fmlab.testing.building import tiny

NAMES = [p.name for p in inventory.describe("model") if registry.package(registry.find("model", p.name)) == "fmlab"]

# ----------------------------------------------------------------------------------------- operations


@pytest.mark.parametrize(
    ("name", "printed"),
    [("poly2", 1_560), ("fm", 1_920), ("fwfm", 25_272), ("ffm", 24_531), ("fmfm", 403_923)],
)
def test_stated_operations_are_those_of_fmfm_table_4(name: str, printed: int) -> None:
    schema = Schema(tuple(Field(f"f{i}", "context", 2) for i in range(39)))
    options = registry.check("model", {"name": name}) | ({"dim": 16} if name != "poly2" else {})
    assert registry.load("model", name).n_operations(schema, **options) == printed


TABLE_3 = (
    *(3, 8, 5, 7, 9, 8, 6, 5, 8, 3, 5, 3, 6, 8, 12, 2, 11, 5, 4, 14),
    *(8, 2, 13, 14, 8, 13, 4, 14, 10, 6, 14, 12, 2, 9, 4, 6, 12, 7, 11),
)


def _written_out(model: str, dims: tuple[int, ...]) -> Tensor:
    """The score of one row as FmFM's section 4.2 has it: every pair of fields for itself."""
    n, k = len(dims), dims[0]
    vectors = torch.randn(n, k)
    if model == "fm":
        return (vectors.sum(0).square() - vectors.square().sum(0)).sum()
    score = (torch.randn(n) * torch.randn(n)).sum()
    pairs = torch.randn(n * (n - 1) // 2)
    if model == "poly2":
        return torch.cat([(pairs * torch.randn(len(pairs))).sum()[None], score[None]])
    if model == "cached":
        products = [torch.randn(1, min(pair)) @ torch.randn(min(pair), 1) for pair in combinations(dims, 2)]
        return torch.cat([torch.cat(products).sum()[None], score[None]])
    left, right = torch.randn(len(pairs), 1, k), torch.randn(len(pairs), k, 1)
    if model == "fmfm":
        left = left @ torch.randn(len(pairs), k, k)
    dots = (left @ right).flatten()
    return torch.cat([((dots * pairs) if model == "fwfm" else dots).sum()[None], score[None]])


@pytest.mark.parametrize(
    ("model", "printed"), [("poly2", 1_560), ("fm", 1_920), ("fwfm", 25_272), ("ffm", 24_531), ("fmfm", 403_923)]
)
def test_counting_gives_the_estimates_of_fmfm_table_4(model: str, printed: int) -> None:
    with counting() as count:
        _written_out(model, (16,) * 39)
    assert count.total == printed
    assert not count.unknown - {"normal"}


def test_counting_gives_the_cached_estimates_of_table_4() -> None:
    with counting() as uniform:
        _written_out("cached", (16,) * 39)
    with counting() as narrow:
        _written_out("cached", TABLE_3)
    assert uniform.total == 24_531
    assert narrow.total == 8_960 + 39  # the paper's linear part then takes one operation a field, not two


@pytest.mark.parametrize(
    ("compute", "products", "others"),
    [
        (lambda x, w: x @ w, 2 * 3 * 4 * 5, 0),
        (lambda x, w: functional.linear(x, w.T, torch.ones(5)), 2 * 3 * 4 * 5, 15),
        (lambda x, w: torch.einsum("ik,kj->ij", x, w), 2 * 3 * 4 * 5, 0),
        (lambda x, w: (x * x + 1).relu(), 0, 36),
        (lambda x, w: x.sum(-1) + x[:, 0], 0, 12 + 3),
        (lambda x, w: x.t().contiguous().view(-1)[torch.tensor([1, 2])], 0, 0),
        (lambda x, w: torch.cat([x, x]).index_select(0, torch.tensor([0, 1])), 0, 0),
        (lambda x, w: x.softmax(-1), 0, 5 * 12),
        (lambda x, w: torch.addcmul(x, x, x), 0, 24),
        (lambda x, w: functional.embedding_bag(torch.tensor([[0, 1], [1, 2]]), x, mode="sum"), 0, 2 * 2 * 4),
        (
            lambda x, w: functional.embedding_bag(
                torch.tensor([[0, 1]]), x, mode="sum", per_sample_weights=torch.ones(1, 2)
            ),
            0,
            2 * 2 * 4,
        ),
        (lambda x, w: functional.conv1d(x, torch.ones(2, 3, 3), torch.ones(2)), 2 * 3 * 3 * 2 * 2, 4),
        (lambda x, w: torch.cdist(x, w.T), 0, 3 * 3 * 5 * 4),
    ],
)
def test_operations_are_counted_as_by_hand(compute: Any, products: int, others: int) -> None:
    x, w = torch.randn(3, 4), torch.randn(4, 5)
    with counting() as count:
        compute(x, w)
    assert (count.products, count.others, count.unknown) == (products, others, set())


def test_an_operation_that_cannot_be_counted_is_named() -> None:
    with counting() as count:
        torch.linalg.inv(torch.eye(3))
    assert count.unknown


def _card(name: str, dataset: Dataset, **options: Any) -> modelcard.ModelSummary:
    chosen = {"name": name, **options}
    return modelcard.card(chosen, registry.build("model", chosen, dataset.schema, gives=nn.Module), dataset)


@pytest.mark.parametrize("name", NAMES)
def test_every_operation_of_every_model_is_counted(name: str) -> None:
    card = _card(name, tiny("context"))
    assert card.unknown == ()
    without = ("constant", "popularity", "lookup", "catboost", "lightgbm")  # nothing, or not tensors, is computed
    assert (card.products + card.others > 0) == (name not in without)


@pytest.mark.parametrize("dim", [4, 9])
def test_a_factorization_machine_counts_as_its_sums_do(dim: int) -> None:
    data = tiny("context")
    columns = data.schema.n_columns
    card, lorentz = _card("fm", data, dim=dim), _card("lr", data)
    assert lorentz.others == columns + 1
    pairs = 3 * dim * columns + columns  # by Table 4, w read beside v
    assert pairs <= card.others <= pairs + 4 * dim + 10 + columns
    assert card.item_width == dim
    assert card.per_item == 2 * dim + 2


def test_a_batch_shares_what_does_not_depend_on_the_row() -> None:
    data = tiny("context")
    assert _card("lr", data).in_batch == _card("lr", data).others
    matrices = _card("fmfm", data, dim=9)
    slots = 3  # of genre, each with its own part of the matrix of that field
    assert matrices.products == 2 * (9 * len(data.schema.fields)) ** 2 + 2 * slots * 9**2
    assert matrices.products < matrices.in_batch < 0.7 * (matrices.products + matrices.others)


def test_embeddings_are_what_follows_the_vocabulary() -> None:
    data = tiny("context")
    n, fields = data.schema.n_features, len(data.schema.fields)
    assert _card("deepfm", data, dim=4).embedding == n * 5
    assert _card("poly2", data, pair_buckets=90).embedding == n
    assert _card("fmfm", data, dims=(3, 1, 4, 2, 5)[:fields]).embedding == sum(
        f.size * d for f, d in zip(data.schema.fields, (3, 1, 4, 2, 5), strict=False)
    )
    assert _card("lightgcn", data, dim=4).embedding == 4 * (data.schema.n_users + data.schema.n_items + 2)


# --------------------------------------------------------------------------------------- command line


def test_a_model_is_shown_on_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"FMLAB_DATA_DIR": str(tmp_path), "FMLAB_CACHE": str(tmp_path / "cache")}
    words = ["show", "model", "deepfm", "data=synthetic", "data.users=60", "data.items=40", "model.dim=6"]
    assert main([*words, "--json"], environment) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["name"] == "deepfm"
    found = shown["on"]
    assert found["model"]["dim"] == 6
    assert found["data"]["users"] == 60
    assert found["scoring"] == "separable"
    assert found["embedding"] == 7 * found["features"]
    assert found["parameters"] > found["embedding"]


def test_figures_are_printed_for_a_reader() -> None:
    data = tiny("context")
    plain = {"data": {"name": "tiny"}, "protocol": {"name": "ctr"}}
    card = _card("fm", data, dim=4)
    text = "\n".join(modelcard.lines(plain, data, card))
    n = data.schema.n_features
    assert "on data=tiny protocol=ctr" in text
    assert f"{1 + 5 * n:,}, of which {5 * n:,} follow the vocabulary" in text
    assert f"{card.others:,} in everything else" in text
    assert f"{3 * 4 * (len(data.schema.fields) + 1):,} by the count of its paper" in text
    assert "two-sided" in text
    assert "an item's vector has 4 numbers; one item more takes 10 FLOPs" in text
    rows = tiny("rows")
    assert "no items to rank" in "\n".join(modelcard.lines(plain, rows, _card("fm", rows)))


def test_only_a_model_is_shown_on_data() -> None:
    with pytest.raises(FmlabError, match="show takes a kind and a name"):
        main(["show", "loss", "bce", "data=synthetic"])


def test_a_wrong_count_of_parameters_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny("context")
    monkeypatch.setattr(registry.load("model", "fm"), "n_parameters", staticmethod(lambda schema, **_: 7))
    with pytest.raises(FmlabError, match=r"n_parameters of fm must be those of the built model, .* got 7"):
        _card("fm", data)


def test_a_model_that_counts_nothing_is_shown_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(registry.load("model", "fm"), "n_parameters")
    monkeypatch.delattr(registry.load("model", "fm"), "n_operations")
    card = _card("fm", tiny("context"), dim=4)
    assert card.parameters == 1 + 5 * tiny("context").schema.n_features
    assert card.operations is None
