"""Start-up: seconds until help is printed, and until the first training step is done."""

import sys
import tempfile
from collections.abc import Iterator
from functools import partial

from benchmarks.harness import Results, Setting, Target, child, compare

ABOUT = "seconds from the start of the process; data=synthetic is generated before the first training step"

# Runs the command line as it is, and ends the process when the first training step is done.
FIRST_STEP = """
import importlib.abc, importlib.util, os, sys
class ImportWatcher(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name != "fmlab.training.learner":
            return None
        sys.meta_path.remove(self)
        self.spec = importlib.util.find_spec(name)
        return importlib.util.spec_from_loader(name, self, origin=self.spec.origin)
    def create_module(self, spec):
        return importlib.util.module_from_spec(self.spec)
    def exec_module(self, module):
        self.spec.loader.exec_module(module)
        module.Learner.on_train_batch_end = lambda *_: os._exit(0)
sys.meta_path.insert(0, ImportWatcher())
from fmlab.cli import main
main()
raise SystemExit("no training step was seen")
"""


def run(setting: Setting) -> Iterator[Results]:
    yield compare(
        "python -m fmlab --help",
        {"fmlab": partial(_seconds, "-m", "fmlab", "--help"), "python alone": partial(_seconds, "-c", "")},
        setting,
        unit="s",
        more=False,
        targets={"fmlab": Target(value=0.8)},
    )
    yield compare(
        "first training step",
        {"fmlab, lorentzfm": first_step, "import torch, pytorch_lightning": _imports},
        setting,
        unit="s",
        more=False,
    )


def _imports() -> float:
    return _seconds("-c", "import torch, pytorch_lightning")


def _seconds(*arguments: str) -> float:
    return child([sys.executable, *arguments])[0]


def first_step() -> float:
    """Seconds from the start of a fresh process, with an empty cache, until its first training step is done."""
    with tempfile.TemporaryDirectory() as folder:
        places = [f"data_dir={folder}/raw", f"cache_dir={folder}/cache", f"hydra.run.dir={folder}/run"]
        return _seconds("-c", FIRST_STEP, "model=lorentzfm", "data=synthetic", *places)
