"""Scores equal to those of other libraries with the same weights.

What these gave is kept in `peer_scores.json`, so that a machine without them compares too; where they are installed,
deepctr-torch 0.3.0 and torchfm 0.7.0, they are asked again. `python tests/models/test_parity.py` writes the file.
"""

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from field_rows import randomize, single
from fmlab_models.afm import AFM
from fmlab_models.autoint import AutoInt
from fmlab_models.dcn import DCN, DCNv2
from fmlab_models.deepfm import DeepFM
from fmlab_models.ffm import FFM
from fmlab_models.fibinet import FiBiNET
from fmlab_models.fm import FM
from fmlab_models.lr import LR
from fmlab_models.ncf import NeuMF
from fmlab_models.nfm import NFM
from fmlab_models.pnn import IPNN, OPNN
from fmlab_models.widedeep import WideDeep
from fmlab_models.xdeepfm import XDeepFM
from torch import Tensor, nn

N, SIZE, K = 5, 4, 4
SCHEMA = single(N, size=SIZE)
SIZES = [SIZE] * N
HIDDEN = (6, 3)
RECORD = Path(__file__).with_name("peer_scores.json")
Parity = Iterator[Any]  # our model, whose weights are drawn, then the peer with the same ones


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
    models = importlib.import_module("deepctr_torch.models")
    features = importlib.import_module("deepctr_torch.inputs").SparseFeat
    columns = [features(f"f{i}", SIZE, embedding_dim=K) for i in range(N)]
    linear = {} if name == "PNN" else {"linear_feature_columns": columns}
    peer = getattr(models, name)(**linear, dnn_feature_columns=columns, **options).double()
    peer.out = nn.Identity()  # the score, without the sigmoid
    return peer


def copy_to_deepctr(model: Any, peer: Any) -> None:
    """Tables of vectors and of first-order weights, which are 0 where we have none."""
    table = model.table if hasattr(model, "table") else model.tables.tables[0]
    for i, rows in enumerate(table.weight.data.split(SIZE)):
        weights = rows.shape[1] != K
        if f"f{i}" in peer.embedding_dict:
            peer.embedding_dict[f"f{i}"].weight.data.copy_(rows[:, -K:])
        if f"f{i}" in peer.linear_model.embedding_dict:
            peer.linear_model.embedding_dict[f"f{i}"].weight.data.copy_(rows[:, :1] if weights else 0 * rows[:, :1])


def unbiased(model: Any, *modules: nn.Module) -> Any:
    """The last layer of these has no bias in deepctr-torch."""
    nn.init.zeros_(linears(*modules)[-1].bias)
    return model


def dnn(peer: Any) -> list[nn.Linear]:
    return [*linears(peer.dnn), peer.dnn_linear]


def deepctr_lr() -> Parity:
    model = randomize(LR(SCHEMA))
    yield model
    yield deepctr("WDL", dnn_hidden_units=())


def deepctr_fm() -> Parity:
    model = randomize(FM(SCHEMA, dim=K))
    yield model
    yield deepctr("DeepFM", dnn_hidden_units=())


def deepctr_deepfm() -> Parity:
    model = randomize(DeepFM(SCHEMA, dim=K, hidden=HIDDEN))
    yield unbiased(model, model.rest)
    peer = deepctr("DeepFM", dnn_hidden_units=HIDDEN)
    copy_layers(linears(model.first, model.rest), dnn(peer))
    yield peer


def deepctr_nfm() -> Parity:
    model = randomize(NFM(SCHEMA, dim=K, hidden=HIDDEN))
    yield unbiased(model, model.deep)
    peer = deepctr("NFM", dnn_hidden_units=HIDDEN)
    copy_layers(linears(model.deep), dnn(peer))
    yield peer


