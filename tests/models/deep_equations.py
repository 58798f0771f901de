"""The equations of deep models, written out row by row and field by field."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import torch
from field_rows import SCHEMA
from fmlab_models.afm import AFM
from fmlab_models.autoint import AutoInt
from fmlab_models.dcn import DCN, DCNv2
from fmlab_models.deepfm import DeepFM
from fmlab_models.deeplight import DeepLight
from fmlab_models.fgcnn import FGCNN
from fmlab_models.fibinet import FiBiNET
from fmlab_models.fignn import FiGNN
from fmlab_models.nfm import NFM
from fmlab_models.pnn import IPNN, OPNN
from fmlab_models.widedeep import WideDeep
from fmlab_models.xdeepfm import XDeepFM
from torch import Tensor, nn

F, K = len(SCHEMA.fields), 4
SMALL: dict[str, Any] = {"dim": K, "hidden": (5, 3)}
NORMALIZED: dict[str, Any] = {**SMALL, "batch_norm": True}


def columns(table: Tensor, ids: Tensor, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """`sum w x` of one row, and `x v` of each column."""
    read = [table[i] * x[c] for c, i in enumerate(ids.tolist())]
    return sum(r[0] for r in read), [r[1:] for r in read]


def fields(model: Any, ids: Tensor, x: Tensor, tables: str = "tables") -> tuple[Tensor, Tensor]:
    """`sum w x` of one row, and the sum of `x v` of each field, `[fields, dim]`."""
    read = getattr(model, tables)
    table = read.tables[0].weight
    if not read.first:
        table = torch.cat([torch.zeros_like(table[:, :1]), table], 1)
    linear, vectors = columns(table, ids, x)
    sums = [sum(v for c, v in enumerate(vectors) if SCHEMA.column_field[c] == f) for f in range(F)]
    return linear, torch.stack(sums)


def mlp(x: Tensor, *modules: nn.Module, inside: bool = False) -> Tensor:
    """`inside`: x is what the first layer gave, before normalization and ReLU."""
    for layer in (m for module in modules for m in module.modules()):
        if isinstance(layer, nn.BatchNorm1d):
            x = (x - layer.running_mean) / (layer.running_var + layer.eps).sqrt() * layer.weight + layer.bias
        elif isinstance(layer, nn.Linear):
            x = (x.relu() if inside else x) @ layer.weight.T + (0 if layer.bias is None else layer.bias)
            inside = True
    return x.squeeze(-1)


def deepfm(m: DeepFM, ids: Tensor, x: Tensor) -> Tensor:
    linear, vectors = columns(m.table.weight, ids, x)
    return m.bias + linear + sum(a @ b for a, b in combinations(vectors, 2)) + mlp(torch.cat(vectors), m.first, m.rest)


def nfm(m: NFM, ids: Tensor, x: Tensor) -> Tensor:
    linear, vectors = columns(m.table.weight, ids, x)
    return m.bias + linear + mlp(sum(a * b for a, b in combinations(vectors, 2)), m.deep)


def afm(m: AFM, ids: Tensor, x: Tensor) -> Tensor:
    linear, vectors = columns(m.table.weight, ids, x)
    products = [a * b for a, b in combinations(vectors, 2)]
    strength = [(m.h @ (m.attention.weight @ e + m.attention.bias).relu()).exp() for e in products]
    return m.bias + linear + m.p @ sum(s / sum(strength) * e for s, e in zip(strength, products, strict=True))


def widedeep(m: WideDeep, ids: Tensor, x: Tensor) -> Tensor:
    linear, s = fields(m, ids, x)
    return m.bias + linear + mlp(s.flatten(), m.first, m.rest)


def dcn(m: DCN, ids: Tensor, x: Tensor) -> Tensor:
    start = fields(m, ids, x)[1].flatten()
    *crosses, top = m.crosses.weight
    at = start
    for w, b in zip(crosses, m.shifts, strict=True):
        at = start * (at @ w) + b + at
    return top @ at + mlp(start, m.first, m.rest)


def dcnv2(m: DCNv2, ids: Tensor, x: Tensor) -> Tensor:
    start = fields(m, ids, x)[1].flatten()
    at = start
    for cross in m.crosses:
        first, *second = [cross] if isinstance(cross, nn.Linear) else cross
        w = second[0].weight @ first.weight if second else first.weight
        at = start * (w @ at + (second or [first])[0].bias) + at
    return mlp(at, m.top) if not m.deep else m.top.weight[0] @ at + mlp(start, m.first, m.rest)


def xdeepfm(m: XDeepFM, ids: Tensor, x: Tensor) -> Tensor:
    linear, s = fields(m, ids, x)
    before, pooled = s, []
    for layer, onward, kept in zip(m.compress, m.onward, m.pooled, strict=True):
        w = layer.weight.view(-1, len(before), F)
        maps = []
        for h in range(len(w)):
            pairs = [w[h, i, j] * before[i] * s[j] for i in range(len(before)) for j in range(F)]
            maps.append(m.activation(sum(pairs) + layer.bias[h]))
        before = torch.stack(maps)[:onward]
        pooled += [p.sum() for p in maps[-kept:]]
    return m.bias + linear + m.top.weight[0] @ torch.stack(pooled) + mlp(s.flatten(), m.first, m.rest)


def interacting(layer: Any, s: Tensor) -> Tensor:
    query, key, value, residual = layer.project.weight.chunk(4)
    width = len(query) // layer.heads
    heads = []
    for h in range(layer.heads):
        q, k, v = ([w[h * width : (h + 1) * width] @ e for e in s] for w in (query, key, value))
        mixed = []
        for i in range(len(s)):
            share = torch.stack([q[i] @ k[j] for j in range(len(s))]).softmax(0)
            mixed.append(sum(a * b for a, b in zip(share, v, strict=True)))
        heads.append(torch.stack(mixed))
    return (torch.cat(heads, 1) + s @ residual.T).relu()


def autoint(m: AutoInt, ids: Tensor, x: Tensor) -> Tensor:
    s = mixed = fields(m, ids, x)[1]
    for layer in m.attention:
        mixed = interacting(layer, mixed)
    return mlp(mixed.flatten(), m.top) + (mlp(s.flatten(), m.first, m.rest) if m.deep else 0)


def fibinet(m: FiBiNET, ids: Tensor, x: Tensor) -> Tensor:
    linear, s = fields(m, ids, x)
    squeeze, excite = m.importance[0].weight, m.importance[2].weight
    weighted = s * (excite @ (squeeze @ s.mean(1)).relu()).relu().unsqueeze(1)
    found = []
    for e in (s, weighted):
        for n, (i, j) in enumerate(combinations(range(F), 2)):
            found.append((e[i] @ m.matrices[{"all": 0, "each": i, "interaction": n}[m.bilinear]]) * e[j])
    return m.bias + linear + mlp(torch.cat(found), m.perceptron)


def pnn(m: Any, ids: Tensor, x: Tensor) -> Tensor:
    s = fields(m, ids, x)[1]
    pairs = list(combinations(range(F), 2))
    if isinstance(m, IPNN):
        products = torch.stack([s[i] @ s[j] for i, j in pairs])
    elif m.kernels is None:
        products = sum(torch.outer(s[i], s[j]) for i in range(F) for j in range(F)).flatten()
    else:
        products = torch.stack([s[i] @ m.kernels[n] @ s[j] for n, (i, j) in enumerate(pairs)])
    bias = 0 if m.first.bias is None else m.first.bias
    return mlp(m.first.weight @ s.flatten() + bias + m.products.weight @ products, m.rest, inside=True)


def fgcnn(m: FGCNN, ids: Tensor, x: Tensor) -> Tensor:
    found, maps = [*fields(m, ids, x)[1]], [fields(m, ids, x, "generator_tables")[1]]
    for convolve, recombine in zip(m.convolve, m.recombine, strict=True):
        filtered = []
        for w, b in zip(convolve.weight, convolve.bias, strict=True):
            n, half = len(maps[0]), w.shape[1] // 2
            taps = range(-half, half + 1)
            reach = [[(c, t, f + t) for c in range(len(maps)) for t in taps if 0 <= f + t < n] for f in range(n)]
            filtered.append([(sum(w[c, t + half, 0] * maps[c][g] for c, t, g in r) + b).tanh() for r in reach])
        maps = [torch.stack([torch.stack(m_[f : f + 2]).amax(0) for f in range(0, len(m_), 2)]) for m_ in filtered]
        new = (recombine.weight @ torch.cat([map_.flatten() for map_ in maps]) + recombine.bias).tanh()
        found += new.split(K)
    products = torch.stack([a @ b for a, b in combinations(found, 2)])
    return mlp(torch.cat([*found, products]), m.perceptron)


def fignn(m: FiGNN, ids: Tensor, x: Tensor) -> Tensor:
    s = fields(m, ids, x)[1]
    w, b = m.edge.weight, m.edge.bias.sum()
    start = state = interacting(m.attention, s)
    for _ in range(m.layers):
        moved = []
        for i in range(F):
            others = [j for j in range(F) if j != i]
            raw = torch.stack([w[0] @ s[i] + w[1] @ s[j] + b for j in others])
            share = torch.where(raw > 0, raw, 0.01 * raw).softmax(0)
            a = sum(share[n] * (state[j] @ m.leave[j]) for n, j in enumerate(others)) @ m.enter[i] + m.shift
            moved.append(gru(m.gru, a, state[i]) + start[i])
        state = torch.stack(moved)
    (u, t), (c, d) = m.top.weight, m.top.bias
    return sum((h @ u + c) * (h @ t + d) for h in state)


def gru(cell: nn.GRUCell, a: Tensor, h: Tensor) -> Tensor:
    ar, az, an = (cell.weight_ih @ a + cell.bias_ih).chunk(3)
    hr, hz, hn = (cell.weight_hh @ h + cell.bias_hh).chunk(3)
    z = (az + hz).sigmoid()
    return (1 - z) * (an + (ar + hr).sigmoid() * hn).tanh() + z * h


def deeplight(m: DeepLight, ids: Tensor, x: Tensor) -> Tensor:
    s = fields(m, ids, x)[1]
    pairs = sum(m.matrices.weight[0, n] * (s[i] @ s[j]) for n, (i, j) in enumerate(combinations(range(F), 2)))
    return m.bias + m.linear @ s.flatten() + pairs + mlp(s.flatten(), m.first, m.rest)


Equation = Callable[[Any, Tensor, Tensor], Tensor]
MODELS: dict[str, tuple[Any, Equation]] = {
    "nfm": (lambda: NFM(SCHEMA, **SMALL), nfm),
    "nfm without layers": (lambda: NFM(SCHEMA, dim=K, hidden=()), nfm),
    "afm": (lambda: AFM(SCHEMA, dim=K, attention_dim=5), afm),
    "widedeep": (lambda: WideDeep(SCHEMA, **SMALL), widedeep),
    "dcn": (lambda: DCN(SCHEMA, **SMALL), dcn),
    "dcn without crosses": (lambda: DCN(SCHEMA, layers=0, **SMALL), dcn),
    "dcnv2": (lambda: DCNv2(SCHEMA, layers=2, **SMALL), dcnv2),
    "dcnv2 of low rank": (lambda: DCNv2(SCHEMA, layers=2, rank=2, **SMALL), dcnv2),
    "dcnv2, stacked": (lambda: DCNv2(SCHEMA, layers=2, structure="stacked", **SMALL), dcnv2),
    "xdeepfm": (lambda: XDeepFM(SCHEMA, cin_layer_sizes=(3, 2), **SMALL), xdeepfm),
    "xdeepfm with relu": (lambda: XDeepFM(SCHEMA, cin_layer_sizes=(3, 2), activation="relu", **SMALL), xdeepfm),
    "xdeepfm, split": (lambda: XDeepFM(SCHEMA, cin_layer_sizes=(4, 2, 3), split_half=True, **SMALL), xdeepfm),
    "autoint": (lambda: AutoInt(SCHEMA, dim=K, layers=2, attention_dim=6), autoint),
    "autoint+": (lambda: AutoInt(SCHEMA, layers=1, heads=1, attention_dim=3, **SMALL), autoint),
    "fibinet, all": (lambda: FiBiNET(SCHEMA, bilinear="all", **SMALL), fibinet),
    "fibinet, each": (lambda: FiBiNET(SCHEMA, bilinear="each", **SMALL), fibinet),
    "fibinet, interaction": (lambda: FiBiNET(SCHEMA, **SMALL), fibinet),
    "ipnn": (lambda: IPNN(SCHEMA, **SMALL), pnn),
    "opnn": (lambda: OPNN(SCHEMA, **SMALL), pnn),
    "opnn with kernels": (lambda: OPNN(SCHEMA, kernel="matrix", **SMALL), pnn),
    "fgcnn": (lambda: FGCNN(SCHEMA, filters=(2, 3), kernel_height=3, n_generated=2, **SMALL), fgcnn),
    "fignn": (lambda: FiGNN(SCHEMA, dim=K, layers=2), fignn),
    "deeplight": (lambda: DeepLight(SCHEMA, **SMALL), deeplight),
    "nfm, normalized": (lambda: NFM(SCHEMA, **NORMALIZED), nfm),
    "deepfm, normalized": (lambda: DeepFM(SCHEMA, **NORMALIZED), deepfm),
    "widedeep, normalized": (lambda: WideDeep(SCHEMA, **NORMALIZED), widedeep),
    "dcn, normalized": (lambda: DCN(SCHEMA, **NORMALIZED), dcn),
    "dcnv2, normalized": (lambda: DCNv2(SCHEMA, layers=2, **NORMALIZED), dcnv2),
    "dcnv2, stacked, normalized": (lambda: DCNv2(SCHEMA, structure="stacked", **NORMALIZED), dcnv2),
    "xdeepfm, normalized": (lambda: XDeepFM(SCHEMA, cin_layer_sizes=(3, 2), **NORMALIZED), xdeepfm),
    "autoint+, normalized": (lambda: AutoInt(SCHEMA, layers=1, attention_dim=4, **NORMALIZED), autoint),
    "fibinet, normalized": (lambda: FiBiNET(SCHEMA, **NORMALIZED), fibinet),
    "ipnn, normalized": (lambda: IPNN(SCHEMA, **NORMALIZED), pnn),
    "opnn, normalized": (lambda: OPNN(SCHEMA, **NORMALIZED), pnn),
    "fgcnn, normalized": (lambda: FGCNN(SCHEMA, filters=(2,), kernel_height=3, n_generated=2, **NORMALIZED), fgcnn),
    "deeplight, normalized": (lambda: DeepLight(SCHEMA, **NORMALIZED), deeplight),
}
