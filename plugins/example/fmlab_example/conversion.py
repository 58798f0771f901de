"""Two models of two targets, a click and what follows it."""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmlab.api import FmlabError, Range, Schema

Positive = Annotated[int, Range(1, None)]


class ESMM(nn.Module):
    """Clicks and conversions over all impressions: pCTCVR = pCTR pCVR, of towers over shared embeddings.

    Paper: X. Ma et al., Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click Conversion Rate,
        SIGIR 2018, equations 1 and 4.

    The scores are log-odds of pCTR and of pCTCVR: with log p = log sigmoid(a) + log sigmoid(b) for towers a and b, the
    log-odds of p are log p - log(1 - p). The loss is the sum of both cross-entropies.
    """

    defaults = {"loss": "bce", "optimizer": "adam"}

    def __init__(
        self,
        schema: Schema,
        *,
        click: Annotated[str, "the target of clicks"] = "click",
        conversion: Annotated[str, "the target of conversions, which only clicks can have"] = "buy",
        dim: Positive = 8,
        hidden_units: tuple[Positive, ...] = (32,),
    ) -> None:
        """`hidden_units`: widths of the hidden layers of each tower. Raises FmlabError for one target twice."""
        super().__init__()
        if click == conversion:
            raise FmlabError(f"esmm needs two targets, got {click} for both model.click and model.conversion")
        self.click, self.conversion = click, conversion
        self.embedding = _embedding(schema, dim)
        width = schema.n_columns * dim
        self.click_tower, self.conversion_tower = (_tower(width, hidden_units) for _ in range(2))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> dict[str, Tensor]:
        """`ids[*batch, columns]` -> log-odds `[*batch]` of a click, and of a click that converts."""
        x = _rows(self.embedding, ids, values)
        click, given_click = (tower(x).squeeze(-1) for tower in (self.click_tower, self.conversion_tower))
        both = functional.logsigmoid(click) + functional.logsigmoid(given_click)
        # log(1 - p) of p = exp(both): expm1 keeps what is left of 1 where p is near it, and both is below 0.
        return {self.click: click, self.conversion: both - torch.log(-torch.expm1(both.clamp(max=-1e-7)))}


class MMoE(nn.Module):
    """Experts over shared embeddings, mixed by a gate of each target, and a tower of each target.

    Paper: J. Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts,
        KDD 2018, equations 4 to 7.

    f_k(x) = sum_i softmax(W_k x)_i expert_i(x), score_k = tower_k(f_k(x)).
    """

    defaults = {"loss": "bce", "optimizer": "adam"}

    def __init__(
        self,
        schema: Schema,
        *,
        targets: Annotated[tuple[str, ...], "as in data.targets"] = ("click", "buy"),
        dim: Positive = 8,
        experts: Positive = 4,
        expert_units: Positive = 16,
        hidden_units: tuple[Positive, ...] = (8,),
    ) -> None:
        """`expert_units`: the width of each expert, one layer; `hidden_units`: of the towers."""
        super().__init__()
        self.embedding = _embedding(schema, dim)
        width = schema.n_columns * dim
        self.experts = nn.ModuleList(nn.Linear(width, expert_units) for _ in range(experts))
        self.gates = nn.ModuleDict({name: nn.Linear(width, experts, bias=False) for name in map(_key, targets)})
        self.towers = nn.ModuleDict({name: _tower(expert_units, hidden_units) for name in map(_key, targets)})
        self.targets = tuple(targets)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> dict[str, Tensor]:
        """`ids[*batch, columns]` -> log-odds `[*batch]` of each target."""
        x = _rows(self.embedding, ids, values)
        made = torch.stack([expert(x).relu() for expert in self.experts], -2)
        scores = {}
        for name in self.targets:
            share = self.gates[_key(name)](x).softmax(-1)
            scores[name] = self.towers[_key(name)]((share.unsqueeze(-1) * made).sum(-2)).squeeze(-1)
        return scores


def _key(target: str) -> str:
    """A name that a module may have: without dots."""
    return "of_" + target.replace(".", "_")


def _embedding(schema: Schema, dim: int) -> nn.Embedding:
    table = nn.Embedding(schema.n_features, dim)
    nn.init.normal_(table.weight, std=0.1)
    return table


def _tower(width: int, hidden: tuple[int, ...]) -> nn.Sequential:
    sizes, layers = (width, *hidden), []
    for a, b in zip(sizes, hidden, strict=False):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 1))


def _rows(table: nn.Embedding, ids: Tensor, values: Tensor | None) -> Tensor:
    rows = table(ids)
    return (rows if values is None else rows * values.unsqueeze(-1)).flatten(-2)
