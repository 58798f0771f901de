"""What pyproject.toml promises of the package that is built from it."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]


def test_all_is_every_extra_that_a_user_may_want() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    (named,) = extras["all"]
    wanted = sorted(set(extras) - {"all", "test", "docs", "dev"})
    assert named == f"fmlab[{','.join(wanted)}]"


def test_every_plugin_of_an_entry_point_is_in_the_wheel() -> None:
    groups = PROJECT["project"]["entry-points"].values()
    packages = {value.partition(":")[0].partition(".")[0] for group in groups for value in group.values()}
    shipped = {Path(package).name for package in WHEEL["packages"]}
    assert packages <= shipped
    assert {"fmlab", "hydra_plugins"} <= shipped
    assert WHEEL["force-include"] == {"conf": "fmlab/conf", "sweeps": "fmlab/sweeps"}
