"""Entries of a page of help: what is typed, and what it means."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import rich.console
from rich.cells import cell_len
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

MEANING = 28  # columns that a meaning needs beside what is typed


@dataclass(frozen=True)
class Entries:
    """Commands or keys and what each means: side by side, or below each other where a terminal is too narrow for that.

    Args:
        rows: the meanings by what is typed, which is never broken into lines.
    """

    rows: Mapping[str, str]

    def __rich_console__(self, console: rich.console.Console, options: rich.console.ConsoleOptions) -> Iterator[object]:
        if max(map(cell_len, self.rows), default=0) + MEANING <= options.max_width:
            table = columns(Column(no_wrap=True), Column())
            for typed, meaning in self.rows.items():
                table.add_row(Text(typed), Text(meaning))
            yield table
            return
        for typed, meaning in self.rows.items():
            yield Text(f"  {typed}", overflow="fold")
            yield Padding(Text(meaning), (0, 2, 0, 6))


def columns(*headings: Column) -> Table:
    """Return an empty table without lines and headings."""
    return Table(*headings, box=None, show_header=False, pad_edge=True, padding=(0, 2, 0, 2))
