"""How a batch is scored: by the cheapest exact path that the model offers.

Scores go through `score` everywhere, in training and in evaluation; the contract tests assert that the three
paths agree for every model that offers more than one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fmlab.contracts import Tempered, is_late_interaction, is_two_sided
from fmlab.data.batch import Batch, Features
from fmlab.errors import FmlabError
from fmlab.nn.sparse_lookup import dot

_ADDING = "_fmlab_adding"  # where a model keeps what `_adding` found
_CLOSE = 1e-3
_REPEATS = 4  # so often every item stands in a batch of labeled rows before its sides are computed apart


class GivenScores:
    """Scores that are there already, `[B]`, in place of a model: a loss that calls `score` gets them."""

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores

    def __call__(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """The scores, whatever the rows."""
        return self.scores


def target_scores(model: Any, batch: Batch, names: Sequence[str]) -> Mapping[str, Tensor]:
    """Scores `[B]` of each target by one call of `forward`; raises FmlabError where the model gives others."""
    given = model(*batch.rows(), **batch.whole(model))
    if not isinstance(given, Mapping) or set(given) != set(names):
        got = f"scores of {', '.join(map(str, given))}" if isinstance(given, Mapping) else "one score"
        raise FmlabError(
            f"the data have the targets {', '.join(names)}: forward of a model must give a score of each by name, "
            f"{type(model).__name__} gives {got}; choose a model of several targets, or one target"
        )
    return given


def score(model: Any, batch: Batch, *, differences: bool = False) -> Tensor:
    """Scores of the shape of `batch.label`.

    With `differences` the loss compares the candidates of a query with each other: what adds the same to all of them,
    a global or a user's bias, is left out where the model's sides show it. Its gradient is 0, and would be the noise of
    rounding otherwise, which Adam scales up to whole steps.

    A side's work is done once for each distinct item of the batch, however often it was sampled; gradients add
    up to the same sums. Labeled rows with nearly as many items as rows share nothing that would pay for the two sides.
    """
    if type(model) is GivenScores:
        return model.scores
    if batch.item is None or batch.tables.items is None:
        return model(*batch.query(), **batch.whole(model))
    if not batch.has_candidates and len(batch.tables.items.ids) * _REPEATS > batch.size:
        return model(*batch.rows(), **batch.whole(model))
    if is_late_interaction(model):
        user, item = batch.of_query(model, model.query_state), item_states(model.item_state, batch)
        if batch.has_candidates and differences:
            adds = _adding(model, user, item)
            user = tuple(torch.zeros_like(u) if a else u for u, a in zip(user, adds, strict=True))
        if batch.has_candidates:
            user = tuple(u.unsqueeze(1) for u in user)
        return model.interact(user, item)
    if is_two_sided(model):
        at, place = _distinct(batch)
        if together := getattr(type(model), "encode_sides", None):  # of `SharesWork`
            (user_bias, p), (item_bias, q) = together(model, batch.query(), batch.tables.items.take(at))
        else:
            (user_bias, p) = batch.of_query(model, model.encode_query)
            (item_bias, q) = _of_items(model.encode_item, batch, at)
        item_bias = _spread(item_bias, place)
        if not batch.has_candidates:
            return model.link(user_bias + item_bias + (p * _spread(q, place)).sum(-1))
        if differences:
            scores = item_bias + dot(p, q, place)
            if model.link(scores) is scores:  # the identity, as it must be for a bias to cancel
                return scores
        return model.link(user_bias.unsqueeze(1) + item_bias + dot(p, q, place))
    return model(*batch.rows(), **batch.whole(model))


def _adding(model: Any, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> tuple[bool, ...]:
    """Which states of the query are one number that is added to the score, as one query and its items show.

    Found once for a model: it is in the model's equation, not in its parameters.
    """
    found: tuple[bool, ...] | None = model.__dict__.get(_ADDING)
    if found is None:
        modes = [(m, m.training) for m in model.modules()]
        model.eval()  # dropout would make the two scores differ
        with torch.no_grad():
            one, items = [u[:1].unsqueeze(1) for u in user], tuple(i[:1] for i in item)
            plain, adds = model.interact(tuple(one), items), []
            for n, state in enumerate(user):
                more = tuple(u + 1 if k == n else u for k, u in enumerate(one)) if state.dim() == 1 else None
                moved = None if more is None else model.interact(more, items) - plain
                adds.append(moved is not None and bool(((moved - 1).abs() < _CLOSE).all()))
        for module, training in modes:
            module.training = training
        found = model.__dict__[_ADDING] = tuple(adds)
    return found


def tempered_score(model: Any, batch: Batch, *, differences: bool = False, temperature: float = 1.0) -> Tensor:
    """`score` as losses read it: that of sampled candidates is divided by the temperature of the model, if it has one,
    and by `temperature`.

    Then the logarithms of the candidates' chances to be drawn are subtracted, if the sampler gives them. Labeled rows
    keep the score as it is, for metrics and predictions read it so. `differences` as in `score`.
    """
    scores = score(model, batch, differences=differences)
    if batch.has_candidates and isinstance(model, Tempered):
        temperature = temperature * model.temperature
    if temperature != 1:
        scores = scores / temperature
    return less_log_q(scores, batch)


def less_log_q(scores: Tensor, batch: Batch) -> Tensor:
    """Scores `[B, 1 + n]` less the logarithms of the candidates' chances to be drawn; the same where there are none."""
    return scores if batch.log_q is None else scores - batch.log_q.to(scores.dtype)


def item_states(side: Any, batch: Batch) -> tuple[Tensor, ...]:
    """What `side` gives for the items of a batch: a tuple of tensors whose leading shape is that of `batch.item`.

    `side(ids, values, and what it asks for)` gives a tensor or a tuple of them.
    """
    at, place = _distinct(batch)
    made = _of_items(side, batch, at)
    return tuple(_spread(t, place) for t in ((made,) if isinstance(made, Tensor) else made))


def _distinct(batch: Batch) -> tuple[Tensor, Tensor]:
    """The distinct items of a batch, and where each item of the batch stands among these."""
    assert batch.item is not None
    assert batch.tables.items is not None
    n = len(batch.tables.items.ids)
    drawn = batch.item.reshape(-1)
    if len(drawn) * 2 < n:  # too few repeat for it to pay
        place = torch.arange(len(drawn), device=drawn.device)
        return drawn, place.view(batch.item.shape)
    # Marking is several times faster than sorting, and here the marks are no longer than twice the batch.
    marks = torch.zeros(n, dtype=torch.bool, device=drawn.device).index_fill_(0, drawn.long(), True)
    distinct = marks.nonzero().squeeze(1)
    place = torch.empty(n, dtype=torch.int64, device=drawn.device)
    place[distinct] = torch.arange(len(distinct), device=drawn.device)
    return distinct, place.index_select(0, drawn).view(batch.item.shape)


def _of_items(side: Any, batch: Batch, at: Tensor) -> Any:
    assert batch.tables.items is not None
    return side(*batch.tables.items.take(at), **batch.tables.item(side, at).named(side))


def _spread(state: Tensor, place: Tensor) -> Tensor:
    return state.index_select(0, place.reshape(-1)).view(*place.shape, *state.shape[1:])


def rows_of(query: Features, item: Features) -> Features:
    """Whole rows of every query with every item: `[B, n, columns]` from `[B, q]` and `[B, n, i]` or `[n, i]`."""
    wide = Features(query.ids.unsqueeze(-2), None if query.values is None else query.values.unsqueeze(-2))
    return wide.join(item)
