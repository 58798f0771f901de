"""Start-up: seconds until help is printed, and until the first training step is done."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial

from benchmarks.harness import Results, Setting, Target, compare

ABOUT = "seconds from the start of the process; data=synthetic is generated before the first training step"

# Runs the command line as it is, and prints the time at the end of the first training step.
FIRST_STEP = """
import importlib.abc, importlib.util, sys, time
class Watch(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name != "fmlab.learner":
            return None
        sys.meta_path.remove(self)
        self.spec = importlib.util.find_spec(name)
        return importlib.util.spec_from_loader(name, self, origin=self.spec.origin)
    def create_module(self, spec):
        return importlib.util.module_from_spec(self.spec)
    def exec_module(self, module):
        self.spec.loader.exec_module(module)
        module.Learner.on_train_batch_end = self.seen
    def seen(self, *_):
        print("FIRST STEP AT", time.time(), flush=True)
        raise KeyboardInterrupt
sys.meta_path.insert(0, Watch())
from fmlab.cli import main
main()
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
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def first_step() -> float:
    """Seconds from the start of a fresh process, with an empty cache, to the end of its first training step."""
    with tempfile.TemporaryDirectory() as folder:
        places = [f"root={folder}/raw", f"cache={folder}/cache", f"hydra.run.dir={folder}/run"]
        command = [sys.executable, "-c", FIRST_STEP, "model=lorentzfm", "data=synthetic", *places]
        began = time.time()
        child = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in child.stdout.splitlines():
        if line.startswith("FIRST STEP AT"):
            return float(line.split()[-1]) - began
    raise RuntimeError(f"no training step was seen\n{child.stdout}\n{child.stderr}")
