"""EASE solved for among users: the same scores from a matrix of every two users in place of every two items."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fmlab.errors import FmlabError
from fmlab_models._histories import Entities, cooccurrences, unpack
from fmlab_models._inverse import invert_in_place

_PAIRS = 1 << 22  # numbers of the kernel that are added up at once
_USERS = 512  # histories that are unpacked at once


class DualEASE(nn.Module):
    """`kernel[users + 1, users]` is `K = (X X^T + l2 I)^-1`, row 0 of it the unknown user's; `pivot[items]` diag P.

    With `P = (X^T X + l2 I)^-1 = (I - X^T K X) / l2` it is `X P = K X`, so that the scores `X B`, with
    `B = I - P diag(1 / diag P)`, of user u are `X_u - K_u X / diag P`.
    """

    kernel: Tensor
    pivot: Tensor

    def __init__(self, entities: Entities, l2: float) -> None:
        """All scores are 0 until `fit`."""
        super().__init__()
        self.entities, self.l2 = entities, l2
        self.register_buffer("kernel", torch.zeros(entities.users + 1, entities.users))
        self.register_buffer("pivot", torch.full((entities.items,), 1 / l2))
        self._met: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def fit(self, user: Tensor, item: Tensor, history: Tensor) -> None:
        """Solve for the kernel. `history`: X, packed. Raises FmlabError where float32 does not suffice."""
        e, kernel = self.entities, self.kernel[1:]
        cooccurrences(item, user, e.items, e.users, out=kernel)
        invert_in_place(kernel, self.l2, "ease")
        self._met = None
        users, starts, _, _ = self._pairs(history)
        sums = torch.zeros(e.items, dtype=torch.float64)
        for j, met in enumerate(torch.tensor_split(users, starts[1:])):
            for rows in torch.split(met, max(1, _PAIRS // max(1, len(met)))):
                sums[j] += kernel[rows.unsqueeze(1), met].sum(dtype=torch.float64)
        pivot = (1 - sums) / self.l2
        if not bool((pivot > 0).all()):
            raise FmlabError("ease: the inverse of the matrix of co-occurrences is lost in float32; raise model.l2")
        self.pivot.copy_(pivot)

    def catalog_scores(self, user: Tensor, history: Tensor) -> Tensor:
        """Numbers of users `[q]` -> scores of all items `[q, items]`."""
        own = unpack(history[user], self.entities.items, self.kernel.dtype)
        return own - self._times_x(self.kernel[user], history) / self.pivot

    def pair_scores(self, user: Tensor, item: Tensor, history: Tensor) -> Tensor:
        """Numbers of users and of items, of the same shape -> scores."""
        (own, kernel), (met, weighed) = self.query_parts(user), self.item_parts(item, history)
        return (own * met).sum(-1) + (kernel * weighed).sum(-1)

    def query_parts(self, user: Tensor) -> tuple[Tensor, Tensor]:
        """Which user it is, and its row of the kernel: `[*batch, users]` each."""
        own = torch.zeros(*user.shape, self.entities.users + 1, dtype=self.kernel.dtype, device=user.device)
        return own.scatter_(-1, user.unsqueeze(-1), 1.0)[..., 1:], self.kernel[user]

    def item_parts(self, item: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        """Who met the item, and minus that by the item's pivot: `[*batch, users]` each; 0 for the unknown item."""
        at = (item - 1).clamp_min(0)
        bits = torch.bitwise_right_shift(history[1:, at // 8], (at % 8).to(torch.uint8)) & 1
        met = bits.movedim(0, -1).to(self.kernel.dtype) * (item > 0).unsqueeze(-1)
        return met, -met / self.pivot[at].unsqueeze(-1)

    def of_histories(self, own: Tensor, history: Tensor) -> Tensor:
        """Scores of all items for the histories `own[q, items]` of anybody, `[q, items]`."""
        _, _, items, starts = self._pairs(history)
        shared = functional.embedding_bag(items, own.T.contiguous(), starts, mode="sum").T
        through = self._times_x(shared @ self.kernel[1:], history)
        return own - (own - through) / (self.l2 * self.pivot)

    def _times_x(self, weight: Tensor, history: Tensor) -> Tensor:
        """`weight[q, users]` times X, `[q, items]`."""
        users, starts, _, _ = self._pairs(history)
        return functional.embedding_bag(users, weight.T.contiguous(), starts, mode="sum").T

    def _pairs(self, history: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The users of each item and where each item's begin; the items of each user and where each user's begin."""
        if self._met is None or self._met[0].device != history.device:
            found = [
                unpack(history[low : low + _USERS], self.entities.items, torch.uint8).nonzero() + torch.tensor([low, 0])
                for low in range(1, len(history), _USERS)
            ]
            user, item = (torch.cat(found) - torch.tensor([1, 0])).T
            self._met = *_grouped(user, item, self.entities.items), *_grouped(item, user, self.entities.users)
        return self._met


def _grouped(member: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """The members, by group, and where each of the groups begins."""
    count = torch.bincount(group, minlength=groups)
    return member[torch.argsort(group, stable=True)].contiguous(), count.cumsum(0) - count