def deepctr_afm() -> Parity:
    model = randomize(AFM(SCHEMA, dim=K, attention_dim=3))
    yield model
    peer = deepctr("AFM", attention_factor=3)
    peer.fm.attention_W.data.copy_(model.attention.weight.T)
    peer.fm.attention_b.data.copy_(model.attention.bias)
    peer.fm.projection_h.data.copy_(model.h.unsqueeze(1))
    peer.fm.projection_p.data.copy_(model.p.unsqueeze(1))
    yield peer


def deepctr_widedeep() -> Parity:
    model = randomize(WideDeep(SCHEMA, dim=K, hidden=HIDDEN))
    yield unbiased(model, model.rest)
    peer = deepctr("WDL", dnn_hidden_units=HIDDEN)
    copy_layers(linears(model.first, model.rest), dnn(peer))
    yield peer


def deepctr_dcn() -> Parity:
    model = randomize(DCN(SCHEMA, dim=K, layers=3, hidden=HIDDEN))
    yield unbiased(model, model.rest)
    peer = deepctr("DCN", cross_num=3, dnn_hidden_units=HIDDEN)
    peer.crossnet.kernels.data.copy_(model.crosses.weight[:-1].unsqueeze(-1))
    peer.crossnet.bias.data.copy_(model.shifts.unsqueeze(-1))
    _copy_deep_beside_crosses(model, peer, model.crosses.weight[-1:])
    yield peer


def deepctr_dcnv2() -> Parity:
    model = randomize(DCNv2(SCHEMA, dim=K, layers=2, hidden=HIDDEN))
    yield unbiased(model, model.rest)
    peer = deepctr("DCN", cross_num=2, cross_parameterization="matrix", dnn_hidden_units=HIDDEN)
    for n, cross in enumerate(model.crosses):
        peer.crossnet.kernels.data[n] = cross.weight
        peer.crossnet.bias.data[n] = cross.bias.unsqueeze(-1)
    _copy_deep_beside_crosses(model, peer, model.top.weight)
    yield peer


def _copy_deep_beside_crosses(model: Any, peer: Any, top: Tensor) -> None:
    *layers, last = linears(model.first, model.rest)
    copy_layers(layers, linears(peer.dnn))
    peer.dnn_linear.weight.data.copy_(torch.cat([top, last.weight], 1))


def deepctr_xdeepfm(maps: tuple[int, ...], split: bool) -> Parity:
    model = randomize(XDeepFM(SCHEMA, dim=K, cin_layer_sizes=maps, split_half=split, activation="relu", hidden=HIDDEN))
    yield unbiased(model, model.rest)
    peer = deepctr("xDeepFM", cin_layer_size=maps, cin_split_half=split, dnn_hidden_units=HIDDEN)
    for ours_, theirs in zip(model.compress, peer.cin.conv1ds, strict=True):
        theirs.weight.data.copy_(ours_.weight.unsqueeze(-1))
        theirs.bias.data.copy_(ours_.bias)
    peer.cin_linear.weight.data.copy_(model.top.weight)
    copy_layers(linears(model.first, model.rest), dnn(peer))
    yield peer


def deepctr_autoint() -> Parity:
    model = randomize(AutoInt(SCHEMA, dim=K, layers=2, heads=2, attention_dim=K))
    yield unbiased(model, model.top)
    peer = deepctr("AutoInt", att_layer_num=2, att_head_num=2, dnn_hidden_units=())
    for ours_, theirs in zip(model.attention, peer.int_layers, strict=True):
        parts = (theirs.W_Query, theirs.W_key, theirs.W_Value, theirs.W_Res)
        for part, weight in zip(parts, ours_.project.weight.data.chunk(4), strict=True):
            part.data.copy_(weight.T)
    peer.dnn_linear.weight.data.copy_(model.top.weight)
    yield peer


