"""Write docs/catalogue.md: every option with its formula or meaning, its keys and defaults, and its source.

    python scripts/catalogue.py

All of it comes from the comments of conf/ and the docstrings of the classes; a test holds the page to them.
"""

import re
from pathlib import Path

import yaml

from trainer.base.text import as_typed
from trainer.config import catalog, schema, targets

PAGE = Path(__file__).parent.parent / "docs" / "catalogue.md"
HEAD = """# The catalogue

Every option of every group, made by `python scripts/catalogue.py` from the comments of `conf/` and the docstrings of
the classes.
"""


def page() -> str:
    """Return the page: a table for each group."""
    return HEAD + "".join(
        f"\n## {group}\n\n| option | meaning | keys and defaults | source |\n| --- | --- | --- | --- |\n{rows(group)}"
        for group in catalog.groups()
    )


def rows(group: str) -> str:
    """Return a row for each option of a group."""
    lines = []
    for option in catalog.options(group):
        path = catalog.file(group, option)
        keys = ", ".join(
            f"`{key.path.removeprefix(f'{group}.')}={as_typed(key.default)}`"
            for key in schema.keys(path, group).values()
        )
        lines.append(f"| `{option}` | {cell(catalog.headline(path))} | {keys} | {cell(source(group, path))} |\n")
    return "".join(lines)


def source(group: str, path: Path) -> str:
    """Return the source that the docstring names, or the library's class."""
    found = re.search(r"_target_: (\S+)", path.read_text())
    if found is None:
        return ""
    if not found[1].startswith("trainer."):
        return f"`{found[1]}`"
    docstring = targets.locate(found[1], group, home(path, group), targets.LIBRARIES).__doc__ or ""
    words = re.search(r"Source: (.+?)(?: Differs| Called|\n\n|$)", " ".join(docstring.split()))
    return words[1].rstrip(".") if words else f"`{found[1]}`"


def home(path: Path, group: str) -> str:
    """Return the group that an option's class belongs to: a regulariser's with its slot, as `reg.layer`."""
    slot = next(iter(yaml.safe_load(path.read_text())))
    return f"{group}.{slot}" if group == "reg" else group


def cell(text: str) -> str:
    """Return a text for a cell of a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
