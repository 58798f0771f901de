"""MovieLens 1M and 100K, read from the archives as GroupLens packs them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np

from fmlab.data import SECOND, Array, Dataset, PositivesRule, Side
from fmlab.data.raw.archive import lines, opened
from fmlab.data.source import RawFile
from fmlab.errors import DataError
from fmlab_datasets.options import Fields, chosen_fields
from fmlab_datasets.published import published
from fmlab_datasets.tables import Column, assemble, category, counted, identity, several

ADDRESS = "https://files.grouplens.org/datasets/movielens/"
LICENSE = "GroupLens: research use with acknowledgement, no redistribution, no commercial use without permission"
CITATION = (
    "F. M. Harper, J. A. Konstan: The MovieLens Datasets: History and Context, "
    "ACM Transactions on Interactive Intelligent Systems 5(4), 2015"
)
AGES = (1, 18, 25, 35, 45, 50, 56)  # the first year of each age group of MovieLens-1M
GENRE_SLOTS = 6
FREQUENT = 5
FIELDS = ("user", "gender", "age", "occupation", "zip", "item", "genres")
ORDER_FILE = "ml-1m-extra/ratings.user_rank.txt.gz"


class _Side(NamedTuple):
    """Raw attributes by entity, in file order."""

    keys: list[str]
    columns: dict[str, list[str]]


class MovieLens:
    """What the two archives share: their options, license and default protocol."""

    defaults = {"protocol": "full_ranking"}
    version = "1"
    license = LICENSE
    citation = CITATION
    archive: RawFile

    def __init__(
        self,
        root: Path,
        *,
        zip: Annotated[
            Literal["frequent", "full", "prefix3", "prefix2"], "how the zip codes of users are read"
        ] = "full",
        genres: Annotated[Literal["slots", "string"], "how the genres of films are read, if at all"] = "slots",
        fields: Fields = (
            "user",
            "gender",
            "age",
            "occupation",
            "zip",
            "item",
            "genres",
        ),
    ) -> None:
        """`fields` chooses columns. Raises DataError for an unknown one."""
        self.reading = _Reading(zip, genres, chosen_fields(fields, FIELDS, "MovieLens"))
        self.raw: Sequence[RawFile] = (self.archive, *self.others(root))

    def others(self, root: Path) -> list[RawFile]:
        """Further files that are read where they are there."""
        return []


class MovieLens1M(MovieLens):
    """MovieLens-1M: 1,000,209 ratings of 3,706 movies by 6,040 users.

    Paper: Harper & Konstan, The MovieLens Datasets, ACM TiiS 2015

    All ratings are kept, `label` is the rating; the rule of LorentzFM (rating > 3, 5-core) is in `rule`. Users and
    items are in file order, values of attributes sorted. Movies that nobody rated are left out.

    That rule leaves 574,376 ratings, 6,034 users, 3,125 movies, sparsity 96.95%; LorentzFM prints 573K, 6.0K, 3.1K and
    96.85%, which no core from 2 to 12 gives together (7: 573,522 ratings, but 2,990 movies). Why is not known.

    Zip codes are kept whole: 12.6K features after LorentzFM's rule. The paper counts 9.4K, which cannot hold them;
    `zip="frequent"`, the codes that at least 5 users share, gives that number (three digits: 9.9K, two: 9.3K).
    `genres="string"` takes each combination of genres for one value (301 of them), and with
    `fields=[user,gender,occupation,item,genres]` gives the 10,070 features that GML-FM counts.
    If `ml-1m-extra/ratings.user_rank.txt.gz` stands under the root folder, it settles the order of ratings that
    a user gave in the same second: `time` is then made strictly increasing in that order.
    """

    archive = RawFile(
        "ml-1m.zip",
        (f"{ADDRESS}ml-1m.zip",),
        sha256="a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        md5="c4d9eecfca2ab87c1945afe126590906",
    )

    def others(self, root: Path) -> list[RawFile]:
        """The order of ratings."""
        return [RawFile(ORDER_FILE)] if (root / ORDER_FILE).is_file() else []

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read `users.dat`, `movies.dat` and `ratings.dat` (latin-1, separated by `::`)."""
        archive = files["ml-1m.zip"]
        people = _side(archive, "users.dat", "::", ("gender", "age", "occupation", "zip"))
        movies = _side(archive, "movies.dat", "::", ("title", "genres"))
        user, item, rating, time = _ratings(archive, "ratings.dat", ":", (0, 2, 4, 6))
        if ORDER_FILE in files:
            time = _in_order(files[ORDER_FILE], user, time)
        return self.reading.dataset("movielens-1m", people, movies, (user, item, rating, time))


