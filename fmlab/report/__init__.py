"""What finished runs say, rebuilt from run folders at any time.

`runs` reads them · `leaderboards` groups them by data fingerprint and protocol, rows by all options but the seed
· `comparisons` tests whether rows differ · `evaluation_facts` how they were evaluated · `published` what papers print ·
`tables` tables of text, `formats` them as Markdown, LaTeX and CSV · `overview` a verdict on each board · `html` one
page · `export` all runs as Parquet or SQLite.

The package can be called: `fmlab.report("runs")` gives one line for each run, as a pandas frame.
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, folders: Any = "runs") -> Any:
        """One line for each run below these folders, see `fmlab.report.export.frame_of`."""
        from fmlab.report.export import frame_of

        return frame_of(folders)


sys.modules[__name__].__class__ = _Callable
