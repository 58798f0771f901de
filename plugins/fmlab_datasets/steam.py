"""Steam: games that users own and how long they played them; two crawls."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from fmlab.data import Dataset, PositivesRule
from fmlab.data.encoding.plan import Plan
from fmlab.data.raw.fetch import find
from fmlab.data.raw.table import TableFormat
from fmlab.data.source import RawFile
from fmlab.errors import DataError
from fmlab.plugin.option import Range
from fmlab_datasets.options import Fields, chosen_fields
from fmlab_datasets.python_literals import objects, text
from fmlab_datasets.streams import Cells, attributes, first_found, joined, packed, prepared, table

log = logging.getLogger(__name__)
UCSD = "https://mcauleylab.ucsd.edu/public_datasets/data/steam/"
USERS = "australian_users_items.json.gz"
GAMES = "steam_games.json.gz"
GAME_PLACES = (GAMES, f"steam/{GAMES}", f"steam-200k/{GAMES}")
GAME_URLS = ("https://cseweb.ucsd.edu/~wckang/steam_games.json.gz", f"{UCSD}steam_games.json.gz")
LISTS = ("genres", "tags", "specs")
SINGLE = ("app_name", "title", "release_date", "publisher", "developer", "price", "early_access")
FIELDS = (*SINGLE, *LISTS)
LICENSE = "none stated; the authors ask for citation"
CITATION = (
    "W.-C. Kang, J. McAuley: Self-Attentive Sequential Recommendation, ICDM 2018; M. Wan, J. McAuley: Item "
    "Recommendation on Monotonic Behavior Chains, RecSys 2018; A. Pathak, K. Gupta, J. McAuley: Generating and "
    "Personalizing Bundle Recommendations on Steam, SIGIR 2017"
)


class Steam:
    """Steam, UCSD crawl: the games of Australian users with playing time, and 10 attributes of each game.

    Paper: Kang, McAuley, Self-Attentive Sequential Recommendation, ICDM 2018; Pathak et al., SIGIR 2017

    `label` is the playing time in hours (the file holds minutes). `rule` is LorentzFM's: 100 hours, 20-core. The
    default fields are the 12 of that paper: the user, the game, and all of its attributes but two addresses; of lists
    (genres, tags, specs) the first `slots` names are kept, tags being in the order of their votes. A user who stands
    in the file twice counts once. There are no times.
    """

    defaults = {"protocol": "full_ranking"}
    version = "1"
    license = LICENSE
    citation = CITATION

    def __init__(
        self,
        root: Path,
        *,
        fields: Fields = (
            "app_name",
            "title",
            "release_date",
            "publisher",
            "developer",
            "price",
            "early_access",
            "genres",
            "tags",
            "specs",
        ),
        slots: Annotated[int, Range(1, None), "most values of a multi-valued field"] = 1,
    ) -> None:
        """`fields` chooses attributes. Raises DataError for an unknown one."""
        self.fields, self.slots = chosen_fields(fields, FIELDS, "Steam"), slots
        users = first_found(root, "steam", *(RawFile(p, (UCSD + USERS,)) for p in (USERS, f"steam/{USERS}")))
        games = first_found(root, "steam", *(RawFile(p, GAME_URLS) for p in GAME_PLACES))
        self.raw: Sequence[RawFile] = (users, games)

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read both files of Python literals."""
        users, games = (files[raw.path] for raw in self.raw)
        stream = joined(packed(_played(users), ("u", "i", "hours")), "i", _games(games, self.fields))
        return _dataset("steam", stream, self.fields, self.slots, workspace, PositivesRule(min_label=100, core=20))


