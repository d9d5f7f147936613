"""Title of a picture: the options of data and model, and what else was typed. No torch here."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.base.text import printable
from trainer.config.hydra_context import Invocation
from trainer.config.keys import Role, is_location, key_of, makes_another_job, role_of
from trainer.rundir import reader
from trainer.rundir.directory import last_part

ALWAYS = ("data", "model")  # options that a title always has
WITH_OPTIMIZER = (*ALWAYS, "optimizer")
LETTERS = 11  # of a title in an inch of the picture


def title_of(invocation: Invocation, options: Sequence[str] = ALWAYS) -> str:
    """Return the title of a picture of a run: some options, and whatever else was typed that shapes the run."""
    return title_from(invocation.choices, invocation.overrides, options)


def title_from(choices: Mapping[str, str | None], overrides: Sequence[str], options: Sequence[str] = ALWAYS) -> str:
    """Return a title from the options of the groups and the overrides.

    Args:
        options: groups whose option is shown in any case, where it is known.
    """
    shown = [f"{group}={choices[group]}" for group in options if choices.get(group)]
    typed = [text for text in overrides if shapes_the_picture(key_of(text)) and key_of(text) not in options]
    return printable(" ".join([*shown, *(last_part(text) if is_location(key_of(text)) else text for text in typed)]))


def title_of_files(directory: Path) -> str:
    """Return the title of a run from its run.json; empty where it has none."""
    return title_of_description(reader.read_mapping(directory / "run.json"))


def title_of_description(described: Mapping) -> str:
    """Return the title of a run from its description, of which nothing is sure."""
    choices, command = described.get("choices"), described.get("command")
    if not isinstance(choices, dict) or not isinstance(command, list):
        return ""
    return title_from({str(group): option for group, option in choices.items()}, [*map(str, command)])


def in_lines(title: str, inches: float) -> str:
    """Return a title in lines that fit a picture of a width; of a long one the first three."""
    return "\n".join(
        textwrap.wrap(title, int(LETTERS * inches), max_lines=3, placeholder=" ...", break_on_hyphens=False)
    )


def shapes_the_picture(key: str) -> bool:
    """Return whether a key is one of a run's settings by which its results differ."""
    return makes_another_job(key) and role_of(key) not in (Role.TASK, Role.LAUNCH)
