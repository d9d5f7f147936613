"""What was meant by a mistaken key, option or word: the one lookup behind every "did you mean". No torch here.

Synonyms come before similar names. No answer would be refused in its turn: each is fitted to the options of the command
before it is given (chosen.py).
"""

import re
from collections.abc import Iterator, Sequence

from trainer.base.text import as_typed, nearest
from trainer.cli import vocabulary
from trainer.cli.answer import LISTED, Answer, Fix, first_fit, fitting
from trainer.cli.chosen import Chosen, Unfit, keys_of
from trainer.cli.option_hints import for_option
from trainer.cli.spelling import TRUE
from trainer.cli.sweep_overrides import is_for_sweeps
from trainer.config import catalog, classifiers, synonyms, untrusted
from trainer.search import overrides as search

ANYTHING = 0.75  # how similar a name must be that may be any key or option
SWEEP_KEYS = {"hydra.sweep.dir": "-m", "hydra.launcher.n_jobs": "-m hydra/launcher=joblib"}  # and what each needs


def for_override(key: str, value: str, chosen: Chosen) -> Answer:
    """Return the answer to an override, whichever part of it is mistaken; itself, fitted, where none is."""
    try:
        return Answer([chosen.fit([f"{key}={value}"])])
    except Unfit:
        return for_option(key, value, chosen) if vocabulary.group_at(key) else for_key(key, value, chosen)


def for_key(key: str, value: str, chosen: Chosen, guess: bool = True) -> Answer:
    """Return the answer to a key that the chosen options do not have.

    Args:
        guess: also answer with a key whose name is only similar.
    """
    parts = re.split(r"[./:]", key)
    if why := synonyms.why_no_key(parts[-1]):
        return Answer(reason=why)
    if fixes := fitting(beside_option(parts, value, chosen), chosen, [], replacing=True):
        return Answer(fixes)
    refused: list[str] = []
    for find in (of_typed_option, of_other_tools, same_letters, chosen_keys, named_option, option_as_value):
        if fixes := fitting(find(parts, value, chosen), chosen, refused):
            return Answer(fixes)
    for fix in meant(parts, value)[:1]:  # none of them goes with the chosen options
        path, _, other = fix[-1].partition("=")
        if vocabulary.group_at(path):
            return for_option(path, other, chosen)
        parts, value = re.split("[./]", path), other
    if answer := Answer(reason=refused[0]) if refused else elsewhere(parts, value, chosen) or for_sweeps(parts, value):
        return answer
    if len(parts) > 1 and parts[0] in vocabulary.first_parts():
        return similar_within(parts, value, chosen, guess)
    return similar_anywhere(parts, value, chosen) if guess else Answer(reason="train --help lists the keys")


def meant(parts: Sequence[str], value: str) -> list[Fix]:
    """Return what other tools mean by a key, best first."""
    path = ".".join(parts)
    whole = synonyms.meant_key(path, value)
    return whole if whole or path in vocabulary.option_keys() else synonyms.meant_key(parts[-1], value)


def beside_option(parts: Sequence[str], value: str, chosen: Chosen) -> Iterator[Fix]:
    """Yield what the key means beside a typed option, which it replaces: `optimizer=sgd momentum=0.9`."""
    for options in chosen.typed.values():
        for option in options:
            yield from synonyms.meant_key(f"{option}.{parts[-1]}", value)


def of_typed_option(parts: Sequence[str], value: str, chosen: Chosen) -> Iterator[Fix]:
    """Yield the key of an option that is written between the group and the key: `optimizer.adam.lr`."""
    if len(parts) > 2 and parts[0] not in catalog.MULTI_SELECT and parts[1] in catalog.options(parts[0]):
        yield [f"{parts[0]}={parts[1]}", f"{'.'.join([parts[0], *parts[2:]])}={value}"]


def of_other_tools(parts: Sequence[str], value: str, chosen: Chosen) -> Iterator[Fix]:
    """Yield what other tools mean by a key: the first that goes with the chosen options."""
    fixes = meant(parts, value)
    yield from [*first_fit(fixes, chosen)] or fixes[:1]  # the first says why not


