"""Write docs/catalogue.md: every option with its formula or meaning, its keys and defaults, and its source.

    python scripts/catalogue.py

Everything comes from the comments of conf/ and the docstrings of the classes; tests/test_catalogue.py checks that the
page is current.
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
    """Return the page, a table for each group."""
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
    """Return the source that the class's docstring cites, or the name of the class."""
    found = re.search(r"_target_: (\S+)", path.read_text())
    if found is None:
        return ""
    if not found[1].startswith("trainer."):
        return f"`{found[1]}`"
    docstring = targets.locate(found[1], group, class_group(path, group), targets.LIBRARIES).__doc__ or ""
    cited = re.search(r"Source: (.+?)(?: Differs| Called|\n\n|$)", " ".join(docstring.split()))
    return cited[1].rstrip(".") if cited else f"`{found[1]}`"


def class_group(path: Path, group: str) -> str:
    """Return the group of an option's class; of a regulariser with its slot, as `reg.layer`."""
    slot = next(iter(yaml.safe_load(path.read_text())))
    return f"{group}.{slot}" if group == "reg" else group


def cell(text: str) -> str:
    """Escape a text for a cell of a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