def deepctr_fibinet(bilinear: str) -> Parity:
    model = randomize(FiBiNET(SCHEMA, dim=K, bilinear=bilinear, hidden=HIDDEN))
    yield unbiased(model, model.perceptron)
    peer = deepctr("FiBiNET", bilinear_type=bilinear, dnn_hidden_units=HIDDEN)
    for weight, theirs in zip(model.matrices.data, linears(peer.Bilinear), strict=False):
        theirs.weight.data.copy_(weight.T)
    copy_layers(linears(model.importance), linears(peer.SE))
    layers = linears(model.perceptron)
    copy_layers(layers, dnn(peer))
    half = layers[0].in_features // 2
    weighted_first = layers[0].weight.data.view(-1, 2, half).flip(1).flatten(1)
    peer.dnn.linears[0].weight.data.copy_(weighted_first)
    yield peer


def deepctr_pnn(kernel: str) -> Parity:
    inner = kernel == "inner"
    model: Any = randomize(
        IPNN(SCHEMA, dim=K, hidden=HIDDEN) if inner else OPNN(SCHEMA, dim=K, kernel="matrix", hidden=HIDDEN)
    )
    yield unbiased(model, model.rest)
    peer = deepctr("PNN", dnn_hidden_units=HIDDEN, use_inner=inner, use_outter=not inner)
    if not inner:
        peer.outterproduct.kernel.data.copy_(model.kernels.permute(2, 0, 1))
    first, *layers = linears(model.first, model.rest)
    copy_layers(layers, dnn(peer)[1:])
    peer.dnn.linears[0].weight.data.copy_(torch.cat([first.weight, model.products.weight], 1))
    peer.dnn.linears[0].bias.data.copy_(first.bias)
    yield peer


# ------------------------------------------------------------------------------------------- torchfm


def torchfm(module: str, name: str, *arguments: Any) -> Any:
    """Its models end in a sigmoid, and its perceptrons normalize every layer."""
    peer = getattr(importlib.import_module(f"torchfm.model.{module}"), name)(*arguments).double()
    for part in peer.modules():
        for child, kind in part.named_children():
            if isinstance(kind, nn.BatchNorm1d):
                setattr(part, child, nn.Identity())
    return peer


def torchfm_lr() -> Parity:
    model = randomize(LR(SCHEMA))
    yield model
    peer = torchfm("lr", "LogisticRegressionModel", SIZES)
    peer.linear.fc.weight.data.copy_(model.table.weight)
    yield peer


def torchfm_fm() -> Parity:
    model = randomize(FM(SCHEMA, dim=K))
    yield model
    peer = torchfm("fm", "FactorizationMachineModel", SIZES, K)
    _copy_to_torchfm(model, peer)
    yield peer


def torchfm_deepfm() -> Parity:
    model = randomize(DeepFM(SCHEMA, dim=K, hidden=HIDDEN))
    yield model
    peer = torchfm("dfm", "DeepFactorizationMachineModel", SIZES, K, HIDDEN, 0.0)
    _copy_to_torchfm(model, peer)
    copy_layers(linears(model.first, model.rest), linears(peer.mlp))
    yield peer


def _copy_to_torchfm(model: Any, peer: Any) -> None:
    peer.linear.fc.weight.data.copy_(model.table.weight[:, :1])
    peer.embedding.embedding.weight.data.copy_(model.table.weight[:, 1:])


def torchfm_ffm() -> Parity:
    model = randomize(FFM(SCHEMA, dim=K))
    yield model
    peer = torchfm("ffm", "FieldAwareFactorizationMachineModel", SIZES, K)
    peer.linear.fc.weight.data.copy_(model.tables.tables[0].weight[:, :1])
    for f, rows in enumerate(model.tables.tables[0].weight.data[:, 1:].split(SIZE)):
        others = [g for g in range(N) if g != f]
        for g, vectors in zip(others, rows.split(K, 1), strict=True):
            peer.ffm.embeddings[g].weight.data[f * SIZE : (f + 1) * SIZE] = vectors
    yield peer


