from pathlib import Path
from typing import Any

import pytest
from fake_packages import install, install_broken, install_good
from omegaconf import DictConfig, OmegaConf

from fmlab.config import composition, sources
from fmlab.config import schema as settings
from fmlab.errors import FmlabError
from fmlab.plugin import registry
from fmlab.plugin import signature as signatures

EXPERIMENT = """# @package _global_
defaults:
  - override /model: acme
  - override /data: acme_plain
  - override /optimizer: acme_sgd2

batch_size: 7
model:
  dim: 3
"""
FILES = {
    "acme_conf/conf/experiment/cell.yaml": EXPERIMENT,
    "acme_conf/conf/experiment/typo.yaml": EXPERIMENT.replace("dim", "dmi"),
    "acme_conf/conf/experiment/top_typo.yaml": EXPERIMENT.replace("batch_size", "bach_size"),
    "acme_conf/conf/experiment/bad_type.yaml": EXPERIMENT.replace("dim: 3", "dim: many"),
    "acme_conf/conf/experiment/no_model.yaml": EXPERIMENT.replace("/model: acme", "/model: zzz9"),
    "acme_conf/conf/experiment/no_group.yaml": EXPERIMENT.replace("/model: acme", "/modle: acme"),
    "acme_conf/conf/experiment/broken.yaml": "batch_size: [1, 2\nseed: 3\n",
    "acme_conf/conf/experiment/twice.yaml": "# @package _global_\nseed: 3\nbatch_size: 3\nseed: 4\n",
    "acme_conf/conf/experiment/hostile.yaml": "# @package _global_\nmodel:\n  _target_: os.system\n",
    "acme_conf/conf/experiment/callback.yaml": "# @package _global_\nhydra: {callbacks: {x: {_target_: os.system}}}\n",
    "acme_conf/conf/experiment/itself.yaml": "# @package _global_\nseed: ${batch_size}\nbatch_size: ${seed}\n",
    "acme_conf/conf/experiment/latin.yaml": "seed: 3 # caf\xe9\n",
    "acme_conf/conf/experiment/no_package.yaml": "seed: 1\n",
    "acme_conf/conf/experiment/words.yaml": "# @package _global_\ntags: [no, 8]\n",
    "acme_conf/conf/experiment/octal.yaml": "# @package _global_\nseed: 010\n",
    "acme_conf/conf/experiment/sexagesimal.yaml": "# @package _global_\nseed: 1:30\n",
    "acme_conf/conf/model/acme_small.yaml": "defaults: [acme, _self_]\ndim: 2\n",
    "acme_conf/conf/loss/acme_loss.yaml": "defaults: ['acme-fm:acme_loss', _self_]\nmargin: 5\n",
    "acme_conf/conf/loss/bare.yaml": "name: acme_other\n",
    "acme_conf/__init__.py": "raise SystemExit('imported')\n",
}
BASE = ("model=acme", "data=acme_plain", "protocol=acme_protocol2")


@pytest.fixture
def good(site: Path) -> Path:
    install_good(site)
    install(site, "acme-conf", FILES, {"fmlab.conf": {"acme": "acme_conf.conf"}})
    (site / "acme_conf/conf/experiment/latin.yaml").write_bytes(b"seed: 3 # caf\xe9\n")
    registry.refresh()
    return site


def choice(config: DictConfig) -> dict[str, Any]:
    return {k: config[k].name for k in ("loss", "optimizer", "protocol", "data", "model")}


