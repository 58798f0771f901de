"""The files of conf/experiment: each is a whole run, and stands in the list of choices."""

import re
from pathlib import Path

import pytest

from fmlab.cli import main
from fmlab.config import composition

FOLDER = Path(__file__).parents[2] / "conf" / "experiment"
NAMES = sorted(p.relative_to(FOLDER).with_suffix("").as_posix() for p in FOLDER.rglob("*.yaml"))
BARS = [n for n in NAMES if n.startswith("bars-frappe/")]


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_is_a_whole_run(name: str) -> None:
    config = composition.compose([f"experiment={name}", "seed=7"])
    assert config.seed == 7


@pytest.mark.parametrize("name", BARS)
def test_experiments_of_a_benchmark_share_its_protocol(name: str) -> None:
    config = composition.compose([f"experiment={name}"])
    assert config.model.name == name.partition("/")[2]
    assert (config.data.name, config.data.layout, config.protocol.name) == ("frappe", "x1", "ctr")
    assert (config.protocol.monitor, config.loss.name, config.batch_size) == ("auc", "bce", 4096)
    assert (config.trainer.patience, config.scheduler.name, config.trainer.max_epochs) == (2, "plateau", 100)
    settings = (FOLDER / f"{name}.yaml").read_text("utf-8").splitlines()[1]
    assert re.match(r"# \w.{20,}", settings), "the second line says where the settings are from"


def test_the_table_has_a_file_for_every_cell() -> None:
    models = "lr fm ffm fwfm fvfm fmfm afm nfm deepfm xdeepfm dcn lorentzfm ifm gmlfm"
    assert {n.partition("/")[2] for n in BARS} >= set(models.split())


def test_help_lists_experiments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"experiment/bars-frappe: .*\bdeepfm\b", shown)


BOARDS = [n for n in NAMES if n.startswith("board/") and n.count("/") == 1]


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_takes_any_model(name: str) -> None:
    plain, other = (composition.compose([f"experiment={name}", f"model={m}"]) for m in ("popularity", "lorentzfm"))
    assert plain.protocol == other.protocol
    assert plain.data == other.data
    assert (plain.model.name, other.model.name) == ("popularity", "lorentzfm")
    said = (FOLDER / f"{name}.yaml").read_text("utf-8")
    assert f"experiment={name} model=" in said


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("board/adjacency/")])
def test_a_published_split_loses_no_validation(name: str) -> None:
    config = composition.compose([f"experiment={name}"])
    assert (config.data.name, config.model.name) == ("adjacency", name.rpartition("/")[2])
    assert (config.protocol.name, config.protocol.refit, config.protocol.monitor) == ("composed", True, "ndcg@20")
