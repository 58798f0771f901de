"""Training labels looked up: what a model that only remembers would score."""

import io
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.contracts import Fitting, LabelledRows
from fmlab.data import Array, Schema
from fmlab.errors import FmlabError
from fmlab.plugin.option import Range


class Lookup(nn.Module):
    """The mean training label of the row's user and item; else of the item, of the user, of all rows.

    A mean of few rows leans on the next wider one: `(sum + smoothing * wider) / (count + smoothing)`, from all rows to
    the user and, apart, to the item; the pair leans on neither, its mean is kept from 0 and 1 by `smoothing / 1000`.

    Paper: Cestnik, Estimating probabilities: a crucial task in machine learning, ECAI 1990, the m-estimate.

    It is the baseline of a table in which a score may be a memory of training rows.

    The score is the log-odds of the mean where the loss is of log-odds, else the mean.

    Fitted: a mean of each pair, item and user is kept
    Cost: O(log rows)
    Test: tests/models/test_lookup.py::test_means_are_those_of_a_loop
    Family: baselines
    """

    defaults = {"loss": "bce", "optimizer": None, "protocol": "ctr"}

    @staticmethod
    def n_parameters(schema: Schema, **_: Any) -> int:
        """Parameters that gradients train, without building the model."""
        return 0

    def __init__(
        self,
        schema: Schema,
        *,
        smoothing: Annotated[float, Range(0, None, open_low=True), "rows that a wider mean counts as"] = 1.0,
    ) -> None:
        """Scores are 0 until it is fitted; raises FmlabError on data without users and items."""
        super().__init__()
        if not schema.has_items or not schema.n_users:
            raise FmlabError("lookup needs data with users and items: it looks up their training labels")
        self.smoothing, self.column = smoothing, schema.item.start
        self.tables: dict[str, Array] = {}

    def fit_rows(self, train: LabelledRows, validation: LabelledRows, fitting: Fitting) -> int:
        """Take the means of the training rows; one round."""
        label = train.label.double().cpu().numpy()
        user, item = self._keys(train.features.ids)
        all_rows = float(label.mean()) if len(label) else 0.0
        self.tables = {"all": np.array([all_rows, float(fitting.log_odds)])}
        for name, key in (("user", user), ("item", item), ("pair", user << 32 | item)):
            known, place, count = np.unique(key, return_inverse=True, return_counts=True)
            total = np.bincount(place, label, minlength=len(known))
            if name == "pair":
                lean = self.smoothing / 1000
                mean = (total + lean * all_rows) / (count + lean)
            else:
                mean = (total + self.smoothing * all_rows) / (count + self.smoothing)
            self.tables |= {name: known, f"{name} mean": mean}
        return 1

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """`ids[*batch, columns]` -> scores `[*batch]`."""
        if not self.tables:
            return torch.zeros(ids.shape[:-1], device=ids.device)
        user, item = self._keys(ids)
        all_rows, log_odds = self.tables["all"]
        mean = np.full(user.shape, all_rows)
        for name, key in (("user", user), ("item", item), ("pair", user << 32 | item)):
            known = self.tables[name]
            at = np.minimum(known.searchsorted(key), len(known) - 1)
            mean = np.where(known[at] == key, self.tables[f"{name} mean"][at], mean)
        found = np.log(mean / (1 - mean)) if log_odds else mean
        return torch.from_numpy(np.asarray(found)).to(ids.device, torch.float32)

    def _keys(self, ids: Tensor) -> tuple[Array, Array]:
        """Numbers of users and items: their ids as the first columns of both sides have them."""
        numbers = ids.long().cpu().numpy()
        return numbers[..., 0], numbers[..., self.column]

    def get_extra_state(self) -> Tensor:
        """The tables, as bytes of NumPy's own format."""
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **self.tables)
        return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """The inverse; nothing is executed. Raises ValueError for bytes that are no tables."""
        with np.load(io.BytesIO(state.cpu().numpy().tobytes()), allow_pickle=False) as file:
            self.tables = {name: file[name] for name in file.files}
