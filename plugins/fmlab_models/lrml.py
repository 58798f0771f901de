"""Latent relational metric learning."""

from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.nn.features import UserItemEmbeddings
from fmlab.nn.init import near_origin
from fmlab.nn.sizes import user_item_rows
from fmlab.plugin.option import Range, Renamed
from fmlab_models._options import Dim, PositiveInitStd
from fmlab_models.cml import clip


class LRML(nn.Module):
    """Minus the squared distance from the user, moved by a relation of the two, to the item; it reads ids only.

    `-|p + r - q|^2` with the relation `r = M^T softmax(K (p * q))` read from a memory M of `memory_slots` vectors by
    keys K.

    Paper: Tay, Tuan, Hui, Latent relational metric learning via memory-based attention for collaborative ranking,
      WWW 2018, equations 1 to 6.

    It is the model that HyperML is compared with (Vinh Tran et al., WSDM 2020). Vectors longer than 1 are clipped to
    length 1 where they are read. In the paper a negative item is measured with the relation of its positive one, in
    training; here, as in ranking, every pair has a relation of its own, since a score must not depend on others.

    Cost: O(memory_slots dim)
    Test: tests/models/test_lrml_hyperts.py::test_lrml_moves_the_user_by_what_it_reads_from_the_memory
    Family: metric and hyperbolic
    """

    defaults = {"loss": "hinge", "optimizer": "adagrad"}
    space = {"memory_slots": {"int": [5, 50], "log": True}}

    @staticmethod
    def n_parameters(schema: Schema, *, dim: int, memory_slots: int, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return (user_item_rows(schema) + 2 * memory_slots) * dim

    def __init__(
        self,
        schema: Schema,
        *,
        dim: Dim = 64,
        memory_slots: Annotated[int, Range(1, None), "vectors of the memory", Renamed("slots")] = 20,
        init_std: PositiveInitStd = 0.01,
    ) -> None:
        """Keys and memory start at N(0, init_std). Raises FmlabError on data without users and items."""
        super().__init__()
        self.tables = UserItemEmbeddings(schema, partial(near_origin, dim=dim), model="lrml")
        self.keys = nn.Parameter(init_std * torch.randn(memory_slots, dim))
        self.memory = nn.Parameter(init_std * torch.randn(memory_slots, dim))

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        user, item = self.tables(ids)
        return self.interact((clip(user),), (clip(item),))

    def query_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """The user's point."""
        return (clip(self.tables.of_user(ids)),)

    def item_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """The item's point."""
        return (clip(self.tables.of_item(ids)),)

    def interact(self, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
        """`-|p + r - q|^2`."""
        p, q = user[0], item[0]
        relation = torch.softmax((p * q) @ self.keys.T, -1) @ self.memory
        return -(p + relation - q).square().sum(-1)
