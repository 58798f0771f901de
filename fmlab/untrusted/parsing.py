"""JSON and YAML of files that may be damaged or foreign: of bounded size and depth, without control characters.

A reader that raises ValueError with the reason for everything that can be wrong, so that its callers name the file and
go on.
"""

import json
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from fmlab.terminal.escaping import escaped_line

LARGEST = 64 << 20  # bytes of a file
DEEPEST = 60  # levels of nesting
NODES = 500_000  # values in a file, each counted as often as aliases repeat it
_OTHER_BASES = {r"[-+]?0[0-7_]*[0-7]": 8, r"[-+]?[1-9][\d_]*(:[0-5]?\d)+(\.[\d_]*)?": 60}
_DIGITS = 300  # of a whole number


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises ValueError with the reason, OSError."""
    try:
        return cleaned(json.loads(read_text(path), parse_int=_whole))
    except RecursionError:
        raise ValueError(f"is nested more than {DEEPEST} levels deep") from None


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; raises ValueError with the reason, OSError."""
    text = read_text(path)
    check_yaml(text)
    try:
        return cleaned(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except (RecursionError, TypeError, AttributeError) as error:  # keys that are mappings, dates that are none
        raise ValueError(f"is no plain YAML: {error}") from error


def check_yaml(text: str, most: int = NODES) -> None:
    """Raise ValueError where YAML is nested too deep, grows beyond bounds or has numbers that are not what they look.

    A file that cannot be read passes here.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    sizes: dict[str, int] = {}
    open_nodes: list[list[Any]] = [["", 0]]  # anchor and number of nodes of each node that has begun
    try:
        for event in yaml.parse(text, loader):
            match event:
                case yaml.AliasEvent():
                    open_nodes[-1][1] += sizes.get(str(event.anchor), 1)
                case yaml.ScalarEvent():
                    if event.implicit[0]:  # no quotes, no tag
                        _check_number(event.value, event.start_mark.line + 1)
                    open_nodes[-1][1] += 1
                    if event.anchor:
                        sizes[event.anchor] = 1
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    open_nodes.append([event.anchor, 1])
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    anchor, size = open_nodes.pop()
                    open_nodes[-1][1] += size
                    if anchor:
                        sizes[anchor] = size
            if len(open_nodes) > DEEPEST:
                raise ValueError(f"is nested more than {DEEPEST} levels deep")
            if open_nodes[-1][1] > most:
                raise ValueError(f"holds more than {most:,} values, aliases counted as often as they stand")
    except (yaml.YAMLError, UnicodeError):
        return


def _check_number(text: str, line: int) -> None:
    """Raise ValueError for a number that YAML 1.1 reads in base 8 or 60, as 010 and 1:30 are."""
    for pattern, base in _OTHER_BASES.items():
        if re.fullmatch(pattern, text):
            raise ValueError(
                f"must have numbers of base 10 without zeros before them, got {text} in line {line}, which YAML reads "
                f"in base {base}; put it in quotes if it is a text or a time"
            )


def read_text(path: Path) -> str:
    """The text of a plain file of bounded size; raises ValueError with the reason, OSError."""
    state = path.stat()
    size = state.st_size
    if not stat.S_ISREG(state.st_mode):
        raise ValueError("is not a plain file")  # a pipe would be waited for without end
    if size > LARGEST:
        raise ValueError(f"has {size:,} bytes, at most {LARGEST:,} are read")
    return path.read_text("utf-8")


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"holds a number of {len(digits):,} digits")
    return int(digits)


def cleaned(value: Any) -> Any:
    """The same with control characters of its texts and keys escaped; raises ValueError for too many values."""
    counted = [0]

    def clean(one: Any, depth: int = 0) -> Any:
        counted[0] += 1
        if depth > DEEPEST:
            raise ValueError(f"is nested more than {DEEPEST} levels deep")
        if counted[0] > NODES:
            raise ValueError(f"holds more than {NODES:,} values")
        if isinstance(one, str):
            return escaped_line(one)
        if isinstance(one, dict):
            return {escaped_line(k) if isinstance(k, str) else k: clean(v, depth + 1) for k, v in one.items()}
        return [clean(v, depth + 1) for v in one] if isinstance(one, list) else one

    return clean(value)
