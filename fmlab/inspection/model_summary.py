"""What a model is on some data: its parameters, the work of a score, and how it is scored."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from fmlab.contracts import CountsOperations, NeedsInteractions, is_late_interaction, is_two_sided
from fmlab.data import Dataset, Field, Schema
from fmlab.data.batch import Features
from fmlab.data.model_inputs import inputs_of_model
from fmlab.errors import FmlabError
from fmlab.evaluation.flops import asked_of_first_rows, counting, first_rows, of_row, whole
from fmlab.plugin import registry
from fmlab.run.model_size import n_parameters

_BATCH = 256  # rows


@dataclass(frozen=True)
class ModelSummary:
    """Figures of one model on one schema.

    `embedding`: parameters whose number follows the vocabulary, None where that is not known. `fitted`: numbers
    that are kept but not trained by gradients. `products` and `others`: operations of a batch of one row. `in_batch`:
    operations a row in a batch of up to 256, which shares what rows have in common. `item_width`: numbers kept for each
    item, its bias left out. `per_item`: operations of one item more. `operations`, `looked_up`: those of a row by
    the model's own count, and with intermediate vectors looked up.
    """

    parameters: int
    embedding: int | None
    fitted: int
    products: int
    others: int
    in_batch: int
    unknown: tuple[str, ...]
    operations: int | None
    scoring: str
    observes: bool
    item_width: int | None
    per_item: int | None
    looked_up: int | None


def of_config(overrides: Sequence[str], environment: Mapping[str, str]) -> tuple[dict[str, Any], Dataset, ModelSummary]:
    """The card of what `fmlab <overrides>` would train: its config, its data set, its figures. Data are prepared."""
    from omegaconf import OmegaConf

    from fmlab.config.composition import compose
    from fmlab.run.loading import build_model
    from fmlab.run.task_opening import open_task

    config = compose(overrides, environment)
    options = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    dataset = open_task(options).dataset
    model = build_model(options["model"], dataset.schema, int(options["seed"]), options.get("table"))
    return options, dataset, card(options["model"], model, dataset, options.get("table"))


def card(
    options: Mapping[str, Any], model: nn.Module, dataset: Dataset, table: Mapping[str, Any] | None = None
) -> ModelSummary:
    """Figures of a built model. `options`, `table`: with `name`. The data's first row is scored, in evaluation mode."""
    schema, name = dataset.schema, str(options["name"])
    query, items = first_rows(dataset, 1)
    model.eval()
    one = of_row(model, dataset)
    count = min(_BATCH, dataset.rows)
    rows, more = whole(*first_rows(dataset, count)), asked_of_first_rows(model, dataset, count)
    with counting() as batch:
        model(*rows, **more)
    width, per_item = _ranking(model, query, items)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    total = sum(p.numel() for p in trained.values())
    said = n_parameters(options, schema, table)
    if said is not None and said != total:
        raise FmlabError(
            f"n_parameters of {name} must be those of the built model, {total:,}, got {said:,}; a class that adds "
            "parameters to those of another counts them itself"
        )
    return ModelSummary(
        parameters=total,
        embedding=_embedding(options, schema, trained),
        fitted=sum(t.numel() for t in model.state_dict().values()) - sum(p.numel() for p in model.parameters()),
        products=one.products,
        others=one.others,
        in_batch=round(batch.total / len(rows.ids)),
        unknown=tuple(sorted(one.unknown)),
        operations=_operations(options, schema),
        scoring=scoring(model),
        observes=isinstance(model, NeedsInteractions),
        item_width=width,
        per_item=per_item,
        looked_up=_operations(options, schema, cached=True),
    )


def scoring(model: nn.Module) -> str:
    """`two-sided`, `separable` or `rows`: the cheapest way in which the model offers its score."""
    if is_two_sided(model):
        return "two-sided"
    return "separable" if is_late_interaction(model) else "rows"


def _operations(options: Mapping[str, Any], schema: Schema, *, cached: bool = False) -> int | None:
    plugin = registry.load("model", str(options["name"]))
    if not isinstance(plugin, CountsOperations):
        return None
    given = registry.check("model", options)
    if not cached:
        return plugin.n_operations(schema, **given)
    asked = inspect.signature(plugin.n_operations).parameters
    return plugin.n_operations(schema, cached=True, **given) if "cached" in asked else None


