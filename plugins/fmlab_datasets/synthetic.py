"""A data set that needs no file: preferences are planted, so the best reachable score is known."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np

from fmlab.data import SECOND, Array, Dataset, PlantedScores, Side
from fmlab.data.source import RawFile
from fmlab.plugin.option import Range
from fmlab_datasets.exact_draws import UNIT, ExactDraws
from fmlab_datasets.tables import Column, assemble, counted, identity

USER_FIELDS = {"age": 8, "occupation": 20, "region": 30}
ITEM_FIELDS = {"category": 20, "brand": 60}
TAGS, TAG_SLOTS = 40, 3
START = 1_600_000_000  # seconds
STEPS = 1 << 7  # planted vectors are whole multiples of 1 / STEPS: their products are exact in float32
USER_LIMIT, ITEM_LIMIT = 1 << 15, 1 << 11  # of these multiples


class Synthetic:
    """Implicit feedback whose preferences come from interactions of user attributes with item attributes.

    Source: generated. User u and item i have vectors p_u, q_i of `rank` numbers, sums of one hidden vector for each of
    their features: the attributes' ones weigh sqrt(1 - id_share), the id's own sqrt(id_share). The planted score is
    s(u, i) = b_i + sharpness <p_u, q_i>, and the positives of u are drawn without replacement with probabilities
    proportional to exp(s). With few positives each, ids alone learn little; attributes are shared and learn much. The
    same options give the same bytes on every machine.
    """

    defaults = {"protocol": "full_ranking"}
    raw: Sequence[RawFile] = ()
    version = "3"
    license = "none needed: the data are generated"
    citation = "none"

    def __init__(
        self,
        root: Path,
        *,
        users: Annotated[int, Range(2, 10_000_000), "number of users"] = 2000,
        items: Annotated[int, Range(2, 100_000), "number of items"] = 1000,
        positives: Annotated[float, Range(1, None), "mean number of positives of a user"] = 12.0,
        id_share: Annotated[
            float, Range(0, 1), "share of the planted preference that belongs to the ids themselves"
        ] = 0.02,
        rank: Annotated[int, Range(1, 1000), "size of the planted vectors"] = 3,
        sharpness: Annotated[float, Range(0, None), "factor on the planted preferences"] = 3.0,
        seed: Annotated[int, Range(0, None), "seed of what is drawn"] = 0,
    ) -> None:
        """`positives` is the mean number a user has; a user has at least 3 if there are enough items."""
        self.users, self.items, self.positives, self.rank = users, items, positives, rank
        self.id_share, self.sharpness, self.seed = id_share, sharpness, seed

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Generate the data set; the same options give the same bytes."""
        draws = ExactDraws(self.seed)
        users = _attributes(draws, "user", self.users, USER_FIELDS)
        items = _attributes(draws, "item", self.items, ITEM_FIELDS)
        items.append(_tags(draws, self.items))
        p, q = (self._vectors(draws, side) for side in (users, items))
        truth = _Planted(
            _rounded(self.sharpness * p, USER_LIMIT),
            _rounded(q, ITEM_LIMIT),
            np.rint(0.3 * draws.normal(self.items) * (STEPS * STEPS / (1 << 16))).astype(np.int64),
        )
        user, item = _draw(draws, truth, self.positives)
        sides: dict[Side, Sequence[Column]] = {"user": users, "item": items}
        schema, tables, keys = assemble(sides)
        return Dataset(
            name="synthetic",
            schema=schema,
            rows=len(user),
            user=user,
            item=item,
            users=tables["user"],
            items=tables["item"],
            time=(START + draws.orders(1, len(user))[0] * 60) * SECOND,
            steps=(counted("generated", schema, len(user)),),
            keys=keys,
            truth=truth.scores(),
        )

    def _vectors(self, draws: ExactDraws, columns: Sequence[Column]) -> Array:
        """Vectors of length about 1: one for each feature, averaged over slots and summed over fields."""
        weights = [self.id_share, *[(1 - self.id_share) / (len(columns) - 1)] * (len(columns) - 1)]
        total = np.zeros((len(columns[0].codes), self.rank))
        for weight, column in zip(weights, columns, strict=True):
            vectors = draws.normal(len(column.keys) + 1, self.rank)
            vectors[0] = 0
            filled = np.maximum((column.codes > 0).sum(1, keepdims=True), 1)
            deviation = np.sqrt(weight / np.sqrt(self.rank)) / (1 << 16)
            total += vectors[column.codes].sum(1) * deviation / np.sqrt(filled)
        return total


class _Planted(NamedTuple):
    """int64 multiples of 1 / STEPS, of the bias of 1 / STEPS^2."""

    user: Array
    item: Array
    bias: Array

    def scores(self) -> PlantedScores:
        """The same as float32, exactly."""
        user, item = ((a / STEPS).astype(np.float32) for a in (self.user, self.item))
        return PlantedScores(
            user, item, np.zeros(len(user), np.float32), (self.bias / (STEPS * STEPS)).astype(np.float32)
        )


def _rounded(vectors: Array, limit: int) -> Array:
    return np.clip(np.rint(vectors * STEPS), -limit, limit).astype(np.int64)


def _attributes(draws: ExactDraws, name: str, count: int, fields: Mapping[str, int]) -> list[Column]:
    columns = [identity(name, [str(n) for n in range(count)])]
    for field, size in fields.items():
        shares = 1 / np.sqrt(np.arange(1, size + 1))  # some values are common, some are rare
        codes = draws.choice(shares, count) + 1
        columns.append(Column(field, codes.astype(np.int32)[:, None], [f"{field}-{n}" for n in range(size)]))
    return columns


def _tags(draws: ExactDraws, count: int) -> Column:
    order = draws.orders(count, TAGS)[:, :TAG_SLOTS] + 1
    order[np.arange(TAG_SLOTS) >= draws.choice([1] * TAG_SLOTS, count)[:, None] + 1] = 0
    return Column("tags", order.astype(np.int32), [f"tag-{n}" for n in range(TAGS)])


def _draw(draws: ExactDraws, truth: _Planted, mean: float) -> tuple[Array, Array]:
    """Positives of all users, by the Gumbel trick: the largest perturbed scores are a draw without replacement."""
    n_users, n_items = len(truth.user), len(truth.item)
    sizes = mean * draws.exponential(n_users, 4).sum(1) / (4 * UNIT)  # Erlang: some users have many, some few
    wanted = np.clip(np.rint(sizes).astype(np.int64), min(3, n_items - 1), max(1, n_items // 2))
    users, items, places = [], [], np.arange(n_items)
    for u in range(n_users):
        # Whole numbers of which no two are equal, since the item is their last part: every sort gives the same ones.
        score = (((truth.item @ truth.user[u] + truth.bias) << 6) + (draws.gumbel(n_items) >> 12) << 17) + places
        users.append(np.full(wanted[u], u, np.int32))
        items.append(np.sort(np.argpartition(score, -wanted[u])[-wanted[u] :]).astype(np.int32))
    return np.concatenate(users), np.concatenate(items)
