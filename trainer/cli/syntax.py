"""The grammar of the command line, KEY=VALUE, and the advice for an argument that is something else. No torch here."""

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from trainer.base.errors import ConfigError
from trainer.base.text import nearest, printable
from trainer.cli import vocabulary
from trainer.config import private_api

# Three letters after one dash: Hydra's own flags are shorter, and argparse would take -momentum=0.9 for -m.
LONG_FLAG = re.compile(r"-[A-Za-z_]\w\w[\w.]*(=.*)?", re.DOTALL)


def parse_flags(arguments: Sequence[str]):
    """Return Hydra's flags, with `overrides` among them. Errors: ConfigError for a flag that does not exist."""
    if mistaken := next((text for text in arguments if LONG_FLAG.fullmatch(text)), None):
        raise unknown_flag(mistaken, arguments)
    flags, unknown = private_api.parse_flags(arguments)
    if unknown:
        raise unknown_flag(unknown[0], arguments)
    return flags


def unknown_flag(flag: str, arguments: Sequence[str]) -> ConfigError:
    """Return the error for a flag that does not exist, with the override that was perhaps meant."""
    name, _, value = flag.lstrip("-").replace("-", "_").partition("=")
    value = flag.partition("=")[2] or next(iter(arguments[arguments.index(flag) + 1 :]), "VALUE")
    advice = advice_for(name, value) if len(name) > 1 else None
    if advice is None:
        return ConfigError(printable(f"{flag}: no such flag; settings are written KEY=VALUE (train --help lists them)"))
    return ConfigError(printable(f"{flag}: settings are written without dashes; {advice}"))


def parse(text: str, following: Sequence[str] = ()) -> Override:
    """Return the override that an argument writes.

    Args:
        following: the arguments behind it, which may be parts of a value that the shell has taken apart.
    Errors: ConfigError where it is not KEY=VALUE.
    """
    key, sign, value = text.partition("=")
    if text == "help":
        raise ConfigError("help: settings are written KEY=VALUE; write train --help, or train --help KEY")
    if value.startswith("="):
        raise ConfigError(f"{text}: one = is enough; write {key}={value.lstrip('=')}")
    if not key and (groups := vocabulary.groups_with(value)):
        raise ConfigError(f"{text}: the key is missing; write {alternatives(groups, value)}")
    if spaced := with_spaces(text, following):
        raise ConfigError(f"{spaced}: must not have spaces; write {spaced.replace(' ', '')}")
    if not sign and not text.startswith("~"):
        raise ConfigError(f"{text}: settings are written KEY=VALUE; {completed(text, following)}")
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        raise ConfigError(f"{text}: {why_unreadable(key, value)}") from None


def completed(text: str, following: Sequence[str]) -> str:
    """Return how to write an argument that lacks its `=`: `write epochs=5`."""
    groups = vocabulary.groups_with(text)
    if groups and text not in vocabulary.first_parts():
        return f"write {alternatives(groups, text)}"
    value = following[0] if following and "=" not in following[0] else "VALUE"
    return advice_for(text, value) or "train --help lists the keys"


def advice_for(name: str, value: str) -> str | None:
    """Return what to type for a bare name: with its own key or a synonym's, or the most similar one as a question."""
    known = vocabulary.first_parts()
    if renamed := vocabulary.renamed(name, value):
        return f"write {renamed}"
    if key := name if name in known else vocabulary.meant_key(name):
        return f"write {key}={value}"
    near = nearest(name, known, 1)
    return f"did you mean {near[0]}={value}?" if near else None


def alternatives(groups: Sequence[str], option: str) -> str:
    """Return `model=linear or act=linear`."""
    return " or ".join(f"{group}={option}" for group in groups)


def why_unreadable(key: str, value: str) -> str:
    """Return what is wrong with a value that Hydra's grammar does not take, and what to write."""
    if re.search(r"[^\\],(,|$)", value):
        return f"a value is missing at a comma; write several values without spaces, as {key}=A,B"
    if value.startswith("log("):
        return f"to search over powers of ten, write '{key}=tag(log,interval(LOW,HIGH))'"
    return f"cannot be read as KEY=VALUE; put a value with spaces or signs in quotes: {key or 'KEY'}=\"'VALUE'\""


def with_spaces(text: str, following: Sequence[str]) -> str | None:
    """Return `epochs = 3` or `reg=[l2, dropout]`, joined from the parts that the shell made; None without spaces."""
    line = " ".join([text, *following])
    unquoted = re.sub(r"(['\"])(\\.|(?!\1).)*\1", "''", line)  # spaces in quotes are allowed
    found = re.match(r"[\w./@]+ *= *(\[[^\]]*\]|[^\s=\[]+(?=\s|$))", unquoted)
    return found[0] if found and " " in found[0] else None