class Steam200k:
    """Steam-200k: 129,511 purchases and 70,489 playing times of 12,393 users and 5,155 games.

    Source: kaggle.com/datasets/tamber/steam-video-games, in the form of A. da Costa's `game_*.dat`

    `behavior="play"` has the hours played as `label`; `purchase` has no labels. If `steam_games.json.gz` is there,
    games are matched to it by name (letters and digits), and `fields` of it are added; unmatched ones have none.
    There are no times.
    """

    defaults = {"protocol": "full_ranking"}
    version = "1"
    license = "none stated"
    citation = "Tamber: Steam Video Games, kaggle.com/datasets/tamber/steam-video-games"

    def __init__(
        self,
        root: Path,
        *,
        behavior: Annotated[Literal["play", "purchase"], "which behavior counts as an interaction"] = "play",
        fields: Fields = (
            "release_date",
            "publisher",
            "developer",
            "price",
            "genres",
            "tags",
            "specs",
        ),
        slots: Annotated[int, Range(1, None), "most values of a multi-valued field"] = 1,
    ) -> None:
        """`fields` chooses attributes. Raises DataError for an unknown one."""
        self.behavior, self.slots = behavior, slots
        page = "https://www.kaggle.com/datasets/tamber/steam-video-games"
        names = (f"game_{behavior}.dat", "item_info.dat")
        games = first_found(root, "steam-200k", *(RawFile(p, GAME_URLS) for p in GAME_PLACES))
        self.fields = chosen_fields(fields, FIELDS, "Steam") if find(games, root, "steam-200k") else ()
        optional = (games,) if self.fields else ()
        self.raw: Sequence[RawFile] = (*(RawFile(f"steam-200k/{n}", page=page) for n in names), *optional)

    def build(self, files: Mapping[str, Path], workspace: Path) -> Dataset:
        """Read the interactions, and the games by their names."""
        interactions, names, *games = (files[raw.path] for raw in self.raw)
        value = "Hours" if self.behavior == "play" else "Purchase"
        form = TableFormat("\t", quoted=False)
        stream = table(interactions, {"User_ID": "u", "Game_ID": "i", value: "hours"}, form)
        if games:
            title = attributes(table(names, {"Game_ID": "i", "Game Name": "title"}, form), "i")["title"]
            listed = {
                _plain(str(t)): key for key, t in reversed(list(_games(games[0], ("app_name",))["app_name"].items()))
            }
            same = {item: listed[_plain(t)] for item, t in title.items() if t and _plain(t) in listed}
            log.info("%s of %s games are matched by name", f"{len(same):,}", f"{len(title):,}")
            known = _games(games[0], self.fields)
            stream = joined(stream, "i", {f: {i: known[f].get(g) for i, g in same.items()} for f in self.fields})
        return _dataset(
            "steam-200k", stream, self.fields, self.slots, workspace, PositivesRule(), self.behavior == "play"
        )


def _dataset(
    name: str,
    stream: Iterator[object],
    fields: Sequence[str],
    slots: int,
    workspace: Path,
    rule: PositivesRule,
    label: bool = True,
) -> Dataset:
    plan = Plan(
        user="u",
        item="i",
        label="hours" if label else "",
        fields=dict.fromkeys(fields, "item"),
        multi=tuple(f for f in fields if f in LISTS),
    )
    return prepared(name, stream, plan, workspace, rule=rule, slots=slots)


def _played(path: Path) -> Iterator[tuple[str, str, str]]:
    """User, game, hours."""
    seen: set[str] = set()
    repeated = 0
    for row in objects(path):
        user = str(row.get("user_id") or row.get("steam_id") or "")
        if not user or not isinstance(row.get("items"), list):
            raise DataError(f"{path}: every line must have `user_id` and a list `items`, got {', '.join(row)[:200]}")
        if user in seen:
            repeated += 1
            continue
        seen.add(user)
        for item in row["items"]:
            try:
                yield user, str(item["item_id"]), f"{int(item['playtime_forever']) / 60:.4f}"
            except (KeyError, TypeError, ValueError) as error:
                rule = "every item must have `item_id` and `playtime_forever` in minutes"
                raise DataError(f"{path}: {rule}; user {user} has {str(item)[:100]}") from error
    log.info("%s users, %s more lines repeat one of them", f"{len(seen):,}", f"{repeated:,}")


def _games(path: Path, fields: Sequence[str]) -> dict[str, Cells]:
    """Attributes by field and game; lines without an id are left out."""
    found: dict[str, dict[str, str | None]] = {f: {} for f in fields}
    without = 0
    for row in objects(path):
        if row.get("id") is None:
            without += 1
            continue
        for field in fields:
            found[field].setdefault(str(row["id"]), text(row.get(field)))
    if without:
        log.info("%s: %s lines name no game", path.name, f"{without:,}")
    return dict(found)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())