def message(*overrides: str) -> str:
    with pytest.raises(FmlabError) as error:
        composition.compose(overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_model_brings_its_partners(good: Path) -> None:
    assert choice(composition.compose(BASE)) == {
        "loss": "acme_loss",
        "optimizer": "acme_sgd",
        "protocol": "acme_protocol2",
        "data": "acme_plain",
        "model": "acme",
    }


def test_options_have_the_defaults_of_the_signature(good: Path) -> None:
    assert OmegaConf.to_container(composition.compose(BASE).model) == {
        "name": "acme",
        "dim": 8,
        "hidden": [4, 2],
        "dropout": 0.0,
        "activation": "relu",
        "path": None,
        "option": False,
    }


def test_the_user_wins_over_the_model(good: Path) -> None:
    config = composition.compose([*BASE, "optimizer=acme_sgd2"])
    assert (config.optimizer.name, config.loss.name) == ("acme_sgd2", "acme_loss")


def test_an_experiment_wins_over_the_model_and_the_user_over_both(good: Path) -> None:
    config = composition.compose(["protocol=acme_protocol2", "experiment=cell"])
    assert (config.optimizer.name, config.loss.name, config.model.dim) == ("acme_sgd2", "acme_loss", 3)
    config = composition.compose(["protocol=acme_protocol2", "experiment=cell", "optimizer=acme_sgd", "model.dim=4"])
    assert (config.optimizer.name, config.model.dim) == ("acme_sgd", 4)


def test_the_model_wins_over_the_data_and_the_data_over_the_protocol(good: Path) -> None:
    data = ("data=acme_data", "data.file=x")
    assert choice(composition.compose(["model=acme", *data])) == {
        "loss": "acme_loss",
        "optimizer": "acme_sgd",
        "protocol": "acme_protocol",
        "data": "acme_data",
        "model": "acme",
    }
    install(
        good,
        "bare",
        {"bare.py": "class M:\n    def __init__(self, schema) -> None: ...\n"},
        {"fmlab.model": {"bare": "bare:M"}},
    )
    registry.refresh()
    assert composition.compose(["model=bare", "optimizer=acme_sgd", *data]).loss.name == "acme_other"
    plain = composition.compose(["model=bare", "optimizer=acme_sgd", "data=acme_plain", "protocol=acme_protocol"])
    assert plain.loss.name == "acme_third"


def test_top_level_values_of_a_plugin_stand_below_the_experiment_and_the_user(good: Path) -> None:
    with_protocol = ("model=acme", "data=acme_plain", "protocol=acme_protocol")
    assert composition.compose(BASE).batch_size == 512
    assert composition.compose(with_protocol).batch_size == 4096
    assert composition.compose([*with_protocol, "experiment=cell"]).batch_size == 7
    assert composition.compose([*with_protocol, "experiment=cell", "batch_size=9"]).batch_size == 9
    assert composition.compose([*with_protocol, "batch_size=9"]).batch_size == 9


def test_a_preset_builds_on_the_plugin_and_its_partners(good: Path) -> None:
    config = composition.compose(["model=acme_small", "data=acme_plain", "protocol=acme_protocol2"])
    assert (config.model.name, config.model.dim, config.optimizer.name) == ("acme", 2, "acme_sgd")
    assert message("model=acme_small", *BASE[1:], "model.dmi=2").startswith("model.dmi is not an option of model acme;")


def test_a_file_shadows_the_plugin_of_its_name(good: Path) -> None:
    assert composition.compose(BASE).loss.margin == 5


def test_a_preset_may_leave_options_out(good: Path) -> None:
    assert composition.compose([*BASE, "loss=bare"]).loss.margin == 1.0


def test_configs_of_other_packages_are_found_without_importing_them(good: Path) -> None:
    assert composition.compose(["protocol=acme_protocol2", "experiment=cell"]).seed == 0


def test_numbers_are_converted_once_for_everybody(good: Path) -> None:
    config = composition.compose([*BASE, "model.dim=1e1", "model.dropout=0", "batch_size='32'"])
    assert [type(v) for v in (config.model.dim, config.model.dropout, config.batch_size)] == [int, float, int]


def test_interpolations_are_checked_and_kept(good: Path) -> None:
    config = composition.compose([*BASE, "model.dim=${env:DIM}"], {"DIM": "12"})
    assert OmegaConf.to_container(config, resolve=False)["model"]["dim"] == "${env:DIM}"  # type: ignore[index,call-overload]
    assert "got 'x'" in message_with({"DIM": "x"}, *BASE, "model.dim=${env:DIM}")


def message_with(environment: dict[str, str], *overrides: str) -> str:
    with pytest.raises(FmlabError) as error:
        composition.compose(overrides, environment)
    return str(error.value)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ("model.optoin=3",),
            "model.optoin is not an option of model acme; did you mean 'option'? choices: activation",
        ),
        (("model.dim=abc",), "model.dim must be a whole number in [1, inf), got 'abc'"),
        (("trainer.max_epochs=abc",), "trainer.max_epochs must be a whole number in [1, inf), got 'abc'"),
        (("trainer.max_epoch=3",), "trainer.max_epoch is not an option of trainer; did you mean 'max_epochs'?"),
        (("logger=wandb", "logger.mode=of"), "logger.mode must be one of auto, online, offline, got 'of'"),
        (("logger.project=x",), "logger.project is not an option of logger csv; choices: name"),
        (("modle=acme",), "modle is not an option of a run; did you mean 'model'? choices: "),
        (("modle.dim=3",), "modle is not an option of a run; did you mean 'model'? choices: "),
        (("experment=cell",), "experment is not an option of a run; did you mean 'experiment'? choices: "),
        (("model=acmee",), "no model named 'acmee'; did you mean 'acme'? choices: "),
        (("trainer=gpuu",), "no trainer named 'gpuu'; did you mean 'gpu'? choices: cpu, ddp, debug, default, gpu"),
        (("model=cell",), "no model named 'cell'; "),
        (("seed=-1",), "seed must be a whole number in [0, 4294967295], got -1"),
        (("tags=x",), "tags must be a list [...] of: text, got 'x'"),
        (("+model.foo=3",), "model.foo is not an option of model acme"),
        (("+foo=3",), "foo is not an option of a run"),
        (("++model._target_=os.system",), "model._target_ is not an option of model acme"),
        (("model.name=acme",), "model.name is not set by itself: write model=<name>, got 'model.name=acme'"),
        (("model.dim=${env:NOPE}",), "model.dim: environment variable NOPE is not set"),
        (("model.dim=${model.dmi}",), "model.dim: Interpolation key 'model.dmi' not found"),
        (("model.dim=${model.dim}",), "model.dim: Recursive interpolation detected"),
        (("model.hidden=[1",), "the value of 'model.hidden' cannot be read, got '[1'"),
        (
            ("tags=[a,b@2:c=d]",),
            "the value of 'tags' cannot be read, got '[a,b@2:c=d]'; quote entries that hold a colon: "
            "'tags=[a,\"b@2:c=d\"]'",
        ),
        (("acme",), "an argument must look like key=value, got 'acme'"),
        (("model=acme,acme_small",), "model=acme,acme_small gives several values: add -m to run each"),
        (("model=null",), "a group is chosen by name, group=<name>, got NoneType"),
        (("~loss",), "loss must be a group of options: loss=<name>, got None"),
        (("data=acme_data",), "data.file is required by data acme_data: str"),
        (("experiment=typo",), "model.dmi is not an option of model acme; did you mean 'dim'?"),
        (("experiment=top_typo",), "bach_size is not an option of a run; did you mean 'batch_size'?"),
        (("experiment=bad_type",), "model.dim must be a whole number in [1, inf), got 'many'"),
        (("experiment=hostile",), "model._target_ is not an option of model acme"),
        (("experiment=itself",), "seed: Recursive interpolation detected"),
        (("experiment=latin",), "a config file must be UTF-8 text: "),
        (("experiment=no_package",), "the file of an experiment begins with the line `# @package _global_`"),
        (("protocol=ctr", "protocol.seed=-5"), "protocol.seed must be a whole number in [0, inf), got -5"),
        (("experiment=words",), "tags must be a list [...] of: text, got [False, 8]; quote text that reads"),
        (("hydra/sweeper=bsic",), "no hydra/sweeper named 'bsic'; did you mean 'basic'?"),
    ],
)
def test_a_mistake_is_told_on_one_line(good: Path, overrides: tuple[str, ...], expected: str) -> None:
    given = {o.split("=")[0] for o in overrides}
    base = [o for o in BASE if o.split("=")[0] not in given]
    assert message(*base, *overrides).startswith(expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("no_model", "no model named 'zzz9'; choices: "),
        ("no_group", "In 'experiment/no_group': Could not override 'modle'."),
        ("broken", "/experiment/broken.yaml:2:5: "),
        ("twice", "/experiment/twice.yaml:4:1: found duplicate key seed"),
        ("octal", "/experiment/octal.yaml must have numbers of base 10 without zeros before them, got 010 in line 2"),
        ("sexagesimal", "got 1:30 in line 2, which YAML reads in base 60; put it in quotes if it is a text or a time"),
    ],
)
def test_a_mistake_in_a_file_names_the_file(good: Path, name: str, expected: str) -> None:
    assert expected in message("protocol=acme_protocol2", "data=acme_plain", f"experiment={name}")


