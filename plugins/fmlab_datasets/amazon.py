"""Amazon reviews of 2014, 5-core: one plugin a category."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from fmlab.data import Dataset
from fmlab.data.encoding.plan import Plan
from fmlab.data.raw.fetch import find
from fmlab.data.raw.table import TableFormat
from fmlab.data.source import RawFile
from fmlab.plugin.option import Renamed
from fmlab_datasets.adjacency_lists import item_attributes, pairs
from fmlab_datasets.python_literals import objects, text
from fmlab_datasets.streams import Stream, constant, first_found, joined, packed, prepared, table

log = logging.getLogger(__name__)
ADDRESS = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/"
REVIEWS = {"reviewerID": "u", "asin": "i", "overall": "stars", "unixReviewTime": "when"}
ATTRIBUTES = "_item2attributes.json"  # perhaps packed, of a file of lists
PARTS = {"train": "train", "val": "valid", "test": "test"}


class Amazon:
    """What the categories share.

    `layout`: `reviews` are the JSON lines as distributed (`reviews_<Category>_5.json.gz`), with ratings and times;
    `sequences` are lines `user item item ...` in the user's order of time, without either; `splits` are
    `ratings_split/{train,val,test}.txt`, with ratings and a given split; `auto` is the first of these that is on this
    disk. HyperML counts each interaction set plus 2 x users: validation and test once more.

    `category`: `leaf` is the most specific name of a product's first path in `meta_<Category>.json.gz` (GML-FM's
    sub-category), `path` every name of all its paths as a multi-valued field, `none` no field. Without that file the
    field is left out, unless `sequences` stand beside `<Category>_item2attributes.json`, packed or not.
    """

    defaults = {"protocol": "leave_one_out"}
    version = "1"
    license = "none stated; the authors ask for citation"
    citation = "J. McAuley, C. Targett, Q. Shi, A. van den Hengel: Image-based Recommendations, SIGIR 2015"

    name: str
    stem: str  # the category, as names of files have it

    def __init__(
        self,
        root: Path,
        *,
        layout: Annotated[
            Literal["auto", "reviews", "sequences", "splits"], "which of the published files are read", Renamed("form")
        ] = "auto",
        category: Annotated[Literal["leaf", "path", "none"], "how much of an item's category is read"] = "leaf",
    ) -> None:
        """`layout` chooses the files, `category` what is read of the metadata, if they are there."""
        self.metadata, name, stem = category, self.name, self.stem
        at = f"amazon/{stem}"
        names = [f"reviews_{stem}_5.json.gz", f"{stem}_5.json.gz", f"{stem}_5.json.zip"]
        reviews = [RawFile(f"{folder}{n}", (f"{ADDRESS}{names[0]}",)) for n in names for folder in (f"{at}/", "")]
        lists = [RawFile(f"{at}/{n}.txt{gz}") for n in (stem, stem.split("_")[0]) for gz in ("", ".gz")]
        split = [
            first_found(root, name, *(RawFile(f"{at}/ratings_split/{p}.txt{gz}") for gz in ("", ".gz"))) for p in PARTS
        ]
        files = {"reviews": [first_found(root, name, *reviews)], "sequences": [first_found(root, name, *lists)]}
        files["splits"] = split
        there = [f for f, raws in files.items() if all(find(raw, root, name) for raw in raws)]
        self.layout = layout if layout != "auto" else [*there, "reviews"][0]
        meta = [
            RawFile(f"{folder}meta_{stem}.json.gz", (f"{ADDRESS}meta_{stem}.json.gz",)) for folder in (f"{at}/", "")
        ]
        listed = [RawFile(f"{at}/{n}{ATTRIBUTES}{gz}") for n in (stem, stem.split("_")[0]) for gz in ("", ".gz")]
        extra = first_found(root, name, *(listed if self.layout == "sequences" else meta))
        self.extra = extra if category != "none" and self.layout != "splits" and find(extra, root, name) else None
        self.raw: Sequence[RawFile] = (*files[self.layout], *([self.extra] if self.extra else []))

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read the reviews or lists, and the categories if they are there."""
        paths = [files[raw.path] for raw in self.raw]
        plan = Plan(user="u", item="i", label="stars", time="when")
        if self.layout == "sequences":
            plan = Plan(user="u", item="i")
            stream = packed(pairs(paths[0]), ("u", "i"))
        elif self.layout == "splits":
            plan = Plan(user="u", item="i", label="stars", split="part")
            stream = (batch for path, part in zip(paths, PARTS.values(), strict=True) for batch in _part(path, part))
        else:
            stream = table(paths[0], REVIEWS)
        if self.extra:
            categories = _categories(paths[-1], self.metadata)
            stream = joined(stream, "i", {"category": categories})
            several = self.metadata == "path" or self.layout == "sequences"
            plan = replace(plan, fields={"category": "item"}, multi=("category",) if several else ())
        else:
            log.info("%s has no field `category`: no file of categories is there, or none is wanted", self.name)
        other = {"amazon-auto": ("amazon-automotive",)}.get(self.name, ())
        return prepared(self.name, stream, plan, workspace, papers=other)


