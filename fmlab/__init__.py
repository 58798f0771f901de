"""fmlab: experiments with factorization-machine, click-through-rate and hyperbolic recommender models.

    import fmlab

    run = fmlab.fit(frame, model="lorentzfm", user="u", item="i")
    run.test, run.predict(rows), run.recommend(["42"], k=10), run.save("runs/mine")

The names are imported when they are asked for: `import fmlab` stays light. Their types are in
`__init__.pyi`.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

_WHERE = {
    "DataError": "fmlab.errors",
    "FittedRun": "fmlab.workflow.fitted_run",
    "FmlabError": "fmlab.errors",
    "StorageError": "fmlab.errors",
    "evaluate": "fmlab.run.file_evaluation",
    "fit": "fmlab.workflow.fit",
    "load": "fmlab.workflow.fitted_run",
}
__all__ = ["__version__", *_WHERE, "automl", "report"]  # the last two are packages that can be called


def __getattr__(name: str) -> Any:
    if name in ("automl", "report"):
        return import_module(f"fmlab.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'fmlab' has no attribute {name!r}; it has {', '.join(__all__)}")
    found = getattr(import_module(_WHERE[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
