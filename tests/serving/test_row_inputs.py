"""Outside models of histories and vectors: they learn what is planted, resume, and serve from a copied run folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "plugins" / "example_sequences"
pytestmark = pytest.mark.slow
PROGRAM = """
import json, shutil, sys, tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fmlab.api import load_run, run
from fmlab.config.composition import compose
from fmlab.training.checkpoint_format import read_checkpoint
from fmlab_sequences.walks import Walks

ALL = ("trainer.accelerator=cpu", "trainer.threads=1", "trainer.progress=false", "batch_size=128", "logger=none")
WALKS = ("data=walks", "data.users=120", "data.items=30", "data.steps=8", "protocol.n_candidates=15")
SASREC = (*WALKS, "model=sasrec", "model.dim=16", "model.n_blocks=1", "model.history_length=5", "optimizer.lr=0.01")


def train(name, *overrides):
    folder = Path(name).absolute()
    run(compose([*ALL, *overrides], {"FMLAB_CACHE": str(Path("cache").absolute())}), folder)
    return json.loads((folder / "metrics.json").read_text())["test"]


def last(name):
    return read_checkpoint(Path(name) / "checkpoints" / "last.ckpt")["state_dict"]


found = {}
found["sasrec"] = train("sasrec", *SASREC, "trainer.max_epochs=8")
found["popularity"] = train("popularity", *WALKS, "model=popularity")
train("half", *SASREC, "trainer.max_epochs=4")
shutil.copytree("half", "on")
train("on", *SASREC, "trainer.max_epochs=8", "ckpt_path=on/checkpoints/last.ckpt")
a, b = last("sasrec"), last("on")
found["resumed"] = all(torch.equal(a[k], b[k]) for k in a)
TEXT = ("data=described", "data.users=80", "data.items=160", "trainer.max_epochs=6", "optimizer.lr=0.01")
found["text"] = train("text", *TEXT, "model=text_two_tower")
found["mf"] = train("mf", *TEXT, "model=mf")
CTR = ("data=walks", "data.users=120", "data.items=30", "data.labeled=true", "protocol=ctr", "optimizer.lr=0.01")
found["din"] = train("din", *CTR, "model=din", "model.history_length=5", "trainer.max_epochs=6")
found["fm"] = train("fm", *CTR, "model=fm", "trainer.max_epochs=6")
data = Walks(Path("."), users=120, items=30, steps=8).build({}, Path(tempfile.mkdtemp()))
shutil.rmtree("cache")
shutil.copytree("sasrec", "copied")
shutil.rmtree("sasrec")
served = load_run("copied")
items, keys = np.asarray(data.item).reshape(120, 8), [str(k) for k in data.keys["item"]]
users = [str(k) for k in data.keys["user"]]
best = served.recommend(users, k=2)
near = {str(row.walker): set() for row in best.itertuples()}
for row in best.itertuples():
    near[str(row.walker)].add((int(row.place) - int(keys[items[users.index(str(row.walker)), -1]])) % 30)
found["near"] = float(np.mean([bool(near[u] & {1, 2}) for u in users]))
when = np.asarray(data.time).reshape(120, 8)[:, -1] // 1_000_000
frame = pd.DataFrame({"walker": np.repeat(users, 30), "place": keys * 120, "second": np.repeat(when, 30)})
scores = served.predict(frame)["score"].to_numpy().reshape(120, 30)
own = scores[np.arange(120), items[:, -1]]
met = np.zeros(scores.shape, bool)
np.put_along_axis(met, items, True, 1)
rank = 1 + ((scores > own[:, None]) & ~met).sum(1)
found["predicted"] = float((1 / np.log2(1 + rank) * (rank <= 10)).mean())
text = load_run("text")
found["lists"] = len(text.recommend(["0", "1"], k=3))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a program saw that uses the package, installed offline."""
    source, site = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source)
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path_factory.mktemp("runs"), env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_histories_beat_popularity(found: dict[str, dict[str, float]]) -> None:
    assert found["sasrec"]["hr@10"] > 0.9
    assert found["sasrec"]["ndcg@10"] > 2 * found["popularity"]["ndcg@10"]


def test_histories_tell_clicks_from_the_rest(found: dict[str, dict[str, float]]) -> None:
    assert found["din"]["auc"] > 0.75
    assert found["din"]["auc"] > found["fm"]["auc"] + 0.15


def test_vectors_beat_ids(found: dict[str, dict[str, float]]) -> None:
    assert found["text"]["mrr"] > 1.5 * found["mf"]["mrr"]


def test_a_resumed_run_has_the_same_weights(found: dict[str, bool]) -> None:
    assert found["resumed"]


def test_a_copied_run_recommends_what_comes_next(found: dict[str, float]) -> None:
    assert found["near"] > 0.8
    assert found["lists"] == 6


def test_predictions_are_the_judged_scores(found: dict[str, dict[str, float]]) -> None:
    assert found["predicted"] == pytest.approx(found["sasrec"]["ndcg@10"], abs=1e-6)
