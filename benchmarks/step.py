"""Step: what one training step costs as the vocabulary grows from ten thousand to ten million features."""

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks import plain
from benchmarks.harness import Results, Setting, Target, compare, now
from benchmarks.training import ADAM, DIM, MODELS, RSGD
from fmlab.data import Field, Schema
from fmlab.data.batch import Batch, Features, Tables
from fmlab.plugin.registry import build

ABOUT = "ms a step, batch 4,096 x 10; every batch reads 5,000 features, wherever they lie in the table"
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
COLUMNS, ROWS, DRAWN, BATCHES = 10, 4096, 5000, 16
FLAT = 1.5  # times the smallest table's step: memory beyond the caches is slower, and that is all that may grow


PLAIN = "plain loop, fm + Adam"
OURS = {"fmlab, lorentzfm + rsgd": (MODELS["lorentzfm"], RSGD), "fmlab, fm + adam": (MODELS["fm"], ADAM)}


def run(setting: Setting) -> Iterator[Results]:
    sizes = (100, 1000) if setting.toy else SIZES
    for name in (*OURS, PLAIN):
        sides = {f"{n:,} features": Steps(name, n, setting).milliseconds for n in sizes}
        first, *_, last = sides
        targets = {last: Target(ratio=round(1 / FLAT, 3))} if name in OURS and OURS[name][1] is RSGD else None
        yield compare(name, sides, setting, unit="ms", more=False, reference=first, targets=targets)


class Steps:
    """Training steps of one model, over the same batches again and again."""

    def __init__(self, name: str, features: int, setting: Setting) -> None:
        vocabulary = features // COLUMNS
        schema = Schema(tuple(Field(f"field{i}", "context", vocabulary) for i in range(COLUMNS)))
        self.batches = cycle(batches(vocabulary, setting))
        self.steps = setting.size(3 if name == PLAIN else 2 * BATCHES, 2)
        torch.manual_seed(0)
        if name == PLAIN:
            self.model, self.loss = plain.FM(schema.n_features, DIM), textbook_loss
            self.optimizer = torch.optim.Adam(self.model.parameters())
        else:
            model, optimizer = OURS[name]
            self.model, self.loss = build("model", model, schema), build("loss", {"name": "bce"})
            self.optimizer = build("optimizer", optimizer, self.model.parameters())
        self.milliseconds()

    def milliseconds(self) -> float:
        """Mean over the next steps."""
        began = now()
        for _ in range(self.steps):
            self.optimizer.zero_grad()
            self.loss(self.model, next(self.batches)).backward()
            self.optimizer.step()
        return (now() - began) * 1000 / self.steps


def textbook_loss(model: Any, batch: Batch) -> Any:
    """Binary cross-entropy of the plain loop."""
    assert batch.context is not None
    return F.binary_cross_entropy_with_logits(model(batch.context.ids.long()), batch.label)


def batches(vocabulary: int, setting: Setting) -> list[Batch]:
    """Batches that differ in the features they read, not in how many, whatever the size of the table."""
    rng = np.random.default_rng(0)
    rows, drawn = setting.size(ROWS, 32), min(setting.size(DRAWN, 50) // COLUMNS, vocabulary // 2)
    made = []
    for _ in range(BATCHES):
        columns = [f * vocabulary + rng.choice(vocabulary, drawn, replace=False) for f in range(COLUMNS)]
        ids = np.stack([rng.choice(c, rows) for c in columns], axis=1).astype(np.int32)
        label = torch.from_numpy(rng.random(rows) < 1 / 3).float()
        made.append(Batch(Tables(None, None), None, None, Features(torch.from_numpy(ids)), label))
    return made
