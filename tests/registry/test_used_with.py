"""Options that count with certain values of another option: given otherwise, they are refused."""

import sys
from pathlib import Path
from typing import Any

import pytest

from fmlab.errors import FmlabError
from fmlab.plugin import option_values, registry
from fmlab.plugin import signature as signatures
from fmlab.plugin.annotation import PluginError
from fmlab.plugin.option import Option, UsedWith

PROTOCOL = '''
from typing import Annotated, Literal

from fmlab.plugin.option import Range, UsedWith

Lists = UsedWith("evaluation", "all", "sampled")


class Protocol:
    """Conditions."""

    def __init__(
        self,
        dataset,
        *,
        evaluation: Literal["all", "sampled", "rows"] = "all",
        ties: Annotated[Literal["best", "worst"], "rank of equal scores", Lists] = "best",
        file: str = "",
        ids: Annotated[str, "what the file holds", UsedWith("file")] = "raw",
    ) -> None: ...
'''


@pytest.fixture
def signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "conditions.py").write_text(PROTOCOL, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield signatures.of_source("conditions", "Protocol")
    sys.modules.pop("conditions", None)


def test_conditions_are_read_without_an_import_and_described(signature: Any) -> None:
    options = {o.name: o for o in signature.options}
    assert "conditions" not in sys.modules
    assert options["ties"].used_with == UsedWith("evaluation", "all", "sampled")
    assert options["ties"].description == "rank of equal scores; used with evaluation=all or sampled"
    assert options["ids"].description == "what the file holds; used with file"
    assert options["evaluation"].used_with is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"evaluation": "rows", "ties": "worst"},
            "protocol.ties is used with evaluation=all or sampled, got evaluation=rows",
        ),
        ({"ids": "compact"}, "protocol.ids is used with file, got no file: leave it out"),
    ],
)
def test_what_has_no_effect_is_refused(given: dict[str, Any], told: str, signature: Any) -> None:
    with pytest.raises(FmlabError, match=told):
        option_values.check_options("protocol", signature, given, "conditions")


@pytest.mark.parametrize(
    "given",
    [{}, {"evaluation": "rows"}, {"evaluation": "rows", "ties": "best"}, {"ties": "worst"}, {"file": "a", "ids": "b"}],
)
def test_defaults_and_what_has_an_effect_are_taken(given: dict[str, Any], signature: Any) -> None:
    assert option_values.check_options("protocol", signature, given, "conditions").items() >= given.items()


def test_a_condition_on_no_option_breaks_the_plugin() -> None:
    option = Option("ties", str, "best", used_with=UsedWith("evaluations"))
    with pytest.raises(PluginError, match="ties must be used with an option of the same plugin, got 'evaluations'"):
        registry.checked_signature("protocol", signatures.Signature((option,), positional=("dataset",)))


@pytest.mark.parametrize(
    ("protocol", "rule", "told"),
    [
        ("ctr", "k_core", "data.k_core is of protocols that have the option k_core, got protocol=ctr: leave it out"),
        ("rating", "min_label", "data.min_label is of protocols that have the option min_label, got protocol=rating"),
        ("composed protocol.evaluation=rows", "k_core", "got protocol=composed with evaluation=rows: leave it out"),
    ],
)
def test_a_rule_of_the_data_that_the_protocol_does_not_ask_for_is_refused(
    protocol: str, rule: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fmlab.cli import main

    (tmp_path / "rows.csv").write_text("u,i,y\na,b,1\n", encoding="utf-8")
    roles = ["data.user=u", "data.item=i", "data.label=y", f"data.{rule}=3"]
    options = ["model=mf", "data=csv", f"data.path={tmp_path}/rows.csv", *roles, *f"protocol={protocol}".split()]
    assert main([*options, f"hydra.run.dir={tmp_path}/run"]) == 2
    assert told in capsys.readouterr().err
