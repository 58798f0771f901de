"""Run folders as runs leave them, without training."""

import json
import os

import numpy as np

CONFIG = {
    "seed": 0,
    "batch_size": 512,
    "root": "/data",
    "cache": "/cache",
    "ckpt_path": None,
    "tags": [],
    "loss": {"name": "bpr"},
    "optimizer": {"name": "adam", "lr": 0.001, "weight_decay": 0.0},
    "trainer": {"max_epochs": 2, "threads": None, "progress": False},
    "logger": {"name": "csv"},
    "protocol": {"name": "full_ranking", "negatives": 10, "monitor": "mrr"},
    "data": {"name": "toy", "users": 5},
    "model": {"name": "fm", "dim": 10},
}


def make_run(folder, overrides=None, *, test=0.1, units=None, when=None, fingerprint="f" * 64, **content):
    """A complete run; `overrides`: `{"model.dim": 8}`; `units`: metric values of rows 0, 1, ... of users 0, 1, ..."""
    config = json.loads(json.dumps(CONFIG))
    for key, value in (overrides or {}).items():
        group, _, option = key.partition(".")
        if option:
            config[group][option] = value
        else:
            config[group] = value
    names = {k: config[k]["name"] for k in ("data", "protocol", "model", "loss", "optimizer")}
    monitor = config["protocol"]["monitor"]
    values = test if isinstance(test, dict) else {monitor: test, "hr@10": 2 * test}
    record = {
        "status": "complete",
        **names,
        "seed": config["seed"],
        "fingerprint": fingerprint,
        "parameters": 1000,
        "epochs": 2,
        "seconds_fit": 2.0,
        "rows_per_second": 5000,
        "monitor": monitor,
        "maximize": True,
        "validation": values,
        "test": values,
        "known_best": None,
        **content,
    }
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(record))
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    (folder / "metrics.csv").write_text(f"epoch,val/{monitor}\n0,{0.05}\n1,{0.1}\n2,{0.1}\n")
    if units is not None:
        rows = np.arange(len(units))
        np.savez_compressed(folder / "units.npz", row=rows, user=rows, **{monitor: np.asarray(units, float)})
    if when is not None:
        os.utime(folder / "metrics.json", (when, when))
    return folder
