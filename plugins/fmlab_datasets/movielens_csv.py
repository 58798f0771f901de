"""MovieLens 20M and latest, read from the CSV files in GroupLens' archives."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from fmlab.data import Dataset
from fmlab.data.encoding.plan import Plan
from fmlab.data.encoding.progress import ProgressBar
from fmlab.data.raw.archive import text_size
from fmlab.data.raw.table import TableFormat
from fmlab.data.source import RawFile
from fmlab.plugin.option import Range, Renamed
from fmlab_datasets.movielens import ADDRESS, CITATION, LICENSE
from fmlab_datasets.streams import Stream, attributes, frequent, joined, prepared, table

RATINGS = {"userId": "u", "movieId": "i", "rating": "stars", "timestamp": "when"}
TAGS = {"userId": "u", "movieId": "movie", "tag": "tag", "timestamp": "when"}
PLAN = Plan(user="u", item="i", label="stars", time="when")
NO_GENRES = "(no genres listed)"


class MovieLens20M:
    """MovieLens-20M: 20,000,263 ratings of 26,744 movies by 138,493 users.

    Paper: Harper & Konstan, The MovieLens Datasets, ACM TiiS 2015

    All stars are kept, as `label`. Users with fewer than `min_interactions` ratings are left out: what HyperML calls
    100-core, for its 27K items are all that anybody rated. `genres` adds them as a multi-valued field; HyperML uses ids
    alone.
    """

    defaults = {"protocol": "leave_one_out"}
    version = "1"
    license = LICENSE
    citation = CITATION

    def __init__(
        self,
        root: Path,
        *,
        min_interactions: Annotated[int, Range(1, None), "fewest ratings of a user", Renamed("least")] = 100,
        genres: Annotated[bool, "how the genres of films are read, if at all"] = False,
    ) -> None:
        """`min_interactions=1` keeps all users."""
        self.min_interactions, self.genres = min_interactions, genres
        self.raw: Sequence[RawFile] = (
            RawFile(
                "ml-20m.zip",
                (f"{ADDRESS}ml-20m.zip",),
                sha256="96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
                md5="cd245b17a1ae2cc31bb14903e1204af3",
            ),
        )

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read `ratings.csv`, twice if users are left out, and `movies.csv`."""
        return _rated("movielens-20m", files["ml-20m.zip"], workspace, self.min_interactions, self.genres, 20_000_263)


class MovieLensLatest:
    """MovieLens latest: ratings, or free-text tags, in the edition that GroupLens renews from time to time.

    Paper: Harper & Konstan, The MovieLens Datasets, ACM TiiS 2015

    `size` chooses `ml-latest-small.zip` (about 100,000 ratings) or `ml-latest.zip`. With `read="tags"` each row is a
    triple (user, movie, tag) as in IFM's MovieLens tag set: the movie is context, the tag is the item, so that
    negatives are other tags; tags are kept as written. The checksum published for the small set is that of the 2018
    edition; other editions differ in rows, and say so.
    """

    defaults = {"protocol": "full_ranking"}
    version = "1"
    license = LICENSE
    citation = CITATION

    def __init__(
        self,
        root: Path,
        *,
        size: Annotated[Literal["small", "full"], "which of the published archives is read"] = "small",
        interactions: Annotated[
            Literal["ratings", "tags"], "what counts as an interaction", Renamed("read")
        ] = "ratings",
        min_interactions: Annotated[int, Range(1, None), "fewest ratings of a user", Renamed("least")] = 1,
        genres: Annotated[bool, "how the genres of films are read, if at all"] = True,
    ) -> None:
        """Users with fewer than `min_interactions` ratings are left out."""
        self.interactions, self.min_interactions, self.genres = interactions, min_interactions, genres
        small = "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436"
        name = "ml-latest-small.zip" if size == "small" else "ml-latest.zip"
        self.raw: Sequence[RawFile] = (RawFile(name, (ADDRESS + name,), sha256=small if size == "small" else ""),)

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read `ratings.csv` and `movies.csv`, or `tags.csv`."""
        archive = next(iter(files.values()))
        if self.interactions == "ratings":
            return _rated("movielens-latest", archive, workspace, self.min_interactions, self.genres)
        plan = Plan(user="u", item="tag", time="when", fields={"movie": "context"})
        stream = table(archive, TAGS, TableFormat(member="tags.csv"))
        return prepared("movielens-latest", stream, plan, workspace, papers=("movielens-tag",), whole=668_953)


def _rated(name: str, archive: Path, workspace: Path, least: int, genres: bool, whole: int = 0) -> Dataset:
    form = TableFormat(member="ratings.csv")
    meter = ProgressBar(f"preparing {name}", text_size(archive, form.member))

    def ratings(meter: ProgressBar | None = None) -> Stream:
        return table(archive, RATINGS, form, meter)

    stream, before = frequent(ratings(), ratings(meter), least)
    if not genres:
        return prepared(name, stream, PLAN, workspace, before=before, meter=meter, whole=whole)
    movies = attributes(table(archive, {"movieId": "i", "genres": "genres"}, TableFormat(member="movies.csv")), "i")
    listed = {i: None if g == NO_GENRES else g for i, g in movies["genres"].items()}
    plan = replace(PLAN, fields={"genres": "item"}, multi=("genres",))
    return prepared(
        name, joined(stream, "i", {"genres": listed}), plan, workspace, before=before, meter=meter, whole=whole
    )
