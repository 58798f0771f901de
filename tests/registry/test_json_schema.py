"""`fmlab schema` against real configs: what the program accepts is valid, what it refuses is not."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from omegaconf import OmegaConf

from fmlab.cli import main
from fmlab.config.composition import compose
from fmlab.config.json_schema import json_schema

EXPERIMENTS = sorted((Path(__file__).parents[2] / "conf" / "experiment").rglob("*.yaml"))
VALID = Draft202012Validator(json_schema())


def plain(*overrides: str) -> dict[str, object]:
    return OmegaConf.to_container(compose(list(overrides)), resolve=False)


def test_the_schema_is_a_schema_and_the_command_prints_it(capsys):
    Draft202012Validator.check_schema(json_schema())
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=lorentzfm",),
        ("model=deepfm", "data=frappe", "protocol=ctr"),
        ("model=ease", "protocol=composed"),
        ("model=fm", "optimizer=adamw", "scheduler=cosine", "logger=wandb", "sampler=popularity"),
        ("model=mf", "data=csv", "data.path=x.csv", "data.user=u", "data.item=i", "data.label=y", "protocol=rating"),
    ],
)
def test_composed_configs_are_valid(overrides):
    assert list(VALID.iter_errors(plain(*overrides))) == []


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_experiment_files_are_valid(path):
    assert list(VALID.iter_errors(OmegaConf.to_container(OmegaConf.load(path)))) == []


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("model", "dim", 0),
        ("model", "dim", "ten"),
        ("model", "dimm", 3),
        ("model", "name", "fmm"),
        ("trainer", "accelerator", "abacus"),
        ("optimizer", "lr", -1.0),
        (None, "seed", -1),
        (None, "sed", 1),
    ],
)
def test_what_the_program_refuses_is_not_valid(group, key, value):
    config = plain("model=fm")
    (config if group is None else config[group])[key] = value
    assert not VALID.is_valid(config)
