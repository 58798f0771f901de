"""The files of an export: weights, features, ids of users and items, vectors for an index of inner products."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmlab.errors import StorageError

if TYPE_CHECKING:
    from fmlab.data import Side
    from fmlab.serving.loaded_run import LoadedRun

CHUNK = 1 << 14


def write_files(run: "LoadedRun", folder: Path, missing: list[str]) -> dict[str, Any] | None:
    """Write them; returns what the manifest says of the vectors. What there is not, and why, joins `missing`."""
    from fmlab.contracts import is_two_sided
    from fmlab.run.tensor_file import write_tensors

    write_tensors(folder / "weights.safetensors", run.model.state_dict(), {"model": run.name})
    _write_features(run, folder)
    data = run.data
    write_ids(run, folder)
    if data.items is None:
        missing.append(f"no vectors: the rows of {data.name!r} have no items; {_rest(folder)}")
        return None
    if not is_two_sided(run.model):
        rule = "the score of a model must be a product of two sides"
        missing.append(f"no vectors: {rule}, that of {run.name} is not; {_rest(folder)}")
        return None
    score = _write_vectors(run, folder)
    if data.users is None or data.has_context:
        names = [f.name for f in data.schema.fields if f.side == "context"]
        missing.append(f"no query vectors: a query is a user in a context ({', '.join(names)}); {_rest(folder)}")
    return score


def write_ids(run: "LoadedRun", folder: Path) -> None:
    """users.parquet and items.parquet: ids by row, of the sides that the data have."""
    sides: tuple[tuple[Side, Any], ...] = (("user", run.data.users), ("item", run.data.items))
    for side, table in sides:
        if table is not None:
            names = run.data.keys[run.data.id_field(side)].tolist()
            _write_table(folder / f"{side}s.parquet", row=range(len(table.ids)), id=names)


def _rest(folder: Path) -> str:
    return f"exported are {', '.join(sorted(p.name for p in folder.iterdir()))}"


def _write_features(run: "LoadedRun", folder: Path) -> None:
    """Global feature number, field and value; the first of a field is its unknown (or missing) feature, of no value."""
    fields: list[str] = []
    values: list[str | None] = []
    for field in run.data.schema.fields:
        fields += [field.name] * field.size
        values += [None, *run.data.keys[field.name].tolist()] if not field.numeric else [None, "present"]
    _write_table(folder / "features.parquet", feature=range(len(fields)), field=fields, value=values)


def _write_table(path: Path, **columns: Sequence[Any]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    types = {name: pa.int64() if isinstance(cells, range) else pa.string() for name, cells in columns.items()}
    parquet.write_table(pa.table({n: pa.array(c, types[n]) for n, c in columns.items()}), path)


def _write_vectors(run: "LoadedRun", folder: Path) -> dict[str, Any]:
    """Vectors of items, and of users where these are whole queries; what the manifest says of them."""
    import torch

    from fmlab.contracts import is_two_sided

    data, model = run.data, run.model
    assert data.items is not None
    assert is_two_sided(model)
    width, kind = _write_side(folder / "item_vectors.npy", model.encode_item, data.items)
    write_queries(run, folder)
    z = torch.linspace(-4, 4, 65)
    identity = bool(torch.equal(model.link(z), z))
    return {
        "dim": width,
        "type": kind,
        "score": "link(query_bias + <query_vector, item_vector>)",
        "link": "identity" if identity else f"{type(model).__name__}.link, strictly increasing",
        "bias": "the last column of item_vectors is the item's bias, that of query_vectors is 1",
    }


def write_queries(run: "LoadedRun", folder: Path) -> None:
    """query_vectors.npy and query_bias.npy of a two-sided model, where a user alone is a query."""
    model: Any = run.model
    if run.data.users is not None and not run.data.has_context:
        _write_side(folder / "query_vectors.npy", model.encode_query, run.data.users, folder / "query_bias.npy")


def _write_side(path: Path, side: Callable[..., Any], table: Any, bias_path: Path | None = None) -> tuple[int, str]:
    """Vectors in chunks; the item's bias is their last column, or a 1 where biases have a file of their own."""
    import numpy as np
    import torch

    from fmlab.data.batch import as_features
    from fmlab.evaluation.item_scorer import refuse_non_finite

    vectors, count = None, len(table.ids)
    for low in range(0, count, CHUNK):
        rows = np.arange(low, min(low + CHUNK, count))
        with torch.no_grad():
            bias, vector = side(*as_features(table.take(rows)))
        refuse_non_finite(bias, vector)
        if vectors is None:
            kind = np.float64 if vector.dtype == torch.float64 else np.float32
            shape = (count, vector.shape[1] + 1)
            vectors, biases = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape), np.empty(count, kind)
        wide = torch.float64 if kind == np.float64 else torch.float32
        vectors[rows, :-1] = vector.to(wide).numpy()
        biases[rows] = bias.to(wide).numpy()
        vectors[rows, -1] = 1 if bias_path else biases[rows]
    if vectors is None:
        raise StorageError(f"{path.name} would have no rows")
    vectors.flush()
    if bias_path:
        np.save(bias_path, biases)
    return int(vectors.shape[1]), str(vectors.dtype)
