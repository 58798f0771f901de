"""What a figure depends on besides its config: versions, machine, source revision."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch


@cache
def describe() -> dict[str, Any]:
    """Built-in containers for `environment.json`; nothing of the environment's variables is in it."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "revision": revision(),
        "packages": {str(d.metadata["Name"]): d.version for d in distributions() if d.metadata["Name"]},
    }


def revision() -> dict[str, Any] | None:
    """Git commit of fmlab's source tree and whether it has local changes; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    commit, changes = (_git(root, *a) for a in (("rev-parse", "HEAD"), ("status", "--porcelain")))
    return None if commit is None else {"commit": commit, "local_changes": bool(changes)}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
