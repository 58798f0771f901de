"""KKBox: which songs users heard again within a month."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fmlab.data import Dataset, PositivesRule
from fmlab.data.encoding.plan import Plan
from fmlab.data.encoding.progress import ProgressBar
from fmlab.data.raw.archive import text_size
from fmlab.data.source import RawFile
from fmlab_datasets.streams import attributes, first_found, joined, prepared, table

PAGE = "https://www.kaggle.com/c/kkbox-music-recommendation-challenge/data"
MEMBER = ("city", "bd", "gender", "registered_via", "registration_init_time", "expiration_date")
SONG = ("genre_ids", "artist_name", "composer", "lyricist", "language")


class KKBox:
    """KKBox: first listenings, heard again within a month or not, with 7 user and 6 song fields.

    Paper: Xu, Wu, LorentzFM, AAAI 2020; data of the WSDM Cup 2018

    `label` is the target; `rule` is LorentzFM's: target 1, 20-core. The fields are msno, city, bd, gender,
    registered_via, registration_init_time, expiration_date, and song_id, genre_ids, artist_name, composer, lyricist,
    language: 13 with both ids; the paper prints 7 + 6 = 12. Values are taken as written, genres as one text. Rows are
    in order of time, without times.
    """

    defaults = {"protocol": "full_ranking"}
    version = "1"
    license = "rules of the Kaggle competition; not to be redistributed"
    citation = "B. Chen et al.: WSDM Cup 2018 Music Recommendation and Churn Prediction, WSDM 2018"

    def __init__(self, root: Path) -> None:
        """The files are those of Kaggle, unpacked from 7z, which Python cannot read; gzip is read as well."""
        self.raw: Sequence[RawFile] = tuple(
            first_found(root, "kkbox", *(RawFile(f"kkbox/{n}.csv{gz}", page=PAGE) for gz in ("", ".gz")))
            for n in ("train", "members", "songs")
        )

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read `train.csv`, `members.csv` and `songs.csv`."""
        train, members, songs = (files[raw.path] for raw in self.raw)
        people = attributes(table(members, {"msno": "u", **{n: n for n in MEMBER}}), "u")
        music = attributes(table(songs, {"song_id": "i", **{n: n for n in SONG}}), "i")
        meter = ProgressBar("preparing kkbox", text_size(train))
        stream = table(train, {"msno": "u", "song_id": "i", "target": "target"}, meter=meter)
        plan = Plan(
            user="u",
            item="i",
            label="target",
            fields={**dict.fromkeys(MEMBER, "user"), **dict.fromkeys(SONG, "item")},
        )
        stream = joined(joined(stream, "u", people), "i", music)
        rule = PositivesRule(min_label=1, core=20)
        return prepared("kkbox", stream, plan, workspace, rule=rule, meter=meter, whole=7_377_418)
