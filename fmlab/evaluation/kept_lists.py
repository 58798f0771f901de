"""What several models give the candidates of some lists, kept so that mixtures of the models are judged at once."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmlab.data import Array, Dataset
from fmlab.data.batch import Tables
from fmlab.evaluation.metric_names import SAMPLED
from fmlab.evaluation.ranked_lists import RankedLists

DEPTH = (
    50  # items of each model that are candidates of a query: what no model has among its first comes into no top ten
)


@dataclass(frozen=True)
class _Block:
    """Scores `candidates[models, queries, n]`, `ranked[queries, n]` those that count; of each relevant item (`unit`)
    its scores `own[models, relevant]`, the query that it is of, and whether it is `itself` a candidate."""

    candidates: Tensor
    ranked: Tensor
    own: Tensor
    query: Tensor
    itself: Tensor
    unit: Tensor


class KeptLists:
    """Scores of models, each divided by its `scale`, and the figure of a metric for any mixture of them.

    Ranks are counted among the items that stand high for one of the models, or the sampled ones where the metric is of
    these; ties count half.
    """

    def __init__(self, blocks: Sequence[_Block], scale: Array, evaluator: RankedLists, metric: str) -> None:
        self.blocks, self.scale, self.evaluator, self.metric = blocks, scale, evaluator, metric

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        evaluator: RankedLists,
        models: Sequence[Any],
        dataset: Dataset,
        metric: str,
        *,
        most: int,
        seed: int = 0,
        until: float | None = None,
    ) -> "KeptLists":
        """About `most` lists of the evaluator, drawn by `seed`; fewer where they would last longer than `until`."""
        tables = Tables.of(dataset, None)
        states = [evaluator.start(model, tables) for model in models]
        order = np.random.default_rng(seed).permutation(len(evaluator))
        blocks: list[_Block] = []
        spread: list[Tensor] = []
        lists = 0
        for number in order:
            if blocks and (lists >= most or (until is not None and time.monotonic() > until)):
                break
            block, deviation = _block(evaluator, int(number), models, states, tables)
            blocks.append(block)
            spread.append(deviation)
            lists += int(evaluator.blocks[number + 1] - evaluator.blocks[number])
        scale = torch.stack(spread).mean(0).numpy().astype(np.float64)
        return cls(blocks, np.where(scale > 0, scale, 1.0), evaluator, metric)

    def value(self, weights: Array) -> float:
        """The figure of the mixture `sum(weights[m] * score_m / scale[m])`."""
        mixed = torch.from_numpy(np.asarray(weights / self.scale, np.float32))
        ranks, units = [], []
        for block in self.blocks:
            scores = torch.einsum("m,mqn->qn", mixed, block.candidates).masked_fill_(~block.ranked, -torch.inf)
            own = (mixed @ block.own).unsqueeze(1)
            others = scores[block.query]
            ranks.append(1 + (others > own).sum(1) + 0.5 * ((others == own).sum(1) - block.itself))
            units.append(block.unit)
        evaluator = self.evaluator.only(self.metric)
        name = SAMPLED + "rank" if self.metric.startswith(SAMPLED) else "rank"
        columns: Mapping[str, Array] = {name: torch.cat(ranks).double().numpy()}
        return float(evaluator.finish(torch.cat(units).numpy(), columns).values[self.metric])


def _block(
    evaluator: RankedLists, number: int, models: Sequence[Any], states: Sequence[Any], tables: Tables
) -> tuple[_Block, Tensor]:
    """One block of lists, and the standard deviation of each model's scores over the items, mean of its queries."""
    found = [evaluator.scores(number, model, tables, state) for model, state in zip(models, states, strict=True)]
    first = found[0]
    own = torch.stack([f.own for f in found]).float()
    deviation = torch.stack([f.deviation for f in found])
    if first.ranked is not None:
        near = torch.stack([f.scores for f in found]).float()
        itself = torch.full_like(first.unit, int(evaluator.whole))
        return _Block(near, first.ranked, own, first.which, itself, first.unit), deviation
    width = first.scores.shape[1]
    items = torch.cat([f.scores.topk(min(DEPTH, width), dim=1).indices for f in found], 1).sort(1).values
    ranked = torch.ones_like(items, dtype=torch.bool)
    ranked[:, 1:] = items[:, 1:] != items[:, :-1]
    near = torch.stack([f.scores.gather(1, items) for f in found]).float()
    ranked &= (near > -torch.inf).all(0)
    itself = ((items[first.which] == first.item.unsqueeze(1)) & ranked[first.which]).any(1).long()
    return _Block(near.masked_fill(~ranked, 0.0), ranked, own, first.which, itself, first.unit), deviation
