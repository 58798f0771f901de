"""Deep models against their equations, against simpler models, and in training."""

from typing import Any

import pytest
import torch
from deep_equations import MODELS, SMALL, F, K, mlp
from field_rows import SCHEMA, randomize, rows, single
from fmlab_models.afm import AFM
from fmlab_models.autoint import AutoInt
from fmlab_models.dcn import DCN, DCNv2
from fmlab_models.deeplight import DeepLight
from fmlab_models.fgcnn import FGCNN
from fmlab_models.fignn import FiGNN
from fmlab_models.fm import FM
from fmlab_models.fmfm import FwFM
from fmlab_models.lr import LR
from fmlab_models.nfm import NFM
from fmlab_models.pnn import IPNN, OPNN
from fmlab_models.widedeep import WideDeep
from fmlab_models.xdeepfm import XDeepFM
from torch import Tensor, nn

from fmlab.errors import FmlabError


@pytest.mark.parametrize("name", MODELS)
def test_scores_and_gradients_are_those_of_the_equations(name: str) -> None:
    make, equation = MODELS[name]
    model, (ids, values) = randomize(make()).eval(), rows()
    scores, expected = (
        model(ids, values),
        torch.stack([equation(model, i, x) for i, x in zip(ids, values, strict=True)]),
    )
    torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-9)
    parameters = [p for p in model.parameters() if p.numel()]
    found, wanted = (torch.autograd.grad(s.sin().sum(), parameters) for s in (scores, expected))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.to_dense(), b, rtol=1e-7, atol=1e-7)


