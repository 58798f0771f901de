"""Epoch: LorentzFM against FM on recommendation data, each positive with ten negatives drawn anew."""

from collections.abc import Iterator

from benchmarks.harness import Results, Setting, Target, compare
from benchmarks.ours import Fit
from benchmarks.shapes import MOVIELENS, TOY_COUNTS, interactions
from benchmarks.training import ADAM, DIM

ABOUT = "seconds of an epoch through the Trainer, 10 negatives a positive, batch 512"


def run(setting: Setting) -> Iterator[Results]:
    size = TOY_COUNTS if setting.toy else MOVIELENS
    data = interactions(size)
    batch_size = setting.size(512, 64)
    fm = Fit({"name": "fm", "dim": DIM}, {"name": "bpr"}, ADAM, data, batch_size, negatives=10)
    lorentz = Fit(
        {"name": "lorentzfm", "dim": DIM},
        {"name": "bce"},
        {"name": "rsgd", "lr": 1.0},
        data,
        batch_size,
        negatives=10,
    )
    yield compare(
        f"{size}, {data.rows:,} positives",
        {"fm, bpr, adam": fm.epoch_seconds, "lorentzfm, bce, rsgd": lorentz.epoch_seconds},
        setting,
        unit="s",
        more=False,
        reference="fm, bpr, adam",
        targets={"lorentzfm, bce, rsgd": Target(ratio=1)},
    )
