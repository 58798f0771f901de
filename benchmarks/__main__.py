"""`python -m benchmarks [name ...] [--seconds N] [--json file]`: ratios measured in one run."""

import argparse
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console

from benchmarks import harness
from benchmarks.harness import Figures, Line, Note, Setting, show

NAMES = (
    "training",
    "ranking",
    "preparation",
    "step",
    "epoch",
    "startup",
    "sweep",
    "peers",
    "serving",
    "one_row",
    "avazu",
    "automl",
    "portfolio",
    "retraining",
)
LARGE = ("avazu", "automl", "portfolio", "retraining")  # minutes and gigabytes of disk, or runs that were kept


def main(arguments: list[str]) -> int:
    """Run the named benchmarks, all but the large ones if none is named; 1 if a target was missed."""
    parser = argparse.ArgumentParser("benchmarks", description="Ratios measured in one run; sides take turns.")
    parser.add_argument("name", nargs="*", help=f"which: {', '.join(NAMES)} (default: all but {', '.join(LARGE)})")
    parser.add_argument("--seconds", type=float, default=20, help="time for each comparison, 3 rounds at least")
    parser.add_argument("--models", default="", help="only these models of training and peers, as in fm,deepfm")
    parser.add_argument("--data", default="", help="only these data sets of automl, as in frappe,steam-200k")
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's own choice)")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="for a busy machine: one thread, timed by the processor time it got",
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--folder", type=Path, help="keep generated files here (default: a temporary folder)")
    parser.add_argument("--toy", action="store_true", help="tiny data, one round: shows that it runs, not how fast")
    options = parser.parse_args(arguments)
    unknown = [n for n in options.name if n not in NAMES]
    if unknown:
        parser.error(f"no benchmark named {unknown[0]!r}; choices: {', '.join(NAMES)}")
    if options.processor_time:
        harness.clock, options.threads = time.process_time, 1
    if options.threads:
        torch.set_num_threads(options.threads)
    clock = f"{torch.get_num_threads()} threads{', processor time' * options.processor_time}"
    console = Console() if sys.stdout.isatty() else Console(width=180)  # a file takes wide tables
    found: dict[str, list[Line | Figures | Note]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        models, data = (tuple(filter(None, names.split(","))) for names in (options.models, options.data))
        setting = Setting(options.seconds, options.toy, folder, models, data)
        for name in options.name or [n for n in NAMES if n not in LARGE]:
            module = importlib.import_module(f"benchmarks.{name}")
            console.print(f"\n[bold]{name}[/]: {module.ABOUT} ({clock})", highlight=False)
            found[name] = []
            for results in module.run(setting):
                show(results, console)
                found[name] += results
    if options.json:
        plain = {n: [{"note": r.text} if isinstance(r, Note) else r.to_dict() for r in rs] for n, rs in found.items()}
        options.json.write_text(json.dumps({"clock": clock, "results": plain}, indent=1))
    missed = [r for rs in found.values() for r in rs if isinstance(r, Line) and r.met is False]
    return 1 if missed and not options.toy else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
