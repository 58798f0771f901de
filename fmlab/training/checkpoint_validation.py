"""What a checkpoint may hold: built-in containers and tensors of bounded size, and the entries that fmlab writes.

The checksum of a checkpoint says that its bytes are those that were written, not who wrote them. So everything that is
read from one is checked here, once, before any part of it is used.
"""

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fmlab.training.checkpoint_entries import IDENTITY, MODEL_PREFIX, PARAMETERS

_DEEPEST = 50
_VALUES = 5_000_000  # containers, numbers and texts
_SHARED = 4  # bytes of all tensors, by bytes of the file: tensors may share their memory, but not without end
_MOST_FEATURES = 1 << 40
_MOST_COLUMNS = 1 << 20
_MOST_OPTIONS = 10_000  # values: each may be a layer that is built
_LONGEST_NAME = 200  # of plugins and options: errors name them
_PARTS = ("model", "protocol")
_TRAINED_BY = ("loss", "optimizer")  # a model that is not trained by gradients has none


class Unplain(ValueError):
    """The bytes are no built-in containers and tensors."""


def load_plain(content: bytes, map_location: Any) -> Any:
    """Containers and tensors in the bytes that `torch.save` wrote; nothing in them is run. Raises Unplain."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
        if any(m.compress_type != zipfile.ZIP_STORED for m in members) or sum(m.file_size for m in members) > len(
            content
        ):
            raise ValueError("packed members")
        loaded = torch.load(io.BytesIO(content), map_location=map_location, weights_only=True)
    except Exception as error:  # torch's own text may advise to load it without this protection
        raise Unplain("it holds more than built-in containers and tensors, or is malformed") from error
    _check_values(loaded, len(content))
    return loaded


def _check_values(loaded: Any, size: int) -> None:
    """Raise Unplain for containers nested or repeated without end, and for tensors larger than what they hold."""
    waiting, seen, total = [(loaded, 0)], 0, 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if depth > _DEEPEST or seen > _VALUES:
            raise Unplain(f"its containers are nested more than {_DEEPEST} deep, or hold more than {_VALUES:,} values")
        if isinstance(value, Mapping):
            waiting += [(v, depth + 1) for pair in value.items() for v in pair]
        elif isinstance(value, list | tuple | set):
            waiting += [(v, depth + 1) for v in value]
        elif isinstance(value, Tensor):
            total += _check_tensor(value)
            if total > _SHARED * size:
                raise Unplain(f"its tensors have {total:,} bytes, the file {size:,}")


def _check_tensor(value: Tensor) -> int:
    """Bytes of a tensor; raises Unplain where it claims more than its memory holds."""
    if value.is_meta or value.is_quantized or value.is_nested:
        raise Unplain("a tensor of it has a type of numbers that is refused")
    if value.layout is torch.strided:
        claimed, there = value.numel() * value.element_size(), value.untyped_storage().nbytes()
        if claimed > there:
            raise Unplain(f"a tensor of the shape {tuple(value.shape)} claims {claimed:,} bytes and has {there:,}")
        return claimed
    if value.layout is torch.sparse_coo:
        return _check_tensor(value._indices()) + _check_tensor(value._values())
    raise Unplain(f"a tensor of it has the layout {value.layout}")


def check_checkpoint(loaded: Any) -> None:
    """Raise ValueError naming the first entry of a checkpoint that is of the wrong type."""
    if not isinstance(loaded, dict) or IDENTITY not in loaded:
        raise ValueError("it has no 'fmlab' entry")
    _need(IDENTITY, loaded[IDENTITY], dict)
    _need(PARAMETERS, loaded.get(PARAMETERS, {}), Mapping)
    for name, value in loaded.get(PARAMETERS, {}).items():
        _need("a name in state_dict", name, str)
        if name.startswith(MODEL_PREFIX):
            _need(f"state_dict.{name}", value, Tensor)
    for name in ("epoch", "global_step"):
        _need(name, loaded.get(name, 0), int)
    for name, kind in (("callbacks", dict), ("loops", dict), ("optimizer_states", list), ("lr_schedulers", list)):
        _need(name, loaded.get(name, kind()), kind)
    for name, state in loaded.get("callbacks", {}).items():
        _need(f"callbacks.{name}", state, dict)
    best = loaded.get("callbacks", {}).get("BestCheckpoint", {"epoch": None, "value": None})
    if not isinstance(best.get("epoch", ""), int | None) or not isinstance(best.get("value", ""), float | int | None):
        raise ValueError("callbacks.BestCheckpoint must hold the best epoch and its value")
    if loaded[IDENTITY].keys() & {"schema", *_PARTS, *_TRAINED_BY}:
        _check_identity(loaded[IDENTITY])


def require(loaded: Mapping[str, Any], *names: str) -> None:
    """Raise ValueError for the first of these entries that a checkpoint has not; `fmlab.schema` is one in `fmlab`."""
    for name in names:
        place: Any = loaded
        for part in name.split("."):
            if not isinstance(place, Mapping) or part not in place:
                raise ValueError(f"it has no {name}")
            place = place[part]


def _check_identity(identity: Mapping[str, Any]) -> None:
    for part in (*_PARTS, *(p for p in _TRAINED_BY if p in identity)):
        _need(f"fmlab.{part}", identity.get(part), dict)
        _need(f"fmlab.{part}.name", identity[part].get("name"), str)
        for option in identity[part]:
            _need(f"an option of fmlab.{part}", option, str)
        if (longest := max(map(len, (identity[part]["name"], *identity[part])))) > _LONGEST_NAME:
            raise ValueError(f"names in fmlab.{part} must have at most {_LONGEST_NAME} characters, got {longest:,}")
        if (values := _count(identity[part])) > _MOST_OPTIONS:
            raise ValueError(f"fmlab.{part} must hold at most {_MOST_OPTIONS:,} values, got {values:,}")
    _need("fmlab.data", identity.get("data"), str)
    for number in ("seed", "batch_size"):
        _need(f"fmlab.{number}", identity.get(number), int)
    _check_schema(identity.get("schema"))


def _count(value: Any) -> int:
    """Values in containers."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple | set) else ()
    return 1 + sum(map(_count, inner))


