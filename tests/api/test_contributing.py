"""The pages of CONTRIBUTING.md: the code that they show passes the contracts that they name."""

import re
from pathlib import Path
from typing import Any

from fmlab.api import Dataset
from fmlab.testing import DataContract, MetricContract, ModelContract, ProtocolContract

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"


def shown(name: str) -> Any:
    """A class that the page shows."""
    code = next(
        c for c in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL) if f"class {name}" in c
    )
    module: dict[str, Any] = {"__name__": f"contributing_{name.lower()}"}
    exec(compile(code, str(PAGE), "exec"), module)
    return module[name]


class TestModel(ModelContract):
    def make(self, schema):
        return shown("AcmeFM")(schema, dim=4)


class TestData(DataContract):
    def make(self, folder: Path) -> Dataset:
        (folder / "visits.csv").write_text("person,place,hour\nann,zoo,1\nbob,zoo,2\nann,bar,1\n")
        return shown("Visits")(folder).build({"visits.csv": folder / "visits.csv"}, folder)


class TestProtocol(ProtocolContract):
    def make(self, dataset: Dataset):
        return shown("LastRows")(dataset)


class TestMetric(MetricContract):
    def make(self):
        return shown("ReciprocalRank")()