def torchfm_neumf() -> Parity:
    """Of the fields that name user and item alone. Both parts share their vectors; the last layer has a bias there."""
    model: Any = randomize(NeuMF(SCHEMA, dim=K, mlp_dim=K, hidden=HIDDEN))
    model.mlp.tables.load_state_dict(model.gmf.tables.state_dict())
    yield model
    peer = torchfm("ncf", "NeuralCollaborativeFiltering", [SIZE] * 2, [0], [1], K, HIDDEN, 0.0)
    tables = model.gmf.tables
    peer.embedding.embedding.weight.data.copy_(torch.cat([tables.user.weight, tables.item.weight]))
    copy_layers(linears(model.mlp.first, model.mlp.rest), linears(peer.mlp))
    peer.fc.weight.data.copy_(torch.cat([model.gmf.output, model.mlp.output]))
    nn.init.zeros_(peer.fc.bias)
    yield peer


# ---------------------------------------------------------------------------------------------- tests


DEEPCTR: dict[str, Callable[[], Parity]] = {
    "lr": deepctr_lr,
    "fm": deepctr_fm,
    "deepfm": deepctr_deepfm,
    "nfm": deepctr_nfm,
    "afm": deepctr_afm,
    "widedeep": deepctr_widedeep,
    "dcn": deepctr_dcn,
    "dcnv2": deepctr_dcnv2,
    "xdeepfm": lambda: deepctr_xdeepfm((3, 2), False),
    "xdeepfm, split": lambda: deepctr_xdeepfm((4, 6, 2), True),
    "autoint": deepctr_autoint,
    "fibinet, all": lambda: deepctr_fibinet("all"),
    "fibinet, each": lambda: deepctr_fibinet("each"),
    "fibinet, interaction": lambda: deepctr_fibinet("interaction"),
    "ipnn": lambda: deepctr_pnn("inner"),
    "opnn": lambda: deepctr_pnn("matrix"),
}
TORCHFM: dict[str, Callable[[], Parity]] = {
    "lr": torchfm_lr,
    "fm": torchfm_fm,
    "deepfm": torchfm_deepfm,
    "ffm": torchfm_ffm,
    "neumf": torchfm_neumf,
}
ALL = [*(("deepctr_torch", name) for name in DEEPCTR), *(("torchfm", name) for name in TORCHFM)]


def parity(library: str, name: str) -> Parity:
    return (DEEPCTR if library == "deepctr_torch" else TORCHFM)[name]()


def peer_scores(library: str, name: str) -> Tensor:
    """Of the peer, our bias added where its weights have no place for it."""
    model, peer = parity(library, name)
    bias = getattr(model, "bias", torch.zeros(()))
    bias = torch.zeros(()) if bias is None else bias.detach()
    with torch.no_grad():
        if library == "deepctr_torch":
            copy_to_deepctr(model, peer)
            return peer.eval()(local_ids().double()).squeeze(-1) + bias
        ids = local_ids()[:, [0, SCHEMA.item.start]] if name == "neumf" else local_ids()
        return torch.logit(peer.eval()(ids)) + bias


@pytest.mark.parametrize(("library", "name"), ALL)
def test_scores_are_those_that_the_peer_gave(library: str, name: str) -> None:
    recorded = torch.tensor(json.loads(RECORD.read_text())[library][name], dtype=torch.float64)
    torch.testing.assert_close(ours(next(parity(library, name))), recorded, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("library", "name"), ALL)
def test_scores_are_those_of_the_peer(library: str, name: str) -> None:
    pytest.importorskip(library)
    torch.testing.assert_close(ours(next(parity(library, name))), peer_scores(library, name), rtol=1e-6, atol=1e-6)


if __name__ == "__main__":
    found: dict[str, dict[str, list[float]]] = {}
    for library, name in ALL:
        found.setdefault(library, {})[name] = [round(v, 9) for v in peer_scores(library, name).tolist()]
    RECORD.write_text(json.dumps(found, indent=1) + "\n")
