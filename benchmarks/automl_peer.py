"""A program on the rows of a folder, in that program's environment: `python automl_peer.py NAME FOLDER SECONDS LABEL`.

FOLDER holds train.csv, valid.csv and test.csv. What is printed last is JSON: AUC and log loss of the validation and the
test, and which rows were trained on. Validation rows stop training and choose, as each program does it.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, roc_auc_score


def lightgbm(train, valid, columns, label, seconds):
    import lightgbm as library

    sets = [library.Dataset(part[columns], part[label], categorical_feature=columns) for part in (train, valid)]
    until = time.monotonic() + seconds

    def stop(env):
        if time.monotonic() > until:
            raise library.callback.EarlyStopException(env.iteration, env.evaluation_result_list)

    options = {"objective": "binary", "learning_rate": 0.1, "num_leaves": 63, "verbosity": -1, "seed": 0}
    callbacks = [library.early_stopping(20, verbose=False), stop]
    made = library.train(options, sets[0], 2000, valid_sets=[sets[1]], callbacks=callbacks)
    return made.predict, "train"


def catboost(train, valid, columns, label, seconds):
    import catboost as library

    made = library.CatBoostClassifier(iterations=2000, learning_rate=0.1, random_seed=0, verbose=False)
    until = time.monotonic() + seconds

    class Clock:
        def after_iteration(self, info):
            return time.monotonic() < until

    text = [part[columns].astype(str) for part in (train, valid)]
    made.fit(
        text[0],
        train[label],
        cat_features=columns,
        eval_set=(text[1], valid[label]),
        early_stopping_rounds=20,
        callbacks=[Clock()],
    )
    return lambda rows: made.predict_proba(rows.astype(str))[:, 1], "train"


def flaml(train, valid, columns, label, seconds):
    from flaml import AutoML

    made = AutoML()
    made.fit(
        train[columns],
        train[label],
        X_val=valid[columns],
        y_val=valid[label],
        task="classification",
        metric="log_loss",
        time_budget=seconds,
        seed=0,
        verbose=0,
    )
    return lambda rows: made.predict_proba(rows)[:, 1], "train and valid, at the end"


def autogluon(train, valid, columns, label, seconds):
    from autogluon.tabular import TabularPredictor

    made = TabularPredictor(label=label, eval_metric="log_loss", verbosity=0)
    made.fit(train[[*columns, label]], tuning_data=valid[[*columns, label]], time_limit=seconds)
    return lambda rows: made.predict_proba(rows)[1].to_numpy(), "train"


def main(name, folder, seconds, label):
    parts = [pd.read_csv(Path(folder) / f"{part}.csv") for part in ("train", "valid", "test")]
    columns = [c for c in parts[0].columns if c not in (label, "row")]
    for column in columns:
        kind = pd.CategoricalDtype(pd.concat([p[column] for p in parts]).dropna().astype(str).unique())
        for part in parts:
            part[column] = part[column].astype(str).astype(kind)
    for part in parts:
        part[label] = part[label].astype(int)
    began = time.monotonic()
    predict, trained_on = globals()[name](*parts[:2], columns, label, seconds)
    found = {"seconds": time.monotonic() - began, "trained_on": trained_on}
    for part, rows in zip(("valid", "test"), parts[1:], strict=True):
        chance = np.clip(predict(rows[columns]), 1e-7, 1 - 1e-7)
        found[part] = {"auc": roc_auc_score(rows[label], chance), "logloss": log_loss(rows[label], chance)}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4])
