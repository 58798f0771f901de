"""`fmlab export`: a trained model as plain files for other programs."""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmlab.errors import FmlabError, StorageError
from fmlab.serving.command import TYPE_OF_RUN, Parser, show_messages

if TYPE_CHECKING:
    from fmlab.data import Side
    from fmlab.serving.loaded_run import LoadedRun

DESCRIPTION = """\
Writes a trained model as plain files: weights.safetensors; features.parquet, the number, field and value of every
feature; manifest.json, with the model's options, schema, data fingerprint and checksums. Of data with users and items
also users.parquet and items.parquet, their ids by row. Of a model whose score is
link(query bias + <query vector, item vector> + item bias), for an index of maximum inner products:

  item_vectors.npy   [items, d + 1], an item's bias in the last column
  query_vectors.npy  [users, d + 1], 1 in the last column; not where the data have context columns
  query_bias.npy     [users], which changes no order of items

They are float32, or float64 where the model computes its vectors so because their products need the digits.

Rows of vectors are rows of the ids. The inner product of two rows gives the order, and with the query's bias, through
the link, the score. Of other models the vectors are missing, and it is said."""
MARK, VERSION = "fmlab_export", 1
MANIFEST = "manifest.json"
CHUNK = 1 << 14


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `fmlab export RUN --out FOLDER [--force]`; returns the exit code. Raises FmlabError."""
    args = _parser().parse_args(arguments)
    refuse_folder(args.out, args.force)
    from fmlab.serving import load_run

    show_messages()
    run = load_run(args.run)
    why = export(run, args.out, force=args.force)
    for line in why:
        print(line, file=sys.stderr)
    print(args.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="fmlab export", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", type=Path, help=TYPE_OF_RUN)
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--force", action="store_true", help="replace FOLDER if it is an export")
    return parser


def refuse_folder(out: Path, force: bool) -> None:
    """Raise FmlabError where something is in the way; only an export is ever replaced."""
    if not out.exists() and not out.is_symlink():
        return
    if not force:
        raise FmlabError(f"an export makes a new folder, {out} is there; --force replaces an export")
    if out.is_symlink() or not out.is_dir() or not (_is_export(out) or not any(out.iterdir())):
        raise FmlabError(f"--force replaces an export, {out} is none: it has no {MANIFEST} of one")


def _is_export(folder: Path) -> bool:
    try:
        return MARK in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def export(run: "LoadedRun", out: Path, *, force: bool = False) -> list[str]:
    """Write the files into `out`, which appears when all are there; returns what is missing, and why.

    Raises FmlabError where something is in the way, StorageError.
    """
    from fmlab.files import storing, sync

    draft = out.absolute().with_name(f".{out.absolute().name}.{os.getpid()}.tmp")
    with storing(out.absolute().parent):
        try:
            draft.mkdir(parents=True)
            missing = _write(run, draft)
            for path in (*draft.iterdir(), draft):
                sync(path)
            refuse_folder(out, force)
            if out.exists():
                old = draft.with_name(f"{draft.name}.old")
                out.replace(old)
                draft.replace(out)
                shutil.rmtree(old)
            else:
                draft.replace(out)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        sync(out.absolute().parent)
    return missing


def _write(run: "LoadedRun", folder: Path) -> list[str]:
    from fmlab.contracts import is_two_sided
    from fmlab.files import digest, write_json
    from fmlab.serving.safetensors_writer import write_tensors

    write_tensors(folder / "weights.safetensors", run.model.state_dict(), {"model": run.name})
    _write_features(run, folder)
    data, missing = run.data, []
    sides: tuple[tuple[Side, Any], ...] = (("user", data.users), ("item", data.items))
    for side, table in sides:
        if table is not None:
            names = data.keys[data.id_field(side)].tolist()
            _write_table(folder / f"{side}s.parquet", row=range(len(table.ids)), id=names)
    score = None
    if data.items is None:
        missing.append(f"no vectors: the rows of {data.name!r} have no items; {_rest(folder)}")
    elif not is_two_sided(run.model):
        rule = "the score of a model must be a product of two sides"
        missing.append(f"no vectors: {rule}, that of {run.name} is not; {_rest(folder)}")
    else:
        score = _write_vectors(run, folder)
        if data.users is None or data.has_context:
            names = [f.name for f in data.schema.fields if f.side == "context"]
            missing.append(f"no query vectors: a query is a user in a context ({', '.join(names)}); {_rest(folder)}")
    files = {p.name: {"size": d.size, "sha256": d.sha256} for p in sorted(folder.iterdir()) if (d := digest(p))}
    identity = run.identity
    write_json(
        folder / MANIFEST,
        {
            MARK: VERSION,
            "model": identity["model"],
            "loss": identity.get("loss"),
            "protocol": identity.get("protocol"),
            "data": {"name": data.name, "fingerprint": data.fingerprint},
            "schema": identity["schema"],
            "inputs": {f.name: asdict(data.inputs[f.name]) for f in data.schema.fields},
            "scores_are_log_odds": data.log_odds,
            "scale": data.scale.to_dict(),
            "vectors": score,
            "missing": missing,
            "files": files,
        },
    )
    return missing


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
    if data.users is not None and not data.has_context:
        _write_side(folder / "query_vectors.npy", model.encode_query, data.users, folder / "query_bias.npy")
    z = torch.linspace(-4, 4, 65)
    identity = bool(torch.equal(model.link(z), z))
    return {
        "dim": width,
        "type": kind,
        "score": "link(query_bias + <query_vector, item_vector>)",
        "link": "identity" if identity else f"{type(model).__name__}.link, strictly increasing",
        "bias": "the last column of item_vectors is the item's bias, that of query_vectors is 1",
    }


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
