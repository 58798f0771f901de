"""Types of options that several protocols have."""

from typing import Annotated, Literal

from fmlab.plugin.option import Range, Renamed

MinLabel = Annotated[float | None, "lowest label of a positive; null is the rule of the data set"]
KCore = Annotated[
    Annotated[int, Range(0, None)] | None,
    "fewest positives of each user and item; null is the rule of the data set",
    Renamed("core"),
]

RowSplit = Annotated[Literal["auto", "random", "given"], "how rows are divided"]
ValidationRows = Annotated[int | float, Range(0, None, open_low=True), "share or number of validation rows"]
TestRows = Annotated[int | float, Range(0, None, open_low=True), "share or number of test rows"]
Seed = Annotated[int, Range(0, None), "seed of the split and of what is drawn"]
OnSharedPair = Annotated[
    Literal["error", "drop"],
    "what is done with rows of one part that copy rows of another",
    Renamed("leaks", {"refuse": "error"}),
]
OnSharedRow = Annotated[
    Literal["error", "drop", "allow"],
    "what is done with rows of one part that copy rows of another",
    Renamed("leaks", {"refuse": "error"}),
]
OnSaturated = Annotated[
    Literal["error", "drop"],
    "what is done with users that have every item",
    Renamed("saturated", {"refuse": "error"}),
]

Negatives = Annotated[int, Range(1, None), "negatives that are drawn to each training positive"]
NCandidates = Annotated[
    int, Range(1, None), "sampled items that a held-out item is ranked among", Renamed("candidates")
]
CandidateFile = Annotated[str, "file of test items and candidates, written if it is not there; empty for none"]
CandidateIds = Annotated[Literal["raw", "compact"], "whether the file has raw ids or numbers from 0"]
Refit = Annotated[bool, "whether the model is trained anew on training and validation rows before the test"]
Metrics = Annotated[tuple[str, ...], "metrics that are reported; [] is the usual ones"]
Monitor = Annotated[str, "validation metric that selects"]
Clip = Annotated[bool, "whether predictions are kept within the range of training labels"]
