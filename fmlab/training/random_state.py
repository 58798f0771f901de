"""The state of the generators that a plugin may draw from, as built-in containers of a checkpoint."""

import random
from typing import Any

import numpy as np
import torch


def seed_generators(seed: int) -> None:
    """Begin all of them anew, so that what ran before in this process changes nothing."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


def random_state() -> dict[str, Any]:
    """Of torch on the CPU and on the GPUs in use, NumPy and Python."""
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 (plugins may draw from it)
    version, numbers, spare = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],  # type: ignore[no-untyped-call]
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "python": [version, torch.tensor(numbers), spare],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Take a state back."""
    torch.set_rng_state(state["torch"].cpu())
    if len(state["cuda"]) == torch.cuda.device_count() and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    version, numbers, spare = state["python"]
    random.setstate((version, tuple(numbers.tolist()), spare))
