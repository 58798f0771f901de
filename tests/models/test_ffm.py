"""The field-aware factorization machine against the double sum, FmFM with all transformations done, and its counts."""

from itertools import product

import pytest
import torch
from field_rows import SCHEMA, double_sum, randomize, rows, single, two_sides
from fmlab_models.ffm import FFM
from fmlab_models.fmfm import FmFM
from torch import Tensor

from fmlab.data import Field, Schema
from fmlab.errors import FmlabError

DIM, FIELDS = 3, len(SCHEMA.fields)


def vector(model: FFM, i: int, f: int, g: int) -> Tensor:
    """What feature i of field f meets field g with: the others in order, its own last."""
    own = model.tables.vectors(f)[i - SCHEMA.offsets[f]].view(-1, DIM)
    return own[g - (g > f)] if g != f else own[FIELDS - 1]


def oracle(model: FFM, ids: Tensor, values: Tensor) -> Tensor:
    field = SCHEMA.column_field

    def weight(i: int, c: int) -> Tensor:
        tables = zip(model.tables.runs, model.tables.tables, strict=True)
        run, table = next((r, t) for r, t in tables if field[c] in r)
        return table.weight[i - SCHEMA.offsets[run.start], 0]

    def pair(i: int, j: int, c: int, d: int) -> Tensor:
        return vector(model, i, field[c], field[d]) @ vector(model, j, field[d], field[c])

    return model.bias + double_sum(ids, values, weight, pair)


def test_scores_and_gradients_are_those_of_the_double_sum() -> None:
    model, (ids, values) = randomize(FFM(SCHEMA, dim=DIM)), rows()
    scores, expected = model(ids, values), oracle(model, ids, values)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-9)
    parameters = list(model.parameters())
    found, wanted = (torch.autograd.grad((s * s).sum(), parameters) for s in (scores, expected))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.to_dense(), b, rtol=1e-9, atol=1e-9)


def test_the_sides_add_up() -> None:
    model, (ids, values) = randomize(FFM(SCHEMA, dim=DIM)), rows()
    torch.testing.assert_close(two_sides(model, SCHEMA, ids, values), model(ids, values), rtol=0, atol=1e-9)
    assert model.encode_item(ids[:, SCHEMA.item])[1].shape[-1] == DIM * 4 * 2


def test_fmfm_with_all_transformations_done_is_an_ffm() -> None:
    """FmFM, section 3.2: store `v_i M` as the vector for each other field, or `v_i` where the other is transformed."""
    schema = single(4)
    source, target = randomize(FmFM(schema, dim=DIM, linear="plain")), FFM(schema, dim=DIM).double()
    dense = source.matrices()[0].detach().unflatten(0, (4, DIM)).unflatten(2, (4, DIM))
    with torch.no_grad():
        target.bias.copy_(source.bias)
        target.tables.tables[0].weight[:, 0] = source.tables.tables[0].weight[:, 0]
        for f, g in product(range(4), repeat=2):
            if f != g:
                v = source.tables.vectors(f)
                at = (g - (g > f)) * DIM
                target.tables.vectors(f)[:, at : at + DIM] = v @ dense[f, :, g] if f < g else v
    ids, values = rows(schema)
    torch.testing.assert_close(target(ids, values), source(ids, values), rtol=0, atol=1e-9)


def test_the_order_of_slots_does_not_matter() -> None:
    model, (ids, values) = randomize(FFM(SCHEMA, dim=DIM)), rows()
    order = torch.tensor([0, 3, 1, 2, 4, 5, 6, 8, 7])
    torch.testing.assert_close(model(ids[:, order], values[:, order]), model(ids, values), rtol=0, atol=1e-9)


def test_parameters_are_counted_as_in_table_2() -> None:
    fields, size = 7, 4
    m = fields * size
    count = sum(p.numel() for p in FFM(single(fields, size=size), dim=5).parameters())
    assert count == m + m * (fields - 1) * 5 + 1


def test_features_of_several_slots_have_one_more_vector() -> None:
    m, several = SCHEMA.n_features, 6 + 4
    count = sum(p.numel() for p in FFM(SCHEMA, dim=DIM).parameters())
    assert count == m + m * (FIELDS - 1) * DIM + several * DIM + 1


def test_one_field_is_refused() -> None:
    with pytest.raises(FmlabError, match="two fields or more, got 1"):
        FFM(Schema((Field("words", "context", 7, slots=3),)))


def test_logits_are_those_of_torchfm() -> None:
    """torchfm holds a table for each field met, the feature's own included; it adds the offsets of fields itself."""
    peer = pytest.importorskip("torchfm.model.ffm").FieldAwareFactorizationMachineModel([4] * 5, DIM).double()
    schema = single(5)
    model = FFM(schema, dim=DIM).double()
    with torch.no_grad():
        for parameter in peer.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        model.bias.copy_(peer.linear.bias[0])
        model.tables.tables[0].weight[:, :1] = peer.linear.fc.weight
        for f, g in product(range(5), repeat=2):
            if f != g:
                at = (g - (g > f)) * DIM
                met = peer.ffm.embeddings[g].weight[4 * f : 4 * f + 4]
                model.tables.vectors(f)[:, at : at + DIM] = met
    ids = rows(schema)[0]
    local = ids - torch.tensor(schema.offsets)
    torch.testing.assert_close(model(ids), torch.logit(peer(local)), rtol=0, atol=1e-9)
