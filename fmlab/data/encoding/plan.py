"""What each column of a table is: the plan that both passes of preparation follow."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fmlab.data.schema import Side


@dataclass(frozen=True)
class Plan:
    """What each column of a table is. `user` and `item` are fields too, besides naming the entities.

    `fields` are the other features, in order, each with the side it belongs to. Those not in `numeric` or `multi`
    are categorical; cells of a `multi` field are split at `list_separator`, and those of `intervals`, which are
    numbers, become the interval between two of the ascending edges. Values of a field seen fewer than `min_count`
    times become unknown, but for users and items themselves. Numeric fields are brought to mean 0 and standard
    deviation 1 over the rows that have them, unless `standardize` is off. Both look at the training rows alone where
    `split` is given, and at all rows otherwise: preparation then comes before the protocol's split.

    Numbers have the `decimal` sign and perhaps one between `thousands`. A label is a number or a boolean; with
    `positive` it is 1 where it has this text, else 0. Times that are numbers are in `time_unit` (s, ms, us, ns), or in
    the one that the largest of them tells. `targets` are several labels, the first of which is `label`; `weight` holds
    how much each row counts, `group` what it belongs to, as text.
    """

    user: str = ""
    item: str = ""
    label: str = ""
    time: str = ""
    split: str = ""
    targets: tuple[str, ...] = ()
    weight: str = ""
    group: str = ""
    fields: Mapping[str, Side] = field(default_factory=dict)
    numeric: tuple[str, ...] = ()
    multi: tuple[str, ...] = ()
    intervals: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    list_separator: str = "|"
    decimal: str = "."
    thousands: str = ""
    positive: str = ""
    time_unit: str = ""
    standardize: bool = True
    min_count: int = 1

    @property
    def columns(self) -> list[str]:
        """All columns that are read."""
        roles = [self.user, self.item, self.label, self.time, self.split, *self.targets, self.weight, self.group]
        return list(dict.fromkeys([*(r for r in roles if r), *self.fields]))

    def of_side(self, side: Side) -> list[str]:
        """Fields of a side, the one that names the entity first."""
        first = {"user": self.user, "item": self.item}.get(side, "")
        return [*([first] if first else []), *(n for n, s in self.fields.items() if s == side)]
