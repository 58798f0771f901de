"""Another package claims the names of built-in plugins: theirs stay theirs, its own are `package:name` everywhere."""

import logging
from pathlib import Path

import pytest
from fake_packages import install
from omegaconf import OmegaConf

from fmlab.cli import main
from fmlab.cli.sweep import lines
from fmlab.config import composition
from fmlab.evaluation import score_metric
from fmlab.plugin import inventory, registry
from fmlab.sweep.spec import read

SOURCE = '''
"""One plugin of each kind, none of which may be taken for the built-in one."""


class FM:
    """Mine."""

    defaults = {"loss": "acme-fm:bce", "optimizer": "acme-fm:adam"}

    def __init__(self, schema, *, mine: int = 3) -> None: ...


def given(first, *, mine: int = 3):
    """Mine."""


def alone(*, mine: int = 3):
    """Mine."""


class AUC:
    """Mine."""

    name, maximize = "auc", False

    def __init__(self, *, mine: int = 3) -> None: ...

    def of_scores(self, score, label):
        return 0.0, None
'''
CLAIMS = {
    "model": ("fm", "FM"),
    "loss": ("bce", "alone"),
    "optimizer": ("adam", "given"),
    "metric": ("auc", "AUC"),
    "protocol": ("ctr", "given"),
    "data": ("synthetic", "given"),
}


@pytest.fixture
def claimed(site: Path) -> Path:
    plugins = {f"fmlab.{kind}": {name: f"acme_fm:{target}"} for kind, (name, target) in CLAIMS.items()}
    plugins["fmlab.data"]["csv"] = "acme_fm:given"
    install(site, "acme-fm", {"acme_fm.py": SOURCE}, plugins)
    registry.refresh()
    return site


@pytest.mark.parametrize("kind", CLAIMS)
@pytest.mark.usefixtures("claimed")
def test_the_plain_name_is_the_built_in_one_and_this_is_said_once(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    name = CLAIMS[kind][0]
    with caplog.at_level(logging.WARNING, "fmlab"):
        for _ in range(2):
            assert registry.package(registry.find(kind, name)) == "fmlab"
    (said,) = [r.getMessage() for r in caplog.records]
    assert said == (
        f"{kind} {name!r} is the built-in one; acme-fm 1.0 claims the name too: {kind}=acme-fm:{name} selects that"
    )
    for other in (f"acme-fm:{name}", f"Acme_FM:{name}"):
        assert registry.package(registry.find(kind, other)) == "acme-fm"
        assert [o.name for o in registry.schema(kind, other).options] == ["mine"]
    assert registry.package(registry.find(kind, f"fmlab:{name}")) == "fmlab"
    assert {name, f"acme-fm:{name}"} <= set(registry.names(kind))
    assert {p.name: p.error for p in inventory.describe(kind) if p.package == "acme-fm 1.0"}[f"acme-fm:{name}"] == ""
    assert not [p.error for p in inventory.describe(kind) if p.error]


@pytest.mark.usefixtures("claimed")
def test_a_config_takes_either_and_keeps_which() -> None:
    plain = composition.compose(["model=fm", "data=synthetic", "protocol=ctr", "optimizer=adam", "loss=bce"])
    assert [plain[k].name for k in ("model", "data", "protocol", "optimizer", "loss")] == [
        "fm",
        "synthetic",
        "ctr",
        "adam",
        "bce",
    ]
    assert "mine" not in plain.model
    theirs = composition.compose(["model=acme-fm:fm", "data=acme-fm:synthetic", "protocol=acme-fm:ctr"])
    assert [theirs[k].name for k in ("model", "data", "protocol", "optimizer", "loss")] == [
        "acme-fm:fm",
        "acme-fm:synthetic",
        "acme-fm:ctr",
        "acme-fm:adam",
        "acme-fm:bce",
    ]
    assert theirs.model.mine == theirs.data.mine == theirs.loss.mine == 3
    assert composition.compose(["model=fmlab:fm"]).model.name == "fm"


@pytest.mark.usefixtures("claimed")
def test_help_listings_and_multiruns_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert main(["plugins", "--check"]) == 0
    assert main(["plugins", "show", "model", "acme-fm:fm"]) == 0
    assert "acme-fm:fm" in capsys.readouterr().out
    (tmp_path / "mine.yaml").write_text("space: {model: {choice: [fm, 'acme-fm:fm']}}\nsampler: grid\n")
    (line,) = lines(tmp_path, tmp_path)
    assert (line.trials, line.here) == ("2", "2")
    both = {"model": {"choice": ["fm", "acme-fm:fm", "acme-fm:nothing"], "installed": True}}
    sweep = read("s", {"sampler": "grid", "space": both})
    assert [p.overrides["model"] for p in sweep.space.grid()] == ["fm", "acme-fm:fm"]
    code = main(["-m", "model=acme-fm:fm,fm", "--cfg", "job"])
    assert code == 2  # only one of -m and --cfg
    code = main(["model=acme-fm:fm", "--cfg", "job"])
    assert code == 0
    assert OmegaConf.create(capsys.readouterr().out).model.name == "acme-fm:fm"


@pytest.mark.usefixtures("claimed")
def test_a_metric_is_taken_by_either_name() -> None:
    assert score_metric("auc").maximize
    assert not score_metric("acme-fm:auc").maximize
    config = composition.compose(["protocol=ctr", "protocol.metrics=[acme-fm:auc,auc]", "protocol.monitor=acme-fm:auc"])
    assert list(config.protocol.metrics) == ["acme-fm:auc", "auc"]
