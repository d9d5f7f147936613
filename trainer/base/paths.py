"""Paths as people type them."""

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """Return a path with the home folder for a `~` that begins it; `~name` stays where nobody has that name."""
    return Path(os.path.expanduser(path))  # Path.expanduser raises for such a name
