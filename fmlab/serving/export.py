"""`fmlab export`: a trained model as files for other programs."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from fmlab.errors import FmlabError, choices

if TYPE_CHECKING:
    from fmlab.serving.loaded_run import LoadedRun

MARK, VERSION = "fmlab_export", 1
MANIFEST = "manifest.json"
Format = Literal["files", "onnx", "torch", "ann", "huggingface"]
FORMATS: tuple[Format, ...] = get_args(Format)


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


def export(run: "LoadedRun", out: Path, formats: Sequence[Format] = ("files",), *, force: bool = False) -> list[str]:
    """Write the files into `out`, which appears when all are there; returns what is missing and why, and how far
    programs are from `predict`.

    Raises FmlabError where something is in the way or a format cannot be, StorageError.
    """
    for name in formats:
        if name not in FORMATS:
            raise FmlabError(f"a format of an export must be installed, got {name!r}; {choices(str(name), FORMATS)}")
    if run.model_inputs.names and set(formats) - {"huggingface"}:
        names = ", ".join(run.model_inputs.names)
        raise FmlabError(f"an exported model reads ids and values alone, {run.name} asks for {names} as well")
    refuse_folder(out, force)
    from fmlab.files import draft_of, storing, sync

    place = out.absolute()
    with storing(place.parent), draft_of(place, folder=True) as draft:
        said = _write(run, draft, list(dict.fromkeys(formats)))
        for path in (*draft.iterdir(), draft):
            sync(path)
        refuse_folder(out, force)
        if out.exists():
            old = draft.with_suffix(".old.tmp")
            out.replace(old)
            draft.replace(out)
            shutil.rmtree(old)
        else:
            draft.replace(out)
        sync(place.parent)
    return said


def _write(run: "LoadedRun", folder: Path, formats: Sequence[Format]) -> list[str]:
    from fmlab.files import digest, write_json
    from fmlab.serving.encoder_table import FILE, write_encoder
    from fmlab.serving.export_files import write_files, write_ids, write_queries
    from fmlab.serving.model_export import write_onnx, write_program

    data, missing = run.data, list[str]()
    parts: dict[str, Any] = {}
    if "files" in formats:
        parts["vectors"] = write_files(run, folder, missing)
    if "ann" in formats:
        from fmlab.serving.ann import write_index

        parts["ann"] = write_index(run, folder)
        shutil.copyfile(Path(__file__).with_name("ann_searcher.py"), folder / "search.py")
        if "files" not in formats:
            write_ids(run, folder)
            write_queries(run, folder)
    if "huggingface" in formats:
        from fmlab.serving.hub_folder import write_hub_folder

        write_hub_folder(run, folder)
    if "torch" in formats:
        parts["torch"] = write_program(run, folder)
    if "onnx" in formats:
        parts["onnx"] = write_onnx(run, folder)
        shutil.copyfile(Path(__file__).with_name("onnx_scorer.py"), folder / "score.py")
    if "torch" in formats or "onnx" in formats:
        write_encoder(data, folder / FILE)
    files = {p.name: {"size": d.size, "sha256": d.sha256} for p in sorted(folder.iterdir()) if (d := digest(p))}
    identity = run.identity
    write_json(
        folder / MANIFEST,
        {
            MARK: VERSION,
            "formats": list(formats),
            "model": identity["model"],
            "loss": identity.get("loss"),
            "protocol": identity.get("protocol"),
            "data": {"name": data.name, "fingerprint": data.fingerprint},
            "schema": identity["schema"],
            "inputs": {f.name: asdict(data.inputs[f.name]) for f in data.schema.fields},
            "scores_are_log_odds": data.log_odds,
            "scale": data.scale.to_dict(),
            **parts,
            "missing": missing,
            "files": files,
        },
    )
    said = [
        f"{n}: at most {p['largest_difference_from_predict']:.1e} from predict"
        for n, p in parts.items()
        if p and "largest_difference_from_predict" in p
    ]
    if "ann" in parts:
        ann = parts["ann"]
        said.append(f"ann: recall@10 {ann['recall_at_10']:.4f} at expansion_search={ann['expansion_search']}")
    return [*missing, *said]
