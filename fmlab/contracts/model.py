"""What a model may offer beside `forward`."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


class Model(Protocol):
    """`forward(ids[*batch, columns], values or None) -> score[*batch]`, unbounded, for any leading shape."""

    def __call__(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Scores of whole rows."""
        ...


@runtime_checkable
class TwoSided(Protocol):
    """A score that decomposes exactly: `forward = link(bias_q + bias_i + <vector_q, vector_i>)`.

    Training with sampled negatives, ranking of all items, and export use it. `link` is strictly increasing.
    """

    def user(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Query columns `[*batch, columns]` -> (bias `[*batch]`, vector `[*batch, d]`)."""
        ...

    def item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Item columns `[*batch, columns]` -> (bias `[*batch]`, vector `[*batch, d]`)."""
        ...

    def link(self, z: Tensor) -> Tensor:
        """Strictly increasing; the identity for most models."""
        ...


@runtime_checkable
class Tempered(Protocol):
    """A model whose score of one candidate has a narrow range: losses over candidates read `score / temperature`.

    The order of items is the same at any temperature; how far a loss drives the scores apart is not.
    """

    temperature: float


@runtime_checkable
class LateInteraction(Protocol):
    """A score whose work splits by side: `forward = combine(encode_user(q), encode_item(i))`.

    The user's part is done once however many items are scored. States are tuples of tensors with the leading
    shape of the ids; `combine` broadcasts them.
    """

    def encode_user(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """State of query columns."""
        ...

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """State of item columns."""
        ...

    def combine(self, user: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
        """Scores of the broadcast leading shape."""
        ...


@runtime_checkable
class ManifoldEmbeddings(Protocol):
    """A model whose users and items are points of a manifold; `score` decreases with their distance."""

    manifold: Any

    def user_points(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Query columns -> points `[*batch, d]`."""
        ...

    def item_points(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Item columns -> points `[*batch, d]`."""
        ...


@runtime_checkable
class ComparesItems(Protocol):
    """A model with a measure of its own of how alike two items are; `LoadedRun.similar` uses it.

    Without it that is minus the distance of the items' points (`ManifoldEmbeddings`), or the cosine of their vectors
    (`TwoSided`) or states (`LateInteraction`).
    """

    item_measure: str
    """What the numbers are, in words."""

    def compare_items(
        self, ids: Tensor, values: Tensor | None, others: Tensor, other_values: Tensor | None = None
    ) -> Tensor:
        """Item columns `ids[q, columns]` and `others[n, columns]` -> `[q, n]`, larger where items are more alike."""
        ...


@runtime_checkable
class NeedsInteractions(Protocol):
    """A model that reads the training positives once before training: popularity, neighbours, graphs.

    What it keeps must be in its `state_dict`, with shapes that follow from the schema.
    """

    def fit_interactions(self, user: Tensor, item: Tensor) -> None:
        """`user[n]`, `item[n]`: indices of the training positives, rows with a label above 0 if there are labels."""
        ...


@runtime_checkable
class WarmStarts(Protocol):
    """A model that can take its first parameters from trained models: `warm_start=[runs/.../best.ckpt, ...]`."""

    def warm_start(self, *trained: Any) -> None:
        """Copy what is used of the trained models; raises FmlabError if they do not fit."""
        ...


@runtime_checkable
class InfersOptions(Protocol):
    """A model class with options that may be read from trained models: sizes, for instance.

    Asked before the model is built, with what `warm_start` names, so that the options found stand in checkpoints.
    """

    def options_from(self, options: Mapping[str, Any], *trained: Any) -> Mapping[str, Any]:
        """A class method: options to set beside `options`, none if the trained models are there for `warm_start`."""
        ...
