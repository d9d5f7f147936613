"""Suggestions for a mistaken key, option or word: the one lookup behind every "did you mean". No torch here.

Synonyms come before similar names. No answer would be refused in its turn: each is fitted to the options of the command
before it is given (chosen.py).
"""

import re
from collections.abc import Iterator, Sequence

from trainer.base.text import as_typed, from_here, nearest
from trainer.cli import vocabulary
from trainer.cli.answer import LISTED, Answer, Fix, first_fit, fitting, with_value
from trainer.cli.chosen import Chosen, Unfit
from trainer.cli.option_hints import for_option
from trainer.cli.paths import data_of, is_data_file, is_path
from trainer.cli.sweep_overrides import is_for_sweeps
from trainer.config import catalog, synonyms, untrusted
from trainer.config.keys import Role, is_location, role_of
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
    if why := synonyms.why_no_key(parts[-1], value) or why_off(parts, value):
        return Answer(reason=why)
    if fixes := fitting(beside_option(parts, value, chosen), chosen, [], replacing=True):
        return Answer(fixes)
    if is_location(key) and is_path(value):
        return Answer(fitting([data_of(value)], chosen, [], replacing=True))
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


def why_off(parts: Sequence[str], value: str) -> str | None:
    """Return what to do to switch off what is only there when it is chosen: `mixup=false`; None for anything else."""
    if synonyms.truth(value) is not False or value.isdigit():  # 0 is a value of most keys
        return None
    on = synonyms.meant_key(parts[-1], "true")[-1:] or [[f"{group}={parts[-1]}"] for group in options_at(parts)]
    off = synonyms.meant_key(parts[-1], value)[-1:] or on
    same = on and on[0] == off[0] and not on[0][-1].endswith("=true")
    return f"without {' '.join(on[0])} there is none; leave it out" if same else None


def options_at(parts: Sequence[str]) -> list[str]:
    """Return the groups that have an option which the last part names: the one that is the first part, or all."""
    groups = vocabulary.groups_with(parts[-1])
    return [parts[0]] if parts[0] in groups else groups


def meant(parts: Sequence[str], value: str) -> list[Fix]:
    """Return what other tools mean by a key, best first. Below a group no length is that of the run."""
    path = ".".join(parts)
    whole = synonyms.meant_key(path, value)
    if whole or path in vocabulary.option_keys():
        return whole
    fixes = synonyms.meant_key(parts[-1], value)
    return [fix for fix in fixes if not (len(parts) > 1 and parts[0] in catalog.groups() and is_length(fix[0]))]


def is_length(override: str) -> bool:
    """Return whether an override sets how long the run is."""
    return role_of(override.partition("=")[0]) is Role.LENGTH


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
    if is_data_file(value) and any(fix[-1].startswith("data.root=") for fix in fixes):
        given = {*chosen.given} - {".".join(parts)}
        fixes = [[text for text in data_of(value) if text.partition("=")[0] not in given]]
    yield from [*first_fit(fixes, chosen)] or fixes[:1]  # the first says why not


def same_letters(parts: Sequence[str], value: str, chosen: Chosen) -> Iterator[Fix]:
    """Yield the chosen key, the key of the run, or the group that differs only in case, dashes or what is before it."""
    whole, last = synonyms.plain(".".join(parts)), synonyms.plain(parts[-1])
    if ".".join(parts) in vocabulary.option_keys():
        return
    yield from ([f"{path}={value}"] for path in chosen.keys if synonyms.plain(path) == whole)
    below = len(parts) > 1 and parts[0] in catalog.groups()
    for path in vocabulary.first_parts():
        if synonyms.plain(path) == last and not (below and is_length(path)):
            yield [f"{path}={value}"]


def chosen_keys(parts: Sequence[str], value: str, chosen: Chosen) -> Iterator[Fix]:
    """Yield the keys of the chosen options that the parts name, in this order."""
    for place, options in chosen.options.items():
        for option in options:
            keys = chosen.keys_of(place, option)
            found = ([f"{path}={value}"] for path in keys if names(parts, path, place, option))
            yield from found if len(parts) == 1 or parts[-1] not in options else first_fit(found, chosen)


def named_option(parts: Sequence[str], value: str, chosen: Chosen) -> Iterator[Fix]:
    """Yield the option that the last part names, with the first of its keys that takes the value: `dropout=0.5`."""
    name, word = parts[-1], value.lower()
    if len(parts) > 1 and ".".join(parts) in vocabulary.option_keys():
        return
    for group in options_at(parts):
        fixes = [] if word in ("true", "value") else [*with_value(group, name, value, chosen)]
        yield from fixes or ([[f"{group}={name}"]] if synonyms.truth(word) else [])


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
    for name in nearest(last, sorted(known - {last}), 1, ANYTHING) if len(last) > 2 else []:
        is_first = name in vocabulary.first_parts()
        answer = for_override(name, value, chosen) if is_first else for_key(name, value, chosen, guess=False)
        if answer.fixes:
            return answer
    return Answer(reason="train --help lists the keys")


def keys_at(group: str, chosen: Chosen) -> str:
    """Return the keys below a group that the chosen option has: `model=mlp has model.hidden=[128,128]`."""
    options = chosen.options.get(group)
    title = group if options is None else f"{group}={','.join(options) or 'none'}"
    found = {path: key for path, key in chosen.keys.items() if path.startswith(f"{group}.")}
    own = [path for option in options or () if catalog.is_own(path := catalog.file(group.partition(".")[0], option))]
    more = f"; {from_here(own[0])} may set others" if own else ""
    if not found:
        return f"{title} has no keys{more}"
    return f"{title} has {', '.join(f'{path}={as_typed(key.default)}' for path, key in found.items())}{more}"