@pytest.mark.parametrize(
    "override",
    [
        "+hydra.callbacks.x._target_=os.system",
        "experiment=callback",
        "hydra.sweeper._target_=os.system",
        "hydra.launcher._target_=subprocess.run",
        "hydra.job_logging.handlers.console.class=os.system",
        "+hydra.job_logging.handlers.console.()=os.system",
        "hydra.job_logging.handlers.console.stream='ext://os.system'",
        "hydra.job_logging.handlers.console.stream='ext:os.system'",
        "hydra.job_logging.handlers.console.stream='${root}'",
        "hydra.hydra_logging.handlers.console.stream='cfg://x'",
    ],
)
def test_nothing_is_built_from_an_import_path(good: Path, override: str) -> None:
    text = message(*BASE, override)
    assert "a config builds nothing from an import path" in text or "cannot be read" in text


def test_a_broken_plugin_stops_only_those_who_ask_for_it(good: Path) -> None:
    install_broken(good)
    registry.refresh()
    start = ("data=acme_plain", "protocol=acme_protocol2", "loss=acme_loss", "optimizer=acme_sgd")
    assert composition.compose([*start, "model=acme-fm:acme"]).model.name == "acme-fm:acme"
    assert "syntax-pkg 1.0 is broken" in message(*start, "model=syntax")
    assert "is claimed by" in message(*start, "model=acme")
    assert composition.compose([*start, "model=slow"]).model.dim == 1


