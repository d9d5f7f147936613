"""Suggestions for an option that a group does not have. No torch here."""

import re
from collections.abc import Sequence

from trainer.base.text import nearest
from trainer.cli import vocabulary
from trainer.cli.answer import Answer, Fix, first_fit, fitting, with_value
from trainer.cli.chosen import Chosen, keys_of
from trainer.cli.paths import for_data, is_path
from trainer.config import catalog, classifiers, synonyms

NEUTRAL = ("constant", "default")  # what other groups and tools call an option that does nothing


def for_option(place: str, value: str, chosen: Chosen) -> Answer:
    """Return the answer to the first unknown option of a group, or of a key that holds one."""
    group = vocabulary.group_at(place)
    if group == "data" and is_path(value):
        return for_data(value, chosen)
    if fixes := called(place, value, chosen):
        return Answer(fixes)
    names = names_in(value)
    unknown = [name for name in names if name not in catalog.options(group)]
    known = [option for option in catalog.options(group) if place == group or vocabulary.can_be_held(group, option)]
    choose = Answer(reason=f"choose one of {', '.join(known)}")
    if not unknown:
        return Answer(fitting([[f"{place}=[{','.join(names)}]"]], chosen, [])) if len(names) > 1 else choose
    name = unknown[0]
    if synonyms.truth(name) is False or (name.lower() in NEUTRAL and not synonyms.meant_option(group, name)):
        return without(place, group, [other for other in names if other != name], chosen) or choose
    known_by_name = vocabulary.respelled_option(group, name) or synonyms.meant_option(group, name)
    if not known_by_name and (why := vocabulary.refused_class(group, name)):
        return Answer(reason=why)
    for fixes in meanings(place, group, name, value, known, chosen):
        if fitted := fitting(fixes, chosen, []):
            kept = [whole(fix, place, name, value, chosen) for fix in fitted]
            answer = Answer(kept, note=synonyms.note(group, name) or "")
            return answer if len(unknown) == 1 else with_others(answer, place, chosen)
    return choose


def names_in(value: str) -> list[str]:
    """Return the names of options in a value."""
    return re.split(r"[,;+\s]+", value.strip("[](){}'\" "))


def with_others(answer: Answer, place: str, chosen: Chosen) -> Answer:
    """Return an answer to one unknown option in which the other unknown ones are answered as well."""
    first, *more = answer.fixes[0]
    rest = for_option(place, first.partition("=")[2], chosen) if first.startswith(f"{place}=") else answer
    return Answer([[*fix, *more] for fix in rest.fixes], reason=rest.reason)


def called(place: str, value: str, chosen: Chosen) -> list[Fix]:
    """Return what to type for an option with its values behind it: `dropout(0.3)`, `l2=1e-4`, `Adam(lr=0.01)`."""
    found = re.fullmatch(r"([\w.]+)[(:=](.+?)\)?", value)
    option = vocabulary.respelled_option(vocabulary.group_at(place), found[1].rpartition(".")[2]) if found else None
    if option is None:
        return []
    keys, fix = keys_of(place, option), [f"{place}={option}"]
    for part in found[2].split(","):
        name, sign, text = part.strip().partition("=")
        paths = [path for path in keys if path.rpartition(".")[2] == name]
        if sign and paths:
            fix.append(f"{paths[0]}={text}")
        elif sign:  # `SGD(momentum=0.9)` is another option here
            replacing = synonyms.meant_key(f"{option}.{name}", text)
            fix = [*replacing[0], *fix[1:]] if replacing else []
        else:
            fix += [typed for valued in with_value(place, option, name, chosen) for typed in valued[-1:]]
    return fitting([fix], chosen, []) if fix else []


def meanings(place: str, group: str, name: str, value: str, known: Sequence[str], chosen: Chosen) -> list[list[Fix]]:
    """Return what an unknown option may mean, the surest first, each with alternatives."""
    name = re.sub(r"\(.*", "", name).rpartition(".")[2]  # nn.ReLU()
    same = vocabulary.respelled_option(group, name)
    sure = [[[f"{place}={same}"]] if same else [], synonyms.meant_option(group, name)]
    if not name or synonyms.is_absent(group, name):
        return sure
    is_model = group == "model"
    elsewhere = [fix for other in catalog.groups() for fix in synonyms.meant_option(other, name)]
    containing = [option for option in known if len(name) > 2 and synonyms.plain(name) in synonyms.plain(option)]
    return [
        *sure,
        [[f"{other}={name}"] for other in vocabulary.groups_with(name) if name != "auto"],
        classifiers.same(name) if is_model else [],
        vocabulary.classes_named(place, name),
        [[f"{place}={option}"] for option in containing],
        classifiers.beginning(name) if is_model else [],
        elsewhere if len(elsewhere) == 1 else [],
        [*first_fit(synonyms.meant_key(place, value), chosen)],
        [[f"{place}={option}"] for option in nearest(name, known)],
    ]


def without(place: str, group: str, others: Sequence[str], chosen: Chosen) -> Answer | None:
    """Return how to go without any option of a group; None where each does something."""
    if others:  # none beside others
        listed = ",".join(others)
        fixes = fitting([[f"{place}=[{listed}]" if place in catalog.MULTI_SELECT else f"{place}={listed}"]], chosen, [])
        return Answer(fixes) if fixes else None
    if place != group:
        return None
    none = vocabulary.neutral(group)
    return Answer(reason=f"to go without, write {none}") if none else None


def whole(fix: Fix, place: str, name: str, value: str, chosen: Chosen) -> Fix:
    """Return a fix that keeps the other options of the mistaken override."""
    others = [other for other in names_in(value) if other != name]
    if not others:
        return fix
    listed = f"[{value}]" if place in catalog.MULTI_SELECT and "[" not in value and not chosen.sweep else value
    if len(fix) == 1 and fix[0].startswith(f"{place}="):
        new = fix[0].partition("=")[2]
        return fix if "[" in new else [f"{place}={listed.replace(name, new)}"]
    return [f"{place}=[{','.join(others)}]", *fix] if place in catalog.MULTI_SELECT else fix
