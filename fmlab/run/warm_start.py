"""Warm start: training that starts from the parameters of a trained model, also where the data have new features.

The vocabularies of both are compared field by field: a feature whose raw value is known keeps its parameter rows, even
if its id changed; a new feature is initialized by the model. Modules tell which rows belong to which features by
`feature_rows` (see `fmlab.nn.features.EmbeddingTable`); embeddings of torch, and a model's own parameters, are
recognized by their number of rows, one for each feature. All other parameters of equal shape are copied.
"""

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.contracts import InfersOptions, WarmStarts
from fmlab.data import Array, Dataset, Schema
from fmlab.errors import FmlabError
from fmlab.nn.compressed import CompressedTable
from fmlab.nn.masked import MaskedTable
from fmlab.plugin.registry import load
from fmlab.records.folder import SERVING
from fmlab.run.loading import QUANTIZED, build_model, identity_of, model_of
from fmlab.run.locate import locate
from fmlab.run.published import read_trained
from fmlab.run.serving_data import ServingData
from fmlab.run.serving_file import read_serving_data

log = logging.getLogger("fmlab")


@dataclass
class Trained:
    """A trained model: first as in its checkpoint, later with the vocabularies of the data of the run.

    `counts`: the number of known, new and gone features of each field. `reinitialized`: parameters that are initialized
    again, because they depend on the data in another way than by rows of features. `moved`: of a parameter with rows of
    features the new rows, the old rows that they come from, and the number of old rows. `optimizer`: its state, empty
    without one.
    """

    path: Path
    options: Mapping[str, Any]
    model: nn.Module
    known: ServingData | None
    schema: Schema
    fingerprint: str
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    reinitialized: list[str] = field(default_factory=list)
    moved: dict[str, tuple[Tensor, Tensor, int]] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    optimizer_name: str = ""

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.options["name"])


def open_trained(path: str) -> Trained:
    """The trained model of an entry of `warm_start`; raises StorageError or FmlabError."""
    place = locate(Path(path))
    saved = read_trained(place.checkpoint)
    identity, schema = identity_of(saved, place.checkpoint)
    if identity.get(QUANTIZED) is not None:
        raise FmlabError(f"a model in 8 bits is not trained any more, {path} is; give the run that it was made of")
    known = read_serving_data(place.folder / SERVING) if (place.folder / SERVING).is_file() else None
    if known is not None and known.schema != schema:
        raise FmlabError(f"{place.folder / SERVING} must belong to {place.checkpoint}, it has another schema")
    model = model_of(saved, place.checkpoint)
    states = saved.get("optimizer_states") or [{}]
    return Trained(
        place.checkpoint,
        identity["model"],
        model,
        known,
        schema,
        str(identity.get("data")),
        optimizer=states[0] if isinstance(states[0], dict) else {},
        optimizer_name=str((identity.get("optimizer") or {}).get("name", "")),
    )


def match_vocabularies(trained: Trained, data: Dataset, seed: int) -> None:
    """Give the model the vocabularies of the data; raises FmlabError where those of the trained model are not known."""
    if trained.known is None:
        if trained.schema != data.schema:
            raise FmlabError(
                f"{trained.path} was trained on other vocabularies, which its run folder would hold in {SERVING}, and "
                "has no such file"
            )
        return
    rows = _same_features(trained.known, data, trained.counts)
    if trained.schema == data.schema and np.array_equal(rows, np.arange(len(rows))):
        trained.counts.clear()
        return
    for kind, what, other in (
        (CompressedTable, "tables whose rows features share", "table=full"),
        (MaskedTable, "tables of which a search dropped numbers", "search=none"),
    ):
        if any(isinstance(module, kind) for module in trained.model.modules()):
            raise FmlabError(
                f"{trained.path} has {what}: it goes on with its own vocabularies only, and these data have others; "
                f"train the model anew, or with {other}"
            )
    _log_counts(trained, data)
    matched = build_model(trained.options, data.schema, seed)
    trained.reinitialized, trained.moved = _copy_parameters(matched, data.schema, trained.model, trained.schema, rows)
    if trained.reinitialized:
        log.warning(
            "warm_start: these depend on columns that changed and are initialized again: %s",
            ", ".join(trained.reinitialized),
        )
    trained.model = matched.eval()


def options_from(options: Mapping[str, Any], trained: Sequence[Trained]) -> dict[str, Any]:
    """Options of a model that its class reads from trained models."""
    plugin = load("model", options["name"])
    if not trained or not isinstance(plugin, InfersOptions):
        return {}
    return dict(plugin.options_from(options, *(t.model for t in trained)))


def start_from(model: nn.Module, options: Mapping[str, Any], trained: Sequence[Trained]) -> None:
    """Copy all parameters from a model of the same name, or those that the model's `warm_start` takes from others.

    Raises FmlabError.
    """
    name = options["name"]
    if len(trained) == 1 and trained[0].name == name:
        _load_same_model(model, options, trained[0])
        return
    if not isinstance(model, WarmStarts):
        raise FmlabError(f"warm_start needs a model that can start from trained ones, {name} cannot")
    try:
        model.warm_start(*(t.model for t in trained))
    except (TypeError, AttributeError) as error:
        got = ", ".join(type(t.model).__name__ for t in trained)
        wanted = inspect.signature(model.warm_start)
        raise FmlabError(f"{name} starts from trained models {wanted}, got {got}: {error}") from error


