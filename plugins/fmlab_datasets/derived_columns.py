"""How fields are made of the columns of a table: categories of numbers, parts of times, and buckets of categories."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fmlab.data import Array, FieldEncoding
from fmlab.data.encoding import transforms
from fmlab.data.encoding.first_pass import PART_OF_NAME
from fmlab.data.encoding.plan import Plan
from fmlab.data.encoding.times import Times
from fmlab.data.encoding.transforms import binned, hours, quantiles, weekdays
from fmlab_datasets.planning import PART_COLUMN, Planned
from fmlab_datasets.streams import Stream, counts, derived, hashed, only

log = logging.getLogger(__name__)
CLOCK = {"hour": hours, "weekday": weekdays}


class DerivesColumns(Planned):
    """A planned table some of whose fields are no columns of it, or other than its columns."""

    n_bins: int
    buckets: int
    drops: bool  # whether rows without a label are left out

    def _edges(self, plan: Plan, rows_of: Callable[[Sequence[str]], Stream]) -> dict[str, Array]:
        """Where the intervals of `quantile_bins` fields meet: a pass of its own over the tables."""
        names, edges = self.kinds["quantile_bins"], {}
        if not names:
            return {}
        split = [plan.split] if plan.split and plan.split != PART_COLUMN else []
        rows = rows_of([*names, *split])
        if plan.split:
            rows = only(rows, plan.split, [p for p, n in PART_OF_NAME.items() if n == 0])
        for name, rows_of_text in zip(names, counts(rows, *names), strict=True):
            edges[name] = quantiles(name, rows_of_text, self.n_bins, self.decimal, self.thousands)
            log.info("%s is put into the intervals between %s", name, ", ".join(map(str, edges[name].tolist())))
        return edges

    def _times(self, plan: Plan, rows_of: Callable[[Sequence[str]], Stream]) -> str:
        """How times are written, if fields are made of them: a pass of its own, for the last row may tell."""
        if not self.time_features:
            return ""
        times = Times(plan.time, self.time_unit)
        for batch in rows_of([plan.time]):
            times.read(batch[plan.time])
        return times.close()

    def _transformed(self, stream: Stream, plan: Plan, edges: Mapping[str, Array], written: str) -> Stream:
        """With categories in place of numbers, and with buckets in place of other categories."""
        for name in self.kinds["log_squared"]:
            stream = derived(stream, name, {name: transforms.log_squared(name, self.decimal, self.thousands)})
        for name, ends in edges.items():
            stream = derived(stream, name, {name: binned(name, ends, self.decimal, self.thousands)})
        if self.time_features:
            stream = derived(stream, plan.time, {name: CLOCK[part](written) for name, part in self.times.items()})
        return hashed(stream, self._named(plan), self.buckets)

    def _named(self, plan: Plan) -> list[str]:
        """Fields of the table whose values are names: categories that are not made of numbers."""
        made = {*plan.numeric, *plan.multi, *self.kinds["log_squared"], *self.kinds["quantile_bins"], *self.times}
        return [c for c in plan.fields if c not in made]

    def _input(
        self, field: str, given: FieldEncoding, plan: Plan, edges: Mapping[str, Array], written: str
    ) -> FieldEncoding:
        """How a field is read from the raw columns that `_rows` and `_transformed` read it from."""
        if field in ("user", "item"):
            return replace(given, column=self.roles[field])
        if field in self.times:
            return replace(given, column=plan.time, transform=self.times[field], time_format=written)
        given = replace(given, missing=self.missing, decimal=self.decimal, thousands=self.thousands)
        if field in self.kinds["log_squared"]:
            return replace(given, transform="log_squared")
        if field in edges:
            return replace(given, transform="binned", edges=tuple(edges[field].tolist()))
        if self.buckets and field in self._named(plan):
            return replace(given, transform="hashed", buckets=self.buckets)
        return given

    def _untouched(self, plan: Plan) -> list[str]:
        """Columns that go from the table to the encoder as they are."""
        entities = [n for n in (plan.user, plan.item) if n]
        return entities if self.missing or self.buckets or self.drops else [*entities, *self._named(plan)]