def test_afm_pools_in_training_what_it_sums_in_evaluation() -> None:
    model, (ids, values) = randomize(AFM(SCHEMA, dim=K, attention_dim=5, dropout=0.0)), rows()
    parameters = list(model.parameters())
    for x in (values, None):
        (scores, found), (expected, wanted) = (
            (s := model.train(mode)(ids, x), torch.autograd.grad(s.sin().sum(), parameters)) for mode in (True, False)
        )
        torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-9)
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a.to_dense(), b.to_dense(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "name", [n for n in MODELS if n != "afm"]
)  # afm works by pairs of features, whatever the sides
def test_the_sides_broadcast_to_the_whole(name: str) -> None:
    model, (ids, values) = randomize(MODELS[name][0]()).eval(), rows()
    q, i = SCHEMA.query, SCHEMA.item
    user = tuple(t.unsqueeze(1) for t in model.query_state(ids[:, q], values[:, q]))
    scores = model.interact(user, model.item_state(ids[:, i], values[:, i]))
    for n, m in ((0, 0), (2, 5), (4, 1)):
        whole = model(torch.cat([ids[n, q], ids[m, i]]), torch.cat([values[n, q], values[m, i]]))
        torch.testing.assert_close(scores[n, m], whole, rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------------------------------ identities


def test_nfm_without_layers_and_of_unit_projection_is_a_factorization_machine() -> None:
    fm, model, (ids, values) = randomize(FM(SCHEMA, dim=K)), NFM(SCHEMA, dim=K, hidden=()).double().eval(), rows()
    with torch.no_grad():
        model.table.weight.copy_(fm.table.weight)
        model.bias.copy_(fm.bias)
        model.deep[1].weight.fill_(1.0)
        model.deep[1].bias.zero_()
    torch.testing.assert_close(model(ids, values), fm(ids, values), rtol=0, atol=1e-9)


def test_afm_of_uniform_attention_is_the_mean_pair_of_a_factorization_machine() -> None:
    fm, model, (ids, values) = randomize(FM(SCHEMA, dim=K)), AFM(SCHEMA, dim=K).double().eval(), rows()
    with torch.no_grad():
        model.table.weight.copy_(fm.table.weight)
        model.bias.copy_(fm.bias)
        model.h.zero_()
    linear = fm.bias + (fm.table.weight[ids, 0] * values).sum(1)
    pairs = SCHEMA.n_columns * (SCHEMA.n_columns - 1) // 2
    expected = linear + (fm(ids, values) - linear) / pairs
    torch.testing.assert_close(model(ids, values), expected, rtol=0, atol=1e-9)


def silence(*layers: nn.Linear) -> None:
    for layer in layers:
        nn.init.zeros_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def test_wide_and_deep_and_xdeepfm_without_their_deep_parts_are_logistic_regression() -> None:
    lr, (ids, values) = randomize(LR(SCHEMA)), rows()
    for model in (WideDeep(SCHEMA, **SMALL), XDeepFM(SCHEMA, **SMALL)):
        randomize(model).eval()
        with torch.no_grad():
            model.tables.tables[0].weight[:, :1] = lr.table.weight
            model.bias.copy_(lr.bias)
        silence(model.rest[-1])
        if isinstance(model, XDeepFM):
            silence(model.top)
        torch.testing.assert_close(model(ids, values), lr(ids, values), rtol=0, atol=1e-9)


def test_deeplight_without_its_deep_part_is_fwfm_on_single_valued_fields() -> None:
    schema = single(5)
    fwfm, model, (ids, values) = randomize(FwFM(schema, dim=K)), randomize(DeepLight(schema, **SMALL)), rows(schema)
    model.load_state_dict(fwfm.state_dict(), strict=False)
    silence(model.rest[-1])
    torch.testing.assert_close(model.eval()(ids, values), fwfm(ids, values), rtol=0, atol=1e-9)


def test_dcn_without_crosses_is_a_perceptron_beside_a_linear_layer() -> None:
    model, (ids, values) = randomize(DCN(SCHEMA, layers=0, **SMALL)).eval(), rows()
    x = model.tables(ids, values, range(F)).sums
    expected = x @ model.crosses.weight[0] + mlp(x, model.first, model.rest)
    torch.testing.assert_close(model(ids, values), expected, rtol=0, atol=1e-9)


def test_dcn_with_a_silent_perceptron_is_its_crosses() -> None:
    model, (ids, values) = randomize(DCN(SCHEMA, layers=1, **SMALL)).eval(), rows()
    silence(model.rest[-1])
    x, (w, top) = model.tables(ids, values, range(F)).sums, model.crosses.weight
    expected = (x * (x @ w).unsqueeze(1) + model.shifts[0] + x) @ top
    torch.testing.assert_close(model(ids, values), expected, rtol=0, atol=1e-9)


def test_a_matrix_of_rank_one_in_every_coordinate_is_the_cross_of_dcn() -> None:
    old, (ids, values) = randomize(DCN(SCHEMA, layers=1, **SMALL)).eval(), rows()
    new = DCNv2(SCHEMA, layers=1, **SMALL).double().eval()
    state = {k: v for k, v in old.state_dict().items() if k.startswith(("tables", "first", "rest"))}
    w, top = old.crosses.weight.detach()
    nn.init.zeros_(old.shifts)
    state |= {"crosses.0.weight": w.expand(len(w), -1), "crosses.0.bias": torch.zeros_like(w), "top.weight": top[None]}
    new.load_state_dict(state)
    torch.testing.assert_close(new(ids, values), old(ids, values), rtol=0, atol=1e-9)


def test_opnn_reduced_by_the_identity_is_ipnn() -> None:
    inner, (ids, values) = randomize(IPNN(SCHEMA, **SMALL)).eval(), rows()
    outer = OPNN(SCHEMA, kernel="matrix", **SMALL).double().eval()
    eye = torch.eye(K, dtype=torch.float64).expand(F * (F - 1) // 2, -1, -1)
    outer.load_state_dict(inner.state_dict() | {"kernels": eye})
    torch.testing.assert_close(outer(ids, values), inner(ids, values), rtol=0, atol=1e-9)


# -------------------------------------------------------------------------------- options and training


DROPS = ("nfm", "afm", "widedeep", "dcn", "dcnv2", "xdeepfm", "fibinet, all", "ipnn", "opnn", "fgcnn", "deeplight")


@pytest.mark.parametrize("name", DROPS)
def test_dropout_acts_in_training_only(name: str) -> None:
    model, (ids, values) = randomize(MODELS[name][0]()), rows()
    assert not torch.equal(model(ids, values), model(ids, values))
    model.eval()
    assert torch.equal(model(ids, values), model(ids, values))


@pytest.mark.parametrize(
    ("make", "count"),
    [
        # LorentzFM, AAAI 2020, table 3: 507k for FM and 519k for NFM, both with 10 coordinates
        (lambda s: NFM(s), lambda m, f: m + 10 * m + 1 + (1_100 + 10_100 + 101)),
        (lambda s: AFM(s), lambda m, f: m + 10 * m + 1 + (110 + 10) + 10),
        (lambda s: WideDeep(s, hidden=(7,)), lambda m, f: m + 10 * m + 1 + (70 * f + 7 + 8)),
        (lambda s: DCN(s), lambda m, f: 10 * m + 3 * 20 * f + 10 * f + (1_000 * f + 100 + 10_100 + 101)),
        (lambda s: DCNv2(s, hidden=(7,)), lambda m, f: 10 * m + 3 * (10 * f + 1) * 10 * f + 10 * f + (70 * f + 7 + 8)),
        (
            lambda s: XDeepFM(s, hidden=(7,)),
            lambda m, f: m + 10 * m + 1 + 100 * f * f + 100 + 100 * 100 * f + 100 + 200 + (70 * f + 7 + 8),
        ),
    ],
)
def test_parameters_are_counted(make: Any, count: Any) -> None:
    assert sum(p.numel() for p in make(single(6, size=5)).parameters()) == count(30, 6)


def test_options_that_do_not_fit_are_refused() -> None:
    for make, rule in (
        (lambda: AutoInt(SCHEMA, heads=3, attention_dim=8), r"attention_dim must be a multiple of heads, got 8 and 3"),
        (lambda: FiGNN(SCHEMA, dim=10, heads=4), r"dim must be a multiple of heads, got 10 and 4"),
        (lambda: FGCNN(SCHEMA, kernel_height=4), r"kernel_height must be odd.* got 4"),
    ):
        with pytest.raises(FmlabError, match=rule):
            make()


def share_of_zeros(weight: Tensor) -> float:
    return (weight == 0).double().mean().item()


def test_deeplight_prunes_the_smallest_weights_gradually() -> None:
    model = DeepLight(SCHEMA, sparsity=0.8, vector_sparsity=0.5, field_sparsity=0.4, warmup=20, hidden=(40, 30))
    before = model.first.weight.detach().clone()
    for step in range(421):
        model.begin_step(step)
        if step == 20:
            assert torch.equal(model.first.weight, before)
    share = 1 - 0.99**4
    assert share_of_zeros(model.first.weight) == pytest.approx(0.8 * share, abs=1e-3)
    assert share_of_zeros(model.rest[2].weight) == pytest.approx(0.8 * share, abs=1e-3)
    assert share_of_zeros(model.tables.tables[0].weight) == pytest.approx(0.5 * share, abs=5e-3)
    assert (model.rest[-1].weight != 0).all()
    kept = before.abs()[model.first.weight != 0]
    assert kept.min() > before.abs()[model.first.weight == 0].max()


def test_deeplight_is_pruned_when_it_is_evaluated() -> None:
    model = DeepLight(SCHEMA, sparsity=0.9, warmup=0, hidden=(40,))
    model.load_state_dict(model.state_dict() | {"steps": torch.tensor(100_000)})  # as a resumed run does
    assert share_of_zeros(model.first.weight) == 0
    model.eval()
    assert share_of_zeros(model.first.weight) == pytest.approx(0.9, abs=1e-3)


def test_afm_on_rows_of_one_column_is_linear() -> None:
    model = AFM(single(1), dim=3)
    randomize(model)
    ids = torch.tensor([[1], [2]])
    expected = model.bias + model.table.weight[ids.squeeze(1), 0]
    for value in (model(ids), model.eval()(ids), model(ids, torch.ones(2, 1))):
        torch.testing.assert_close(value, expected)
