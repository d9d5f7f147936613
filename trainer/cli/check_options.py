"""Check of the options of groups against the files of conf/. No torch here."""

from hydra.core.override_parser.types import Override

from trainer.base.errors import ConfigError
from trainer.base.text import as_typed
from trainer.cli import vocabulary
from trainer.cli.chosen import Chosen
from trainer.cli.option_hints import for_option
from trainer.cli.sweep_overrides import values
from trainer.config import catalog


def check_options(override: Override, chosen: Chosen) -> None:
    """Check the option of a group, or of a key that takes an option of one. Errors: ConfigError."""
    key, line = override.key_or_group, override.input_line
    group = vocabulary.group_at(key)
    if group is None:
        return
    if override.is_delete():
        raise ConfigError(f"{line}: {key} always has an option; train --help {group} lists the others")
    for value in values(override):
        if value == [] and catalog.defaults().get(key, "") is None:
            continue
        names = value if isinstance(value, list) else [value]
        for name in names:
            check_option(override, group, name, chosen)
        if isinstance(value, list) and group not in catalog.MULTI_SELECT:
            several = f"{key}={value[0]}" if len(value) == 1 else f"train -m {key}={','.join(value)} for a run of each"
            raise ConfigError(f"{line}: {group} takes one option, not a list; write {several}")


def check_option(override: Override, group: str, name: object, chosen: Chosen) -> None:
    """Check the name of one option. Errors: ConfigError, with what was perhaps meant."""
    key, line = override.key_or_group, override.input_line
    held = key != group
    if name not in catalog.options(group):
        answer = for_option(key, line.partition("=")[2], chosen)
        raise ConfigError(
            f"{line}: {group} has no option {as_typed(name)}; {answer}".replace("option ;", "such option;")
        )
    if held and not vocabulary.can_be_held(group, name):
        known = ", ".join(option for option in catalog.options(group) if vocabulary.can_be_held(group, option))
        raise ConfigError(
            f"{line}: {name} sets more than the {group}, so that {key} cannot be {name}; choose one of {known}"
        )
