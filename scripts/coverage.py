"""Write docs/coverage.md: every row of what the lectures teach, the command that reaches it, the tests that prove it.

    python scripts/coverage.py

The rows are in scripts/coverage.yaml. Before the page is written, each is checked: the command line takes its words,
its tests exist, and no row is missing or there twice. tests/test_coverage.py does the same.
"""

import ast
import contextlib
import functools
import io
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from hydra import compose
from omegaconf import OmegaConf

from trainer.base.errors import UserError
from trainer.cli import help, overrides
from trainer.config.hydra_context import initialized, without_hydra_node

ROOT = Path(__file__).parent.parent
ROWS, PAGE = Path(__file__).with_suffix(".yaml"), ROOT / "docs" / "coverage.md"
COUNTS = {  # rows of the catalogue by section
    "data and preprocess": ("D", 15), "act": ("A", 20), "init": ("W", 28), "bias": ("B", 4), "norm": ("N", 21),
    "optimizer": ("O", 28), "sched and warmup": ("L", 16), "reg": ("R", 20), "aug": ("G", 9), "tta": ("T", 6),
    "pretrain": ("P", 8), "loss": ("X", 8), "sampler and batching": ("M", 10), "diagnostics": ("Z", 25),
    "the procedure": ("H", 10), "claims": ("Y", 22), "models": ("V", 9),
}  # fmt: skip
UNNUMBERED = "models"  # that the lectures imply, and the catalogue does not number
TEST = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)(?:\[(.+)\])?")
HEAD = """# Coverage

What the five lectures of [the course](course/README.md) teach, a row each: what it is, what to type, and the tests
that prove it. Letter and number are those of `scripts/coverage.yaml`; `python scripts/coverage.py` makes this page of
it, and checks that every command is valid and every test exists. ([catalogue.md](catalogue.md) is another list: every
option of the program.) `DIR` is the directory of a finished run. Where a lecture slips: [errata.md](errata.md).
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the catalogue.

    Args:
        section: its part of the catalogue.
        number: letter and number, as D1.
        what: the technique, procedure or statement.
        words: what to type behind `train`.
        tests: FILE::TEST, or FILE::TEST[CASE].
        lacks: what is missing; empty for a row that is reached as a whole.
    """

    section: str
    number: str
    what: str
    words: str
    tests: Sequence[str]
    lacks: str = ""


class UniqueKeys(yaml.SafeLoader):
    """Reads YAML in which no key is there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Return a mapping. Errors: yaml.YAMLError where a key is there twice."""
        names = [key.value for key, _ in node.value]
        if len({*names}) < len(names):
            raise yaml.YAMLError(f"{node.start_mark}: {max(names, key=names.count)} is there twice")
        return super().construct_mapping(node, deep)


def rows() -> list[Row]:
    """Return all rows, in order. Errors: yaml.YAMLError, TypeError."""
    sections = yaml.load(ROWS.read_text(), UniqueKeys)
    return [
        Row(section=section, number=number, **row)
        for section, entries in sections.items()
        for number, row in entries.items()
    ]


def missing_rows(found: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each section whose rows are not those of the catalogue, in their order."""
    for section, (letter, count) in COUNTS.items():
        wanted = [f"{letter}{number}" for number in range(1, count + 1)]
        numbers = [row.number for row in found if row.section == section]
        if numbers != wanted:
            yield f"{section}: the rows are {', '.join(numbers)}, not {letter}1 to {letter}{count}"
    yield from (f"{row.number}: no such section, {row.section}" for row in found if row.section not in COUNTS)


@functools.cache
def parsed(path: str) -> tuple[set[str], set[str]]:
    """Return the names of a file's tests, and all its texts, among which its cases are. Errors: OSError."""
    tree = ast.parse((ROOT / path).read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return names, texts


def missing_tests(row: Row) -> Iterator[str]:
    """Yield a line for each test of a row that does not exist, and for a row without one."""
    if not row.tests:
        yield f"{row.number}: no test"
    for test in row.tests:
        named = TEST.fullmatch(test)
        if named is None or not (ROOT / named[1]).is_file():
            yield f"{row.number}: {test}: no such file"
            continue
        names, texts = parsed(named[1])
        if named[2] not in names or (named[3] and named[3] not in texts and not re.fullmatch(r"Y\d+", named[3])):
            yield f"{row.number}: {test}: no such test"


def refused(row: Row, run: Path) -> Iterator[str]:
    """Yield a line where the command line does not take the words of a row.

    Args:
        run: the directory of a run, for DIR.
    """
    arguments = shlex.split(re.sub(r"\bDIR\b", str(run), row.words))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            help.show(arguments) if arguments[0] == "--help" else overrides.check(arguments)
    except UserError as error:
        yield f"{row.number}: train {row.words}: {error}"


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """Yield the directory of a run in a folder of its own, which is the current one in the block."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        run = Path(folder) / "run"
        run.mkdir()
        with initialized():
            OmegaConf.save(without_hydra_node(compose("config", return_hydra_config=True)), run / "config.yaml")
        yield run


def faults(found: Sequence[Row]) -> list[str]:
    """Return a line for everything that is wrong with the rows."""
    with workplace() as run:
        return [
            *missing_rows(found),
            *(line for row in found for line in missing_tests(row)),
            *(line for row in found for line in refused(row, run)),
        ]


def page(found: Sequence[Row]) -> str:
    """Return the page: the counts and what is lacking, then a table for each section."""
    numbered = sum(row.section != UNNUMBERED for row in found)
    total = sum(count for section, (_, count) in COUNTS.items() if section != UNNUMBERED)
    partly = [f"\n- {row.number}, {row.what}: {row.lacks}" for row in found if row.lacks]
    lines = [
        f"\n**{numbered} of {total} rows** are reached, {len(partly)} of them in part, ",
        f"and {len(found) - numbered} models that the lectures imply.\n",
        *partly,
    ]
    return HEAD + "".join(lines) + "\n" + "".join(table(section, found) for section in COUNTS)


def table(section: str, found: Sequence[Row]) -> str:
    """Return the table of a section."""
    own = [row for row in found if row.section == section]
    count = COUNTS[section][1]
    head = f"\n## {section}: {len(own)} of {count}\n\n| row | what | command | tests |\n| --- | --- | --- | --- |\n"
    return head + "".join(
        f"| {row.number} | {cell(row.what)} | `train {cell(row.words)}` | "
        f"{', '.join(f'`{cell(test)}`' for test in row.tests)} |\n"
        for row in own
    )


def cell(text: str) -> str:
    """Escape a text for a cell of a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    everything = rows()
    if wrong := faults(everything):
        sys.exit("\n".join(wrong))
    PAGE.write_text(page(everything))
