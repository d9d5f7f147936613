"""Names on the command line, as the files of conf/ list them: first parts of keys, and the keys of each option."""

from collections.abc import Sequence

from trainer.config import catalog, libraries, schema, synonyms
from trainer.config.keys import key_of


def first_parts(with_value: bool = False) -> list[str]:
    """Return everything that may come first in a key: groups, and keys of config.yaml.

    Args:
        with_value: leave out those that only come before a dot, as `sweep`.
    """
    keys = run_keys()
    parents = {key.partition(".")[0] for key in keys}
    if with_value:
        parents = {part for part in parents if part in keys or part == "resume"}
    return sorted({*catalog.groups(), *parents})


def run_keys() -> dict[str, schema.Key]:
    """Return the keys of config.yaml, which belong to no option."""
    return schema.keys(catalog.folder() / "config.yaml")


def renamed(key: str, value: str) -> str | None:
    """Return what to type for a key of an older version: `data.val_fraction=0.1`; None for any other key."""
    new = synonyms.renamed_key(key)
    return f"{new}{value}" if new and new.endswith("=") else new


def respelled_option(group: str, name: str) -> str | None:
    """Return the option that a name means by its spelling, as `Adam_W`; None where there is none."""
    return next((option for option in catalog.options(group) if synonyms.plain(option) == synonyms.plain(name)), None)


def with_task(overrides: Sequence[str]) -> list[str]:
    """Return overrides with `task.` before keys of the task that is typed: `task=new kind=act` has task.kind=act."""
    chosen = [text.partition("=")[2] for text in overrides if text.startswith("task=")]
    if not chosen or chosen[-1] not in catalog.options("task"):
        return list(overrides)
    known, others = schema.keys(catalog.file("task", chosen[-1]), "task"), first_parts()
    return [
        f"task.{text}" if f"task.{key_of(text)}" in known and key_of(text) not in others else text for text in overrides
    ]


def groups_with(option: str) -> list[str]:
    """Return the groups that have an option of this name."""
    return [group for group in catalog.groups() if option in catalog.options(group)]


def option_keys() -> dict[str, list[tuple[str, str]]]:
    """Return every key that an option has in its own group, each with the groups and options that have it."""
    found: dict[str, list[tuple[str, str]]] = {}
    for group in catalog.groups():
        for option in catalog.options(group):
            for key in schema.keys(catalog.file(group, option), group):
                if key.startswith(f"{group}."):
                    found.setdefault(key, []).append((group, option))
    return found


def is_key(word: str) -> bool:
    """Return whether a word is a key in any spelling: a whole one, the last part of one, or that of another tool."""
    known = {*first_parts(), *run_keys(), *option_keys()}
    known |= {path.rpartition(".")[2] for path in known}
    name = synonyms.plain(word)
    return name in {*map(synonyms.plain, known), *synonyms.words_of_keys(), *synonyms.reasons()}


def neutral(group: str) -> str | None:
    """Return the choice that does nothing: `norm=none`, `sched=constant`; None where every option does something."""
    if group in catalog.MULTI_SELECT or "none" in catalog.options(group):
        return f"{group}=none"
    meant = synonyms.meant_option(group, "none")
    return " ".join(meant[0]) if meant else None


def group_at(key: str) -> str | None:
    """Return the group whose options a key takes: `optimizer`, `optimizer.base`; None for any other key."""
    group = key.partition(".")[0]
    return group if group in catalog.groups() and (key == group or key in catalog.all_nested_keys(group)) else None


def can_be_held(group: str, option: str) -> bool:
    """Return whether an option can be held by another one of its group."""
    return catalog.is_self_contained(catalog.file(group, option))


def refused_class(group: str, name: str) -> str | None:
    """Return a class of a library that cannot be chosen, and why, by its name in any spelling; None for another one."""
    for option in catalog.options(group):
        for key in schema.keys(catalog.file(group, option), group).values():
            for known, why in libraries.LIBRARIES[key.classes_of].refused.items() if key.classes_of else ():
                if synonyms.plain(known) == synonyms.plain(name):
                    return f"{known} {why}"
    return None


def classes_named(place: str, name: str) -> list[list[str]]:
    """Return what to type for a class of a library, by its name in any spelling, in a group or a key that holds one."""
    group, found = place.partition(".")[0], []
    for option in catalog.options(group):
        for key in schema.keys(catalog.file(group, option), place).values():
            words = key.rule.words if "a class of" in key.comment and key.classes_of else ()
            same = [word for word in words if synonyms.plain(word) == synonyms.plain(name)]
            found += [[f"{place}={option}", f"{key.path}={word}"] for word in same]
    return found
