"""A trained model ready to score: what `load_run` gives, read by `loading`."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from fmlab.data import Array, Side, Table
from fmlab.data.batch import as_features
from fmlab.data.encoding.fitted_encoder import QUERY, Encoder, Tallies
from fmlab.data.labels import probability
from fmlab.data.model_inputs import NO_INPUTS, ModelInputs
from fmlab.errors import DataError, FmlabError
from fmlab.evaluation.probability_calibration import Calibration
from fmlab.files import storing
from fmlab.run.seen_items import EXCLUDES, Exclude
from fmlab.run.serving_data import ServingData
from fmlab.serving.outputs import outputs

if TYPE_CHECKING:
    import pandas as pd

    from fmlab.serving.export import Format
    from fmlab.serving.ranking import Ranker
    from fmlab.serving.row_inputs import RowInputs
    from fmlab.serving.similar import Measure, SimilarItems

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedRun:
    """A trained model, the fitted encoder, and what the run folder keeps of the data. It reads no file any more.

    `calibration`: what `calibrate=` fitted on the validation; scores and probabilities are calibrated by it.
    `identity` is what the checkpoint says of itself. Scores are those by which the run was judged: the model's output
    on the scale of the labels.
    """

    folder: Path
    checkpoint: Path
    identity: Mapping[str, Any]
    model: nn.Module
    data: ServingData
    calibration: Calibration | None = None

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.identity["model"]["name"])

    @cached_property
    def encoder(self) -> Encoder:
        """Raw rows as features."""
        encoder = self.data.encoder()
        encoder.row_inputs = {column.field: column for column in self.model_inputs.columns()}
        return encoder

    @cached_property
    def model_inputs(self) -> "RowInputs":
        """What the model asks for of rows beside their features."""
        from fmlab.serving.row_inputs import RowInputs

        return RowInputs(self.model, self.data)

    @cached_property
    def ranker(self) -> "Ranker":
        """All items, ready to be ranked; raises DataError where rows have no users and items."""
        from fmlab.serving.ranking import Ranker

        if self.data.targets:
            raise DataError(
                f"items are recommended by one score: {self.name} gives scores of {', '.join(self.data.targets)}; see "
                "fmlab predict"
            )
        if self.data.users is None or self.data.items is None:
            raise DataError(
                f"items are recommended to users: the rows of {self.data.name!r} have none; see fmlab predict"
            )
        return Ranker(self.model, self.data, self.model_inputs)

    @cached_property
    def folds(self) -> Any:
        """What scores all items for a history by `fold_in`, and has a `link`; raises FmlabError without one."""
        from fmlab.serving.fold_in import fold_in_method

        return fold_in_method(self)

    @cached_property
    def item_texts(self) -> Any:
        """The ids of the items in their order, pyarrow.StringArray."""
        import pyarrow as pa

        return pa.array(self.data.keys[self.data.id_field("item")].tolist(), pa.string())

    @cached_property
    def trained_users(self) -> Array:
        """bool[users]: those with a training interaction."""
        seen = self.data.seen
        return np.ones(self.data.schema.n_users, bool) if seen is None else seen.trained

    @property
    def columns(self) -> list[str]:
        """Raw columns that rows must have."""
        return [c.name for c in self.encoder.columns() if c.required]

    def predict(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """Scores of the rows of a frame, with its index.

        `frame` has the raw `columns`, in any order; attributes of users and items serve for those that training did not
        know, other columns are not looked at. Numbers, texts, booleans, times, categories and lists are read as
        training read them from a file; NaN, None and NaT are missing. The result has the column `score` (float32, or
        float64 where the model computes so) and, where outputs are log-odds, `probability`. Unknown values are
        counted in `result.attrs["unseen"]`, by field. Raises DataError for a missing column or a number that is none,
        FmlabError for a score that is not finite.
        """
        import pandas as pd

        from fmlab.serving.frames import frame_batches

        self.encoder.refuse_missing([str(c) for c in frame.columns], "the frame")
        tallies, parts = self.encoder.tallies(), [self.score(Table(*self._no_rows()))]
        batches = frame_batches(frame, self.encoder)
        parts += [self.score_rows(batch, tallies) for batch in batches]
        made = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        found = pd.DataFrame(made, index=frame.index)
        if self.calibration is not None:
            found.attrs["calibrated"] = self.calibration.method
        found.attrs["unseen"] = {name: t.unseen for name, t in tallies.items() if t.unseen}
        return found

    def recommend(
        self,
        users: "Iterable[object] | pd.DataFrame | None" = None,
        k: int = 10,
        *,
        history: "Iterable[object] | None" = None,
        exclude: Exclude = "all",
        context: Mapping[str, object] | None = None,
    ) -> "pd.DataFrame":
        """The `k` best items of each user, best first: columns of the query, `rank` (from 1), the item, `score`.

        `history`: ids of items that one new user has met, instead of `users`; the model is not trained, see
        `fmlab.serving.fold_in`. The items of the history are left out, but for `exclude="none"`; how many of them
        training did not know is in `result.attrs["unknown_items"]`.

        `users` are ids, or a frame with the column of users and those of the context. `context`: values of the context
        columns, for ids. `exclude`: items of the user that are left out, see `fmlab.run.seen_items`. A user of whom the
        model knows nothing gets the items that were trained on most, their count for a score;
        `result.attrs["by_popularity"]` says how many. Raises DataError, and FmlabError for what cannot be.
        """
        import pandas as pd

        from fmlab.serving.fold_in import check_history, fold_in
        from fmlab.serving.frames import frame_batches
        from fmlab.serving.lists import Lists, check_context, check_k

        check_k(k)
        if exclude not in EXCLUDES:
            raise FmlabError(f"exclude must be one of {', '.join(EXCLUDES)}, got {exclude!r}")
        if (users is None) == (history is None) or (history is not None and context):
            raise FmlabError("recommend takes either users, perhaps in a context, or the history of a new user")
        if history is not None:
            made = fold_in(self, check_history(history), k, keep_history=exclude == "none")
            return made.table(self)
        lists = Lists(self, k, exclude)
        if not isinstance(users, pd.DataFrame):
            assert users is not None
            check_context(context or {}, self.encoder)
            users = pd.DataFrame({self.encoder.id_column("user"): list(users), **(context or {})}, dtype=object)
        self.encoder.refuse_missing([str(c) for c in users.columns], "what users= and context= give", *QUERY)
        parts = [lists.of(batch).to_pandas() for batch in frame_batches(users, self.encoder, *QUERY)]
        found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=lists.header)
        found.attrs["by_popularity"] = lists.by_popularity
        return found

    def similar(
        self, items: "Iterable[object] | pd.DataFrame", k: int = 10, *, measure: "Measure" = "auto"
    ) -> "pd.DataFrame":
        """The `k` items most like each of `items`: the item, `rank` (from 1), `similar`, `score`, larger is more alike.

        `items` are ids, or a frame with the column of items. It is exact, and by the geometry of the model:
        its own measure if it has one (`fmlab.contracts.ComparesItems`), else minus the manifold's distance of points,
        else the cosine of item vectors or states; `result.attrs["measure"]` says which. `measure`: inner, cosine or
        distance instead. Raises DataError for an item that training did not know or rows without items, FmlabError
        where the model has no such measure.
        """
        import pandas as pd

        from fmlab.serving.frames import frame_batches
        from fmlab.serving.lists import check_k

        check_k(k)
        found = self.similar_items(measure)
        if not isinstance(items, pd.DataFrame):
            items = pd.DataFrame({found.column: list(items)}, dtype=object)
        self.encoder.refuse_missing([str(c) for c in items.columns], "items", "item")
        made = [found.of(batch, k).to_pandas() for batch in frame_batches(items, self.encoder, "item")]
        table = pd.concat(made, ignore_index=True) if made else pd.DataFrame(columns=found.header)
        table.attrs["measure"] = found.measure
        return table

    def similar_items(self, measure: "Measure" = "auto") -> "SimilarItems":
        """All items, ready to be compared; made once for each measure."""
        from fmlab.serving.similar import SimilarItems

        if measure not in self._compared:
            self._compared[measure] = SimilarItems(self, measure)
        return self._compared[measure]

    @cached_property
    def _compared(self) -> dict[str, "SimilarItems"]:
        return {}

    def export(
        self, folder: "str | PathLike[str]", formats: "Sequence[Format]" = ("files",), *, force: bool = False
    ) -> list[str]:
        """Write files (files), an ONNX model (onnx), a program of torch.export (torch), an index of items (ann)
        or the layout of the Hugging Face Hub (huggingface) into a new folder.

        Returns what is missing, and why, and how far programs are from `predict`. `force` replaces an export. Raises
        FmlabError where something is in the way or a format cannot be, StorageError.
        """
        from fmlab.serving.export import export

        return export(self, Path(folder), formats, force=force)

    def score_rows(self, rows: Any, tallies: Tallies) -> dict[str, Array]:
        """`score` and perhaps `probability` of a record batch of dictionary-encoded text, see `score`."""
        table = self.encoder.encode(rows, tallies)
        if not self.model_inputs.names:
            return self.score(table)
        user, item = (self.number(table.ids, side) for side in ("user", "item"))
        given = self.model_inputs.query(rows, user, None, tallies).join(self.model_inputs.item(rows, item, tallies))
        return self.score(table, given)

    def number(self, ids: Array, side: Side) -> Array:
        """Numbers of the users or items that rows of features name, -1 where they are unknown or there are none."""
        schema = self.data.schema
        at = schema.columns(side).start if schema.columns(side).stop else None
        if at is None or (self.data.users if side == "user" else self.data.items) is None:
            return np.full(len(ids), -1, np.int64)
        found: Array = ids[:, at].astype(np.int64) - schema.offsets[schema.column_field[at]] - 1
        return found

    def plot(self, kind: str, out: "str | PathLike[str] | None" = None, **given: Any) -> Any:
        """The matplotlib figure of a kind of `fmlab plot`, written to `out` (.png, .pdf, .svg) if that is given.

        importance wants `rows`, a frame, and `label`, its column. Raises FmlabError for what the run has not.
        """
        from fmlab.serving.run_plots import draw

        figure = draw(self, kind, **given)
        if out is not None:
            with storing(Path(out).parent):
                figure.savefig(Path(out), dpi=150)
        return figure

    def score(self, table: Table, given: ModelInputs = NO_INPUTS) -> dict[str, Array]:
        """`score` and perhaps `probability` of whole feature rows `[rows, columns]`, as the run was judged.

        `given`: what the model asks for of them. Of several targets: `score.click`, `probability.click`, `score.buy`
        and so on. Raises FmlabError if an output is not finite.
        """
        found: dict[str, Array] = {}
        for target, output in outputs(self.model, as_features(table), self.data.targets, given).items():
            end = f".{target}" if target else ""
            score = self.data.scale.served(output)
            if self.calibration is not None:
                score = self.calibration.log_odds(score, target).astype(score.dtype)
            found[f"score{end}"] = score
            if self.data.log_odds:
                with np.errstate(over="ignore"):
                    found[f"probability{end}"] = probability(score).astype(np.float32)
        return found

    @property
    def predicted(self) -> list[str]:
        """The columns that `predict` adds: `score`, perhaps `probability`; `score.buy` and so on of several targets."""
        kinds = ["score", "probability"] if self.data.log_odds else ["score"]
        return [f"{kind}.{target}" if target else kind for target in self.data.targets or ("",) for kind in kinds]

    def _no_rows(self) -> tuple[Array, Array | None]:
        shape = (0, self.data.schema.n_columns)
        return np.zeros(shape, np.int32), np.zeros(shape, np.float32) if self.data.schema.numeric else None
