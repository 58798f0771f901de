"""Hard negatives: those that the current model ranks highest."""

from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor

from fmlab.data.batch import Batch
from fmlab.data.negative_sampling import UserItemSet, draw_negatives
from fmlab.data.weighted_sampling import SamplingBatch
from fmlab.nn.scoring import score
from fmlab.plugin.option import Range


class Dynamic:
    """Each negative is the one that the model scores highest among `drawn` uniform ones.

    Paper: Zhang, Chen, Wang, Yu, Optimizing top-N collaborative filtering via dynamic negative item sampling, SIGIR
    2013, algorithm 2 with all weight on the first rank

    The scores are those before the step, without dropout. A negative's probability of being drawn depends on the model,
    so `log_q` is None.
    """

    def __init__(
        self,
        observed: UserItemSet,
        *,
        drawn: Annotated[int, Range(2, None), "uniform items that the highest score is chosen among"] = 5,
    ) -> None:
        """`observed`: the training positives."""
        self.drawn = drawn

    def draw(self, batch: SamplingBatch, n: int, seed: int, epoch: int) -> tuple[Tensor, None]:
        """`items[B, drawn n]`, of which `choose` keeps n."""
        return draw_negatives(batch.observed, batch.user, batch.row, self.drawn * n, seed=seed, epoch=epoch), None

    def choose(self, model: Any, batch: Batch, n: int) -> Batch:
        """The batch with the highest of each `drawn` negatives in a row."""
        assert batch.item is not None
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        with torch.no_grad():
            scores = score(model, batch)[:, 1:].reshape(batch.size, n, self.drawn)
        for module, training in modes:
            module.training = training
        items = batch.item[:, 1:].reshape(batch.size, n, self.drawn)
        hardest = items.gather(2, scores.argmax(2, keepdim=True)).squeeze(2)
        return replace(batch, item=torch.cat([batch.item[:, :1], hardest], 1), label=batch.label[:, : 1 + n])
