"""What was meant by an option that a group does not have. No torch here."""

import re
from collections.abc import Sequence

from trainer.base.text import nearest
from trainer.cli import paths, vocabulary
from trainer.cli.answer import Answer, Fix, first_fit, fitting
from trainer.cli.chosen import Chosen
from trainer.config import catalog, classifiers, synonyms

NOTHING = ("none", "null", "false", "off", "no", "nothing")


def for_option(place: str, value: str, chosen: Chosen) -> Answer:
    """Return the answer to the first unknown option of a group, or of a key that holds one."""
    group = vocabulary.group_at(place)
    if group == "data" and paths.is_path(value):
        return paths.for_data(value, chosen)
    names = re.split(r"[,;+\s]+", value.strip("[](){}'\" "))
    name = next((name for name in names if name not in catalog.options(group)), None)
    known = [option for option in catalog.options(group) if place == group or vocabulary.can_be_held(group, option)]
    choose = Answer(reason=f"choose one of {', '.join(known)}")
    if name is None:
        return Answer(fitting([[f"{place}=[{','.join(names)}]"]], chosen, [])) if len(names) > 1 else choose
    if name.lower() in (*NOTHING, *vocabulary.NEUTRAL):
        return without(place, group, [other for other in names if other != name]) or choose
    for fixes in meanings(place, group, name, value, known, chosen):
        if fitted := fitting(fixes, chosen, []):
            kept = [whole(fix, place, name, value, names) for fix in fitted]
            return Answer(kept, note=synonyms.note(group, name) or "")
    return choose


def meanings(place: str, group: str, name: str, value: str, known: Sequence[str], chosen: Chosen) -> list[list[Fix]]:
    """Return what an unknown option may mean, the surest first, each with alternatives."""
    name = re.sub(r"\(.*", "", name).rpartition(".")[2]  # nn.ReLU()
    same = vocabulary.respelled_option(group, name)
    sure = [[[f"{place}={same}"]] if same else [], synonyms.meant_option(group, name)]
    if not name or synonyms.is_absent(group, name):
        return sure
    is_model = group == "model"
    containing = [option for option in known if len(name) > 2 and synonyms.plain(name) in synonyms.plain(option)]
    return [
        *sure,
        [[f"{other}={name}"] for other in vocabulary.groups_with(name) if name != "auto"],
        classifiers.same(name) if is_model else [],
        [[f"{place}={option}"] for option in containing],
        classifiers.beginning(name) if is_model else [],
        [fix for other in catalog.groups() for fix in synonyms.meant_option(other, name)],
        [*first_fit(synonyms.meant_key(place, value), chosen)],
        [[f"{place}={option}"] for option in nearest(name, known)],
    ]


def without(place: str, group: str, others: Sequence[str]) -> Answer | None:
    """Return how to go without any option of a group; None where each does something."""
    if others:  # none beside others
        return Answer([[f"{place}=[{','.join(others)}]"]])
    if place != group:
        return None
    meant = synonyms.meant_option(group, "none")
    none = vocabulary.neutral(group) or (" ".join(meant[0]) if meant else None)
    return Answer(reason=f"to go without, write {none}") if none else None


def whole(fix: Fix, place: str, name: str, value: str, names: Sequence[str]) -> Fix:
    """Return a fix that keeps the other options of the mistaken override."""
    if len(names) == 1:
        return fix
    same_place, others = f"{place}=", [other for other in names if other != name]
    if len(fix) == 1 and fix[0].startswith(same_place):
        return fix if "[" in fix[0] else [same_place + value.replace(name, fix[0].removeprefix(same_place))]
    return [f"{place}=[{','.join(others)}]", *fix] if place in catalog.MULTI_SELECT else fix
