"""The other side: the models and the training loop as a textbook, or a peer library, writes them in PyTorch.

One `DataLoader` over a `TensorDataset`, `nn.Embedding` tables with dense gradients, `torch.optim.Adam` as it comes.
Factorization machines use the square of the sum; LorentzFM, as its one public implementation does, has Euclidean
parameters and goes through all pairs of fields.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.harness import now


class LR(nn.Module):
    """Logistic regression."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Embedding(features, 1), nn.Parameter(torch.zeros(()))
        nn.init.zeros_(self.weight.weight)

    def forward(self, ids: Tensor) -> Tensor:
        return self.bias + self.weight(ids).sum((1, 2))


class FM(nn.Module):
    """Factorization machine of order two."""

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.linear, self.embedding = LR(features), nn.Embedding(features, dim)
        nn.init.normal_(self.embedding.weight, std=0.01)

    def pairs(self, v: Tensor) -> Tensor:
        """Sum of the inner products of all pairs of `v[B, F, dim]`."""
        return 0.5 * (v.sum(1).pow(2) - v.pow(2).sum(1)).sum(1)

    def forward(self, ids: Tensor) -> Tensor:
        return self.linear(ids) + self.pairs(self.embedding(ids))


class DeepFM(FM):
    """FM and a network over the same embeddings."""

    def __init__(self, features: int, dim: int, columns: int, hidden: tuple[int, ...]) -> None:
        super().__init__(features, dim)
        layers: list[nn.Module] = []
        for n, m in zip((columns * dim, *hidden), hidden, strict=False):
            layers += [nn.Linear(n, m), nn.ReLU()]
        self.network = nn.Sequential(*layers, nn.Linear(hidden[-1], 1))

    def forward(self, ids: Tensor) -> Tensor:
        v = self.embedding(ids)
        return self.linear(ids) + self.pairs(v) + self.network(v.flatten(1)).squeeze(1)


class LorentzFM(nn.Module):
    """Sum over all pairs of equation 9: `(1 - <u,v>_L - u0 - v0) / (u0 v0)`.

    With `ambient` the table holds `u0` too, in front, as libraries of manifolds keep their points.
    """

    def __init__(self, features: int, dim: int, columns: int) -> None:
        super().__init__()
        self.embedding, self.ambient = nn.Embedding(features, dim), False
        nn.init.normal_(self.embedding.weight, std=0.01)
        self.first: Tensor
        self.second: Tensor
        for name, index in zip(("first", "second"), torch.triu_indices(columns, columns, 1), strict=True):
            self.register_buffer(name, index)

    def forward(self, ids: Tensor) -> Tensor:
        v = self.embedding(ids)
        if self.ambient:
            time_like, v = v[..., 0], v[..., 1:]
        else:
            time_like = (1 + v.pow(2).sum(-1)).sqrt()
        u0, v0 = time_like[:, self.first], time_like[:, self.second]
        inner = (v[:, self.first] * v[:, self.second]).sum(-1) - u0 * v0
        return ((1 - inner - u0 - v0) / (u0 * v0)).sum(1)


class Pairs(nn.Module):
    """A linear part and what a function makes of every pair of fields, `[B, P]`, each pair for itself."""

    def __init__(self, features: int, dim: int, columns: int, kind: str) -> None:
        """`kind`: one of `PAIRS`."""
        super().__init__()
        self.linear, self.embedding = LR(features), nn.Embedding(features, dim)
        nn.init.normal_(self.embedding.weight, std=0.01)
        self.first, self.second = torch.triu_indices(columns, columns, 1)
        self.kind, pairs = kind, columns * (columns - 1) // 2
        shape = {
            "fwfm": (pairs,),
            "fvfm": (pairs, dim),
            "fmfm": (pairs, dim, dim),
            "gmlfm": (dim,),
            "ifm": (pairs, dim),
        }
        self.weight = nn.Parameter(torch.randn(shape.get(kind, ())) / dim)
        self.moved = nn.Embedding(features, dim) if kind == "transfm" else None
        self.layer, self.query = nn.Linear(dim, dim), nn.Parameter(torch.randn(dim))

    def forward(self, ids: Tensor) -> Tensor:
        v = self.embedding(ids)
        p, q = v[:, self.first], v[:, self.second]
        return self.linear(ids) + getattr(self, f"_{self.kind}")(ids, v, p, q).sum(1)

    def _fwfm(self, ids: Tensor, v: Tensor, p: Tensor, q: Tensor) -> Tensor:
        return (p * q).sum(-1) * self.weight

    def _fvfm(self, ids: Tensor, v: Tensor, p: Tensor, q: Tensor) -> Tensor:
        return (p * q * self.weight).sum(-1)

    def _fmfm(self, ids: Tensor, v: Tensor, p: Tensor, q: Tensor) -> Tensor:
        return ((p.unsqueeze(2) @ self.weight).squeeze(2) * q).sum(-1)

    def _transfm(self, ids: Tensor, v: Tensor, p: Tensor, q: Tensor) -> Tensor:
        assert self.moved is not None
        return (p + self.moved(ids)[:, self.first] - q).pow(2).sum(-1)

    def _gmlfm(self, ids: Tensor, v: Tensor, p: Tensor, q: Tensor) -> Tensor:
        u = self.layer(v).tanh()
        return (p * q) @ self.weight * (u[:, self.first] - u[:, self.second]).pow(2).sum(-1)

    def _ifm(self, ids: Tensor, v: Tensor, p: Tensor, q: Tensor) -> Tensor:
        both = p * q
        share = (self.layer(both).relu() @ self.query).softmax(1)
        return share * (both * self.weight).sum(-1)


PAIRS = ("fwfm", "fvfm", "fmfm", "transfm", "gmlfm", "ifm")


class Loop:
    """Trains with binary cross-entropy; keeps its model from one measurement to the next."""

    def __init__(
        self,
        model: nn.Module,
        ids: Tensor,
        label: Tensor,
        batch_size: int,
        batches: int,
        loss: Callable[[Tensor, Tensor], Tensor] = F.binary_cross_entropy_with_logits,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        """`batches`: how many of an epoch are timed. `optimizer`: Adam unless given."""
        self.model, self.batches, self.loss = model, batches, loss
        self.optimizer = optimizer or torch.optim.Adam(model.parameters())
        self.loader = DataLoader(TensorDataset(ids.long(), label), batch_size, shuffle=True)
        self._train(1)

    def rows_per_second(self) -> float:
        """Speed over the first `batches` of an epoch, the loader's shuffling included."""
        began = now()
        rows = self._train(self.batches)
        return rows / (now() - began)

    def _train(self, batches: int) -> int:
        rows, total = 0, 0.0
        self.model.train()
        for number, (ids, label) in enumerate(self.loader, 1):
            self.optimizer.zero_grad()
            loss = self.loss(self.model(ids), label)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            rows, total = rows + len(label), total + loss.item()
            if number == batches:
                break
        assert total == total, "the loss must stay finite"
        return rows
