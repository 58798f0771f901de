"""Thresholds on features, and a size for each field."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam

from fmlab.contracts import SearchSpace
from fmlab.plugin.option import Range
from fmlab_searches._gates import Epochs, Rate, fields_of

_PARENTS = 15  # candidates of a generation that the next one is made of
_MUTATED = 0.1  # chance that a size of a mutated candidate is drawn anew
_FACTORS = (0x27D4EB2F, 0x165667B1)  # of the hash that draws the size of a feature


class Step(torch.autograd.Function):
    """1 where a number is above 0, else 0, with a gradient of `2 - 4 |x|` for `|x| <= 0.4`, 0.4 up to 1, then 0.

    Source: Liu, Xu, Shi, Cheung, So, Dynamic sparse training, ICLR 2020, equation 5.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """`x` of any shape."""
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The gradient times that of the estimate."""
        size = ctx.saved_tensors[0].abs()
        near = torch.where(size <= 0.4, 2 - 4 * size, torch.full_like(size, 0.4))
        return gradients[0] * torch.where(size <= 1, near, torch.zeros_like(size))


class OptEmbed(nn.Module):
    """A row e of field f is seen as its first k numbers where `|e|_1 > t_f`, and as zeros elsewhere.

    In training k is drawn from 1 to the width of the table, so that vectors of all sizes are trained in one table, and
    the thresholds `t_f` are trained by the gradient of `Step` and the penalty `penalty sum_f exp(-t_f)`. Then the sizes
    of the fields are searched: of `population` random candidates, and in each of `generations` of as many new ones, the
    15 with the least loss are the parents of the next, half of which are mutated (each size is drawn anew with a chance
    of .1) and half crosses of two parents at a point between fields. The best sizes and the rows above their thresholds
    are trained anew.

    Paper: Lyu, Tang, Zhu, Guo, Zhang, Tang, Liu, OptEmbed: learning optimal embedding table for click-through rate
      prediction, CIKM 2022; details of the authors' code (fuyuanlyu/OptEmbed).

    The authors compare candidates by the AUC of validation rows; here it is by the loss of a part of the training rows
    that nothing is trained on, and of equal ones the smaller wins. They draw k for each row of a batch and field, here
    it is for each feature of a batch and table. First-order weights that stand in a table are the first number of its
    rows. A row that is 0, as those of weights are at the start, passes.
    """

    held_out = 0.0
    draw: Tensor
    sizes: Tensor
    has: Tensor

    def __init__(
        self,
        space: SearchSpace,
        *,
        penalty: Annotated[float, Range(0, None), "weight of the sum of exp(-t) in the loss"] = 1e-5,
        judged: Annotated[
            float, Range(0, 0.9, open_low=True), "share of the training rows that sizes are compared by"
        ] = 0.1,
        generations: Annotated[int, Range(1, None), "times that new candidates are made of the best ones"] = 30,
        population: Annotated[int, Range(2, None), "candidates of a generation"] = 20,
        epochs: Epochs = 10,
        lr: Rate = 1e-4,
    ) -> None:
        """`space`: the tables; each field has a threshold and a size in each table."""
        super().__init__()
        self.epochs, self.lr, self.penalty, self.judged = epochs, lr, penalty, judged
        self.generations, self.population, self.seed = generations, population, space.seed
        self.fields = [fields_of(space, table) for table in space.tables]
        self.first = [table.first for table in space.tables]
        self.widths = [table.start.shape[1] for table in space.tables]
        shape = (len(space.tables), len(space.schema.fields))
        features = torch.zeros(shape, dtype=torch.int64)
        for number, fields in enumerate(self.fields):
            features[number] = torch.bincount(fields, minlength=shape[1])
        self.features = features
        self.thresholds = nn.Parameter(torch.zeros(shape))
        self.register_buffer("has", features > 0)
        self.register_buffer("sizes", torch.tensor(self.widths)[:, None].expand(shape).clone())
        self.register_buffer("draw", torch.zeros((), dtype=torch.int64))  # 0: sizes are those of the fields

    def begin_step(self, step: int) -> None:
        """The number that the sizes of all features of the step follow from."""
        self.draw.copy_(torch.randint(1, 2**31, ()))

    def rows(self, table: int, rows: Tensor, at: Tensor) -> Tensor:
        """The first numbers of rows above their thresholds."""
        field, width = self.fields[table].to(at.device)[at], self.widths[table]
        size = self._drawn(table, at) if self.draw > 0 else self.sizes[table][field]
        prefix = torch.arange(width, device=at.device) < size.unsqueeze(-1)
        norm = rows.abs().sum(-1)
        above = Step.apply(norm - self.thresholds[table][field].to(rows.dtype))  # type: ignore[no-untyped-call]
        return rows * torch.where(norm == 0, 1.0, above).unsqueeze(-1) * prefix

    def regularization(self) -> Tensor:
        """The sum of `exp(-t)`."""
        return self.penalty * (torch.exp(-self.thresholds) * self.has).sum()

    def optimizer(self) -> Adam:
        """Adam over the thresholds."""
        return Adam(self.parameters(), lr=self.lr)

    @torch.no_grad()
    def choose(self, loss: Callable[[], float]) -> None:
        """The sizes of the fields with the least `loss()`, which is that of the sizes as they are when it is called."""
        self.draw.zero_()
        places = torch.nonzero(self.has & (torch.tensor(self.widths)[:, None].to(self.has.device) > 1)).cpu().numpy()
        if not len(places):
            return
        most, count = np.array(self.widths)[places[:, 0]], self.features.numpy()[tuple(places.T)]
        rng, judged = np.random.default_rng(self.seed), dict[tuple[int, ...], float]()

        def worth(sizes: tuple[int, ...]) -> tuple[float, int, tuple[int, ...]]:
            if sizes not in judged:
                self.sizes[tuple(torch.from_numpy(places.T))] = torch.tensor(sizes).to(self.sizes)
                judged[sizes] = loss()
            return judged[sizes], int((np.array(sizes) * count).sum()), sizes

        made = [tuple(rng.integers(1, most + 1).tolist()) for _ in range(self.population)]
        best = sorted({*made, tuple(most.tolist())}, key=worth)[:_PARENTS]
        for _ in range(self.generations):
            half = self.population // 2
            made = [_mutated(best[rng.integers(len(best))], most, rng) for _ in range(self.population - half)]
            pairs = rng.integers(len(best), size=(half, 2))
            made += [_crossed(best[a], best[b], rng) for a, b in pairs]
            best = sorted({*best, *made}, key=worth)[:_PARENTS]
        self.sizes[tuple(torch.from_numpy(places.T))] = torch.tensor(best[0]).to(self.sizes)

    def kept(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """The first numbers, as many as the field has, of rows above their thresholds."""
        found = []
        for table, weight in enumerate(weights):
            field = self.fields[table].to(weight.device)
            above = weight.abs().sum(-1) > self.thresholds[table].detach()[field]
            prefix = torch.arange(weight.shape[1], device=weight.device) < self.sizes[table][field].unsqueeze(-1)
            found.append(above.unsqueeze(-1) & prefix)
        return found

    def _drawn(self, table: int, at: Tensor) -> Tensor:
        """A size for each feature, int64, a function of the step's number: 1 to the width, all alike in chance."""
        mixed = (self.first[table] + at + 1) * _FACTORS[0] ^ (self.draw + table)
        for shift, factor in zip((15, 13), (_FACTORS[1], _FACTORS[0]), strict=True):
            mixed = ((mixed ^ (mixed >> shift)) & 0xFFFFFFFF) * factor
        return 1 + ((mixed ^ (mixed >> 16)) & 0x7FFFFFFF) % self.widths[table]


def _mutated(sizes: tuple[int, ...], most: Any, rng: np.random.Generator) -> tuple[int, ...]:
    anew = rng.random(len(sizes)) < _MUTATED
    return tuple(np.where(anew, rng.integers(1, most + 1), sizes).tolist())


def _crossed(left: tuple[int, ...], right: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
    point = int(rng.integers(1, max(2, len(left))))
    return (*left[:point], *right[point:])
