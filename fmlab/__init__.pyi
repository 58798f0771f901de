"""Types of the names that `import fmlab` gives; they are not imported there."""

from fmlab.errors import DataError as DataError
from fmlab.errors import FmlabError as FmlabError
from fmlab.errors import StorageError as StorageError
from fmlab.run.file_evaluation import evaluate as evaluate
from fmlab.workflow.automl import automl as automl
from fmlab.workflow.fit import fit as fit
from fmlab.workflow.fitted_run import FittedRun as FittedRun
from fmlab.workflow.fitted_run import load as load

__version__: str
