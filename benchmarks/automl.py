"""AutoML: fmlab beside programs that people would pick instead, on the same rows and for as long, one after the other.

Each program has an environment of its own, which is built below the folder of `--folder`, and kept there. Rows are
those of `fmlab data split`. `--seconds` is the time that each program may take, `--models` names those that run.
"""

import json
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.harness import Line, Note, Results, Setting, Spread
from fmlab.run.locate import locate

ABOUT = "validation and test figures of searches that have the same rows and seconds, one run each, seed 0"
NEEDS: Mapping[str, tuple[str, ...]] = {
    "lightgbm": ("lightgbm", "pandas", "scikit-learn"),
    "catboost": ("catboost", "pandas", "scikit-learn"),
    "flaml": ("flaml[automl]", "catboost", "pandas", "scikit-learn"),
    "autogluon": ("autogluon.tabular[lightgbm,catboost]", "scikit-learn"),
}
DATA: Mapping[str, tuple[str, ...]] = {"frappe": ("frappe", "protocol=ctr")}
LABEL = "label"
Figures = Mapping[str, Any]  # of valid and test their metrics, and the seconds


def run(setting: Setting) -> Iterator[Results]:
    seconds = 20.0 if setting.toy else setting.seconds
    for name, rows in _rows(setting).items():
        found: dict[str, Figures] = {}
        notes: list[Note] = []
        for peer in setting.chosen(NEEDS):
            python = _python(peer, setting)
            if python is None:
                notes.append(Note(f"{peer} is not measured at toy size: pip install {' '.join(NEEDS[peer])}"))
                continue
            found[peer] = _peer(python, peer, rows, seconds)
        if not setting.models or "fmlab" in setting.models:
            found["fmlab"] = _fmlab(rows, seconds, setting.folder / f"sweep-{name}")
        lines = [
            Line(f"{name}, {part} {metric}", side, metric, Spread.of([figures[part][metric]]), 1)
            for part in ("valid", "test")
            for metric in ("auc", "logloss")
            for side, figures in found.items()
        ]
        lines += [Line(f"{name}, seconds", side, "s", Spread.of([f["seconds"]]), 1) for side, f in found.items()]
        yield [*lines, *notes] or [Note(f"no program is named: pip install {NEEDS['lightgbm'][0]}")]


def _rows(setting: Setting) -> dict[str, Path]:
    """Folders with train.csv, valid.csv and test.csv."""
    if setting.toy:
        folder, rng = setting.folder / "toy", np.random.default_rng(0)
        folder.mkdir(parents=True, exist_ok=True)
        for part in ("train", "valid", "test"):
            user, item = rng.integers(0, 30, 600), rng.integers(0, 20, 600)
            clicked = (rng.random(600) < 0.2 + 0.6 * ((user + item) % 2)).astype(int)
            pd.DataFrame({"user": user, "item": item, LABEL: clicked}).to_csv(folder / f"{part}.csv", index=False)
        return {"toy": folder}
    made = {}
    for name, words in DATA.items():
        folder = setting.folder / name
        if not (folder / "test.csv").is_file():
            command = [sys.executable, "-m", "fmlab", "data", "split", *words, "--out", str(folder)]
            subprocess.run(command, check=True)
        made[name] = folder
    return made


def _python(peer: str, setting: Setting) -> Path | None:
    """The Python of an environment that has the peer; at toy size this one, if it has it."""
    if setting.toy:
        return Path(sys.executable) if find_spec(peer) is not None else None
    folder = setting.folder.absolute() / f"environment-{peer}"
    python = folder / "bin" / "python"
    if not (folder / "ready").is_file():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *NEEDS[peer]], check=True)
        (folder / "ready").touch()
    return python


def _peer(python: Path, peer: str, rows: Path, seconds: float) -> Figures:
    script = Path(__file__).with_name("automl_peer.py")
    command = [str(python), str(script), peer, str(rows), str(seconds), LABEL]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _fmlab(rows: Path, seconds: float, folder: Path) -> Figures:
    """`sweep=automl` on the same files; the ensemble's figures, or those of the best trial where there is none."""
    columns = pd.read_csv(rows / "train.csv", nrows=1).columns
    roles = [f"data.{side}={side}" for side in ("user", "item") if side in columns]
    parts = [f"data.path={rows / 'train.csv'}", f"data.valid={rows / 'valid.csv'}", f"data.test={rows / 'test.csv'}"]
    command = [sys.executable, "-m", "fmlab", "-m", "sweep=automl", "data=csv", *parts, f"data.label={LABEL}", *roles]
    command += ["data.drop_columns=[row]"] if "row" in columns else []
    command += ["protocol=ctr", "protocol.on_leak=allow", f"time_limit={seconds}", f"folder={folder}"]
    began = time.monotonic()
    subprocess.run(command, check=True)
    record = json.loads((locate(folder).folder / "metrics.json").read_text("utf-8"))
    return {"valid": record["validation"], "test": record["test"], "seconds": time.monotonic() - began}
