"""Small files in exactly the formats that data sets are distributed in: one writer for each."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data_cases import write_zip

USERS, ITEMS = 12, 9
PAIRS = [(u, i) for u in range(USERS) for i in range(ITEMS) if (u * 7 + i * 5) % 4]  # every user has 6 or 7


def write(path: Path, text: str | bytes) -> Path:
    """A file, packed if its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def amazon_reviews(root: Path, category: str = "Automotive") -> None:
    """JSON lines of reviews, and Python literals of metadata."""
    rows = [
        {"reviewerID": f"A{u}", "asin": f"000{i}", "reviewerName": 'J "X"', "helpful": [0, 0], "reviewText": "a, b\n",
         "overall": float(1 + (u + i) % 5), "unixReviewTime": 1393545600 + 100 * u + i, "reviewTime": "02 28, 2014"}
        for u, i in PAIRS
    ]  # fmt: skip
    write(root / f"reviews_{category}_5.json.gz", "".join(json.dumps(r) + "\n" for r in rows))
    meta = [
        {"asin": f"000{i}", "title": "It's \"new\"", "price": 6.99, "salesRank": {"Auto": i}, "related": None,
         "categories": [["Automotive", "Tools & Equipment", f"Kind {i % 3}"], ["Automotive", "Other"]]}
        for i in range(ITEMS - 1)
    ]  # fmt: skip
    write(root / f"meta_{category}.json.gz", "".join(f"{m!r}\n" for m in meta))


def amazon_sequences(root: Path, category: str = "Beauty", packed: str = "") -> None:
    """Lines `user item item ...`, and attributes as a JSON object."""
    by_user = {u: [i for v, i in PAIRS if v == u] for u in range(USERS)}
    lines = "".join(f"{u + 1} {' '.join(str(i + 1) for i in items)}\n" for u, items in by_user.items())
    write(root / f"amazon/{category}/{category}.txt.gz", lines)
    attributes = json.dumps({str(i + 1): [i % 2 + 1, 3] for i in range(ITEMS)})
    write(root / f"amazon/{category}/{category}_item2attributes.json{packed}", attributes)


def amazon_splits(root: Path, category: str = "Office_Products") -> None:
    """Ratings in three files."""
    for n, part in enumerate(("train", "val", "test")):
        rows = [f"{u}\t{i}\t{1.0 + (u + i) % 5}\n" for k, (u, i) in enumerate(PAIRS) if k % 3 == n]
        write(root / f"amazon/{category}/ratings_split/{part}.txt", "".join(rows))


def games() -> list[dict[str, Any]]:
    """Metadata of games; the last lacks most of it."""
    whole = [
        {"publisher": "O'Neil", "genres": ["Action", "Indie"], "app_name": f"Game {i}", "title": f"Game {i}",
         "url": f"http://store/{i}", "release_date": "2018-01-04", "tags": ["Fast", "Fun", "2D"],
         "reviews_url": "http://r", "specs": ["Single-player"], "price": 4.99 + i, "early_access": i == 1,
         "id": str(10 * i), "developer": 'The "Devs"'}
        for i in range(ITEMS - 1)
    ]  # fmt: skip
    return [*whole, {"app_name": "Bare", "early_access": False, "id": str(10 * (ITEMS - 1))}]


def steam(root: Path, pairs: list[tuple[int, int, int]] | None = None) -> None:
    """UCSD: users with their games and minutes, one of them twice; games; both in Python literals."""
    played = pairs or [(u, i, 60 * (10 * u + i)) for u, i in PAIRS]
    users = [
        {"user_id": f"u{u}", "items_count": 1, "steam_id": str(u), "user_url": "http://u", "items": [
            {"item_id": str(10 * i), "item_name": "Counter-Strike: \"S'", "playtime_forever": m, "playtime_2weeks": 0}
            for v, i, m in played if v == u
        ]}
        for u in dict.fromkeys(u for u, _, _ in played)
    ]  # fmt: skip
    write(root / "australian_users_items.json.gz", "".join(f"{r!r}\n" for r in [*users, users[0]]))
    write(root / "steam_games.json.gz", "".join(f"{g!r}\n" for g in games()))


def steam_200k(root: Path) -> None:
    """Tab-separated interactions and names; metadata as JSON with NaN."""
    folder = root / "steam-200k"
    write(folder / "game_play.dat", "User_ID\tGame_ID\tHours\n" + "".join(f"{u}\t{i}\t{u + i}.5\n" for u, i in PAIRS))
    write(folder / "game_purchase.dat", "User_ID\tGame_ID\tPurchase\n" + "".join(f"{u}\t{i}\t1.0\n" for u, i in PAIRS))
    names = "".join(f"{i}\tgAME -{i}-\n" for i in range(ITEMS))
    write(folder / "item_info.dat", "Game_ID\tGame Name\n" + names)
    keys = dict.fromkeys(games()[0], float("nan"))
    write(folder / "steam_games.json.gz", "".join(json.dumps(keys | g) + "\n" for g in [{}, *games()]))


