"""Types of options that several data sets have."""

from typing import Annotated

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
Fields = Annotated[tuple[str, ...], "fields that are read"]

MinCount = Annotated[int, Range(1, None), "fewest rows of a value that is no unknown one"]
Buckets = Annotated[
    int,
    Range(0, None),
    "number of buckets that values of each categorical field are hashed into; 0 hashes nothing",
]