@pytest.mark.parametrize("defaults", ["{'metric': 'mrr'}", "{'data': 'acme_plain', 'model': 'x'}", "{'batchsize': 3}"])
def test_defaults_that_cannot_be_followed_blame_the_plugin(good: Path, defaults: str) -> None:
    source = f"class M:\n    defaults = {defaults}\n\n    def __init__(self, schema) -> None: ...\n"
    install(good, "odd", {"odd.py": source}, {"fmlab.model": {"odd": "odd:M"}})
    registry.refresh()
    assert message("model=odd", *BASE[1:]).startswith("model 'odd' is broken: its `defaults` have ")


def test_several_devices_are_refused_inside_a_multirun(good: Path) -> None:
    assert composition.compose([*BASE, "trainer=ddp"]).trainer.devices == 2
    text = message(*BASE, "trainer=ddp", "hydra.mode=MULTIRUN")
    assert text.startswith("jobs of a multirun share one process, which can use one device; got trainer.devices=2")


def test_secrets_become_references(good: Path) -> None:
    composition.install(environment := {})
    loader = composition.Loader(composition.search_path(), vault=environment, complete=True)
    overrides = [*BASE[::2], "data=acme_data", "data.file=x", "data.api_key='s3 cret'"]
    config = loader.load_configuration("config", overrides, composition.RunMode.RUN)
    assert "s3 cret" not in OmegaConf.to_yaml(config)
    assert config.data.api_key == "s3 cret"
    assert environment == {"FMLAB_SECRET_DATA_API_KEY": "s3 cret"}
    composition.install(environment, hide=True)
    assert config.data.api_key == "***"


def test_the_shipped_config_names_every_option_once(good: Path) -> None:
    composition.install({})
    config = OmegaConf.load(Path(str(sources.beside("conf"))) / "trainer" / "default.yaml")
    assert list(config) == [o.name for o in signatures.of_object(settings.Trainer).options]


@pytest.mark.parametrize("name", ["cpu", "ddp", "debug", "default", "gpu"])
def test_every_trainer_composes(good: Path, name: str) -> None:
    assert composition.compose([*BASE, f"trainer={name}"]).trainer.max_epochs == (1 if name == "debug" else 200)


@pytest.mark.parametrize("name", ["csv", "none", "wandb"])
def test_every_logger_composes(good: Path, name: str) -> None:
    assert composition.compose([*BASE, f"logger={name}"]).logger.name == name


@pytest.mark.parametrize(
    ("given", "protocol"),
    [
        (["data.user=u", "data.item=i"], "full_ranking"),
        (["data.user=u", "data.item=i", "data.label=''"], "full_ranking"),
        (["data.user=u", "data.item=i", "data.label=y"], "ctr"),
        (["data.user=u", "data.item=i", "data.targets=[y,z]"], "ctr"),
        (["data.user=u"], "ctr"),
        (["data.user=u", "data.item=i", "protocol=leave_one_out"], "leave_one_out"),
    ],
)
def test_items_are_ranked_where_a_table_has_no_labels(given: list[str], protocol: str) -> None:
    assert composition.compose(["data=csv", "data.path=x.csv", *given]).protocol.name == protocol


def test_options_of_the_protocol_without_labels_need_not_name_it() -> None:
    config = composition.compose(["data=csv", "data.path=x.csv", "data.user=u", "data.item=i", "protocol.negatives=3"])
    assert (config.protocol.name, config.protocol.negatives) == ("full_ranking", 3)
