"""Titles of what was measured: the options of a run that decide it."""

from pathlib import Path

from trainer.base.text import from_here, printable
from trainer.config import keys
from trainer.config.hydra_context import Invocation

GROUPS = ("data", "model", "act", "init", "norm", "preprocess")  # options that decide the fresh network's signals
NOT_SHOWN = (*GROUPS, "threads", "device", "output", "runs", "task")


def title_of(invocation: Invocation) -> str:
    """Return the options that decide a fresh network, and whatever else was typed."""
    shown = [group for group in GROUPS if group in invocation.typed_keys or invocation.choice(group) != "none"]
    chosen = [invocation.describe(group) for group in shown if invocation.choice(group)]
    typed = [text for text in invocation.overrides if is_setting(keys.key_of(text))]
    return printable(" ".join([*chosen, *typed]))


def short_title(invocation: Invocation) -> str:
    """Return the options of data, model and optimizer."""
    return " ".join(map(invocation.describe, ("data", "model", "optimizer")))


def is_setting(key: str) -> bool:
    """Return whether a key is one of a run's settings, and not in the title already."""
    return keys.makes_another_job(key) and key not in NOT_SHOWN


def title_of_run(directory: Path, which: str) -> str:
    """Return the name of a finished run with which of its weights are meant."""
    return printable(f"{from_here(directory)} ({which})")
