"""What makes a search an AutoML: scores that trials keep, ensembles of trials, and the portfolio.

`scores` keeps what trials gave the validation rows · `selection` chooses members and weights by them · `ensemble` makes
a model of the chosen trials and judges it · `portfolio` reads what did well before.

The package can be called: `fmlab.automl(frame, label="clicked", time_limit="20m")` is `fmlab.workflow.automl.automl`.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Search for the best model within a time, see `fmlab.workflow.automl.automl`."""
        return import_module("fmlab.workflow.automl").automl(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