def _check_schema(stored: Any) -> None:
    _need("fmlab.schema", stored, dict)
    _need("fmlab.schema.fields", stored.get("fields"), list | tuple)
    whole: Callable[[Any], bool] = lambda v: isinstance(v, int) and not isinstance(v, bool)  # noqa: E731
    for name in ("n_users", "n_items"):
        if not whole(stored.get(name)) or not 0 <= stored[name] < _MOST_FEATURES:
            raise ValueError(f"fmlab.schema.{name} must be a count, got {stored.get(name)!r:.80}")
    columns = 0
    for field in stored["fields"]:
        _need("a field of fmlab.schema", field, dict)
        if not isinstance(field.get("name"), str) or not isinstance(field.get("side"), str):
            raise ValueError(f"a field of fmlab.schema must have a name and a side, got {field!r:.120}")
        for name, least in (("size", 1), ("slots", 1)):
            if not whole(field.get(name)) or not least <= field[name] < _MOST_FEATURES:
                raise ValueError(f"{name} of field {field['name']!r:.80} must be a count, got {field.get(name)!r:.80}")
        columns += field["slots"]
    if columns > _MOST_COLUMNS:
        raise ValueError(f"fmlab.schema must have at most {_MOST_COLUMNS:,} columns, got {columns:,}")


def _need(name: str, value: Any, kind: Any) -> None:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        wanted = getattr(kind, "__name__", str(kind))
        raise ValueError(f"{name} must be a {wanted}, got {'nothing' if value is None else type(value).__name__}")
