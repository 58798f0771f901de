"""Types of options that several data sets have."""

from collections.abc import Collection, Sequence
from typing import Annotated

from fmlab.errors import DataError, choices
from fmlab.plugin.option import Range

TableFile = Annotated[str, "the file"]
ValidationFile = Annotated[str, "file of the validation part; empty for none"]
TestFile = Annotated[str, "file of the test part; empty for none"]
ValidationShare = Annotated[
    float,
    Range(0.0, 1.0, open_low=True, open_high=True),
    "share of the training rows that become the validation part",
]
Seed = Annotated[int, Range(0, None), "seed of what is drawn"]

UserColumn = Annotated[str, "column of users"]
ItemColumn = Annotated[str, "column of items"]
LabelColumn = Annotated[str, "column of labels; empty where all rows are positives"]
TimeColumn = Annotated[str, "column of times; empty for none"]
UserFields = Annotated[tuple[str, ...], "columns that are attributes of users"]
ItemFields = Annotated[tuple[str, ...], "columns that are attributes of items"]
Fields = Annotated[tuple[str, ...], "fields that are read; user and item always are, and may be named"]

MinCount = Annotated[int, Range(1, None), "fewest rows of a value that is no unknown one"]
Buckets = Annotated[
    int,
    Range(0, None),
    "number of buckets that values of each categorical field are hashed into; 0 hashes nothing",
]


def chosen_fields(fields: Sequence[str], known: Collection[str], owner: str) -> tuple[str, ...]:
    """Those of the `known` fields that `fields` names, and `user` and `item`, in the order of `known`.

    `known` may lack the last two: they are fields of every row. Raises DataError for another unknown name of `owner`.
    """
    always = ("user", "item")
    for name in fields:
        if name not in known and name not in always:
            raise DataError(f"{owner} has no field {name!r}; {choices(name, dict.fromkeys((*always, *known)))}")
    return tuple(f for f in known if f in fields or f in always)
