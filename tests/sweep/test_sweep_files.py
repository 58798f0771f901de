"""Every file in sweeps/ is a valid sweep, and the papers' grids have the sizes that the papers print."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fmlab.cli.sweep import as_if_installed, lines
from fmlab.sweep.spec import read

FOLDER = Path(__file__).parents[2] / "sweeps"
NAMES = sorted(p.relative_to(FOLDER).with_suffix("").as_posix() for p in FOLDER.rglob("*.yaml"))


def whole(name, **command):
    content = OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))
    content["fixed"] = {"protocol": "ctr", **content["fixed"]}
    return read(name, as_if_installed(content), command)


def test_each_file_is_listed_with_its_trials(tmp_path):
    found = {line.name: line for line in lines(FOLDER, tmp_path)}
    assert list(found) == NAMES
    assert not [line for line in found.values() if line.state.startswith("cannot run")]
    assert all(line.trials for line in found.values())


def points(sweep):
    return [p.overrides for p in sweep.space.grid()]


def test_lorentzfm_on_movielens_has_its_sixteen_points():
    found = points(whole("lorentzfm/movielens-1m", model="lorentzfm"))
    pairs = sorted((p["optimizer.lr"], p["batch_size"]) for p in found)
    assert pairs == sorted((lr, size) for lr in (0.05, 0.1, 0.2, 0.3) for size in (64, 128, 256, 512))
    same = {k: v for k, v in found[0].items() if k not in ("optimizer.lr", "batch_size")}
    assert same == {"loss": "bce", "optimizer": "rsgd", "optimizer.burn_in": 25}
    assert all({k: v for k, v in p.items() if k not in ("optimizer.lr", "batch_size")} == same for p in found)


def test_deepfm_on_movielens_has_six_dropouts_three_networks_four_batches():
    found = points(whole("lorentzfm/movielens-1m", model="deepfm"))
    assert len(found) == 6 * 3 * 4
    assert {(p["loss"], p["optimizer"], p["optimizer.lr"], p["optimizer.weight_decay"]) for p in found} == {
        ("bpr", "adam", 0.001, 1e-5)
    }


@pytest.mark.parametrize(
    ("name", "command", "count", "seeds"),
    [
        ("lorentzfm/avazu", {"model": "lorentzfm"}, 3, 0),
        ("hyperml/yelp", {"model": "hyperml"}, 3 * 6 * 3 * 3 * 2 * 4, 5),
        ("hyperml/yelp", {"model": "cml"}, 3 * 3 * 3 * 2 * 4, 5),
        ("hyperml/goodbooks-curvature", {"model": "hyperml"}, 5, 5),
        ("gml-fm/movielens-1m-rating", {"model": "gmlfm"}, (1 + 4) * 10 * 8 * 4, 0),
        ("gml-fm/movielens-1m-ablation-topn", {}, 2 + 3 + 1 + 4, 0),
        ("ifm/frappe-dropout", {}, 20, 0),
        ("ifm/frappe-factorised", {}, 2, 0),
        ("fmfm/criteo-variance", {}, 6, 0),
    ],
)
def test_grids_have_the_sizes_of_the_papers(name, command, count, seeds):
    sweep = whole(name, **command)
    assert (sweep.total, len(sweep.settings.seeds)) == (count, seeds)
