"""The grammar of the command line, KEY=VALUE, and the answer to an argument that is something else. No torch here."""

import difflib
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from trainer.base.errors import ConfigError
from trainer.base.text import printable
from trainer.cli import paths
from trainer.cli.answer import Answer
from trainer.cli.chosen import Chosen, chosen_by
from trainer.cli.hints import for_override
from trainer.cli.words import for_word, takes_value
from trainer.config import private_api, synonyms

KEY = r"[\w./@]+"
FLAG = re.compile(r"--?[A-Za-z][\w.-]*(=.*)?", re.DOTALL)
FLAGS = ("--help", "--version", "--multirun", "--cfg", "--config-dir", "--shell-completion", "--resolve", "--info")
COMMANDS = {  # words that are commands of other tools
    "help": "--help",
    "version": "--version",
    "list": "--help",
    "sweep": "-m KEY=VALUE,VALUE",
    "grid": "-m KEY=VALUE,VALUE",
    "multirun": "-m KEY=VALUE,VALUE",
    "search": "-m hydra/sweeper=optuna KEY=VALUE,VALUE",
}
SHELLS = ("bash", "fish", "zsh")


@dataclass(frozen=True)
class Malformed:
    """An argument that is not KEY=VALUE.

    Args:
        shown: as it was typed, with the arguments that belong to it.
        why: the rule that it breaks.
        key: what was perhaps meant as the key, or a word alone.
        value: None where there is none.
        used: the number of arguments that it takes.
        paths: all of those, where they are paths.
    """

    shown: str
    why: str
    key: str
    value: str | None
    used: int = 1
    paths: Sequence[str] = ()

    def answer(self, chosen: Chosen) -> Answer:
        """Return what to type instead."""
        if self.paths:
            return paths.for_words(self.paths, chosen)
        return for_word(self.key, chosen) if self.value is None else for_override(self.key, self.value, chosen)


def parse_flags(arguments: Sequence[str]):
    """Return Hydra's flags, with `overrides` among them. Errors: ConfigError for a flag that does not exist."""
    require_values_of_flags(arguments)
    require_settings(arguments)
    flags, unknown = private_api.parse_flags(arguments)
    if unknown:
        raise ConfigError(printable(f"{unknown[0]}: no such flag; train --help lists the settings"))
    return flags


def require_values_of_flags(arguments: Sequence[str]) -> None:
    """Check what stands behind Hydra's flags. Errors: ConfigError."""
    flags = {text.partition("=")[0]: text for text in arguments}
    behind = {text.partition("=")[0]: (text.partition("=")[2] or next_one) for text, next_one in pairs(arguments)}
    for flag in ("--cfg", "-c"):
        if flag in flags and behind[flag] not in ("job", "hydra", "all"):
            raise ConfigError(f"{flag}: must say which configuration to show; write train {flag} job ...")
    for flag in ("--config-dir", "-cd"):
        if flag in flags and (not behind[flag] or re.match(rf"-|{KEY}=", behind[flag])):
            raise ConfigError(f"{flag}: needs a folder of options of your own; write {flag} DIR")
    for flag in ("--resolve", "--package", "-p"):
        if flag in flags and not {"--cfg", "-c"} & flags.keys():
            raise ConfigError(f"{flag}: is for showing the configuration; write train --cfg job {flag} ...")
    for flag in ("--shell-completion", "-sc"):
        known = {f"{what}={shell}" for what in ("install", "uninstall", "query") for shell in SHELLS}
        if flag in flags and not known & {*arguments}:
            raise ConfigError(
                f'{flag}: write eval "$(train {flag} install=bash)" in your shell; there are {", ".join(SHELLS)}'
            )
        if flag in flags and any(text.startswith("query=") for text in arguments) and "COMP_LINE" not in os.environ:
            raise ConfigError(f"{flag}: a query is asked by the shell, which sets COMP_LINE; write install=SHELL")


def pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield every argument with the one behind it, the last one with an empty text."""
    yield from zip(arguments, [*arguments[1:], ""])


def require_settings(arguments: Sequence[str]) -> None:
    """Check that every argument is a flag of Hydra or has the form KEY=VALUE. Errors: ConfigError, with all answers."""
    typed, found, place = [], [], 0
    with_value = private_api.flags()
    sweep = bool({"-m", "--multirun"} & {*arguments})
    while place < len(arguments):
        text, behind = arguments[place], arguments[place + 1 :]
        flag = text.partition("=")[0]
        if flag in with_value:
            place += 2 if with_value[flag] and "=" not in text else 1
            continue
        malformed = read(text, behind)
        if malformed:
            found.append(malformed)
        else:
            typed.append(text)
        place += malformed.used if malformed else 1
    if found:
        raise explained(found, typed, sweep)


def explained(found: Sequence[Malformed], typed: list[str], sweep: bool) -> ConfigError:
    """Return the error for malformed arguments: with what to type for all of them, where each has an answer."""
    answers, fixes = [], []
    for malformed in found:
        answers.append(malformed.answer(chosen_by([*typed, *fixes], sweep)))
        if not answers[-1].fixes:
            break
        keys = {text.partition("=")[0] for text in answers[-1].fixes[0]}
        fixes = [text for text in fixes if text.partition("=")[0] not in keys] + [*answers[-1].fixes[0]]
    first, answer = found[0], answers[0]
    if answer.fixes and not answer.reason and (len(answer.fixes) == 1 or len(answers) == len(found) > 1):
        written = fixes if answers[-1].fixes else answer.fixes[0]
        return ConfigError(printable(f"{first.shown}: {Answer([written], first.why, answer.note)}"))
    why = first.why if answer.fixes or not FLAG.fullmatch(first.shown) else "no such flag"
    return ConfigError(printable(f"{first.shown}: {why}; {answer}"))


def read(text: str, behind: Sequence[str]) -> Malformed | None:
    """Return what is malformed about an argument; None for one that has the form KEY=VALUE."""
    key, sign, value = text.partition("=")
    if text.lstrip("-") in COMMANDS:
        raise ConfigError(f"{text}: settings are written KEY=VALUE; write train {COMMANDS[text.lstrip('-')]}")
    if not re.fullmatch(r"[\w./@]+=\[.*\]", text) and (spaced := with_spaces(text, behind)):
        joined = re.sub(r" *([=,\[\]]) *", r"\1", spaced).replace(" ", ",")
        key, _, value = joined.partition("=")
        parts = (count for count in range(1, len(behind) + 2) if " ".join([text, *behind][:count]) == spaced)
        return Malformed(spaced, "must not have spaces", key, value, next(parts, 1))
    if FLAG.fullmatch(text):
        return flag(text, behind)
    if text.startswith("~"):
        return None
    if not sign:
        if found := re.fullmatch(rf"({KEY}):([^/\\].*)", text):  # key:value
            return Malformed(text, "settings are written KEY=VALUE", found[1], found[2])
        if paths.is_path(text):
            both = [text, *itertools.takewhile(paths.is_path, behind)]
            return Malformed(text, "settings are written KEY=VALUE", text, None, len(both), both)
        takes_next = len(behind) > 0 and takes_value(text, behind[0])
        return with_values(text, "settings are written KEY=VALUE", text, behind, takes_next)
    if not key:
        return Malformed(text, "the key is missing", value, None)
    if value.startswith("="):
        return Malformed(text, "one = is enough", key, value.lstrip("="))
    if not re.fullmatch(rf"\+{{0,2}}{KEY}", key):
        return Malformed(text, "no such key", re.sub(r"[^\w./@-]", "", key), value)
    return None


def flag(text: str, behind: Sequence[str]) -> Malformed:
    """Return what is malformed about an argument with dashes. Errors: ConfigError for a flag that is misspelled."""
    name, sign, value = text.partition("=")
    key = name.lstrip("-")
    if not synonyms.why_no_key(key) and (near := difflib.get_close_matches(name, FLAGS, 1, 0.8)):
        raise ConfigError(printable(f"{text}: no such flag; did you mean {near[0]}?"))
    why = "settings are written without dashes" if len(key) > 1 else "no such flag"
    if sign:
        return Malformed(text, why, key, value)
    return with_values(text, why, key, behind, len(behind) > 0 and not FLAG.fullmatch(behind[0]))


def with_values(shown: str, why: str, key: str, behind: Sequence[str], takes_next: bool) -> Malformed:
    """Return a malformed argument with what stands behind it, where that is its value: an argument, or numbers."""
    numbers = [*itertools.takewhile(lambda text: re.fullmatch(r"-?\.?\d[^=]*", text), behind)]
    if len(numbers) > 1:
        return Malformed(shown, why, key, f"[{','.join(numbers)}]", len(numbers) + 1)
    if takes_next and "=" not in behind[0]:
        return Malformed(shown, why, key, behind[0], 2)
    return Malformed(shown, why, key, None)


def with_spaces(text: str, following: Sequence[str]) -> str | None:
    """Return `epochs = 3` or `reg=[l2, dropout]`, joined from the parts that the shell made; None without spaces."""
    line = " ".join([text, *following])
    unquoted = re.sub(r"(['\"])(\\.|(?!\1).)*\1", "''", line)  # spaces in quotes are allowed
    found = re.match(r"[\w./@]+ *= *(\[[^\]]*\]|[^\s=\[]+(?=\s|$))", unquoted)
    return found[0] if found and " " in found[0] else None


def parse(text: str, chosen: Chosen) -> Override:
    """Return the override that an argument writes. Errors: ConfigError where Hydra's grammar does not take it."""
    key, _, value = text.partition("=")
    if key == "data" and paths.is_path(value):  # no option, and often nothing that the grammar takes
        raise ConfigError(f"{text}: data takes the name of a data set; {for_override(key, value, chosen)}")
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        raise ConfigError(f"{text}: {why_unreadable(key, value, chosen)}") from None


def why_unreadable(key: str, value: str, chosen: Chosen) -> str:
    """Return what is wrong with a value that Hydra's grammar does not take, and what to write."""
    if value.startswith("log("):
        return f"to search over powers of ten, write '{key}=tag(log,interval(LOW,HIGH))'"
    why = "a value is missing at a comma" if re.search(r",(,|\]|\)|$)", value) else "cannot be read as KEY=VALUE"
    tidy = re.sub(r",(?=,|\]|\)|$)", "", value.strip(" ;")) or value
    answers = [for_override(key.lstrip("+"), other, chosen) for other in (tidy, f"[{tidy.strip('(){}')}]")]
    return f"{why}; {next((answer for answer in answers if answer.fixes), answers[0])}"
