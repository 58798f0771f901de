"""Tensors as a safetensors file: a JSON header and raw bytes, which execute nothing and need no torch to be read.

The format: 8 bytes with the length of the header (little-endian), the header `{name: {dtype, shape, data_offsets}}`
padded with blanks to 8 bytes, and the tensors one after the other, row by row.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fmlab.errors import FmlabError

KINDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


LONGEST = 64 << 20  # bytes of a header that are read


def write_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> None:
    """Write dense tensors by name, with `notes` in the header; raises FmlabError for one that has no place in it."""
    header: dict[str, object] = {"__metadata__": dict(notes)}
    end = 0
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.dtype not in KINDS:
            raise FmlabError(f"weights must be dense numbers, {name} is {tensor.layout}, {tensor.dtype}")
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": KINDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            flat = tensor.detach().cpu().contiguous().view(-1)
            file.write(flat.view(torch.uint8).numpy().tobytes() if len(flat) else b"")


def read_notes(path: Path) -> dict[str, str]:
    """The notes in the header of a file; raises ValueError where it has none, OSError."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > LONGEST:
            raise ValueError("its header is longer than what is read")
        header = json.loads(file.read(length))
    notes = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(notes, dict):
        raise ValueError("its header has no notes")
    return notes


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; raises ValueError for what `write_tensors` would not write, OSError.

    Nothing is larger than the file: tensors share no bytes.
    """
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(len(content) - 8, LONGEST):
        raise ValueError("its header is longer than the file, or than what is read")
    header, data = json.loads(content[8 : 8 + length]), memoryview(content)[8 + length :]
    if not isinstance(header, dict):
        raise ValueError("its header is no mapping")
    kinds, found, taken = {name: kind for kind, name in KINDS.items()}, dict[str, Tensor](), 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            kind, shape, (begin, end) = kinds[entry["dtype"]], entry["shape"], entry["data_offsets"]
            if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
                raise ValueError("numbers")
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{name!r:.80} is malformed in its header") from None
        size, taken = math.prod(shape) * kind.itemsize, taken + end - begin
        if not begin <= end <= len(data) or end - begin != size or taken > len(data):
            raise ValueError(f"{name!r:.80} has another size than its shape says")
        held = torch.frombuffer(bytearray(data[begin:end]), dtype=kind) if size else torch.empty(0, dtype=kind)
        found[name] = held.reshape(shape)
    return found
