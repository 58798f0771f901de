"""Yelp: reviews of local businesses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from fmlab.data import Dataset, Side
from fmlab.data.encoding.plan import Plan
from fmlab.data.raw.fetch import find
from fmlab.data.raw.table import TableFormat
from fmlab.data.source import RawFile
from fmlab.plugin.option import Renamed
from fmlab_datasets.adjacency_lists import item_attributes, pairs
from fmlab_datasets.python_literals import objects, text
from fmlab_datasets.streams import first_found, joined, packed, prepared, table

PAGE = "https://www.yelp.com/dataset"
REVIEW = {"user_id": "u", "business_id": "i", "stars": "stars", "date": "when"}


class Yelp:
    """Yelp: reviews of businesses, as in the 2018 edition of the Yelp Dataset Challenge.

    Paper: Vinh Tran et al., HyperML, WSDM 2020

    `label` is the number of stars. All reviews are kept, the first of repeated ones counts; HyperML's 1M interactions
    of 22K users and 18K businesses are a part whose choice the paper does not state: `protocol.k_core` narrows ours.
    `categories` of a business (multi-valued, at most `slots`) and its `city` are fields; editions write the categories
    as a list or as a text with commas.

    `layout`: `reviews` are the files of Yelp; `sequences` are `Yelp.txt`, lines `user item item ...` in the user's
    order of time, as sequential recommenders distribute them, and `Yelp_item2attributes.json` for the categories, both
    packed or not; `auto` is the first of these that is on this disk.
    """

    defaults = {"protocol": "leave_one_out"}
    version = "1"
    license = "Yelp Dataset Terms of Use: academic use, not to be redistributed"
    citation = "Yelp Inc.: Yelp Open Dataset, yelp.com/dataset"

    def __init__(
        self,
        root: Path,
        *,
        layout: Annotated[
            Literal["auto", "reviews", "sequences"], "which of the published files are read", Renamed("form")
        ] = "auto",
        categories: Annotated[bool, "whether the categories of businesses are a field"] = True,
        city: Annotated[bool, "whether the city of a business is a field"] = True,
        slots: Annotated[int, "most values of a multi-valued field"] = 5,
    ) -> None:
        """The files are `yelp_academic_dataset_{review,business}.json`, or the archive with both."""
        self.fields = (("categories",) if categories else ()) + (("city",) if city else ())
        self.slots = slots
        archives = [
            RawFile(f"{f}{n}", page=PAGE) for f in ("yelp/", "") for n in ("yelp_dataset.tar", "yelp_dataset.tgz")
        ]
        single = [RawFile(f"yelp/{n}", page=PAGE) for n in ("yelp_academic_dataset_review.json", "review.json")]
        review = first_found(root, "yelp", *single, *archives)
        business = RawFile(review.path.replace("review", "business"), page=PAGE)
        self.raw: Sequence[RawFile] = (review, business) if self.fields and review not in archives else (review,)
        listed = first_found(root, "yelp", RawFile("yelp/Yelp.txt", page=PAGE), RawFile("yelp/Yelp.txt.gz", page=PAGE))
        here = find(listed, root, "yelp") is not None and find(review, root, "yelp") is None
        self.layout = layout if layout != "auto" else "sequences" if here else "reviews"
        if self.layout == "sequences":
            names = [RawFile(f"yelp/Yelp_item2attributes.json{gz}") for gz in ("", ".gz")]
            extra = first_found(root, "yelp", *names)
            self.raw = (listed, extra) if categories and find(extra, root, "yelp") else (listed,)

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read the reviews and the businesses: JSON lines; or the lists and the attributes."""
        places = [files[raw.path] for raw in self.raw]
        if self.layout == "sequences":
            extra = {"categories": item_attributes(places[1])} if len(places) > 1 else {}
            stream = joined(packed(pairs(places[0]), ("u", "i")), "i", extra)
            sides: dict[str, Side] = dict.fromkeys(extra, "item")
            plan = Plan(user="u", item="i", fields=sides, multi=tuple(extra))
            return prepared("yelp", stream, plan, workspace, slots=self.slots)
        archive = ".json" not in places[0].suffixes
        stream = table(places[0], REVIEW, TableFormat(member="yelp_academic_dataset_review.json" if archive else ""))
        if self.fields:
            rows = objects(places[-1], "yelp_academic_dataset_business.json" if archive else "")
            known: dict[str, dict[str, str | None]] = {f: {} for f in self.fields}
            for row in rows:
                for field in self.fields:
                    value = row.get(field)
                    if field == "categories" and isinstance(value, str):
                        value = value.split(", ")
                    known[field][str(row.get("business_id"))] = text(value)
            stream = joined(stream, "i", known)
        plan = Plan(
            user="u",
            item="i",
            label="stars",
            time="when",
            fields=dict.fromkeys(self.fields, "item"),
            multi=("categories",) if "categories" in self.fields else (),
        )
        return prepared("yelp", stream, plan, workspace, slots=self.slots)
