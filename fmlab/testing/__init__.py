"""Contract tests for plugins: subclass one, say how to make yours, and pytest runs the rest.

    from fmlab.testing import ModelContract

    class TestAcmeFM(ModelContract):
        def make(self, schema):
            return AcmeFM(schema, dim=4)

They need pytest, and nothing else beyond fmlab.
"""

import warnings
from typing import Any

from fmlab.testing.building import ASKED_KINDS, KINDS, AskedKind, Kind, candidates, checkerboard, labeled, tiny
from fmlab.testing.data import DataContract
from fmlab.testing.losses import LossContract
from fmlab.testing.metrics import MetricContract
from fmlab.testing.models import ModelContract
from fmlab.testing.optimizers import OptimizerContract
from fmlab.testing.protocols import ProtocolContract
from fmlab.testing.samplers import SamplerContract
from fmlab.testing.schedulers import SchedulerContract
from fmlab.testing.searches import SearchContract
from fmlab.testing.tables import TableContract

__all__ = [
    "ASKED_KINDS",
    "KINDS",
    "AskedKind",
    "DataContract",
    "Kind",
    "LossContract",
    "MetricContract",
    "ModelContract",
    "OptimizerContract",
    "ProtocolContract",
    "SamplerContract",
    "SchedulerContract",
    "SearchContract",
    "TableContract",
    "candidates",
    "checkerboard",
    "labeled",
    "tiny",
]


def __getattr__(name: str) -> Any:
    """The name of `labeled` before version 0.2, for one release."""
    if name != "labelled":  # codespell:ignore
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("fmlab.testing.labelled is called labeled", FutureWarning, stacklevel=2)  # codespell:ignore
    return labeled
