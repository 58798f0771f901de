"""A program that ranks items, in that program's environment: `python automl_ranker.py NAME FOLDER OUT SECONDS`.

FOLDER holds train.csv, valid.csv and test.csv with columns `user` and `item`. A program that has no search of its own
tries the defaults of its models and then random options, for SECONDS, and keeps what has the best NDCG@10 of the
validation. OUT gets lists of `user,item,score`: valid.csv and test.csv of what was trained on the training rows alone,
test-refit.csv of what was trained anew on the validation rows too; and told.json: seconds, and what was chosen.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

LISTED = 20  # items of a list


class Pairs:
    """Users and items of the three parts, numbered, and what is to be ranked."""

    def __init__(self, folder):
        read = partial(pd.read_csv, usecols=["user", "item"], dtype=str, keep_default_na=False)
        parts = [read(folder / f"{name}.csv") for name in ("train", "valid", "test")]
        ends = np.cumsum([len(part) for part in parts])[:-1]
        rows = pd.concat(parts, ignore_index=True)
        self.users, self.items = (pd.Index(rows[side].unique()) for side in ("user", "item"))
        numbers = pd.DataFrame(
            {"user": self.users.get_indexer(rows.user), "item": self.items.get_indexer(rows["item"])}
        )
        self.train, self.valid, self.test = (numbers.iloc[part] for part in np.split(np.arange(len(rows)), ends))
        self.both = numbers.iloc[: ends[1]]

    def matrix(self, rows):
        """Ones `[users, items]` where a pair is in the rows."""
        from scipy.sparse import csr_matrix

        shape = (len(self.users), len(self.items))
        return csr_matrix((np.ones(len(rows), np.float32), (rows.user, rows["item"])), shape=shape)

    def named(self, rows):
        """With the names of users and items in place of their numbers."""
        return pd.DataFrame({"user": self.users[rows.user], "item": self.items[rows["item"]], "score": rows.score})


def ndcg(lists, relevant, depth=10):
    """Mean NDCG@10 of the users of `relevant`; of rows `user, item`, those of a user in the order of the list."""
    wanted = relevant.groupby("user").size()
    place = lists.groupby("user").cumcount().to_numpy()
    keys = [rows.user.to_numpy() * (1 << 32) + rows["item"].to_numpy() for rows in (lists, relevant)]
    hit = np.isin(*keys) & (place < depth)
    gain = pd.Series(1 / np.log2(place[hit] + 2)).groupby(lists.user.to_numpy()[hit]).sum()
    ideal = np.cumsum(1 / np.log2(np.arange(depth) + 2))[np.minimum(wanted, depth) - 1]
    return float((gain.reindex(wanted.index, fill_value=0) / ideal).mean())


def search(families, pairs, seconds, rng, most=None):
    """The model with the best NDCG@10 of the validation, its family and options, and how many were tried.

    `families`: of each name a function that trains, and one that draws options, or gives the usual ones for None.
    `most`: by how many users of the validation is chosen, all if None.
    """
    began, tried, best, longest = time.monotonic(), 0, (-1.0,), dict.fromkeys(families, 0.0)
    users = np.unique(pairs.valid.user)
    users = users if most is None or most >= len(users) else np.sort(rng.choice(users, most, replace=False))
    relevant = pairs.valid[pairs.valid.user.isin(users)]
    queue = list(families)
    while True:
        usual = bool(queue)
        left = seconds - (time.monotonic() - began)
        fits = [name for name in (queue[:1] or families) if longest[name] < left]
        if tried and not (fits if not usual else left > 0):
            break
        name = queue.pop(0) if usual else fits[rng.integers(len(fits))]
        train, draw = families[name]
        options, start = draw(None if usual else rng), time.monotonic()
        try:
            model = train(pairs.train, options)
            value = ndcg(model(users, 10), relevant)
        except Exception as error:  # as a program does whose factors are no numbers any more: the trial is lost
            value, model = -1.0, error
        longest[name] = max(longest[name], time.monotonic() - start)
        tried += 1
        told = f"{value:.4f}" if value >= 0 else f"failed: {model}"
        print(f"{time.monotonic() - began:.1f} s  {name} {options}  {told}", flush=True)
        if value > best[0]:
            best = (value, name, options, model)
    if len(best) == 1:
        raise SystemExit(f"each of {tried} trials failed")
    return (*best[1:], tried)


def draw_between(rng, low, high, *, whole=False):
    """A number between two, by its logarithm."""
    value = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return round(value) if whole else value


def popularity(pairs, seconds, out):
    """Items by their training interactions."""

    def train(rows, options):
        counts, met = rows["item"].value_counts(), set(zip(rows.user, rows["item"], strict=True))

        def top(users, count):
            found = []
            for user in users:
                ranked = (item for item in counts.index if (user, item) not in met)
                found += [(user, item, counts[item]) for item, _ in zip(ranked, range(count), strict=False)]
            return pd.DataFrame(found, columns=["user", "item", "score"])

        return top

    return train(pairs.train, {}), "counts", lambda: train(pairs.both, {})


def implicit(pairs, seconds, out):
    """`implicit`: ALS, BPR, and neighbors of items by three similarities."""
    from implicit.als import AlternatingLeastSquares
    from implicit.bpr import BayesianPersonalizedRanking
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

    def trained(kind, rows, options):
        model, matrix = kind(**options), pairs.matrix(rows)
        model.fit(matrix, show_progress=False)

        def top(users, count):
            count = min(count, matrix.shape[1])
            items, scores = model.recommend(users, matrix[users], N=count, filter_already_liked_items=True)
            lists = pd.DataFrame(
                {"user": np.repeat(users, items.shape[1]), "item": items.ravel(), "score": scores.ravel()}
            )
            # Where there are fewer items, the rest of the list has none, or the lowest score that there is.
            return lists[(lists["item"] >= 0) & (lists.score > -1e30)]

        return top

    def als(rng):
        if rng is None:
            return {"random_state": 0}
        return {
            "factors": draw_between(rng, 16, 256, whole=True),
            "regularization": draw_between(rng, 1e-3, 10),
            "alpha": draw_between(rng, 0.5, 50),
            "iterations": int(rng.integers(8, 31)),
            "random_state": 0,
        }

    def bpr(rng):
        if rng is None:
            return {"random_state": 0}
        return {
            "factors": draw_between(rng, 16, 256, whole=True),
            "learning_rate": draw_between(rng, 3e-3, 0.3),
            "regularization": draw_between(rng, 1e-4, 0.1),
            "iterations": draw_between(rng, 50, 400, whole=True),
            "random_state": 0,
        }

    def neighbors(rng):
        return {} if rng is None else {"K": draw_between(rng, 5, 1000, whole=True)}

    def bm25(rng):
        if rng is None:
            return {}
        return neighbors(rng) | {"K1": draw_between(rng, 0.05, 10), "B": float(rng.uniform(0, 1))}

    draws = {AlternatingLeastSquares: als, BayesianPersonalizedRanking: bpr, BM25Recommender: bm25}
    draws |= {TFIDFRecommender: neighbors, CosineRecommender: neighbors}
    families = {kind.__name__: (partial(trained, kind), draw) for kind, draw in draws.items()}
    return searched(families, pairs, seconds)


def lenskit(pairs, seconds, out):
    """LensKit's models for implicit feedback: neighbors of items, ALS, EASE."""
    from lenskit.als import ImplicitMFConfig, ImplicitMFScorer
    from lenskit.knn import ItemKNNConfig, ItemKNNScorer
    from lenskit.knn.ease import EASEConfig, EASEScorer

    def trained(kind, config, rows, options):
        return lenskit_lists(kind(config(**options)), rows)

    def knn(rng):
        options = {"feedback": "implicit"}
        return options if rng is None else options | {"max_nbrs": draw_between(rng, 5, 1000, whole=True)}

    def als(rng):
        if rng is None:
            return {}
        return {
            "embedding_size": draw_between(rng, 16, 256, whole=True),
            "regularization": draw_between(rng, 1e-3, 10),
            "weight": draw_between(rng, 1, 100),
            "epochs": int(rng.integers(5, 21)),
        }

    def ease(rng):
        return {} if rng is None else {"regularization": draw_between(rng, 1, 3000)}

    families = {
        "ItemKNN": (partial(trained, ItemKNNScorer, ItemKNNConfig), knn),
        "ImplicitMF": (partial(trained, ImplicitMFScorer, ImplicitMFConfig), als),
        "EASE": (partial(trained, EASEScorer, EASEConfig), ease),
    }
    # A list takes it milliseconds: by all users there would be few trials.
    return searched(families, pairs, seconds, most=2000)


