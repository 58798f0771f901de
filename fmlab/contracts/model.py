"""Methods and attributes that a model may have besides `forward`.

All methods are optional; a model without one pays nothing:

| when                        | method                                                                      |
|-----------------------------|-----------------------------------------------------------------------------|
| before training             | `fit_interactions(user, item)`, `warm_start(*trained)`, `options_from(...)` |
| before every training step  | `begin_step(step)`                                                          |
| with every training loss    | `regularization()`, `batch_regularization(batch)`, added to it              |
| when the optimizer is built | `parameter_roles()`                                                         |
| when rows are scored        | `TwoSided`, `LateInteraction`; `scorers()` where options decide             |
| without a built model       | `n_parameters(schema, **options)` and `n_operations(...)` of its class      |
| in a search over models     | `suited_options(schema, rows, **options)` and `fit_operations(...)`         |
| for a user without training | `fold_in(item)`                                                             |
| in a search of pairs        | `gate_pairs(gates)`, `pair_parameters()`                                    |
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeGuard, runtime_checkable

from torch import Tensor

from fmlab.contracts.renamed_methods import take_new_names
from fmlab.data import Schema
from fmlab.data.batch import Batch, Features

Scorer = Literal["two-tower", "late-interaction"]


class Model(Protocol):
    """`forward(ids[*batch, columns], values or None) -> score[*batch]`, unbounded, for any leading shape."""

    def __call__(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Scores of whole rows."""
        ...


