"""The table of all models of this distribution: `fmlab plugins --markdown > docs/models.md`."""

from collections.abc import Iterator

from torch import nn

from fmlab.contracts import NeedsInteractions
from fmlab.data import Field, Schema
from fmlab.errors import FmlabError
from fmlab.inspection import model_summary
from fmlab.inspection.formulas import FUNCTION_HELP, SYMBOLS, stated
from fmlab.plugin import inventory, registry
from fmlab.plugin.inventory import Plugin

DISTRIBUTION = "fmlab"
HEAD = ("model", "what", "paper and equations", "parameters", "cost of a row", "scored as", "loss, optimizer", "test")
OPEN, NONE = "the protocol's", "none"
_SCHEMA = Schema((Field("user", "user", 4), Field("day", "context", 7), Field("item", "item", 6)), 3, 5)


def markdown() -> str:
    """The whole page; every model is built once on a small schema, to see how it is scored."""
    by_family: dict[str, list[Plugin]] = {}
    for plugin in inventory.describe("model"):
        if registry.package(registry.find("model", plugin.name)) == DISTRIBUTION:
            by_family.setdefault(plugin.signature.family, []).append(plugin)
    order = ("baselines", "linear and pairwise", "interaction-aware", "metric and hyperbolic", "collaborative", "deep")
    rank = {family: number for number, family in enumerate(order)}
    families = sorted(by_family, key=lambda f: (rank.get(f, len(rank)), f))
    count = sum(map(len, by_family.values()))
    parts = [_introduction(count), "| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    for family in families:
        parts.append(f"| **{family}** " + "| " * (len(HEAD) - 1) + "|")
        parts += ["| " + " | ".join(_escaped(cell) for cell in _row(plugin)) + " |" for plugin in by_family[family]]
    return "\n".join([*parts, ""])


def _row(plugin: Plugin) -> Iterator[str]:
    signature = plugin.signature
    yield f"`{plugin.name}`"
    yield signature.summary + _equation(signature.doc)
    yield signature.paper
    lines = sorted(stated(signature.doc, "Parameters"), key=lambda line: not line[0])
    yield "<br>".join(_conditional(*line, several=len(lines) > 1) for line in lines)
    yield _line(signature.doc, "Cost")
    yield scored(plugin.name)
    partners = [str(signature.defaults.get(kind, OPEN) or NONE) for kind in ("loss", "optimizer")]
    yield partners[0] if len(set(partners)) == 1 else ", ".join(partners)
    yield _line(signature.doc, "Test").removeprefix("tests/models/").replace("::", " ")


def _equation(doc: str) -> str:
    """The second paragraph, where it is one of formulas."""
    paragraphs = doc.split("\n\n")
    return " " + " ".join(paragraphs[1].split()) if len(paragraphs) > 1 and paragraphs[1].startswith("`") else ""


def _conditional(condition: str, text: str, *, several: bool) -> str:
    formula, separator, remark = text.partition(";")
    shown = f"`{formula.strip()}`{separator}{remark}"
    return f"with {condition}: {shown}" if condition else f"else {shown}" if several else shown


def _line(doc: str, word: str) -> str:
    return next((text for _, text in stated(doc, word)), "")


def scored(name: str) -> str:
    """`two-sided`, `separable` or `rows` with the default options, and whether it reads the interactions first."""
    try:
        model = registry.build("model", {"name": name}, _SCHEMA, gives=nn.Module)
    except FmlabError as error:
        return f"unknown: {error}"
    return model_summary.scoring(model) + (", reads interactions" if isinstance(model, NeedsInteractions) else "")


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def _introduction(count: int) -> str:
    symbols = "\n".join(f"- `{name}`: {text}" for name, text in SYMBOLS.items())
    functions = "\n".join(f"- `{name}`: {text}" for name, text in FUNCTION_HELP.items())
    return f"""# Models

Generated: `python -m fmlab plugins --markdown > docs/models.md` writes this page from the models' docstrings, and a
test fails where the two differ. {count} models; `fmlab plugins show model NAME` shows the options of one, and
`fmlab plugins show model NAME data=DATA` its parameters, its FLOPs and how it is scored on these data.

**Parameters** are those that gradients train. A formula's names are the model's options and

{symbols}

with the functions `sum`, `min`, `max` of numbers, and

{functions}

Factors stand side by side, `/` divides and `//` rounds down; a flag counts as 1 or 0. `with` gives the options that a
formula holds for, a name alone where that option is given; the first that fits counts. Every formula is compared with
the built model by a test.

**Cost of a row** is the time of one whole row; W stands for the weights of the perceptron's layers. **Scored as**
says what is shared in ranking: *two-sided* models have a bias and a vector for each item, and rank all items by one
matrix product; *separable* ones compute the part of the user once; *rows* scores every user and item as a whole row.
Models that *read interactions* take the training positives once before training. **Loss, optimizer**: what is taken
unless something else is said; where the model leaves it open, the protocol says it (bce and adam if it does not);
*none* where gradients train nothing.
**Test** of record: the test in `tests/models` that compares the model with an independent oracle.
"""