def movielens_csv(root: Path, name: str = "ml-20m") -> None:
    """`ml-20m.zip` and `ml-latest*.zip` hold the same files."""
    ratings = "".join(f"{u},{i},{0.5 + (u + i) % 9 / 2},{1112486027 + 60 * u + i}\n" for u, i in PAIRS)
    movies = "".join(f'{i},"Film, The {i}",{["Drama|War", "(no genres listed)"][i % 2]}\n' for i in range(ITEMS))
    tags = "".join(f'{u},{i},"tag, {(u + i) % 4}",1138537770\n' for u, i in PAIRS)
    files = {
        "ratings.csv": f"userId,movieId,rating,timestamp\n{ratings}",
        "movies.csv": f"movieId,title,genres\n{movies}",
        "tags.csv": f"userId,movieId,tag,timestamp\n{tags}",
    }
    write_zip(root / f"{name}.zip", {f"{name}/{n}": t.replace("\n", "\r\n").encode() for n, t in files.items()})


def ml_tag(root: Path) -> None:
    """Three libFM files of user, movie and tag."""
    for part in ("train", "validation", "test"):
        rows = [f"{1 if (u + i) % 3 else -1} {u}:1 {100 + i}:1 {200 + (u * i) % 5}:1\n" for u, i in PAIRS]
        write(root / f"ml-tag/ml-tag.{part}.libfm", "".join(rows))


AVAZU = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,device_ip,"
    "device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21"
)


def avazu(root: Path, rows: int = 60) -> None:
    """`train.gz` of Kaggle."""
    made = "".join(
        f"{10**18 + n},{n % 3 % 2},141021{n % 24:02},1005,{n % 2},1fbe01fe,f3845767,28905ebd,ecad2386,7801e8d9,"
        f"07d7df22,a99f214a,{n:08x},44956a24,1,2,157{n % 4:02},320,50,1722,0,35,-1,79\n"
        for n in range(rows)
    )
    write(root / "train.gz", f"{AVAZU}\n{made}")


def criteo_line(label: int, numbers: list[Any], categories: list[str]) -> str:
    """Label, 13 numbers, 26 categories."""
    cells = [label, *numbers, *[""] * (13 - len(numbers)), *categories, *[""] * (26 - len(categories))]
    return "\t".join(map(str, cells)) + "\n"


def criteo(root: Path) -> None:
    """`dac.tar.gz` with `train.txt`."""
    text = "".join(criteo_line(n % 2, [n, -1, "", n * 50], ["68fd1e64", f"{n % 3:08x}"]) for n in range(40))
    write_tar(root / "dac.tar.gz", {"readme.txt": b"terms", "./train.txt": text.encode(), "test.txt": b""})


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """A packed tar archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def goodbooks(root: Path) -> None:
    """`ratings.csv` and `books.csv`."""
    write(
        root / "goodbooks/ratings.csv", "user_id,book_id,rating\n" + "".join(f"{u},{i},{1 + u % 5}\n" for u, i in PAIRS)
    )
    head = "book_id,goodreads_book_id,isbn13,authors,original_publication_year,title,language_code\n"
    books = "".join(
        f'{i},{i},9.78e+12,"A. B, C. D{i % 2}",{2000 + i}.0,"T (T, #1)",{"eng" if i else ""}\n' for i in range(ITEMS)
    )
    write(root / "goodbooks/books.csv", head + books)


def kkbox(root: Path) -> None:
    """The files of the WSDM Cup, unpacked; ids end in `=`, fields may be empty."""
    rows = "".join(f"u{u}=,s{i}=,explore,Explore,online-playlist,{(u + i) % 2}\n" for u, i in PAIRS)
    write(root / "kkbox/train.csv", f"msno,song_id,source_system_tab,source_screen_name,source_type,target\n{rows}")
    rows = "".join(f"u{u}=,{u % 3},{20 + u},{'female' if u % 2 else ''},7,20110820,20170920\n" for u in range(USERS))
    write(
        root / "kkbox/members.csv", f"msno,city,bd,gender,registered_via,registration_init_time,expiration_date\n{rows}"
    )
    rows = "".join(f's{i}=,247640,465|{i},張信哲 (Jeff Chang),"董, 貞",,3.0\n' for i in range(ITEMS - 1))
    write(root / "kkbox/songs.csv", f"song_id,song_length,genre_ids,artist_name,composer,lyricist,language\n{rows}")


def yelp_lines() -> dict[str, bytes]:
    """Reviews and businesses as JSON lines."""
    review = [
        {"review_id": f"r{u}-{i}", "user_id": f"u{u}", "business_id": f"b{i}", "stars": 1 + i % 5,
         "date": f"2017-01-{1 + u:02}", "text": 'Good, "very"\ngood', "useful": 0, "funny": 0, "cool": 0}
        for u, i in PAIRS
    ]  # fmt: skip
    business = [
        {"business_id": f"b{i}", "name": "N", "city": "Zürich", "stars": 4.0, "attributes": {"WiFi": "no"},
         "categories": ["Bars", f"K{i % 2}"] if i % 2 else "Bars, Food" if i else None}
        for i in range(ITEMS)
    ]  # fmt: skip
    named = {"review": review, "business": business}
    return {
        f"yelp_academic_dataset_{n}.json": "".join(json.dumps(r) + "\n" for r in rows).encode()
        for n, rows in named.items()
    }


def yelp(root: Path) -> None:
    """Unpacked."""
    for name, text in yelp_lines().items():
        write(root / "yelp" / name, text)


def yelp_archive(root: Path) -> None:
    """As downloaded."""
    write_tar(root / "yelp" / "yelp_dataset.tgz", yelp_lines())


def meetup(root: Path) -> None:
    """Pairs without a header."""
    write(root / "meetup/user_event.csv", "".join(f"{u},{i}\n" for u, i in PAIRS))


def mercari(root: Path) -> None:
    """The columns of GML-FM's authors; one user has too few items."""
    rows = [f"u{u},i{i},c{i % 3},new,post,Tokyo,2\n" for u, i in [*PAIRS, (99, 0)]]
    head = "user,item,category,condition,shipping_method,origin,duration\n"
    write(root / "mercari/ticket.csv", head + "".join(rows))


