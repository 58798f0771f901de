"""Models whose methods have the names of the release before: they are scored as before, and it is said."""

import logging

import pytest
import torch
from torch import Tensor, nn

from fmlab.contracts import is_late_interaction, is_two_sided
from fmlab.errors import FmlabError
from fmlab.nn.scoring import score
from fmlab.testing import candidates, tiny

DATA = tiny("interactions")


class Sums(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(DATA.schema.n_features, 3)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        query, item = ids[..., : DATA.schema.item.start], ids[..., DATA.schema.item]
        return (self.table(query).sum(-2) * self.table(item).sum(-2)).sum(-1)


def two_sided() -> type[nn.Module]:
    class Old(Sums):
        def user(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
            vector = self.table(ids).sum(-2)
            return torch.zeros_like(vector[..., 0]), vector

        item = user

        def link(self, z: Tensor) -> Tensor:
            return z

    return Old


def late() -> type[nn.Module]:
    class Old(Sums):
        def encode_user(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
            return (self.table(ids).sum(-2),)

        encode_item = encode_user

        def combine(self, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
            return (user[0] * item[0]).sum(-1)

    return Old


@pytest.mark.parametrize("kind", [two_sided, late])
def test_old_names_are_found_once_with_a_warning(kind: object, caplog: pytest.LogCaptureFixture) -> None:
    model, batch = kind()(), candidates(DATA)
    with caplog.at_level(logging.WARNING, logger="fmlab"):
        assert (is_two_sided(model), is_late_interaction(model)) == (kind is two_sided, kind is late)
        torch.testing.assert_close(score(model, batch), model(*batch.rows()))
        assert (is_two_sided(model), is_late_interaction(model)) == (kind is two_sided, kind is late)
    (said,) = (r.message for r in caplog.records)
    wanted = "user -> encode_query, item -> encode_item" if kind is two_sided else "encode_user -> query_state"
    assert wanted in said


def test_both_ways_under_their_old_names_are_refused() -> None:
    class Both(two_sided(), late()):  # type: ignore[misc]
        pass

    with pytest.raises(FmlabError, match="encode_item would mean both: rename encode_user -> query_state"):
        is_two_sided(Both())
