"""Names on the command line, as the files of conf/ list them: first parts of keys, and the keys of each option."""

from hydra.core.override_parser.types import Override

from trainer.config import catalog, schema

NEUTRAL = ("none", "constant", "default")  # options that do nothing, in groups where they are the default


def first_parts() -> list[str]:
    """Return everything that may come first in a key: groups, and keys of config.yaml."""
    keys = run_keys()
    return sorted({*catalog.groups(), *keys, *(key.partition(".")[0] for key in keys), *catalog.MULTI_SELECT})


def run_keys() -> dict[str, schema.Key]:
    """Return the keys of config.yaml, which belong to no option."""
    return schema.keys(catalog.folder() / "config.yaml")


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
    return group if group in catalog.groups() and override.key_or_group in catalog.holders(group) else None