def _part(path: Path, part: str) -> Stream:
    form = TableFormat("\t", ("user", "item", "rating"), header=False)
    return constant(table(path, {"user": "u", "item": "i", "rating": "stars"}, form), "part", part)


def _categories(path: Path, kind: str) -> dict[str, str | None]:
    """Category by item, `|` between several."""
    if ATTRIBUTES in path.name:
        return item_attributes(path)
    found = {}
    for row in objects(path):
        paths = [p for p in row.get("categories") or () if p]
        if "asin" in row and paths:
            names = [n for p in paths for n in p] if kind == "path" else paths[0][-1:]
            found[str(row["asin"])] = text(list(dict.fromkeys(names)) if kind == "path" else names[0])
    return found


class Office(Amazon):
    """Office Products: 53,258 reviews of 2,420 products by 4,905 users.

    Paper: McAuley et al., Image-based Recommendations on Styles and Substitutes, SIGIR 2015
    """

    name, stem = "amazon-office", "Office_Products"


class Clothing(Amazon):
    """Clothing, Shoes and Jewelry: 278,677 reviews of 23,033 products by 39,387 users.

    Paper: McAuley et al., Image-based Recommendations on Styles and Substitutes, SIGIR 2015
    """

    name, stem = "amazon-clothing", "Clothing_Shoes_and_Jewelry"


class Toys(Amazon):
    """Toys and Games: 167,597 reviews of 11,924 products by 19,412 users.

    Paper: McAuley et al., Image-based Recommendations on Styles and Substitutes, SIGIR 2015
    """

    name, stem = "amazon-toys-games", "Toys_and_Games"


class Beauty(Amazon):
    """Beauty: 198,502 reviews of 12,101 products by 22,363 users.

    Paper: McAuley et al., Image-based Recommendations on Styles and Substitutes, SIGIR 2015
    """

    name, stem = "amazon-beauty", "Beauty"


class MusicalInstruments(Amazon):
    """Musical Instruments: 10,261 reviews of 900 products by 1,429 users.

    Paper: McAuley et al., Image-based Recommendations on Styles and Substitutes, SIGIR 2015
    """

    name, stem = "amazon-musical-instruments", "Musical_Instruments"


class Auto(Amazon):
    """Automotive: 20,473 reviews of 1,835 products by 2,928 users.

    Paper: McAuley et al., Image-based Recommendations on Styles and Substitutes, SIGIR 2015
    """

    name, stem = "amazon-auto", "Automotive"


class Sports(Amazon):
    """Sports and Outdoors: 296,337 reviews.

    Paper: McAuley et al., Image-based Recommendations on Styles and Substitutes, SIGIR 2015
    """

    name, stem = "amazon-sports", "Sports_and_Outdoors"


class Health(Amazon):
    """Health and Personal Care: 346,355 reviews of 18,534 products by 38,609 users.

    Paper: McAuley et al., Image-based Recommendations on Styles and Substitutes, SIGIR 2015
    """

    name, stem = "amazon-health", "Health_and_Personal_Care"


class CellPhones(Amazon):
    """Cell Phones and Accessories: 194,439 reviews.

    Paper: McAuley et al., Image-based Recommendations on Styles and Substitutes, SIGIR 2015
    """

    name, stem = "amazon-cell-phones", "Cell_Phones_and_Accessories"
