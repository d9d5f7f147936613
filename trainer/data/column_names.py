"""Columns of a table as they are typed: found by name or number, and written for a shell."""

from collections.abc import Sequence

from trainer.base.errors import ConfigError
from trainer.base.text import for_shell, nearest
from trainer.config.quoting import as_value
from trainer.data.table import Table

NAMES = 20  # columns of a file in a message


def as_typed(key: str, *names: str, in_list: bool = True) -> str:
    """Return columns as the value of a key, as they are typed in a shell: `data.ignore=[a,b]`."""
    items = ",".join(map(as_value, names))
    return for_shell(f"{key}=[{items}]" if in_list else f"{key}={items}")


def listed(names: Sequence[str]) -> str:
    """Return the first names of a table's columns."""
    return ", ".join(names[:NAMES]) + ", ..." * (len(names) > NAMES)


def place_of(wanted: str | int, key: str, path: str, table: Table) -> int:
    """Return the place of a column given by its name or its number. Errors: ConfigError."""
    same = [place for place, name in enumerate(table.headings) if name == str(wanted)]
    if len(same) > 1:
        numbers = " or ".join(str(place + 1) for place in same)
        raise ConfigError(f"{key}={wanted}: {len(same)} columns of {path} have this name; write the number, {numbers}")
    if same or wanted in table.names:  # which has `x (2)` and `column 3`
        return same[0] if same else table.names.index(wanted)
    count = len(table.names)
    if isinstance(wanted, int):
        if 1 <= abs(wanted) <= count:
            return wanted - 1 if wanted > 0 else count + wanted
        raise ConfigError(f"{key}={wanted}: {path} has {count} columns; write a number from 1 to {count}, or -1")
    if not table.has_header:
        hint = f"write the number of a column, from 1 to {count}, or data.header=yes"
        raise ConfigError(f"{key}={wanted}: {path} has no header; {hint}")
    near = nearest(wanted, table.names)
    meant = " or ".join(as_typed(key, name, in_list=key != "data.target") for name in near)
    hint = f"did you mean {meant}?" if near else f"it has {listed(table.names)}"
    raise ConfigError(f"{key}={wanted}: no such column in {path}; {hint}")