def lenskit_lists(scorer, rows):
    """Lists of a LensKit pipeline that is trained on the rows."""
    from lenskit.pipeline import topn_pipeline

    pipeline = topn_pipeline(scorer)
    pipeline.train(lenskit_data(rows))
    return partial(lenskit_top, pipeline)


def lenskit_top(pipeline, users, count):
    """The lists of a trained pipeline."""
    from lenskit.batch import recommend

    found = recommend(pipeline, [int(u) for u in users], count, n_jobs=1).to_df()
    return found.rename(columns={"user_id": "user", "item_id": "item"}).dropna(subset=["score"])


def lenskit_data(rows):
    """Rows as LensKit reads them."""
    from lenskit.data import from_interactions_df

    return from_interactions_df(rows.rename(columns={"user": "user_id", "item": "item_id"}))


def lenskit_auto(pairs, seconds, out):
    """LensKit-Auto: a search by SMAC over LensKit's models for implicit feedback.

    Without the two changes below it lists all items for each user of the validation, and writes these lists for each
    trial.
    """
    import lkauto.implicit.implicit_evaler as evaluation
    from lenskit.data import ItemListCollection
    from lkauto.lkauto import get_best_recommender_model
    from lkauto.utils.filer import Filer
    from lkauto.utils.get_default_configuration_space import get_default_configuration_space

    class NoLists(Filer):
        def save_validataion_data(self, *args, **kwargs):
            pass

    evaluation.topn_pipeline = partial(evaluation.topn_pipeline, n=10)
    data = lenskit_data(pairs.train)
    held = pairs.valid.rename(columns={"user": "user_id", "item": "item_id"})
    pipeline, chosen = get_best_recommender_model(
        data,
        validation=ItemListCollection.from_df(held, ["user_id"]),
        cs=get_default_configuration_space(data, "implicit", random_state=0),
        time_limit_in_sec=int(seconds),
        num_evaluations=100_000,
        random_state=0,
        user_column="user_num",  # as it numbers those of the training rows: in their order, as they are numbered here
        item_column="item_num",
        rating_column=None,
        include_timestamp=False,
        filer=NoLists(str(out / "lkauto")),
        save=False,
        visualization=False,
    )

    def again():
        other = pipeline.clone()
        other.train(lenskit_data(pairs.both))
        return partial(lenskit_top, other)

    return partial(lenskit_top, pipeline), str(chosen), again


