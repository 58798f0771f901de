"""Every option of a built-in plugin and of the config says what it is, in help and in `fmlab plugins show`."""

import pytest

from fmlab.config import schema
from fmlab.config.help import option_lines
from fmlab.plugin import inventory, registry
from fmlab.plugin.signature import of_object


def test_every_option_of_a_built_in_plugin_is_described():
    found = [p for p in inventory.describe() if p.package.startswith("fmlab ")]
    assert len(found) > 100
    assert not [f"{p.kind} {p.name}.{o.name}" for p in found for o in p.signature.options if not o.description]
    assert not [f"{p.kind} {p.name}" for p in found if p.signature.doc.startswith("(not read")]


@pytest.mark.parametrize("part", [schema.Run, schema.Trainer, schema.Sweep, *schema.LOGGERS.values()])
def test_every_option_of_the_config_is_described(part):
    assert not [o.name for o in of_object(part).options if not o.description]


def test_help_shows_the_description():
    lines = option_lines(registry.schema("model", "fm"))
    (line,) = [text for text in lines if text.startswith("dim ")]
    assert line.endswith("int in [1, inf); size of the embedding vectors")
