"""What the server answers, without the network: requests and answers are built-in containers.

Requests that came together are answered together. Each is checked by itself: a mistake in one fails that one alone,
with the sentence that the command line would say.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fmlab.data import Table
from fmlab.data.encoding.fitted_encoder import QUERY
from fmlab.errors import FmlabError, choices
from fmlab.run.seen_items import EXCLUDES
from fmlab.serving.fold_in import fold_in
from fmlab.serving.frames import cells_batch
from fmlab.serving.lists import Lists, check_context, check_k
from fmlab.serving.similar import MEASURES

if TYPE_CHECKING:
    from fmlab.serving.loaded_run import LoadedRun

Request = Mapping[str, Any]
Answer = dict[str, Any] | Exception


@dataclass(frozen=True)
class Limits:
    """What one request may ask for: rows, items of a list, items of all its lists."""

    rows: int = 1000
    k: int = 1000
    items: int = 100_000


class Engine:
    """A trained model that answers. It is used by one thread at a time."""

    def __init__(self, run: "LoadedRun", limits: Limits | None = None) -> None:
        """What the first request would wait for is done here."""
        self.run, self.limits = run, limits or Limits()
        self.unseen: dict[str, int] = {}
        self.ranks = run.data.users is not None and run.data.items is not None
        if self.ranks:
            Lists(run, 1, "all")
        self.kinds: dict[str, Callable[[Sequence[Request]], list[Answer]]] = {
            "score": self.score,
            "recommend": self.recommend,
            "similar": self.similar,
        }

    def score(self, requests: Sequence[Request]) -> list[Answer]:
        """`{"rows": [{column: cell}]}` -> `{"results": [{"score", "probability"}], "unseen": {field: count}}`."""
        if self.run.model_inputs.names:  # histories differ in length: requests are scored one by one
            return [_answered(self._scored, request) for request in requests]
        made = [_answered(self._encoded, request) for request in requests]
        good = [m for m in made if not isinstance(m, Exception)]
        if not good:
            return made
        try:
            found = self.run.score(_joined([table for table, _ in good]))
        except FmlabError:  # of one of them: the others are answered all the same
            return [m if isinstance(m, Exception) else _answered(self._alone, m) for m in made]
        rows = _by_row(found)
        answers: list[Answer] = []
        for m in made:
            if isinstance(m, Exception):
                answers.append(m)
            else:
                count = len(m[0].ids)
                answers.append({"results": rows[:count], "unseen": m[1]})
                del rows[:count]
        return answers

    def recommend(self, requests: Sequence[Request]) -> list[Answer]:
        """`{"users": [id], "k", "exclude", "context": {column: cell}}`, or `rows` of users in their contexts, or
        `histories` of new users, -> `{"results": [{"items": [{"item", "score"}], "by_popularity"}]}`, one for each user
        in their order."""
        return [_answered(self._recommended, request) for request in requests]

    def similar(self, requests: Sequence[Request]) -> list[Answer]:
        """`{"items": [id], "k", "measure"}` -> `{"results": [{"item", "similar": [{"item", "score"}]}], "measure"}`."""
        return [_answered(self._similar, request) for request in requests]

    def _encoded(self, request: Request) -> tuple[Table, dict[str, int]]:
        cells, tallies = self._cells(request), self.run.encoder.tallies()
        return self.run.encoder.encode(cells, tallies), self._counted(tallies)

    def _alone(self, encoded: tuple[Table, dict[str, int]]) -> dict[str, Any]:
        table, unseen = encoded
        return {"results": _by_row(self.run.score(table)), "unseen": unseen}

    def _scored(self, request: Request) -> dict[str, Any]:
        tallies = self.run.encoder.tallies()
        found = self.run.score_rows(self._cells(request), tallies)
        return {"results": _by_row(found), "unseen": self._counted(tallies)}

    def _cells(self, request: Request) -> Any:
        _refuse_keys(request, ("rows",))
        rows = self._rows(request)
        self.run.encoder.refuse_missing(list(rows[0]), "the request")
        return cells_batch(rows, self.run.encoder)

    def _counted(self, tallies: Mapping[str, Any]) -> dict[str, int]:
        unseen = {name: t.unseen for name, t in tallies.items() if t.unseen}
        for name, count in unseen.items():
            self.unseen[name] = self.unseen.get(name, 0) + count
        return unseen

    def _recommended(self, request: Request) -> dict[str, Any]:
        _refuse_keys(request, ("users", "rows", "histories", "k", "exclude", "context"))
        k, exclude = self._k(request), request.get("exclude", "all")
        if exclude not in EXCLUDES:
            raise FmlabError(f"exclude must be one of {', '.join(EXCLUDES)}, got {exclude!r}")
        if sum(name in request for name in ("users", "rows", "histories")) != 1:
            raise FmlabError("recommend takes either users, a list of ids, rows with their context, or histories")
        if "histories" in request:
            histories = self._histories(request)
            self._refuse_long(len(histories), k)
            return {"results": [self._folded(one, k, exclude) for one in histories]}
        lists, encoder = Lists(self.run, k, exclude), self.run.encoder
        if "users" in request:
            context = request.get("context") or {}
            if not isinstance(context, Mapping):
                raise FmlabError(f"context must be values by column, got {context!r:.60}")
            check_context(context, encoder)
            column = encoder.id_column("user")
            rows: list[Mapping[str, Any]] = [{column: user, **context} for user in self._ids(request["users"], "users")]
        else:
            rows = self._rows(request)
        self._refuse_long(len(rows), k)
        encoder.refuse_missing(list(rows[0]), "the request", *QUERY)
        found = lists.of(cells_batch(rows, encoder, *QUERY))
        cold = np.concatenate(lists.cold)
        results: list[dict[str, Any]] = [{"items": [], "by_popularity": bool(c)} for c in cold]
        texts, scores = found[lists.item].to_pylist(), found[lists.score].to_pylist()
        for place, item, score in zip(np.concatenate(lists.places).tolist(), texts, scores, strict=True):
            results[place]["items"].append({"item": item, "score": score})
        return {"results": results}

    def _histories(self, request: Request) -> list[Any]:
        given = request["histories"]
        if not isinstance(given, list) or not given or "context" in request:
            raise FmlabError("histories must be a list of one or more lists of ids, without a context")
        self._refuse_many(given, "histories")
        return [self._ids(one, "items of a history") for one in given]

    def _folded(self, history: list[Any], k: int, exclude: str) -> dict[str, Any]:
        found = fold_in(self.run, history, k, keep_history=exclude == "none")
        texts = self.run.item_texts.take(pa.array(found.item)).to_pylist()
        items = [{"item": t, "score": s} for t, s in zip(texts, found.score.tolist(), strict=True)]
        return {"items": items, "by_popularity": found.by_popularity, "unknown_items": found.unknown}

    def _similar(self, request: Request) -> dict[str, Any]:
        _refuse_keys(request, ("items", "k", "measure"))
        k, measure = self._k(request), request.get("measure", "auto")
        if measure not in MEASURES:
            raise FmlabError(f"a measure must be one of {', '.join(MEASURES)}, got {measure!r}")
        found = self.run.similar_items(measure)
        rows = [{found.column: item} for item in self._ids(request.get("items"), "items")]
        self._refuse_long(len(rows), k)
        number = found.numbers(cells_batch(rows, self.run.encoder, "item"))
        results: list[dict[str, Any]] = [{"item": row[found.column], "similar": []} for row in rows]
        place, item, value = found.top(number, k)
        texts = found.keys.take(pa.array(item)).to_pylist()
        for at, text, score in zip(place.tolist(), texts, value.tolist(), strict=True):
            results[at]["similar"].append({"item": text, "score": score})
        return {"results": results, "measure": found.measure}

    def _rows(self, request: Request) -> list[Mapping[str, Any]]:
        rows = request.get("rows")
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise FmlabError("rows must be a list of one or more objects with a value by column")
        self._refuse_many(rows, "rows")
        return rows

    def _ids(self, given: Any, name: str) -> list[Any]:
        if not isinstance(given, list) or not given or not all(type(one) in (str, int) for one in given):
            raise FmlabError(f"{name} must be a list of one or more ids, got {given!r:.60}")
        self._refuse_many(given, name)
        return given

    def _refuse_many(self, given: Sequence[Any], name: str) -> None:
        if len(given) > self.limits.rows:
            raise FmlabError(f"a request has at most {self.limits.rows:,} {name}, got {len(given):,}")

    def _refuse_long(self, lists: int, k: int) -> None:
        if lists * k > self.limits.items:
            raise FmlabError(
                f"a request asks for at most {self.limits.items:,} items in all its lists, got {lists:,} lists of {k:,}"
            )

    def _k(self, request: Request) -> int:
        k = request.get("k", 10)
        check_k(k)
        if k > self.limits.k:
            raise FmlabError(f"a request asks for at most {self.limits.k:,} items, got k={k}")
        return int(k)


def _answered(function: Callable[[Any], Any], request: Any) -> Any:
    """The answer, or the error: a defect too fails the request that met it, and no other."""
    try:
        return function(request)
    except Exception as error:
        return error


def _by_row(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = zip(*(column.tolist() for column in found.values()), strict=True)
    return [dict(zip(found, row, strict=True)) for row in rows]


def _refuse_keys(request: Any, known: Sequence[str]) -> None:
    if not isinstance(request, dict):
        raise FmlabError(f"a request must be a JSON object with {', '.join(known)}, got {type(request).__name__}")
    for key in request:
        if key not in known:
            raise FmlabError(f"a request has no {key!r}; {choices(str(key), known)}")


def _joined(tables: Sequence[Table]) -> Table:
    if len(tables) == 1:
        return tables[0]
    values = [t.values for t in tables if t.values is not None]
    return Table(np.concatenate([t.ids for t in tables]), np.concatenate(values) if values else None)
