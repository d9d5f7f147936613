"""Names on the command line, as the files of conf/ list them: first parts of keys, and the keys of each option."""

from hydra.core.override_parser.types import Override

from trainer.config import catalog, schema, synonyms

NEUTRAL = ("none", "constant", "default")  # options that do nothing, in groups where they are the default


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


def meant_key(key: str) -> str | None:
    """Return the key that a name of another tool means, as `lr` or `optimizer.learning_rate`; None for another."""
    group, _, last = key.rpartition(".")
    meant = synonyms.meant_key(last)
    return meant if meant and (not group or meant.startswith(f"{group}.")) else None


def meant_option(group: str, name: str) -> tuple[str, str] | None:
    """Return the group and option that a name means by its spelling (`Adam_W`) or elsewhere (`silu`)."""
    plain = synonyms.plain(name)
    same = next((option for option in catalog.options(group) if synonyms.plain(option) == plain), None)
    return (group, same) if same else synonyms.meant_option(group, name)


def groups_with(option: str) -> list[str]:
    """Return the groups that have an option of this name."""
    return [group for group in catalog.groups() if option in catalog.options(group)]


def option_keys() -> dict[str, list[str]]:
    """Return every key that an option has in its own group, each with the options that have it, as `optimizer=adam`."""
    found: dict[str, list[str]] = {}
    for group in catalog.groups():
        for option in catalog.options(group):
            for key in schema.keys(catalog.file(group, option), group):
                if key.startswith(f"{group}."):
                    found.setdefault(key, []).append(f"{group}={option}")
    return found


def neutral(group: str) -> str | None:
    """Return the choice that does nothing: `norm=none`, `reg=[]`; None where every option does something."""
    if group in catalog.MULTI_SELECT:
        return f"{group}=[]"
    default = catalog.defaults().get(group)
    option = default if default in NEUTRAL else "none"
    return f"{group}={option}" if option in catalog.options(group) else None


def held_group(override: Override) -> str | None:
    """Return the group whose options a key like `optimizer.base` takes; None for any other key."""
    group = override.key_or_group.partition(".")[0]
    return group if group in catalog.groups() and override.key_or_group in catalog.all_nested_keys(group) else None