def same_letters(parts: Sequence[str], value: str, chosen: Chosen) -> Iterator[Fix]:
    """Yield the chosen key, the key of the run, or the group that differs only in case, dashes or what is before it."""
    whole, last = synonyms.plain(".".join(parts)), synonyms.plain(parts[-1])
    if ".".join(parts) in vocabulary.option_keys():
        return
    yield from ([f"{path}={value}"] for path in chosen.keys if synonyms.plain(path) == whole)
    yield from ([f"{path}={value}"] for path in vocabulary.first_parts() if synonyms.plain(path) == last)


def chosen_keys(parts: Sequence[str], value: str, chosen: Chosen) -> Iterator[Fix]:
    """Yield the keys of the chosen options that the parts name, in this order."""
    for place, options in chosen.options.items():
        for option in options:
            found = ([f"{path}={value}"] for path in keys_of(place, option) if names(parts, path, place, option))
            yield from found if len(parts) == 1 or parts[-1] not in options else first_fit(found, chosen)


def named_option(parts: Sequence[str], value: str, chosen: Chosen) -> Iterator[Fix]:
    """Yield the option that the last part names, with the first of its keys that takes the value: `dropout=0.5`."""
    name, word, groups = parts[-1], value.lower(), vocabulary.groups_with(parts[-1])
    if len(parts) > 1 and ".".join(parts) in vocabulary.option_keys():
        return
    for group in [parts[0]] if parts[0] in groups else groups:
        choose = f"{group}={name}"
        keys = [] if word in ("true", "value") else keys_of(group, name)
        fixes = [*first_fit(([choose, f"{path}={value}"] for path in keys), chosen)]
        yield from fixes or ([[choose]] if word in ("true", *TRUE) else [])


def option_as_value(parts: Sequence[str], value: str, chosen: Chosen) -> Iterator[Fix]:
    """Yield the option that the value names: `optimizer=adam` for `optimizer.name=Adam` or `algorithm=adam`."""
    groups = [parts[0]] if parts[0] in catalog.groups() else catalog.groups()
    found = [(group, option) for group in groups if (option := vocabulary.respelled_option(group, value))]
    yield from ([f"{group}={option}"] for group, option in found if len(found) == 1)


def names(parts: Sequence[str], path: str, place: str, option: str) -> bool:
    """Return whether the parts name a key of an option: its last part, or parts of it in order, the option among them.

    `reg.l2` and `reg.l2.strength` name reg.loss.l2.strength, `optimizer.adam.lr` names optimizer.lr.
    """
    segments = path.split(".")
    if len(parts) == 1:
        return segments[-1] == parts[0]
    rest = iter([place, option, *segments[1:]])
    return all(part in rest for part in parts)


def elsewhere(parts: Sequence[str], value: str, chosen: Chosen) -> Answer | None:
    """Return which options have a key that the chosen ones lack, and how to choose the first; None where none has."""
    keys = vocabulary.option_keys()
    exact = ".".join(parts)
    owners = {
        path: found
        for path, options in keys.items()
        if (found := [owner for owner in options if path == exact or names(parts, path, *owner)])
    }
    if exact in owners:
        owners = {exact: owners[exact]}
    if len(owners) > 1:
        listed = ", ".join(owners) if len(owners) <= LISTED else f"{', '.join([*owners][:LISTED])} and others"
        return Answer(reason=f"it is part of {listed}: train --help {parts[-1]}")
    for path, options in owners.items():
        options.sort(key=lambda owner: owner[1] != parts[-1])
        group = options[0][0]
        more = f" and {len(options) - LISTED} more" if len(options) > LISTED else ""
        have = f"{path} is a key of {', '.join(f'{group}={option}' for group, option in options[:LISTED])}{more}"
        fixes = [*first_fit(([f"{group}={option}", f"{path}={value}"] for group, option in options), chosen)]
        if not fixes and chosen.typed.get(group):
            have = f"{have}; {keys_at(group, chosen)}"
        return Answer(fitting(fixes, chosen, []), reason=have)
    return None


