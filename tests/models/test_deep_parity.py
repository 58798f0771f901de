"""Scores equal to those of other libraries with the same weights, where these are installed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from field_rows import randomize, single
from fmlab_models.afm import AFM
from fmlab_models.autoint import AutoInt
from fmlab_models.dcn import DCN, DCNv2
from fmlab_models.fibinet import FiBiNET
from fmlab_models.nfm import NFM
from fmlab_models.pnn import IPNN, OPNN
from fmlab_models.widedeep import WideDeep
from fmlab_models.xdeepfm import XDeepFM
from torch import Tensor, nn

N, SIZE, K = 5, 4, 4
SCHEMA = single(N, size=SIZE)
SIZES = [SIZE] * N
HIDDEN = (6, 3)


def local_ids(n: int = 12) -> Tensor:
    return torch.randint(SIZE, (n, N), generator=torch.Generator().manual_seed(1))


def ours(model: Any) -> Tensor:
    return model.eval()(local_ids() + torch.tensor(SCHEMA.offsets))


def linears(*modules: nn.Module) -> list[nn.Linear]:
    return [m for module in modules for m in module.modules() if isinstance(m, nn.Linear)]


def copy_layers(source: list[nn.Linear], target: list[nn.Linear]) -> None:
    assert len(source) == len(target)
    for a, b in zip(source, target, strict=True):
        b.weight.data.copy_(a.weight)
        if b.bias is not None:
            b.bias.data.copy_(a.bias)


# ------------------------------------------------------------------------------------- deepctr-torch


def deepctr(name: str, **options: Any) -> Any:
    models = pytest.importorskip("deepctr_torch.models")
    features = pytest.importorskip("deepctr_torch.inputs").SparseFeat
    columns = [features(f"f{i}", SIZE, embedding_dim=K) for i in range(N)]
    linear = {} if name == "PNN" else {"linear_feature_columns": columns}
    peer = getattr(models, name)(**linear, dnn_feature_columns=columns, **options).double()
    peer.out = nn.Identity()  # the score, without the sigmoid
    return peer


def copy_to_deepctr(model: Any, peer: Any) -> None:
    """Tables of vectors and of first-order weights, which are 0 where we have none."""
    table = model.table if hasattr(model, "table") else model.tables.tables[0]
    for i, rows in enumerate(table.weight.data.split(SIZE)):
        weights = rows.shape[1] == K + 1
        peer.embedding_dict[f"f{i}"].weight.data.copy_(rows[:, -K:])
        if f"f{i}" in peer.linear_model.embedding_dict:
            peer.linear_model.embedding_dict[f"f{i}"].weight.data.copy_(rows[:, :1] if weights else 0 * rows[:, :1])


def deepctr_scores(peer: Any, bias: Tensor | float) -> Tensor:
    with torch.no_grad():
        return peer.eval()(local_ids().double()).squeeze(-1) + bias


def _unbiased(layers: list[nn.Linear]) -> list[nn.Linear]:
    """The last layer of these has no bias in deepctr-torch."""
    nn.init.zeros_(layers[-1].bias)
    return layers


def dnn(peer: Any) -> list[nn.Linear]:
    return [*linears(peer.dnn), peer.dnn_linear]


def deepctr_nfm() -> tuple[Any, Any]:
    model, peer = randomize(NFM(SCHEMA, dim=K, hidden=HIDDEN)), deepctr("NFM", dnn_hidden_units=HIDDEN)
    copy_layers(_unbiased(linears(model.deep)), dnn(peer))
    return model, peer


def deepctr_afm() -> tuple[Any, Any]:
    model, peer = randomize(AFM(SCHEMA, dim=K, attention_dim=3)), deepctr("AFM", attention_factor=3)
    peer.fm.attention_W.data.copy_(model.attention.weight.T)
    peer.fm.attention_b.data.copy_(model.attention.bias)
    peer.fm.projection_h.data.copy_(model.h.unsqueeze(1))
    peer.fm.projection_p.data.copy_(model.p.unsqueeze(1))
    return model, peer


def deepctr_widedeep() -> tuple[Any, Any]:
    model, peer = randomize(WideDeep(SCHEMA, dim=K, hidden=HIDDEN)), deepctr("WDL", dnn_hidden_units=HIDDEN)
    copy_layers(_unbiased(linears(model.first, model.rest)), dnn(peer))
    return model, peer


def deepctr_dcn() -> tuple[Any, Any]:
    model = randomize(DCN(SCHEMA, dim=K, layers=3, hidden=HIDDEN))
    peer = deepctr("DCN", cross_num=3, dnn_hidden_units=HIDDEN)
    peer.crossnet.kernels.data.copy_(model.crosses.weight[:-1].unsqueeze(-1))
    peer.crossnet.bias.data.copy_(model.shifts.unsqueeze(-1))
    _copy_deep_beside_crosses(model, peer, model.crosses.weight[-1:])
    return model, peer


def deepctr_dcnv2() -> tuple[Any, Any]:
    model = randomize(DCNv2(SCHEMA, dim=K, layers=2, hidden=HIDDEN))
    peer = deepctr("DCN", cross_num=2, cross_parameterization="matrix", dnn_hidden_units=HIDDEN)
    for n, cross in enumerate(model.crosses):
        peer.crossnet.kernels.data[n] = cross.weight
        peer.crossnet.bias.data[n] = cross.bias.unsqueeze(-1)
    _copy_deep_beside_crosses(model, peer, model.top.weight)
    return model, peer


def _copy_deep_beside_crosses(model: Any, peer: Any, top: Tensor) -> None:
    *layers, last = _unbiased(linears(model.first, model.rest))
    copy_layers(layers, linears(peer.dnn))
    peer.dnn_linear.weight.data.copy_(torch.cat([top, last.weight], 1))


def deepctr_xdeepfm() -> tuple[Any, Any]:
    model = randomize(XDeepFM(SCHEMA, dim=K, maps=(3, 2), activation="relu", hidden=HIDDEN))
    peer = deepctr("xDeepFM", cin_layer_size=(3, 2), cin_split_half=False, dnn_hidden_units=HIDDEN)
    for ours_, theirs in zip(model.compress, peer.cin.conv1ds, strict=True):
        theirs.weight.data.copy_(ours_.weight.unsqueeze(-1))
        theirs.bias.data.copy_(ours_.bias)
    peer.cin_linear.weight.data.copy_(model.top.weight)
    copy_layers(_unbiased(linears(model.first, model.rest)), dnn(peer))
    return model, peer


def deepctr_autoint() -> tuple[Any, Any]:
    model = randomize(AutoInt(SCHEMA, dim=K, layers=2, heads=2, attention_dim=K))
    peer = deepctr("AutoInt", att_layer_num=2, att_head_num=2, dnn_hidden_units=())
    for ours_, theirs in zip(model.attention, peer.int_layers, strict=True):
        parts = (theirs.W_Query, theirs.W_key, theirs.W_Value, theirs.W_Res)
        for part, weight in zip(parts, ours_.project.weight.data.chunk(4), strict=True):
            part.data.copy_(weight.T)
    _unbiased([model.top])
    peer.dnn_linear.weight.data.copy_(model.top.weight)
    return model, peer


def deepctr_fibinet(bilinear: str) -> tuple[Any, Any]:
    model = randomize(FiBiNET(SCHEMA, dim=K, bilinear=bilinear, hidden=HIDDEN))
    peer = deepctr("FiBiNET", bilinear_type=bilinear, dnn_hidden_units=HIDDEN)
    for weight, theirs in zip(model.matrices.data, linears(peer.Bilinear), strict=False):
        theirs.weight.data.copy_(weight.T)
    copy_layers(linears(model.importance), linears(peer.SE))
    layers = _unbiased(linears(model.perceptron))
    copy_layers(layers, dnn(peer))
    half = layers[0].in_features // 2
    weighted_first = layers[0].weight.data.view(-1, 2, half).flip(1).flatten(1)
    peer.dnn.linears[0].weight.data.copy_(weighted_first)
    return model, peer


def deepctr_pnn(kernel: str) -> tuple[Any, Any]:
    if kernel == "inner":
        model = randomize(IPNN(SCHEMA, dim=K, hidden=HIDDEN))
        peer = deepctr("PNN", dnn_hidden_units=HIDDEN)
    else:
        model = randomize(OPNN(SCHEMA, dim=K, kernel="matrix", hidden=HIDDEN))
        peer = deepctr("PNN", dnn_hidden_units=HIDDEN, use_inner=False, use_outter=True)
        peer.outterproduct.kernel.data.copy_(model.kernels.permute(2, 0, 1))
    first, *layers = _unbiased(linears(model.first, model.rest))
    copy_layers(layers, dnn(peer)[1:])
    peer.dnn.linears[0].weight.data.copy_(torch.cat([first.weight, model.products.weight], 1))
    peer.dnn.linears[0].bias.data.copy_(first.bias)
    return model, peer


DEEPCTR: dict[str, Callable[[], tuple[Any, Any]]] = {
    "nfm": deepctr_nfm,
    "afm": deepctr_afm,
    "widedeep": deepctr_widedeep,
    "dcn": deepctr_dcn,
    "dcnv2": deepctr_dcnv2,
    "xdeepfm": deepctr_xdeepfm,
    "autoint": deepctr_autoint,
    "fibinet, all": lambda: deepctr_fibinet("all"),
    "fibinet, each": lambda: deepctr_fibinet("each"),
    "fibinet, interaction": lambda: deepctr_fibinet("interaction"),
    "ipnn": lambda: deepctr_pnn("inner"),
    "opnn": lambda: deepctr_pnn("matrix"),
}


@pytest.mark.parametrize("name", DEEPCTR)
def test_scores_are_those_of_deepctr_torch(name: str) -> None:
    model, peer = DEEPCTR[name]()
    copy_to_deepctr(model, peer)
    bias = getattr(model, "bias", None)
    torch.testing.assert_close(ours(model), deepctr_scores(peer, 0.0 if bias is None else bias), rtol=1e-6, atol=1e-6)
