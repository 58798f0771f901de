"""Pages that are made of the program itself: the options of all plugins, the help texts of all commands, the notebooks
of `examples/`."""

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

from fmlab.cli import main
from fmlab.cli.command_line import COMMANDS
from fmlab.plugin import inventory

EXAMPLES = Path(__file__).parents[2] / "examples"
TITLES = {"data": "Data sets", "loss": "Losses"}


def on_files(files: Any, config: Any) -> Any:
    """A page for each notebook."""
    from mkdocs.structure.files import File

    for path in sorted(EXAMPLES.glob("*.ipynb")):
        files.append(File.generated(config, f"examples/{path.stem}.md", content=notebook(path)))
    return files


def notebook(path: Path) -> str:
    """The cells of a notebook as a page."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    note = f"This page is the notebook `examples/{path.name}`; the tests run it."
    return "\n\n".join([parts[0].partition("\n")[0], note, parts[0].partition("\n")[2].strip(), *parts[1:]]) + "\n"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in the pages of options and commands; links that leave `docs` go to the repository's files by name."""
    if page.file.src_uri == "reference/options.md":
        return markdown + options()
    if page.file.src_uri == "reference/command-line.md":
        return markdown + commands()
    return markdown


def options() -> str:
    """A table of options for every installed plugin that has any."""
    out, kind = [], ""
    for plugin in inventory.describe():
        if plugin.error or not plugin.package.startswith("fmlab "):
            continue
        if plugin.kind != kind:
            kind = plugin.kind
            out.append(f"\n## {TITLES.get(kind, f'{kind.title()}s')}\n")
        out.append(f"\n### {kind}={plugin.name}\n\n{_escaped(plugin.signature.summary)}\n")
        if plugin.signature.options:
            out.append("\n| option | default | values | meaning |\n| --- | --- | --- | --- |\n")
            for o in plugin.signature.options:
                default = "required" if o.required else f"`{o.default}`"
                meaning = _escaped(getattr(o, "description", "") or "")
                out.append(f"| `{kind}.{o.name}` | {default} | {_escaped(str(o))} | {meaning} |\n")
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
