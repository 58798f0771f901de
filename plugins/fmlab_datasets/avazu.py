"""Avazu: clicks on mobile advertisements, ten days."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from fmlab.data import Dataset, FieldEncoding
from fmlab.data.encoding.plan import Plan
from fmlab.data.encoding.progress import ProgressBar
from fmlab.data.raw.archive import text_size
from fmlab.data.source import RawFile
from fmlab.errors import DataError
from fmlab_datasets.options import Buckets, MinCount
from fmlab_datasets.streams import derived, first_found, hashed, prepared, table

PAGE = "https://www.kaggle.com/c/avazu-ctr-prediction/data"
CATEGORIES = (
    *("C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category"),
    *("device_id", "device_ip", "device_model", "device_type", "device_conn_type"),
    *(f"C{n}" for n in range(14, 22)),
)


class Avazu:
    """Avazu: 40,428,967 impressions of mobile advertisements, clicked or not, in 21 fields and the hour.

    Paper: Xu, Wu, LorentzFM, AAAI 2020 (21 fields); Sun et al., FM2, WWW 2021 (23: weekday and hour of the day)

    `time="drop"` leaves the 21 fields of LorentzFM; `time="parts"` adds `weekday` and `hour`, as FmFM does. Values seen
    fewer than `min_count` times are unknown; with `buckets`, values are first hashed into so many for each field. The
    column `id` names the impression and is no feature. The hour is kept as the time of the row, for a split by time.
    Read as a stream: memory holds the vocabularies and a few blocks.
    """

    defaults = {"protocol": "ctr"}
    version = "1"
    license = "rules of the Kaggle competition; not to be redistributed"
    citation = "S. Wang, W. Cukierski: Click-Through Rate Prediction, Kaggle 2014, kaggle.com/c/avazu-ctr-prediction"

    def __init__(
        self,
        root: Path,
        *,
        time: Annotated[Literal["drop", "parts"], "what is done with the hour of the impression"] = "drop",
        min_count: MinCount = 5,
        buckets: Buckets = 0,
    ) -> None:
        """The file is `train.gz` as Kaggle gives it, or unpacked."""
        self.time, self.min_count, self.buckets = time, min_count, buckets
        names = (f"{folder}{n}" for folder in ("avazu/", "") for n in ("train.gz", "train.csv.gz", "train.csv"))
        self.raw: Sequence[RawFile] = (first_found(root, "avazu", *(RawFile(n, page=PAGE) for n in names)),)

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read the table once."""
        (path,) = files.values()
        meter = ProgressBar(f"preparing {path.name}", text_size(path))
        columns = {n: n for n in ("click", "hour", *CATEGORIES)}
        parts: dict[str, Callable[[Any], Any]] = {
            "weekday": lambda texts: [str(_moment(t).isoweekday()) for t in texts.to_pylist()],
            "clock": lambda texts: [str(_moment(t).hour) for t in texts.to_pylist()],
            "when": lambda texts: [str(int(_moment(t).timestamp())) for t in texts.to_pylist()],
        }
        names = ("weekday", "clock") if self.time == "parts" else ()
        text_columns = () if self.buckets else CATEGORIES
        stream = derived(
            table(path, columns, None, meter, text_columns), "hour", {n: parts[n] for n in (*names, "when")}
        )
        stream = hashed(stream, CATEGORIES, self.buckets)
        plan = Plan(
            label="click",
            time="when",
            fields=dict.fromkeys((*names, *CATEGORIES), "context"),
            min_count=self.min_count,
        )
        read = {n: FieldEncoding(n, transform="hashed", buckets=self.buckets) for n in CATEGORIES if self.buckets}
        return prepared("avazu", stream, plan, workspace, meter=meter, whole=40_428_967, inputs=read)


def _moment(text: str) -> datetime:
    """`14102100` is the first hour of 21 October 2014; no zone is stated, UTC is taken."""
    try:
        return datetime.strptime(text, "%y%m%d%H").replace(tzinfo=UTC)
    except ValueError as error:
        raise DataError(f"column 'hour' must be YYMMDDHH, got {text!r}") from error
