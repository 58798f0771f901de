"""What a table plugin is: how the embeddings of features are stored."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor


class TableGroup(NamedTuple):
    """What stores the embeddings of some features, all in the same way.

    `tables`: rows and columns of each component table; a feature reads one row of each. `shared`: shapes of the
    matrices that all features of the group read.
    """

    tables: tuple[tuple[int, int], ...]
    shared: tuple[tuple[int, int], ...] = ()

    @property
    def n_parameters(self) -> int:
        """Numbers that are stored."""
        return sum(a * b for a, b in (*self.tables, *self.shared))


class TableLayout(Protocol):
    """How the embeddings of the features of some fields, of one width, are stored.

    A plugin is called for each table of a model as `(schema, fields, width, *, options)`: `fields` is the range of the
    numbers of the fields whose features the table has, which are neighbors, `width` the numbers of an embedding. The
    first feature of a field is its unknown one. It gives an `nn.Module` of this kind without parameters, which the
    model stores, or None where every feature has a row of its own. It reads shapes alone: parameters are counted before
    there is memory for them.
    """

    groups: Sequence[TableGroup]
    """Every feature is in one of them."""
    one_row: bool
    """Whether an embedding is a row of a component table as it stands: such a row can be a point of a curved space."""

    def __call__(self, ids: Tensor) -> Sequence[Sequence[Tensor]]:
        """`ids[n]`, int64, features of these fields counted from 0 -> for each group and each of its component tables
        the row of each feature, int64 `[n]`, -1 for features of other groups."""
        ...

    def embed(self, group: int, rows: Sequence[Tensor], shared: Sequence[Tensor]) -> Tensor:
        """The rows `[m, columns]` that m features of a group read, and its matrices -> embeddings `[m, width]`.

        Rows of zeros must give zeros.
        """
        ...

    def start(self, rows: Tensor) -> Sequence[Tensor]:
        """What the tables and matrices of the groups start with, in their order, the tables of a group first.

        `rows[n, width]` are those that the model would start with. Random numbers are drawn from torch's generator.
        """
        ...
