"""What reports say of a protocol, in the same words for all of ours."""

from collections.abc import Mapping, Sequence

from fmlab.data import Array
from fmlab.evaluation.metric_names import SAMPLED
from fmlab.evaluation.ranks import Ties

GIVEN = "given with the data"
REFITTED = "trained anew on training and validation rows, as long as the validation selected"
MET_ANYWHERE = "what its user has met in any part"


def drawn(validation: float | None, test: float | None, seed: int, kind: str = "random") -> str:
    """A split that is drawn by a seed, of shares or numbers of rows; None is left out."""
    sizes = [f"{name} {size:g}" for name, size in (("validation", validation), ("test", test)) if size is not None]
    return ", ".join([kind, *sizes, f"seed {seed}"])


def of_parts(rows: Mapping[int, Array] | Sequence[Array]) -> str:
    """How many rows are trained on, validate and test."""
    found = [rows[n] for n in range(3)]
    names = ("training", "validation", "test")
    return ", ".join(f"{len(part):,} {name}" for part, name in zip(found, names, strict=True))


def ranked(
    metrics: Sequence[str],
    *,
    whole: bool = False,
    candidates: str = "",
    left_out: str = MET_ANYWHERE,
    ties: Ties = "expected",
) -> dict[str, str]:
    """What is judged where items are ranked. `whole`: lists of users. `candidates`: how sampled ones were drawn."""
    of = "all relevant items of a user in one list" if whole else "a list for each test row"
    sampled = any(name.startswith(SAMPLED) for name in metrics)
    among = [candidates] if sampled else []
    among += ["all items"] if not all(name.startswith(SAMPLED) for name in metrics) else []
    return {"judged": f"{' and '.join(among)}, {of}", "left out of lists": left_out, "ties": ties}


def drawn_negatives(n: int, *, anew: bool = True) -> dict[str, str]:
    """How many negatives a training positive gets, and when."""
    if not n:
        return {}
    each = "1 negative is" if n == 1 else f"{n} negatives are"
    return {"negatives": f"{each} drawn to each training positive, {'anew in every epoch' if anew else 'once'}"}


def with_drawn_rows(negatives: int) -> str:
    """What is judged where sampled rows of label -1 stand beside the positives."""
    each = "one sampled row" if negatives == 1 else f"{negatives} sampled rows"
    return f"rows: each positive with label 1, and {each} of its user's unmet items with label -1"
