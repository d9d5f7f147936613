"""Check of the options of groups against the files of conf/, with hints for unknown ones. No torch here."""

from hydra.core.override_parser.types import Override

from trainer.base.errors import ConfigError
from trainer.base.text import did_you_mean, nearest
from trainer.cli import vocabulary
from trainer.cli.sweep_overrides import values
from trainer.config import catalog


def check_options(override: Override) -> None:
    """Check the option of a group, or of a key that takes an option of one. Errors: ConfigError."""
    key, held = override.key_or_group, vocabulary.held_group(override)
    group = held or key
    if group not in catalog.groups():
        return
    line = override.input_line
    if override.is_delete():
        raise ConfigError(f"{line}: {key} always has an option; train --help {group} lists the others")
    known = [
        name for name in catalog.options(group) if not held or catalog.is_self_contained(catalog.file(group, name))
    ]
    for value in values(override):
        if value is None and catalog.defaults().get(key, "") is None:
            continue
        if isinstance(value, list) and group not in catalog.MULTI_SELECT:
            raise ConfigError(f"{line}: {group} takes one option, not a list; choose one of {', '.join(known)}")
        for name in value if isinstance(value, list) else [value]:
            if name not in known:
                raise ConfigError(f"{line}: {why_unknown(override, group, name, known)}")


def why_unknown(override: Override, group: str, name: object, known: list[str]) -> str:
    """Return why a name is no option here, and the option that was perhaps meant."""
    key, none = override.key_or_group, vocabulary.neutral(group) if override.key_or_group == group else None
    if not isinstance(name, str):
        return f"{group} must be one of {', '.join(known)}{f'; to go without, write {none}' if none else ''}"
    if name in catalog.options(group):
        return f"{name} sets more than the {group}, so that {key} cannot be {name}; choose one of {', '.join(known)}"
    return f"{group} has no option {name}; {option_hint(override, group, name, known)}"


def option_hint(override: Override, group: str, name: str, known: list[str]) -> str:
    """Return `did you mean optimizer=adam?`: a synonym, the option of another group, or an option of a similar name."""
    key = override.key_or_group
    if name in vocabulary.NEUTRAL:
        none = vocabulary.neutral(group) if key == group else None
        return f"to go without, write {none}" if none else f"choose one of {', '.join(known)}"
    prefix = "" if "[" in override.input_line else f"{key}="
    meant = vocabulary.meant_option(group, name)
    if meant and meant[0] != group:
        return f"did you mean {meant[0]}={meant[1]}?"
    if meant and meant[1] in known:
        return f"did you mean {prefix}{meant[1]}?"
    others = [f"{other}={name}" for other in vocabulary.groups_with(name)]
    if not others:
        return did_you_mean(name, known, prefix)
    return f"did you mean {' or '.join([*others, *(f'{prefix}{near}' for near in nearest(name, known, 1))])}?"