def yelp_sequences(root: Path, packed: str = "") -> None:
    """Lines `user item item ...` and attributes, as sequential recommenders distribute them."""
    amazon_sequences(root, "Yelp", packed)
    (root / "amazon/Yelp").rename(root / "yelp")


def gowalla(root: Path) -> None:
    """Training and test lists of LightGCN."""
    for part, n in (("train", 0), ("test", 1)):
        lines = [
            " ".join(map(str, [u, *(i for v, i in PAIRS if v == u and (i % 4 == 3) == bool(n))])) for u in range(USERS)
        ]
        write(root / f"gowalla/{part}.txt", "\n".join(lines) + "\n")


def libfm(root: Path) -> None:
    """Three features a row, the last numeric."""
    write(root / "a.libfm", "".join(f"{(u + i) % 2} {u}:1 {50 + i}:1 99:{u / 4}\n" for u, i in PAIRS))


def libffm(root: Path) -> None:
    """Fields with numbers, one with several features, one missing at times."""
    write(
        root / "a.ffm",
        "".join(
            f"{(u + i) % 2} 0:{u}:1 2:{50 + i}:1 5:{70 + i % 3}:1 5:{80 + i % 2}:1{' 7:90:1' * (u % 2)}\n"
            for u, i in PAIRS
        ),
    )


FORMATS: dict[str, tuple[str, Callable[[Path], None], dict[str, Any]]] = {
    "amazon-auto": ("amazon-auto", amazon_reviews, {}),
    "amazon-auto path": ("amazon-auto", amazon_reviews, {"category": "path"}),
    "amazon-beauty": ("amazon-beauty", amazon_sequences, {}),
    "amazon-health": ("amazon-health", lambda r: amazon_sequences(r, "Health_and_Personal_Care", ".gz"), {}),
    "amazon-office": ("amazon-office", amazon_splits, {}),
    "steam": ("steam", steam, {}),
    "steam slots": ("steam", steam, {"slots": 3, "fields": ("tags", "price")}),
    "steam-200k": ("steam-200k", steam_200k, {}),
    "steam-200k purchase": ("steam-200k", steam_200k, {"behavior": "purchase"}),
    "movielens-20m": ("movielens-20m", movielens_csv, {"min_interactions": 7, "genres": True}),
    "movielens-latest": ("movielens-latest", lambda r: movielens_csv(r, "ml-latest-small"), {}),
    "movielens-latest tags": (
        "movielens-latest",
        lambda r: movielens_csv(r, "ml-latest-small"),
        {"interactions": "tags"},
    ),
    "movielens-tag": ("movielens-tag", ml_tag, {}),
    "avazu": ("avazu", avazu, {}),
    "avazu parts": ("avazu", avazu, {"time": "parts", "min_count": 1}),
    "criteo": ("criteo", criteo, {}),
    "criteo numeric": ("criteo", criteo, {"numbers": "numeric"}),
    "goodbooks": ("goodbooks", goodbooks, {}),
    "kkbox": ("kkbox", kkbox, {}),
    "yelp": ("yelp", yelp, {}),
    "yelp archive": ("yelp", yelp_archive, {}),
    "yelp sequences": ("yelp", yelp_sequences, {}),
    "meetup": ("meetup", meetup, {}),
    "mercari-ticket": ("mercari-ticket", mercari, {}),
    "gowalla": ("gowalla", gowalla, {}),
    "adjacency": ("adjacency", gowalla, {"path": "gowalla/train.txt"}),
    "libfm": ("libfm", libfm, {"train": "a.libfm", "user": "f0", "item": "f1"}),
    "libffm": ("libfm", libffm, {"train": "a.ffm", "fields": ("who", "what", "kind", "more")}),
}
