"""The table of all models of this distribution: `fmlab plugins --markdown > docs/models.md`."""

import re
from collections.abc import Iterator

from torch import nn

from fmlab.contracts import NeedsInteractions
from fmlab.data import Field, Schema
from fmlab.errors import FmlabError
from fmlab.inspection import model_summary
from fmlab.plugin import inventory, registry
from fmlab.plugin.inventory import Plugin
from fmlab.run.model_size import n_parameters

DISTRIBUTION = "fmlab"
HEAD = ("model", "what", "paper and equations", "parameters", "cost of a row", "scored as", "loss, optimizer", "test")
OPEN, NONE = "the protocol's", "none"
_CONTEXT: tuple[tuple[str, int], ...] = (
    *(("daytime", 8), ("weekday", 8), ("isweekend", 3), ("homework", 4)),
    *(("cost", 3), ("weather", 10), ("country", 81), ("city", 234)),
)
_SHAPE = Schema(
    (
        Field("user", "user", 958),
        *(Field(name, "context", size) for name, size in _CONTEXT),
        Field("item", "item", 4083),
    ),
    957,
    4082,
)
"""The fields of Frappe, as tables of parameters have them, with an unknown feature in each."""
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
    yield _parameters(plugin)
    yield _line(signature.doc, "Cost")
    yield scored(plugin.name)
    partners = [str(signature.defaults.get(kind, OPEN) or NONE) for kind in ("loss", "optimizer")]
    yield partners[0] if len(set(partners)) == 1 else ", ".join(partners)
    yield _line(signature.doc, "Test").removeprefix("tests/models/").replace("::", " ")


def _equation(doc: str) -> str:
    """The second paragraph, where it is one of formulas."""
    paragraphs = doc.split("\n\n")
    return " " + " ".join(paragraphs[1].split()) if len(paragraphs) > 1 and paragraphs[1].startswith("`") else ""


def _parameters(plugin: Plugin) -> str:
    """With the default options on the fields of Frappe, and what is kept beside them."""
    count = n_parameters({"name": plugin.name}, _SHAPE)
    kept = _line(plugin.signature.doc, "Fitted")
    return ("unknown" if count is None else f"{count:,}") + (f"; {kept}" if kept else "")


def stated(doc: str, word: str) -> list[str]:
    """What stands behind `word` in each line of a docstring that has it; an indented line continues the one before."""
    lines = re.findall(rf"^{word}:\s*(.+(?:\n[ \t]+\S.*)*)", doc, re.MULTILINE)
    return [" ".join(line.split()) for line in lines]


def _line(doc: str, word: str) -> str:
    return next(iter(stated(doc, word)), "")


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
    return f"""# Models

Generated: `python -m fmlab plugins --markdown > docs/models.md` writes this page from the models' docstrings, and a
test fails where the two differ. {count} models; `fmlab plugins show model NAME` shows the options of one, and
`fmlab plugins show model NAME data=DATA` its parameters, its FLOPs and how it is scored on these data.

**Parameters** are those that gradients train, with the default options, on the fields of Frappe: 957 users, 4,082 items
and eight fields of context, {_SHAPE.n_features:,} features with an unknown one for each field. `n_parameters(schema,
**options)` of the class counts them without building the model, and a test compares it with the built one.

**Cost of a row** is the time of one whole row. F stands for fields, P for pairs of them, C for the columns of a row,
which are more where fields are multi-valued, I for items, W for the weights of the perceptron's layers; the other names
are options, and `matrices(a, b, ...)` is the weights of matrices between neighboring sizes. **Scored as**
says what is shared in ranking: *two-sided* models have a bias and a vector for each item, and rank all items by one
matrix product; *separable* ones compute the part of the user once; *rows* scores every user and item as a whole row.
Models that *read interactions* take the training positives once before training. **Loss, optimizer**: what is taken
unless something else is said; where the model leaves it open, the protocol says it (bce and adam if it does not);
*none* where gradients train nothing.
**Test** of record: the test in `tests/models` that compares the model with an independent oracle.
"""