def _load_same_model(model: nn.Module, options: Mapping[str, Any], trained: Trained) -> None:
    """Start a model from a trained one of its own name; raises FmlabError if their options make other parameters."""
    try:
        state = trained.model.state_dict()
        own = model.state_dict()
        model.load_state_dict({k: own.get(k, v) if k in trained.reinitialized else v for k, v in state.items()})
    except RuntimeError as error:
        differ = {k: (trained.options.get(k), v) for k, v in options.items() if trained.options.get(k) != v}
        listed = ", ".join(f"{k}: {a!r} there, {b!r} here" for k, (a, b) in differ.items())
        raise FmlabError(
            f"{trained.name} goes on with the sizes that it was trained with; {trained.path} differs in "
            f"{listed or str(error)}"
        ) from error


def _same_features(known: ServingData, data: Dataset, counts: dict[str, dict[str, int]]) -> Array:
    """The old id of each feature of the data, -1 if it is new; int64[n_features]."""
    rows = np.full(data.schema.n_features, -1, np.int64)
    before = {f.name: (f, offset) for f, offset in zip(known.schema.fields, known.schema.offsets, strict=True)}
    for now, offset in zip(data.schema.fields, data.schema.offsets, strict=True):
        old, start = before.get(now.name, (None, 0))
        if old is None or old.numeric != now.numeric:
            counts[now.name] = {"known": 0, "new": now.size - 1, "gone": 0 if old is None else old.size - 1}
            continue
        rows[offset] = start  # the unknown feature
        if now.numeric:
            rows[offset + 1] = start + 1
            found = np.zeros(1, np.int64)
        else:
            place = {key: n for n, key in enumerate(known.keys[now.name].tolist(), 1)}
            found = np.array([place.get(key, 0) for key in data.keys[now.name].tolist()], np.int64)
            rows[offset + 1 : offset + now.size] = np.where(found > 0, start + found, -1)
        there = now.size - 1 if now.numeric else int((found > 0).sum())
        counts[now.name] = {"known": there, "new": now.size - 1 - there, "gone": old.size - 1 - there}
    return rows


def _log_counts(trained: Trained, data: Dataset) -> None:
    assert trained.known is not None
    each = [f"{n} {c['known']:,} known, {c['new']:,} new, {c['gone']:,} gone" for n, c in trained.counts.items()]
    log.info("warm_start from %s: %s", trained.path, "; ".join(each))
    if lost := [f.name for f in trained.schema.fields if f.name not in trained.counts]:
        log.warning("warm_start: the data have no %s any more", ", ".join(lost))
    for now in data.schema.fields:
        given, before = data.input(now.name), trained.known.inputs.get(now.name)
        if now.numeric and before is not None and (given.center, given.scale) != (before.center, before.scale):
            log.info(
                f"warm_start: {now.name} is scaled by mean {given.center:.6g} and deviation {given.scale:.6g}, "
                f"it was by {before.center:.6g} and {before.scale:.6g}"
            )


def _copy_parameters(
    new: nn.Module, now: Schema, old: nn.Module, before: Schema, rows: Array
) -> tuple[list[str], dict[str, tuple[Tensor, Tensor, int]]]:
    """Copy rows of known features, and tensors of equal shape.

    Returns the names of parameters left as initialized, and `Trained.moved`.
    """
    source, target = old.state_dict(), new.state_dict()
    of_old, of_new = dict(_feature_rows(old, before)), dict(_feature_rows(new, now))
    reinitialized, moved = [], {}
    for name, tensor in target.items():
        given = source.get(name)
        if name in of_new and name in of_old and given is not None and given.shape[1:] == tensor.shape[1:]:
            place = np.full(before.n_features + 1, -1, np.int64)  # the last entry is for new features
            place[of_old[name]] = np.arange(len(of_old[name]))
            at = place[rows[of_new[name]]]
            fresh = torch.from_numpy(np.flatnonzero(at >= 0))
            source_rows = torch.from_numpy(at[at >= 0])
            tensor[fresh] = given[source_rows].to(tensor.dtype)
            moved[name] = (fresh, source_rows, len(given))
        elif given is not None and given.shape == tensor.shape:
            tensor.copy_(given)
        elif name in dict(new.named_parameters()):
            reinitialized.append(name)
    return reinitialized, moved


def _feature_rows(model: nn.Module, schema: Schema) -> Iterator[tuple[str, Array]]:
    """Names in the state_dict of tensors whose rows belong to features, and the feature of each row."""
    every = np.arange(schema.n_features)
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        if callable(said := getattr(module, "feature_rows", None)):
            yield from ((f"{prefix}{name}", np.asarray(ids)) for name, ids in said().items())
        elif isinstance(module, nn.Embedding | nn.EmbeddingBag) or not type(module).__module__.startswith("torch."):
            own: dict[str, Tensor] = dict(module.named_parameters(recurse=False))
            yield from ((f"{prefix}{name}", every) for name, p in own.items() if p.dim() and len(p) == len(every))
