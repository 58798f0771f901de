"""What a structure search is: a first training that finds which numbers, features or fields of a model stay."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor
from torch.optim import Optimizer

from fmlab.data import Schema


@dataclass(frozen=True)
class SearchedTable:
    """An embedding table of a model that is searched.

    `start`: its rows as training starts, `[rows, width]`; first-order weights, where the model keeps them here, are
    columns too. `first`: the feature of row 0; those of the other rows follow it.
    """

    name: str
    start: Tensor
    first: int


@dataclass(frozen=True)
class SearchSpace:
    """What a search may drop: numbers of tables, and pairs of fields. `seed`: that of the run.

    `epoch_steps`: steps of an epoch over all training rows. `pairs`: how many pairs of fields the score of the model
    adds up, `F (F - 1) / 2` for `GatesPairs`; 0 for other models.
    """

    schema: Schema
    tables: Sequence[SearchedTable]
    epoch_steps: int
    seed: int
    pairs: int = 0


class StructureSearch(Protocol):
    """Gates on the rows of embedding tables, trained with the model; afterwards, what stays.

    A plugin is called as `(space, *, options)` and gives an `nn.Module` of this kind, whose parameters are the gates
    and whose `state_dict` is all that it remembers: a resumed search goes on with it. None is no search. The model is
    trained anew afterwards, from the same start, without what was dropped; validation and test rows are never seen.

    `held_out`: the share of the training rows that the gates are trained on while the weights are trained on the
    others; 0: both are trained on all training rows.
    """

    epochs: int
    """The most epochs of the search, 1 or more."""
    held_out: float

    def rows(self, table: int, rows: Tensor, at: Tensor) -> Tensor:
        """What the model sees of `rows[d, width]`, the rows `at[d]` (int64) of a table; differentiable."""
        ...

    def optimizer(self) -> Optimizer:
        """What moves the gates: over all parameters of the search."""
        ...

    def kept(self, weights: Sequence[Tensor]) -> Sequence[Tensor]:
        """What stays of each table, bool `[rows, width]` or `[rows, 1]`; `weights[rows, width]`: as trained so far."""
        ...


@runtime_checkable
class SearchesPairs(Protocol):
    """A search that drops pairs of fields too, of models that add them up (`GatesPairs`)."""

    def pairs(self, products: Tensor) -> Tensor:
        """What counts of the products `[*batch, pairs]`, fields in the order (0, 1), (0, 2), ..., (1, 2), ..."""
        ...

    def kept_pairs(self) -> Tensor:
        """The pairs that stay, bool `[pairs]`."""
        ...


@runtime_checkable
class EndsSearch(Protocol):
    """A search that may be over before its last epoch."""

    def finished(self, weights: Sequence[Tensor]) -> bool:
        """Asked after each step, without gradients: whether the search is over with these weights of the tables."""
        ...


@runtime_checkable
class ChoosesByLoss(Protocol):
    """A search that ends with a comparison of candidates by the loss of rows that nothing is trained on."""

    judged: float
    """The share of the training rows that are kept back for it, above 0."""

    def choose(self, loss: Callable[[], float]) -> None:
        """Called once, after the training and before `kept`: `loss()` is that of the model as `rows` give it then."""
        ...


@runtime_checkable
class PenalizesGates(Protocol):
    """A search with a penalty on open gates."""

    def regularization(self) -> Tensor:
        """A scalar with gradients, added to the training loss."""
        ...


@runtime_checkable
class BeginsSearchSteps(Protocol):
    """A search that changes with its steps: temperatures."""

    def begin_step(self, step: int) -> Any:
        """Called before step `step` of the search, which counts from 0, also over a resume."""
        ...
