"""A program on the tables of a folder, in that program's environment: `python automl_peer.py NAME FOLDER OUT SECONDS`.

FOLDER holds train.csv, valid.csv, test.csv and columns.json. The validation rows stop training and choose, as each
program does it. OUT gets valid.csv and test.csv, scores by `row` of what was trained on the training rows alone,
test-refit.csv of what was trained anew on the validation rows too, and told.json: seconds, and what was chosen.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd


def lightgbm(table, seconds):
    import lightgbm as library

    clicks = table.kind == "clicks"
    sets = [library.Dataset(part[table.columns], part[table.label]) for part in (table.train, table.valid, table.both)]
    until = time.monotonic() + seconds

    def stop(env):
        if time.monotonic() > until:
            raise library.callback.EarlyStopException(env.iteration, env.evaluation_result_list)

    options = {"objective": "binary" if clicks else "regression", "learning_rate": 0.1, "num_leaves": 63}
    options |= {"verbosity": -1, "seed": 0}
    callbacks = [library.early_stopping(50, verbose=False), stop]
    made = library.train(options, sets[0], 10_000, valid_sets=[sets[1]], callbacks=callbacks)
    rounds = made.best_iteration or made.current_iteration()
    chose = f"{rounds} rounds"
    return (
        lambda rows: made.predict(rows, num_iteration=rounds),
        chose,
        lambda: library.train(options, sets[2], rounds).predict,
    )


def catboost(table, seconds):
    import catboost as library

    clicks = table.kind == "clicks"
    kind = library.CatBoostClassifier if clicks else library.CatBoostRegressor
    options = {"learning_rate": 0.1, "random_seed": 0, "verbose": False, "allow_writing_files": False}
    options |= {"cat_features": table.categorical} | ({} if clicks else {"loss_function": "RMSE"})
    until = time.monotonic() + seconds

    class Clock:
        def after_iteration(self, info):
            return time.monotonic() < until

    def text(rows):
        return rows[table.columns].astype(dict.fromkeys(table.categorical, str))

    def scorer(model):
        if clicks:
            return lambda rows: model.predict_proba(text(rows))[:, 1]
        return lambda rows: model.predict(text(rows))

    made = kind(iterations=10_000, early_stopping_rounds=50, **options)
    valid = (text(table.valid), table.valid[table.label])
    made.fit(text(table.train), table.train[table.label], eval_set=valid, callbacks=[Clock()])
    rounds = made.tree_count_

    class Rounds:
        def after_iteration(self, info):
            return info.iteration < rounds

    def again():
        # With fewer `iterations` the first trees would be others, too.
        other = kind(iterations=10_000, **options)
        return scorer(other.fit(text(table.both), table.both[table.label], callbacks=[Rounds()]))

    return scorer(made), f"{rounds} rounds", again


def flaml(table, seconds):
    from flaml import AutoML

    clicks = table.kind == "clicks"
    task = "classification" if clicks else "regression"
    log = str(table.out / "flaml.log")

    def scorer(model):
        if clicks:
            return lambda rows: model.predict_proba(rows)[:, 1]
        return lambda rows: model.predict(rows)

    made = AutoML()
    made.fit(
        table.train[table.columns],
        table.train[table.label],
        X_val=table.valid[table.columns],
        y_val=table.valid[table.label],
        task=task,
        metric="log_loss" if clicks else "rmse",
        time_budget=seconds,
        retrain_full=False,
        log_file_name=log,
        seed=0,
        verbose=0,
    )

    def again():
        other = AutoML()
        rows = table.both
        other.retrain_from_log(log, rows[table.columns], rows[table.label], task=task, train_full=True)
        return scorer(other)

    return scorer(made), str(made.best_estimator), again


def autogluon(table, seconds):
    from autogluon.tabular import TabularPredictor

    clicks = table.kind == "clicks"
    made = TabularPredictor(
        label=table.label,
        problem_type="binary" if clicks else "regression",
        eval_metric="log_loss" if clicks else "root_mean_squared_error",
        path=str(table.out / "autogluon"),
        verbosity=1,
    )
    columns = [*table.columns, table.label]
    made.fit(table.train[columns], tuning_data=table.valid[columns], time_limit=seconds)

    def scorer(model):
        if clicks:
            return lambda rows: made.predict_proba(rows, model=model)[1].to_numpy()
        return lambda rows: made.predict(rows, model=model).to_numpy()

    best = made.model_best
    return scorer(best), f"{best}, preset medium", lambda: scorer(made.refit_full(best)[best])


class Table:
    """The rows of the three parts, with columns that all of these programs read."""

    def __init__(self, folder, out):
        told = json.loads((folder / "columns.json").read_text())
        self.kind, self.label, self.out = told["kind"], told["label"], out
        text = dict.fromkeys(told["categorical"] + told["multi_valued"], str)
        parts = [
            pd.read_csv(
                folder / f"{name}.csv", dtype=text, keep_default_na=False, na_values={c: [""] for c in told["numeric"]}
            )
            for name in ("train", "valid", "test")
        ]
        ends = np.cumsum([len(part) for part in parts])[:-1]
        rows = pd.concat(parts, ignore_index=True)
        # A column of several values is a category, and a column of 0 and 1 for each of its values.
        more = {}
        for name in told["multi_valued"]:
            found = rows[name].str.get_dummies("|")
            more |= {f"{name}_{number}": found[value] for number, value in enumerate(found)}
        self.categorical = told["categorical"] + told["multi_valued"]
        self.columns = [*self.categorical, *told["numeric"], *more]
        kinds = dict.fromkeys(self.categorical, "category") | {self.label: int if self.kind == "clicks" else float}
        rows = rows.assign(**more).astype(kinds)
        self.train, self.valid, self.test = (rows.iloc[part] for part in np.split(np.arange(len(rows)), ends))
        self.both = rows.iloc[: ends[1]]


def main(name, folder, out, seconds):
    table = Table(folder, out)
    began = time.monotonic()
    score, chose, again = globals()[name](table, seconds)
    told = {"chose": chose, "seconds": time.monotonic() - began}
    for part, rows in (("valid", table.valid), ("test", table.test)):
        write(score, rows, table, out / f"{part}.csv")
    began = time.monotonic()
    score = again()
    told["refit_seconds"] = time.monotonic() - began
    write(score, table.test, table, out / "test-refit.csv")
    (out / "told.json").write_text(json.dumps(told))


def write(score, rows, table, path):
    pd.DataFrame({"row": rows["row"], "score": score(rows[table.columns])}).to_csv(path, index=False)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
