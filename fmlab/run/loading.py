"""Models from checkpoints: what somebody else wrote is checked before anything is built of it."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fmlab.contracts import GatesPairs
from fmlab.data import Schema
from fmlab.errors import DataError, FmlabError, StorageError
from fmlab.evaluation.output_transform import OutputTransform, set_output_transform
from fmlab.nn.compressed import compress
from fmlab.nn.masked import MaskedTable, n_pairs, replace_tables, searched_tables
from fmlab.nn.pair_gates import MaskedPairs
from fmlab.nn.quantized import INT8, quantize
from fmlab.plugin.registry import build
from fmlab.run.serving_file import read_schema
from fmlab.training.checkpoint_entries import IDENTITY, MODEL_PREFIX, PARAMETERS
from fmlab.training.checkpoint_format import read_checkpoint
from fmlab.untrusted.dataclasses import checked

FULL, NONE = "full", "none"  # the table and the search of which nothing is said
SEARCHED_PAIRS = "searched_pairs"  # of the identity of a checkpoint: whether a search looked at pairs of fields
QUANTIZED = "quantized"  # of the identity of a checkpoint: how the numbers of its tables are stored
EXTRA = "_extra_state"  # torch's name for what `get_extra_state` of a module gives


def build_model(
    options: Mapping[str, Any],
    schema: Schema,
    seed: int,
    table: Mapping[str, Any] | None = None,
    search: Mapping[str, Any] | None = None,
    pairs: bool = False,
) -> nn.Module:
    """A model as its plugin makes it, initialized by `seed`, with the embedding tables that `table` says.

    Where `search` names a search, tables have masks, and pairs of fields one with `pairs`; they keep everything so far.
    """
    torch.manual_seed(seed)
    return _with_tables(build("model", options, schema, gives=nn.Module), options, schema, table, search, pairs)


def _with_tables(
    model: nn.Module,
    options: Mapping[str, Any],
    schema: Schema,
    table: Mapping[str, Any] | None,
    search: Mapping[str, Any] | None,
    pairs: bool,
) -> nn.Module:
    if search is not None and search["name"] != NONE:
        searched_tables(model, str(search["name"]), str(options["name"]))
        replace_tables(model, lambda _, table: MaskedTable(table))
        if pairs and isinstance(model, GatesPairs):
            model.gate_pairs(MaskedPairs(n_pairs(model, len(schema.fields))))
    if table is not None and table["name"] != FULL:
        compress(model, schema, partial(build, "table", table), str(table["name"]), str(options["name"]))
    return model


def load_model(path: Path) -> nn.Module:
    """Rebuild a trained model from its checkpoint alone; raises StorageError or FmlabError."""
    return model_of(read_checkpoint(path), path)


def identity_of(saved: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], Schema]:
    """What a checkpoint says of itself, and its schema; raises StorageError where that cannot be."""
    identity = saved.get(IDENTITY)
    try:
        if not isinstance(identity, dict) or not isinstance(identity["model"], dict):
            raise TypeError("it does not name its model")
        parts = [identity.get(kind) or {"name": ""} for kind in ("table", "search")]
        if not all(isinstance(key, str) for part in (identity["model"], *parts) for key in part):
            raise TypeError("options are named by text")
        if not all(isinstance(part["name"], str) for part in parts):
            raise TypeError("its table and its search have names")
        if identity.get(QUANTIZED) not in (None, INT8):
            raise ValueError(f"tables are stored in {INT8} or as they were trained")
        return identity, read_schema(identity["schema"])
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise StorageError(f"{path} is malformed: {type(error).__name__}: {error}") from error


def model_of(saved: Mapping[str, Any], path: Path) -> nn.Module:
    """The trained model in the containers that `read_checkpoint(path)` gave; raises StorageError or FmlabError."""
    identity, schema = identity_of(saved, path)
    state = _state(saved, path)
    name = identity["model"].get("name")
    if differ := _other_shapes(identity, schema, state):
        raise FmlabError(f"{path} holds another version of {name}: {differ}")
    scale = _scale_of(identity, path)
    pairs = bool(identity.get(SEARCHED_PAIRS))
    model = build_model(identity["model"], schema, 0, identity.get("table"), identity.get("search"), pairs)
    model = _stored_as(model, identity)
    for part in (*model.named_parameters(), *model.named_buffers()):
        if part[0] in state:  # as precise as it was trained
            kinds = part[1].is_floating_point(), state[part[0]].is_floating_point()
            if kinds[0] != kinds[1] or (not kinds[0] and part[1].dtype != state[part[0]].dtype):
                wanted, got = str(part[1].dtype), str(state[part[0]].dtype)
                raise FmlabError(f"{path} holds another version of {name}: {part[0]} must be {wanted}, got {got}")
            part[1].data = part[1].data.to(state[part[0]].dtype)
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise FmlabError(f"{path} holds another version of {name}: {error}") from error
    set_output_transform(model, scale)
    return model.eval()


def _scale_of(identity: Mapping[str, Any], path: Path) -> OutputTransform:
    """The scale of the labels; checkpoints of ranking have none."""
    given = identity.get("label_scale")
    try:
        return OutputTransform() if given is None else checked(OutputTransform, given)
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{path} is malformed: its label_scale: {error}") from error


def _state(saved: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The tensors of the model. Together they are no larger than the file: none repeats one number a billion times."""
    whole = saved.get(PARAMETERS)
    if not isinstance(whole, Mapping):
        raise StorageError(f"{path} is malformed: it has no state_dict")
    state = {
        k.removeprefix(MODEL_PREFIX): v for k, v in whole.items() if isinstance(k, str) and k.startswith(MODEL_PREFIX)
    }
    if any(not isinstance(t, Tensor) or t.layout != torch.strided or t.is_meta for t in state.values()):
        raise StorageError(f"{path} is malformed: its state_dict holds more than dense tensors")
    if sum(t.numel() * t.element_size() for t in state.values()) > path.stat().st_size:
        raise StorageError(f"{path} is malformed: its tensors are larger than the file")
    return state


def _stored_as(model: nn.Module, identity: Mapping[str, Any]) -> nn.Module:
    """The model with its tables in 8 bits, if the checkpoint has them so."""
    if identity.get(QUANTIZED) is not None:
        quantize(model, str(identity["model"]["name"]))
    return model


def _other_shapes(identity: Mapping[str, Any], schema: Schema, state: Mapping[str, Tensor]) -> str:
    """Where the tensors that a model of these options has differ from the given ones; found without memory for them.

    Empty if they do not, or if the model cannot be built without memory.
    """
    options, table, search = identity["model"], identity.get("table"), identity.get("search")
    try:
        with torch.device("meta"):
            shell = build("model", options, schema, gives=nn.Module)
            shell = _with_tables(shell, options, schema, table, search, bool(identity.get(SEARCHED_PAIRS)))
            shell = _stored_as(shell, identity)
    except FmlabError:
        return ""  # building it says why
    wanted = {k: tuple(v.shape) for k, v in shell.state_dict().items()}
    got = {k: tuple(v.shape) for k, v in state.items()}
    for name in (*wanted, *got):
        if name.endswith(EXTRA):  # of a size that no option says; the model itself reads it
            continue
        if wanted.get(name) != got.get(name):
            return (
                f"{name!r} has the shape {got.get(name, 'none')}, its options and data make {wanted.get(name, 'none')}"
            )
    return ""
