"""What a trained model costs where it serves: bytes that it holds, and processor time of a row."""

import copy
import time

import torch
from torch import nn

from fmlab.data import Dataset
from fmlab.evaluation.flops import asked_of_first_rows, first_rows, whole

_ROWS = 1024  # of a pass
_PASSES, _SECONDS = 15, 0.3  # at most, but three passes


def model_bytes(model: nn.Module) -> int:
    """Bytes of all that a checkpoint of the model holds: its parameters and what it has fitted."""
    return sum(t.numel() * t.element_size() for t in model.state_dict().values())


def microseconds_per_row(model: nn.Module, dataset: Dataset) -> float:
    """Microseconds of processor time to score a row, in batches of up to 1,024 of the data's first rows, on one core.

    It is the quickest of several passes in evaluation mode with one thread, after one that warms up. Processor time is
    that of this process, whatever else the machine does. A model on another device is copied to the processor.
    """
    if next((p.device.type for p in model.parameters()), "cpu") != "cpu":
        model = copy.deepcopy(model).cpu()
    rows = min(_ROWS, dataset.rows)
    batch, more = whole(*first_rows(dataset, rows)), asked_of_first_rows(model, dataset, rows)
    training, threads = model.training, torch.get_num_threads()
    passes: list[float] = []
    model.eval()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            model(*batch, **more)
            began = time.monotonic()
            while len(passes) < 3 or (len(passes) < _PASSES and time.monotonic() - began < _SECONDS):
                start = time.process_time()
                model(*batch, **more)
                passes.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
        model.train(training)
    return 1e6 * min(passes) / len(batch.ids)
