"""GMF, MLP, NeuMF and PMF against their formulas, and NeuMF's start from the two."""

from typing import Any

import pytest
import torch
from field_rows import SCHEMA, randomize, rows, single, two_sides
from fmlab_models.mf import MF
from fmlab_models.ncf import GMF, MLP, NeuMF
from fmlab_models.pmf import PMF
from torch import Tensor, nn

from fmlab.data import Field, Schema
from fmlab.errors import FmlabError

SIZES: dict[str, Any] = {"dim": 3, "mlp_dim": 5, "hidden": (6, 4)}
IDS, VALUES = rows()
ITEM = SCHEMA.item.start


def vectors(model: Any) -> tuple[Tensor, Tensor]:
    user, item = model.tables.user.weight, model.tables.item.weight
    return user[IDS[:, 0]], item[IDS[:, ITEM] - SCHEMA.offsets[4]]


def tower(model: MLP) -> Tensor:
    """Layer after layer on the vectors side by side."""
    hidden = torch.cat(vectors(model), 1)
    for layer in [model.first, *(layer for layer in model.rest if isinstance(layer, nn.Linear))]:
        hidden = torch.relu(hidden @ layer.weight.T + layer.bias)
    return hidden


def by_parts(model: Any) -> Tensor:
    return model.interact(model.query_state(IDS[:, SCHEMA.query]), model.item_state(IDS[:, SCHEMA.item]))


def test_gmf_weighs_the_coordinates_of_the_product() -> None:
    model = randomize(GMF(SCHEMA, dim=3))
    p, q = vectors(model)
    torch.testing.assert_close(model(IDS), torch.einsum("bk,bk,k->b", p, q, model.output), rtol=0, atol=1e-12)
    torch.testing.assert_close(two_sides(model, SCHEMA, IDS, VALUES), model(IDS), rtol=0, atol=1e-12)


def test_gmf_with_weights_of_1_is_pmf_and_matrix_factorization_without_biases() -> None:
    gmf, pmf, mf = randomize(GMF(SCHEMA, dim=3)), randomize(PMF(SCHEMA, dim=3)), randomize(MF(SCHEMA, dim=3))
    with torch.no_grad():
        gmf.output.fill_(1.0)
        mf.bias.zero_()
        for side in ("user", "item"):
            vectors = gmf.get_parameter(f"tables.{side}.weight")
            pmf.get_parameter(f"tables.{side}.weight").copy_(vectors)
            mf.get_parameter(f"tables.{side}.weight").copy_(torch.cat([torch.zeros(len(vectors), 1), vectors], 1))
    torch.testing.assert_close(pmf(IDS), gmf(IDS), rtol=0, atol=1e-12)
    torch.testing.assert_close(mf(IDS), gmf(IDS), rtol=0, atol=1e-12)
    torch.testing.assert_close(two_sides(pmf, SCHEMA, IDS, VALUES), pmf(IDS), rtol=0, atol=1e-12)


def test_mlp_is_its_layers_one_after_the_other() -> None:
    model = randomize(MLP(SCHEMA, dim=5, hidden=(6, 4)))
    torch.testing.assert_close(model(IDS), tower(model) @ model.output, rtol=0, atol=1e-10)
    torch.testing.assert_close(by_parts(model), model(IDS), rtol=0, atol=1e-10)


def test_neumf_is_the_output_layer_on_both_side_by_side() -> None:
    model = randomize(NeuMF(SCHEMA, **SIZES))
    p, q = vectors(model.gmf)
    joined, h = torch.cat([p * q, tower(model.mlp)], 1), torch.cat([model.gmf.output, model.mlp.output])
    torch.testing.assert_close(model(IDS), joined @ h, rtol=0, atol=1e-10)
    torch.testing.assert_close(by_parts(model), model(IDS), rtol=0, atol=1e-10)


@pytest.mark.parametrize("alpha", [0.5, 0.2])
def test_a_warm_start_blends_the_scores_of_the_two(alpha: float) -> None:
    gmf, mlp = randomize(GMF(SCHEMA, dim=3)), randomize(MLP(SCHEMA, dim=5, hidden=(6, 4)), 1)
    model, before = randomize(NeuMF(SCHEMA, alpha=alpha, **SIZES), 2), gmf.output.clone()
    model.warm_start(gmf, mlp)
    torch.testing.assert_close(model(IDS), alpha * gmf(IDS) + (1 - alpha) * mlp(IDS), rtol=0, atol=1e-10)
    assert torch.equal(gmf.output, before)


def test_a_warm_start_needs_models_of_the_same_sizes() -> None:
    with pytest.raises(FmlabError, match="of its own sizes"):
        NeuMF(SCHEMA, **SIZES).warm_start(GMF(SCHEMA, dim=4), MLP(SCHEMA, dim=5, hidden=(6, 4)))


def test_parameters_are_counted() -> None:
    schema = single(2, size=10)

    def count(model: nn.Module) -> int:
        return sum(p.numel() for p in model.parameters())

    tower = 20 * 5 + (10 * 6 + 6) + (6 * 4 + 4) + 4
    assert count(GMF(schema, dim=3)) == 20 * 3 + 3
    assert count(PMF(schema, dim=3)) == 20 * 3
    assert count(MLP(schema, dim=5, hidden=(6, 4))) == tower
    assert count(NeuMF(schema, **SIZES)) == 20 * 3 + 3 + tower


def test_a_perceptron_without_a_hidden_layer_is_refused() -> None:
    with pytest.raises(FmlabError, match="needs a hidden layer"):
        MLP(SCHEMA, hidden=())


@pytest.mark.parametrize("model", [GMF, MLP, NeuMF, PMF])
def test_rows_without_users_and_items_are_refused(model: Any) -> None:
    with pytest.raises(FmlabError, match="needs users and items"):
        model(Schema((Field("site", "context", 9),)))