class MovieLens100K(MovieLens):
    """MovieLens-100K: 100,000 ratings of 1,682 movies by 943 users.

    Paper: Harper & Konstan, The MovieLens Datasets, ACM TiiS 2015

    As `movielens-1m`, from `u.data`, `u.user` and `u.item`; ages are put into the groups of MovieLens-1M.
    """

    archive = RawFile(
        "ml-100k.zip",
        (f"{ADDRESS}ml-100k.zip",),
        sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        md5="0e33842e24a9c977be4e0107933c0723",
    )

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read `u.user`, `u.item`, `u.genre` and `u.data` (latin-1)."""
        archive = files["ml-100k.zip"]
        people = _side(archive, "u.user", "|", ("age", "gender", "occupation", "zip"))
        people.columns["age"] = [_age_group(a) for a in people.columns["age"]]
        names = [line.split("|")[0] for line in lines(archive, "u.genre", "latin-1") if line]
        flags = [f"genre{n}" for n in range(len(names))]
        movies = _side(archive, "u.item", "|", ("title", "released", "video", "address", *flags))
        rows = zip(*(movies.columns[f] for f in flags), strict=True)
        movies.columns["genres"] = ["|".join(n for n, on in zip(names, row, strict=True) if on == "1") for row in rows]
        return self.reading.dataset("movielens-100k", people, movies, _ratings(archive, "u.data", "\t", (0, 1, 2, 3)))


class _Reading(NamedTuple):
    """How attributes become fields."""

    zip: str
    genres: str
    fields: tuple[str, ...]

    def dataset(self, name: str, people: _Side, movies: _Side, ratings: tuple[Array, Array, Array, Array]) -> Dataset:
        """The data set of the ratings (raw user, raw item, rating, time)."""
        raw_user, raw_item, rating, time = ratings
        user = _index("user", people.keys, raw_user)
        item = _index("movie", movies.keys, raw_item)
        rated = np.unique(item)
        movies = _Side(
            [movies.keys[n] for n in rated], {c: [values[n] for n in rated] for c, values in movies.columns.items()}
        )
        item = np.searchsorted(rated, item)
        made = [self._column(f, people if f in ("user", *people.columns) else movies) for f in self.fields]
        split = 1 + max(n for n, f in enumerate(self.fields) if f in ("user", *people.columns))
        sides: dict[Side, Sequence[Column]] = {"user": made[:split], "item": made[split:]}
        schema, tables, keys = assemble(sides)
        return Dataset(
            name=name,
            schema=schema,
            rows=len(rating),
            user=user.astype(np.int32),
            item=item.astype(np.int32),
            users=tables["user"],
            items=tables["item"],
            label=rating.astype(np.float32),
            time=time,
            rule=PositivesRule(min_label=3.5, core=5),
            steps=(counted("all ratings", schema, len(rating)),),
            keys=keys,
            published=published(name),
        )

    def _column(self, field: str, side: _Side) -> Column:
        if field in ("user", "item"):
            return identity(field, side.keys)
        values = side.columns[field]
        if field == "zip":
            return _zip(self.zip, values)
        if field == "age":
            return category(field, values, sorted(set(values), key=int))
        if field == "genres" and self.genres == "slots":
            return several(field, [[g for g in v.split("|") if g] for v in values], GENRE_SLOTS)
        return category(field, values)


def _zip(rule: str, values: Sequence[str]) -> Column:
    if rule.startswith("prefix"):
        values = [v[: int(rule.removeprefix("prefix"))] for v in values]
    if rule != "frequent":
        return category("zip", values)
    return category("zip", values, sorted(z for z, n in Counter(values).items() if n >= FREQUENT))


def _side(path: Path, member: str, separator: str, names: Sequence[str]) -> _Side:
    keys: list[str] = []
    columns: dict[str, list[str]] = {n: [] for n in names}
    for number, line in enumerate(lines(path, member, "latin-1"), 1):
        if not line:
            continue
        key, *values = line.split(separator)
        if len(values) != len(names):
            raise DataError(f"{member}, line {number}: {len(names) + 1} fields expected, got {len(values) + 1}: {line}")
        keys.append(key)
        for name, value in zip(names, values, strict=True):
            columns[name].append(value)
    if not keys:
        raise DataError(f"{member} in {path} has no lines")
    if len(set(keys)) != len(keys):
        raise DataError(f"{member} in {path}: {Counter(keys).most_common(1)[0][0]} is there twice")
    return _Side(keys, columns)


def _ratings(
    path: Path, member: str, separator: str, places: tuple[int, int, int, int]
) -> tuple[Array, Array, Array, Array]:
    """User, item, rating, microseconds. `::` is read as `:` around an empty column, which a fast parser can do."""
    import pyarrow as pa
    from pyarrow import csv

    width = places[-1] + 1
    names = [str(n) for n in range(width)]
    wanted = [str(n) for n in places]
    try:
        with opened(path, member) as file:
            table = csv.read_csv(
                file,
                read_options=csv.ReadOptions(column_names=names),
                parse_options=csv.ParseOptions(delimiter=separator, quote_char=False),
                convert_options=csv.ConvertOptions(
                    include_columns=wanted, column_types={n: pa.int64() for n in wanted}, null_values=[]
                ),
            )
    except pa.ArrowInvalid as error:
        raise DataError(f"{member} in {path} is malformed: {error}") from error
    user, item, rating, seconds = (table[n].to_numpy() for n in wanted)
    return user, item, rating, seconds * SECOND


def _index(kind: str, keys: Sequence[str], raw: Array) -> Array:
    """Place of each raw id in `keys`."""
    ids = np.array(keys, np.int64)
    order = np.argsort(ids)
    at = order[np.minimum(np.searchsorted(ids, raw, sorter=order), len(ids) - 1)]
    if (wrong := np.flatnonzero(ids[at] != raw)).size:
        raise DataError(f"{wrong.size} ratings name a {kind} that is not listed, the first is {raw[wrong[0]]}")
    return at


def _in_order(path: Path, user: Array, time: Array) -> Array:
    """Times made strictly increasing along each user's true order, moved by as few microseconds as that takes."""
    rank = np.array(list(lines(path)), np.int64)
    if len(rank) != len(user):
        raise DataError(f"{path} must have a line for each rating ({len(user)}), got {len(rank)}")
    order = np.lexsort((rank, user))
    ranked_user, ranked_time = user[order], time[order]
    start = np.flatnonzero(np.r_[True, ranked_user[1:] != ranked_user[:-1]])
    number = np.searchsorted(start, np.arange(len(user)), side="right")
    place = np.arange(len(user)) - start[number - 1]
    apart = number * (int(time.max()) - int(time.min()) + len(user) + 1)  # no user reaches into the next one
    moved = np.empty_like(time)
    moved[order] = np.maximum.accumulate(apart + ranked_time - place) - apart + place
    return moved


def _age_group(age: str) -> str:
    return str(max((a for a in AGES if a <= int(age)), default=AGES[0]))
