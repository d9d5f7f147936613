"""Suggestions for a word without `=`: the name of an option, or a key that lacks its value. No torch here."""

import re

from trainer.base.text import nearest
from trainer.cli import vocabulary
from trainer.cli.answer import Answer, Fix, fitting
from trainer.cli.chosen import Chosen
from trainer.cli.hints import ANYTHING, for_override
from trainer.config import catalog, classifiers, synonyms


def for_word(word: str, chosen: Chosen) -> Answer:
    """Return the answer to a word alone: the name of an option, or a key that lacks its value."""
    named = options_named(word)
    if fixes := fitting(named, chosen, []):
        return Answer([beside_typed(fix, chosen) for fix in fixes])
    for group, _, option in (fix[0].partition("=") for fix in named[:1]):
        each = f"{group}={','.join([*chosen.typed.get(group, ()), option])}"
        return Answer(reason=f"{group} takes one option; for a run of each, write train -m {each}")
    if vocabulary.is_key(word):
        answer = for_override(word, "true", chosen)  # as a flag
        return answer if answer.fixes or synonyms.why_no_key(word) else for_override(word, "VALUE", chosen)
    known = [option for group in catalog.groups() for option in catalog.options(group)]
    similar = nearest(word, known, 1, ANYTHING) if len(word) > 2 else []
    fixes = fitting((fix for name in similar for fix in options_named(name)), chosen, [])
    return Answer(fixes) if fixes else for_override(word, "VALUE", chosen)


def beside_typed(fix: Fix, chosen: Chosen) -> Fix:
    """Return a fix that sweeps over an option beside that of its group which is typed: `-m optimizer=sgd adam`."""
    group, _, option = fix[0].partition("=")
    typed = chosen.typed.get(group) if chosen.sweep and group not in catalog.MULTI_SELECT else None
    return [f"{group}={','.join([*typed, option])}"] if typed and len(fix) == 1 else fix


def takes_value(word: str, value: str) -> bool:
    """Return whether a value belongs to the word before it: to a key, or a number to the name of an option."""
    is_number = re.fullmatch(r"[-+]?[.\d].*|true|false", value, re.IGNORECASE)
    return vocabulary.is_key(word) or bool(is_number and vocabulary.groups_with(word))


def options_named(word: str) -> list[Fix]:
    """Return the options that a word means, of any group: by its name, its spelling, or in other tools."""
    named = [
        [f"{group}={option}"] for group in catalog.groups() if (option := vocabulary.respelled_option(group, word))
    ]
    if named or vocabulary.is_key(word):
        return named
    meant = [fix for group in catalog.groups() for fix in synonyms.meant_option(group, word)]
    classes = [fix for group in catalog.groups() for fix in vocabulary.classes_named(group, word)]
    return meant or classifiers.same(word) or classes or classifiers.beginning(word)
