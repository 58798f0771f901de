"""Yelp: reviews of local businesses."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fmlab.data import Dataset
from fmlab.first_pass import Plan
from fmlab.protocols import Raw
from fmlab.tabular import Form
from fmlab_datasets.literals import objects, text
from fmlab_datasets.streams import first_found, joined, prepared, table

PAGE = "https://www.yelp.com/dataset"
REVIEW = {"user_id": "u", "business_id": "i", "stars": "stars", "date": "when"}


class Yelp:
    """Yelp: reviews of businesses, as in the 2018 edition of the Yelp Dataset Challenge.

    Paper: Vinh Tran et al., HyperML, WSDM 2020

    `label` is the number of stars. All reviews are kept, the first of repeated ones counts; HyperML's 1M interactions
    of 22K users and 18K businesses are a part whose choice the paper does not state: `protocol.core` narrows ours.
    `categories` of a business (multi-valued, at most `slots`) and its `city` are fields; editions write the categories
    as a list or as a text with commas.
    """

    defaults = {"protocol": "leave_one_out"}
    version = "1"
    licence = "Yelp Dataset Terms of Use: academic use, not to be redistributed"
    citation = "Yelp Inc.: Yelp Open Dataset, yelp.com/dataset"

    def __init__(self, root: Path, *, categories: bool = True, city: bool = True, slots: int = 5) -> None:
        """The files are `yelp_academic_dataset_{review,business}.json`, or the archive with both."""
        self.fields = (("categories",) if categories else ()) + (("city",) if city else ())
        self.slots = slots
        archives = [Raw(f"{f}{n}", page=PAGE) for f in ("yelp/", "") for n in ("yelp_dataset.tar", "yelp_dataset.tgz")]
        single = [Raw(f"yelp/{n}", page=PAGE) for n in ("yelp_academic_dataset_review.json", "review.json")]
        review = first_found(root, "yelp", *single, *archives)
        business = Raw(review.path.replace("review", "business"), page=PAGE)
        self.raw: Sequence[Raw] = (review, business) if self.fields and review not in archives else (review,)

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read the reviews and the businesses: JSON lines."""
        places = [files[raw.path] for raw in self.raw]
        packed = ".json" not in places[0].suffixes
        stream = table(places[0], REVIEW, Form(member="yelp_academic_dataset_review.json" if packed else ""))
        if self.fields:
            rows = objects(places[-1], "yelp_academic_dataset_business.json" if packed else "")
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