def for_sweeps(parts: Sequence[str], value: str) -> Answer | None:
    """Return how to type a key that counts only in sweeps, behind the arguments that it needs; None for another key."""
    known = {path: "-m" for path in (*vocabulary.run_keys(), *untrusted.HYDRA_KEYS) if is_for_sweeps(path)}
    known |= SWEEP_KEYS | dict.fromkeys(search.keys(), "-m hydra/sweeper=optuna")
    path = next((path for path in known if re.split("[./]", path)[-1] == parts[-1]), None)
    return Answer(reason=f"did you mean train {known[path]} {path}={value or 'VALUE'} ...?") if path else None


def similar_within(parts: Sequence[str], value: str, chosen: Chosen, guess: bool) -> Answer:
    """Return the answer to a key below a group that no option has: a similar one, or all that there are."""
    group, last, before = parts[0], parts[-1], ".".join(parts[:-1])
    below = before if any(path.startswith(f"{before}.") for path in chosen.keys) else group
    here = {path.rpartition(".")[2]: path for path in chosen.keys if path.startswith(f"{below}.")}
    refused: list[str] = []
    if guess and (fixes := fitting(([f"{here[name]}={value}"] for name in nearest(last, here)), chosen, refused)):
        return Answer(fixes)
    others = {path.rpartition(".")[2] for path in vocabulary.option_keys() if path.startswith(f"{group}.")}
    for name in nearest(last, sorted(others - {last}), 1, ANYTHING) if guess and not refused else []:
        return for_key(f"{group}.{name}", value, chosen, guess=False)
    return Answer(reason=refused[0] if refused else keys_at(below, chosen))


def similar_anywhere(parts: Sequence[str], value: str, chosen: Chosen) -> Answer:
    """Return the answer to a key that begins with no group: with a similar beginning, its last part, a similar key."""
    *before, last = parts
    for first in nearest(parts[0], vocabulary.first_parts(), 1, ANYTHING) if before else []:
        return for_override(".".join([first, *parts[1:]]), value, chosen)
    if before:
        return for_key(last, value, chosen)
    known = {path.rpartition(".")[2] for path in chosen.keys} | {*vocabulary.first_parts(), *synonyms.words_of_keys()}
    known |= {option for group in catalog.groups() for option in catalog.options(group) if len(option) > LISTED}
    for name in nearest(last, sorted(known - {last}), 1, ANYTHING) if len(last) > 1 else []:
        if name in vocabulary.first_parts():
            return for_override(name, value, chosen)
        return for_key(name, value, chosen, guess=False)
    return Answer(reason="train --help lists the keys")


def keys_at(group: str, chosen: Chosen) -> str:
    """Return the keys below a group that the chosen option has: `model=mlp has model.hidden=[128,128]`."""
    options = chosen.options.get(group)
    title = group if options is None else f"{group}={','.join(options) or 'none'}"
    found = {path: key for path, key in chosen.keys.items() if path.startswith(f"{group}.")}
    if not found:
        return f"{title} has no keys"
    return f"{title} has {', '.join(f'{path}={as_typed(key.default)}' for path, key in found.items())}"


def for_word(word: str, chosen: Chosen) -> Answer:
    """Return the answer to a word alone: the name of an option, or a key that lacks its value."""
    if fixes := fitting(options_named(word), chosen, []):
        return Answer(fixes)
    if vocabulary.is_key(word):
        answer = for_override(word, "true", chosen)  # as a flag
        return answer if answer.fixes or synonyms.why_no_key(word) else for_override(word, "VALUE", chosen)
    known = [option for group in catalog.groups() for option in catalog.options(group)]
    similar = nearest(word, known, 1, ANYTHING) if len(word) > 2 else []
    fixes = fitting((fix for name in similar for fix in options_named(name)), chosen, [])
    return Answer(fixes) if fixes else for_override(word, "VALUE", chosen)


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
    return meant or classifiers.same(word) or classifiers.beginning(word)
