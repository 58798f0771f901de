"""What a structure search found: which numbers of a model's tables stay, as a file of the run folder."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fmlab.data import Schema
from fmlab.errors import FmlabError, StorageError
from fmlab.files import storing
from fmlab.nn.masked import MaskedTable, n_dropped
from fmlab.nn.pair_gates import MaskedPairs
from fmlab.nn.pair_products import triangle
from fmlab.records.folder import RunFolder
from fmlab.run.loading import NONE
from fmlab.run.tensor_file import read_notes, read_tensors, write_tensors
from fmlab.terminal.redaction import redacted

FOLDER = "search"  # of a run folder, while it searches
PAIRS = "(pairs)"  # the name of the mask of pairs among those of tables


@dataclass(frozen=True)
class Structure:
    """`kept`: bool `[rows, width]` of each table by its name. `facts`: what the record says of the search.

    `pairs`: the pairs of fields that stay, bool `[pairs]`; None where the search looked at none.
    """

    kept: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)
    pairs: Tensor | None = None

    def impose(self, model: nn.Module) -> None:
        """Drop the other numbers of a model whose tables have masks."""
        for name, module in model.named_modules():
            if isinstance(module, MaskedTable):
                module.keep(self.kept[name])
            if isinstance(module, MaskedPairs) and self.pairs is not None:
                module.kept.copy_(self.pairs)

    def described(self, model: nn.Module, schema: Schema, parameters: int) -> dict[str, Any]:
        """For the record: parameters of the model before and after, what stays of each table and of each field.

        `parameters`: those that are trained.
        """
        fields: dict[str, dict[str, int]] = {
            f.name: {"features": f.size, "features_kept": 0, "numbers": 0, "numbers_kept": 0} for f in schema.fields
        }
        read = [torch.zeros(f.size, dtype=torch.bool) for f in schema.fields]
        for table in (m for m in model.modules() if isinstance(m, MaskedTable)):
            for one, offset, seen in zip(schema.fields, schema.offsets, read, strict=True):
                start, stop = offset - table.first, offset - table.first + one.size
                if start < 0 or stop > len(table.kept):
                    continue
                part = table.kept[start:stop].cpu()
                seen |= part.any(1)
                fields[one.name]["numbers"] += part.numel()
                fields[one.name]["numbers_kept"] += int(part.sum())
        for one, seen in zip(schema.fields, read, strict=True):
            fields[one.name]["features_kept"] = int(seen.sum())
        before = parameters + n_dropped(model)
        more: dict[str, Any] = {}
        if self.pairs is not None:
            left, right = (side[self.pairs].tolist() for side in triangle(len(schema.fields)))
            names = [f"{schema.fields[i].name}*{schema.fields[j].name}" for i, j in zip(left, right, strict=True)]
            more["pairs"] = {"all": len(self.pairs), "kept": names}
        return {**self.facts, **more, "parameters_before": before, "parameters": parameters, "fields": fields}


def searches(config: Mapping[str, Any]) -> bool:
    """Whether a run searches a structure."""
    return bool(config.get("search", {"name": NONE})["name"] != NONE)


def is_searching(folder: Path) -> bool:
    """Whether the run in a folder was stopped in its search, or right after it."""
    place = RunFolder(folder)
    return not place.last.is_file() and ((folder / FOLDER).is_dir() or place.structure.is_file())


def fingerprint(identity: Mapping[str, Any]) -> str:
    """What a structure was found with: data, model, seed, search and all that trains."""
    return hashlib.sha256(json.dumps(redacted(identity), sort_keys=True, default=str).encode()).hexdigest()


def write_structure(path: Path, structure: Structure, found_with: str) -> None:
    """Write it at once or not at all; raises StorageError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storing(path.parent):
        notes = {"facts": json.dumps(structure.facts), "found_with": found_with}
        tensors = {name: kept.cpu() for name, kept in structure.kept.items()}
        more = {} if structure.pairs is None else {PAIRS: structure.pairs.cpu()}
        write_tensors(draft, tensors | more, notes)
        os.replace(draft, path)


def read_structure(path: Path, found_with: str | None = None) -> Structure:
    """The structure in a file, found with these options where they are given.

    Raises StorageError where it is damaged, FmlabError if it was found otherwise.
    """
    try:
        notes, kept = read_notes(path), read_tensors(path)
        facts = json.loads(notes["facts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} holds no structure that a search found: {error}") from error
    if found_with is not None and notes.get("found_with") != found_with:
        raise FmlabError(
            f"a run goes on with the structure that it found, {path} was found with other options or data; "
            "if_exists=overwrite searches anew"
        )
    return Structure({name: mask for name, mask in kept.items() if name != PAIRS}, facts, kept.get(PAIRS))


def structure_lines(told: Mapping[str, Any]) -> list[str]:
    """What the record says of a search, as text."""
    before, after = told["parameters_before"], told["parameters"]
    lines = [
        f"search={told['name']} in {told['epochs']:g} epochs: {after:,} of {before:,} parameters stay "
        f"({after / before:.1%}); trained anew from the start"
    ]
    if "pairs" in told:
        kept = told["pairs"]["kept"]
        lines.append(f"  {len(kept)} of {told['pairs']['all']} pairs of fields: {', '.join(kept)}")
    for name, part in told["fields"].items():
        if part["numbers_kept"] < part["numbers"]:
            lines.append(
                f"  {name}: {part['numbers_kept']:,} of {part['numbers']:,} numbers, "
                f"{part['features_kept']:,} of {part['features']:,} features"
            )
    return lines