def searched(families, pairs, seconds, most=None):
    """The result of a random search, and how it is trained anew."""
    name, options, model, tried = search(families, pairs, seconds, np.random.default_rng(0), most)
    return model, f"{name} {options}, of {tried} trials", lambda: families[name][0](pairs.both, options)


def lists(model, part, left_out, pairs, path):
    """Write lists for the users of a part, without items that are in `left_out`."""
    users = np.unique(part.user)
    most = int(left_out.groupby("user").size().max()) if len(left_out) else 0
    found = model(users, LISTED + most)
    if most:
        out = pd.MultiIndex.from_frame(left_out[["user", "item"]])
        found = found[~pd.MultiIndex.from_frame(found[["user", "item"]]).isin(out)]
    pairs.named(found.groupby("user", sort=False).head(LISTED)).to_csv(path, index=False)


def main(name, folder, out, seconds):
    pairs = Pairs(folder)
    began = time.monotonic()
    model, chose, again = globals()[name.replace("-", "_")](pairs, seconds, out)
    told = {"chose": chose, "seconds": time.monotonic() - began}
    lists(model, pairs.valid, pairs.valid.iloc[:0], pairs, out / "valid.csv")
    lists(model, pairs.test, pairs.valid, pairs, out / "test.csv")
    began = time.monotonic()
    model = again()
    told["refit_seconds"] = time.monotonic() - began
    lists(model, pairs.test, pairs.valid.iloc[:0], pairs, out / "test-refit.csv")
    (out / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
