"""Pages that are made of the program itself: the options of all plugins, the help texts of all commands, the notebooks
of `examples/`, and how plugins are written."""

import contextlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from fmlab.cli import main
from fmlab.cli.command_line import COMMANDS
from fmlab.config import schema
from fmlab.config.composition import compose
from fmlab.config.help import written
from fmlab.plugin import inventory, signature

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TITLES = {"data": "Data sets", "loss": "Losses", "search": "Searches"}


def on_files(files: Any, config: Any) -> Any:
    """A page for each notebook, the notebook, and CONTRIBUTING.md."""
    from mkdocs.structure.files import File

    for path in sorted(EXAMPLES.glob("*.ipynb")):
        files.append(File.generated(config, f"examples/{path.stem}.md", content=notebook(path)))
        files.append(File.generated(config, f"examples/{path.name}", content=path.read_text(encoding="utf-8")))
    files.append(File.generated(config, "contributing.md", content=contributing()))
    return files


def contributing() -> str:
    """CONTRIBUTING.md; files of the repository that are no pages are named and not linked."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return re.sub(r"\[([^\]]+)\]\((?!#)[^)]+\)", r"\1", text)


def notebook(path: Path) -> str:
    """The cells of a notebook as a page."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    note = f"This page is the notebook [{path.name}]({path.name}); the tests run it."
    return "\n\n".join([parts[0].partition("\n")[0], note, parts[0].partition("\n")[2].strip(), *parts[1:]]) + "\n"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in the pages of options and commands; links that leave `docs` go to the repository's files by name."""
    if page.file.src_uri == "reference/options.md":
        return markdown + options()
    if page.file.src_uri == "reference/command-line.md":
        return markdown + commands()
    return markdown


def options() -> str:
    """A table of the options of a run, of its trainer, and of every installed plugin that has any."""
    out, kind = [], ""
    config: Any = OmegaConf.to_container(compose([], {}), resolve=False)
    settings = (("A run", "", schema.Run, config), ("The trainer", "trainer.", schema.Trainer, config["trainer"]))
    for title, prefix, about, values in settings:
        out.append(f"\n## {title}\n{_table(signature.of_object(about).options, prefix, values)}")
    for plugin in inventory.describe():
        if plugin.error or not plugin.package.startswith("fmlab "):
            continue
        if plugin.kind != kind:
            kind = plugin.kind
            out.append(f"\n## {TITLES.get(kind, f'{kind.title()}s')}\n")
        out.append(f"\n### {kind}={plugin.name}\n\n{_escaped(plugin.signature.summary)}\n")
        out.append(_table(plugin.signature.options, f"{kind}."))
    return "".join(out)


def _table(options: Any, prefix: str, values: Mapping[str, Any] | None = None) -> str:
    """One line for each option; nothing where there are none. `values`: what a config has for them."""
    if not options:
        return ""
    out = ["\n| option | default | values | meaning |\n| --- | --- | --- | --- |\n"]
    for o in options:
        given = (values or {}).get(o.name, "required" if o.required else o.default)
        default = "required" if given == "required" else f"`{written(given)}`" if given != "" else ""
        out.append(f"| `{prefix}{o.name}` | {default} | {_escaped(str(o))} | {_escaped(o.description)} |\n")
    return "".join(out)


def commands() -> str:
    """The help text of every command."""
    return "".join(f"\n## fmlab {name}\n\n```text\n{_help([name, '--help'])}\n```\n" for name in sorted(COMMANDS))


def _help(arguments: list[str]) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main(arguments)
    return said.getvalue().strip()


def _escaped(text: str) -> str:
    return re.sub(r"([|<>])", r"\\\1", text.replace("\n", " "))