@runtime_checkable
class TwoSided(Protocol):
    """A two-tower score, which decomposes exactly: `forward = link(bias_q + bias_i + <vector_q, vector_i>)`.

    Training with sampled negatives, ranking of all items, and export use it. `link` is strictly increasing. A query is
    a user with a context.
    """

    def encode_query(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Query columns `[*batch, columns]` -> (bias `[*batch]`, vector `[*batch, d]`)."""
        ...

    def encode_item(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Item columns `[*batch, columns]` -> (bias `[*batch]`, vector `[*batch, d]`)."""
        ...

    def link(self, z: Tensor) -> Tensor:
        """Strictly increasing; the identity for most models."""
        ...


@runtime_checkable
class SharesWork(Protocol):
    """A two-sided model whose sides share work in training, such as one pass over a graph."""

    def encode_sides(self, query: Features, item: Features) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """What `encode_query(*query)` and `encode_item(*item)` give, with the shared work done once."""
        ...


@runtime_checkable
class ChoosesScorers(Protocol):
    """A model that has methods of `TwoSided` or `LateInteraction` which hold for some of its options only."""

    def scorers(self) -> Sequence[Scorer]:
        """The ways of scoring that hold besides `forward`, for the options that the model was built with."""
        ...


@runtime_checkable
class BeginsSteps(Protocol):
    """A model that changes with the steps of training: pruning, annealing."""

    def begin_step(self, step: int) -> None:
        """Called before training step `step` of the whole run, which counts from 0, also over a resume."""
        ...


@runtime_checkable
class Regularized(Protocol):
    """A model with a penalty of its own, besides the weight decay of the optimizer."""

    def regularization(self) -> Tensor:
        """A scalar with gradients, added to every training loss."""
        ...


@runtime_checkable
class RegularizesBatch(Protocol):
    """A model with a penalty on what a batch looks up, as BPR-MF and LightGCN have it."""

    def batch_regularization(self, batch: Batch) -> Tensor:
        """A scalar with gradients, added to the training loss of this batch."""
        ...


@runtime_checkable
class HasRoles(Protocol):
    """A model whose parameters have roles, to which an optimizer may give options of their own."""

    def parameter_roles(self) -> Mapping[str, Sequence[str]]:
        """Names of parameters by role. A parameter has one role at most; one without any gets the shared options."""
        ...


@runtime_checkable
class ScoresCatalog(Protocol):
    """A model that scores all items of a query at once, by less work than a product of vectors would take.

    It does so where `scores_catalog` is true, and by its other methods elsewhere.
    """

    scores_catalog: bool

    def catalog_scores(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Query columns `[q, columns]` -> scores of all items in their order, `[q, items]`."""
        ...


@runtime_checkable
class GatesPairs(Protocol):
    """A model whose score adds up products of pairs of fields, each of which a structure search may weigh or drop."""

    def gate_pairs(self, gates: Any) -> None:
        """Send the products `[*batch, pairs]` of all fields i < j through `gates`, a `PairGates`, from now on.

        The gates become a part of the model. Ways of scoring that do not see single pairs hold no more.
        """
        ...

    def pair_parameters(self) -> Tensor:
        """The number of parameters that each pair has for itself, int64 `[pairs]`."""
        ...


@runtime_checkable
class AddsScores(Protocol):
    """A model that ranks by a weighted sum of the scores of other models, without their links."""

    def summands(self) -> Sequence[tuple[float, Any]]:
        """Weights and models."""
        ...


@runtime_checkable
class Tempered(Protocol):
    """A model whose score of one candidate has a narrow range: losses over candidates read `score / temperature`.

    Temperature does not change the order of items; it changes how far the loss drives scores apart.
    """

    temperature: float


@runtime_checkable
class LateInteraction(Protocol):
    """A score whose work splits by side: `forward = interact(query_state(q), item_state(i))`.

    The query's part is done once however many items are scored. States are tuples of tensors with the leading
    shape of the ids; `interact` broadcasts them.
    """

    def query_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """State of query columns."""
        ...

    def item_state(self, ids: Tensor, values: Tensor | None = None) -> tuple[Tensor, ...]:
        """State of item columns."""
        ...

    def interact(self, query: tuple[Tensor, ...], item: tuple[Tensor, ...]) -> Tensor:
        """Scores of the broadcast leading shape."""
        ...


def is_two_sided(model: Any) -> TypeGuard[TwoSided]:
    """Whether the model is two-tower (`TwoSided`); methods under their old names are found too."""
    known = isinstance(model, TwoSided) or take_new_names(type(model), "two-tower")
    return known and _offers(model, "two-tower")


def is_late_interaction(model: Any) -> TypeGuard[LateInteraction]:
    """Whether the score is computed from a state of each side; methods under their old names are found too."""
    known = isinstance(model, LateInteraction) or take_new_names(type(model), "late-interaction")
    return known and _offers(model, "late-interaction")


def _offers(model: Any, scorer: Scorer) -> bool:
    return not hasattr(type(model), "scorers") or scorer in model.scorers()


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
    """The measure in words."""

    def compare_items(
        self, ids: Tensor, values: Tensor | None, others: Tensor, other_values: Tensor | None = None
    ) -> Tensor:
        """Item columns `ids[q, columns]` and `others[n, columns]` -> `[q, n]`, larger where items are more alike."""
        ...


@runtime_checkable
class NeedsInteractions(Protocol):
    """A model that reads the training positives once before training: popularity, neighbors, graphs.

    What it keeps must be in its `state_dict`, with shapes that follow from the schema.
    """

    def fit_interactions(self, user: Tensor, item: Tensor) -> None:
        """`user[n]`, `item[n]`: indices of the training positives, rows with a label above 0 if there are labels."""
        ...


@runtime_checkable
class FoldsIn(Protocol):
    """A model that scores all items for a user with a history but without training rows.

    Without it `LoadedRun.recommend(history=...)` solves for a query vector, if the model is `TwoSided`.
    """

    def fold_in(self, item: Tensor) -> Tensor:
        """`item[n]`: indices of distinct items of the user's history -> scores of all items in their order."""
        ...


@runtime_checkable
class CountsParameters(Protocol):
    """A model class that tells its number of parameters without being built."""

    @staticmethod
    def n_parameters(schema: Schema, **options: Any) -> int:
        """Parameters that gradients train, with these options: all that the model has, checked."""
        ...


@runtime_checkable
class CountsOperations(Protocol):
    """A model class that counts the operations of a row as its paper does."""

    @staticmethod
    def n_operations(schema: Schema, **options: Any) -> int:
        """Multiplications and additions of a row. An option `cached` asks for those with vectors looked up."""
        ...


@runtime_checkable
class WarmStarts(Protocol):
    """A model that can take its first parameters from trained models: `warm_start=[runs/.../best.ckpt, ...]`."""

    def warm_start(self, *trained: Any) -> None:
        """Copy parameters of the trained models; raises FmlabError if they do not fit."""
        ...


@runtime_checkable
class InfersOptions(Protocol):
    """A model class with options that may be read from trained models: sizes, for instance.

    Called before the model is built, with the models of `warm_start`, so that checkpoints hold the options found.
    """

    def options_from(self, options: Mapping[str, Any], *trained: Any) -> Mapping[str, Any]:
        """A class method: options to add to `options`; empty if the models serve `warm_start` only."""
        ...