def _ranking(model: Any, query: Features, items: Features | None) -> tuple[int | None, int | None]:
    """Numbers that an item keeps, and the operations of one item more when its and the user's part are there."""
    if items is None or inputs_of_model(model):  # what is asked for is of rows
        return None, None
    if is_two_sided(model):
        with torch.no_grad():
            (a, p), (b, q) = model.encode_query(*query), model.encode_item(*items)
        with counting() as one:
            model.link(a + b + (p * q).sum(-1))
        return q.shape[-1], one.total
    if is_late_interaction(model):
        with torch.no_grad():
            user, item = model.query_state(*query), model.item_state(*items)
        with counting() as one:
            model.interact(user, item)
        return sum(t.numel() for t in item), one.total
    return None, None


def _embedding(options: Mapping[str, Any], schema: Schema, trained: Mapping[str, Tensor]) -> int | None:
    """Parameters that a vocabulary of one feature a field does not have in that number; None if it is refused."""
    fields = tuple(_smallest(f, schema) for f in schema.fields)
    small = Schema(fields, min(schema.n_users, 1), min(schema.n_items, 1), schema.auxiliary)
    state = torch.get_rng_state()
    try:
        sizes = {n: p.shape for n, p in registry.build("model", options, small).named_parameters()}
    except FmlabError:
        return None
    finally:
        torch.set_rng_state(state)
    return sum(p.numel() for n, p in trained.items() if sizes.get(n) != p.shape)


def _smallest(field: Field, schema: Schema) -> Field:
    names = {"user": schema.n_users, "item": schema.n_items}.get(field.side, 0)
    size = 2 if names and field.size == names + 1 else 1
    return replace(field, size=size)


_SCORED = {
    "two-sided": "two-sided: a bias and a vector for each item, all items by one matrix product",
    "separable": "separable: the user's part and each item's part are computed once, then combined",
    "rows": "rows: every user and item as a whole row",
}


def lines(options: Mapping[str, Any], dataset: Dataset, found: ModelSummary) -> list[str]:
    """For the terminal."""
    schema = dataset.schema
    size = f"{schema.n_features:,} features in {len(schema.fields)} fields, {schema.n_columns} columns a row"
    if schema.has_items:
        size += f"; {schema.n_users:,} users, {schema.n_items:,} items"
    of = "" if found.embedding is None else f", of which {found.embedding:,} follow the vocabulary (embeddings)"
    rows = [("the data", size), ("parameters", f"{found.parameters:,}{of}")]
    if found.fitted and found.observes:
        rows.append(("", f"{found.fitted:,} numbers more are kept of the training interactions"))
    counted = f"{found.products + found.others:,} counted on one row: {found.products:,} in matrix products"
    rows.append(("FLOPs", f"{counted}, {found.others:,} in everything else"))
    rows.append(("", f"{found.in_batch:,} a row in a batch of {_BATCH}, which shares what its rows have in common"))
    if found.unknown:
        rows.append(("", f"not counted, since unknown: {', '.join(found.unknown)}"))
    if found.operations is not None:
        rows.append(("", f"{found.operations:,} by the count of its paper, of single-valued fields"))
    if found.looked_up is not None:
        rows.append(("", f"{found.looked_up:,} with intermediate vectors looked up, by the same count"))
    rows.append(("scored as", _SCORED[found.scoring] if schema.has_items else "rows: these data have no items to rank"))
    if found.item_width is not None:
        what = "vector" if found.scoring == "two-sided" else "part"
        rows.append(
            ("", f"an item's {what} has {found.item_width:,} numbers; one item more takes {found.per_item:,} FLOPs")
        )
    if found.observes:
        rows.append(("", "reads the training interactions once before training"))
    title = f"on data={options['data']['name']} protocol={options['protocol']['name']}"
    return [title, *(f"  {name:<10}  {text}" for name, text in rows)]


def as_json(options: Mapping[str, Any], dataset: Dataset, found: ModelSummary) -> dict[str, Any]:
    """The same as built-in containers."""
    options = {kind: options[kind] for kind in ("data", "protocol", "model")}
    return {**options, "features": dataset.schema.n_features, **asdict(found)}
