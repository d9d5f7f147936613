"""Titles of what was measured: the options of a run that decide it."""

from pathlib import Path

from trainer.base.text import from_here, printable
from trainer.config.hydra_context import Invocation
from trainer.rundir import title

GROUPS = ("data", "model", "act", "init", "norm", "preprocess")  # options that decide the fresh network's signals


def title_of(invocation: Invocation) -> str:
    """Return the options that decide a fresh network, and whatever else was typed."""
    shown = [group for group in GROUPS if group in invocation.typed_keys or invocation.choice(group) != "none"]
    return title.title_of(invocation, shown)


def title_of_run(directory: Path, which: str) -> str:
    """Return the name of a finished run with which of its weights are meant."""
    return printable(f"{from_here(directory)} ({which})")
