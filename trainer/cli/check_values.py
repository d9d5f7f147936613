"""Check of the values of overrides: composed with the chosen options, against the rules of the YAML. No torch here."""

import re
from collections.abc import Mapping, Sequence

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainer.base.errors import ConfigError
from trainer.base.text import as_typed, did_you_mean, for_shell, nearest
from trainer.cli import check_keys
from trainer.cli.chosen import chosen_by
from trainer.cli.spelling import good_spellings
from trainer.config import auto_rate, catalog, classifiers, hydra_context, schema, untrusted
from trainer.config.quoting import as_argument
from trainer.config.replaced import replaced, without
from trainer.config.truth_words import use_words
from trainer.search import overrides as search
from trainer.sweep import jobs, launchers


def check_values(
    texts: Sequence[str], typed: Mapping[str, str], sweep: bool
) -> tuple[DictConfig, dict[str, schema.Key]]:
    """Compose overrides, check every value against the rule of its key, and return the configuration and the keys.

    Args:
        typed: the overrides as they were typed, by their keys: in a sweep with all values.
    Errors: ConfigError.
    """
    with hydra_context.initialized():
        cfg = composed_with_known_keys(texts, typed, sweep)
    untrusted.require_plain(OmegaConf.to_container(cfg))
    search.check_settings(cfg.hydra.sweeper)
    launchers.check_settings(cfg.hydra.launcher)
    rules = schema.rules(cfg, hydra_context.plain_names(cfg.hydra.runtime.choices))
    for path, key in rules.items():
        try:
            value = OmegaConf.select(cfg, path, throw_on_missing=True)
        except OmegaConfBaseException:
            raise ConfigError(f"{path}: needs a value ({key.comment}); write {path}=VALUE") from None
        plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        require(key, plain, typed.get(path, "").partition("=")[2])
    require_class_keys(cfg, rules)
    auto_rate.auto_key(cfg)
    classifiers.require_known(cfg.hydra.runtime.choices["model"], cfg.model.get("name"))
    return cfg, rules


def require_class_keys(cfg: DictConfig, rules: Mapping[str, schema.Key]) -> None:
    """Check that the keys beside one that names a class are arguments of that class. Errors: ConfigError."""
    for key in (key for key in rules.values() if key.classes_of):
        place, chosen = key.path.rpartition(".")[0], OmegaConf.select(cfg, key.path)
        known = {**schema.class_keys(key, chosen), **rules}
        for name, value in OmegaConf.to_container(OmegaConf.select(cfg, place)).items():
            path = f"{place}.{name}"
            if path not in known and name != "_target_":
                beside = {
                    other.rpartition(".")[2]: key for other, key in known.items() if other.startswith(f"{place}.")
                }
                fixes = [f"{beside[near].path}={typed_for(beside[near], value)}" for near in nearest(name, beside)]
                hint = f"did you mean {' or '.join(fixes)}?" if fixes else f"its keys are {', '.join(beside)}"
                raise ConfigError(f"{path}={as_typed(value)}: {chosen} has no such key; {hint}")


def typed_for(key: schema.Key, value: object) -> str:
    """Return a value as it is typed for a key; VALUE where its rule refuses it."""
    return for_shell(as_typed(value)) if key.violation(value) is None else "VALUE"


def require(key: schema.Key, value: object, typed: str) -> None:
    """Check a value against the rule of its key. Errors: ConfigError, with the value that was perhaps meant.

    Args:
        typed: what was typed: in a sweep all values, which a decimal comma may have divided.
    """
    why = key.violation(value)
    if why is None:
        return
    good = [] if "write" in why else good_spellings(key, as_typed(value)) or good_spellings(key, typed)
    meant = f"; did you mean {' or '.join(for_shell(f'{key.path}={text}') for text in good)}?" if good else ""
    takes_list = key.rule is not None and key.rule.in_list
    if isinstance(value, list) and not takes_list and all(key.violation(item) is None for item in value):
        each = f"for a run of each, write train -m {key.path}={','.join(map(as_typed, value))}"
        meant = f"; {each if jobs.distinguishes(key.path) else f'write {as_argument(key.path, as_typed(value))}'}"
    raise ConfigError(f"{key.path}={as_typed(value)}: {why} ({key.path}: {key.meaning}){meant}")


def composed_with_known_keys(texts: Sequence[str], typed: Mapping[str, str], sweep: bool) -> DictConfig:
    """Return the composed configuration. Errors: ConfigError, with a hint for a key that does not exist."""
    overrides = [OverridesParser.create().parse_override(text) for text in texts]
    chosen = chosen_by(texts, sweep)
    for override in overrides:
        if not check_keys.has_known_start(override):
            raise check_keys.unknown_key(typed[override.key_or_group], chosen)
    try:
        cfg = composed(texts)
    except ConfigError:
        for override in overrides:
            changes = not (override.is_add() or override.is_force_add() or override.is_delete())
            if changes and not is_option(override) and check_keys.first_part(override.key_or_group) != "hydra":
                check_keys.require_key(typed[override.key_or_group], chosen)
        raise
    left = replaced(cfg, texts)
    for path in {*map(".".join, left)} & {*typed}:
        raise check_keys.unknown_key(typed[path], chosen)
    return without(cfg, left)


def is_option(override: Override) -> bool:
    """Return whether an override chooses the option of a group, of ours or Hydra's."""
    return override.key_or_group in catalog.groups() or override.key_or_group.startswith("hydra/")


def composed(texts: Sequence[str]) -> DictConfig:
    """Return the configuration that Hydra composes, with its own node. Errors: ConfigError."""
    try:
        return use_words(compose("config", [*hydra_context.search_path(), *texts], return_hydra_config=True))
    except (HydraException, OmegaConfBaseException) as error:
        raise explained(str(error), texts) from None


def explained(reason: str, texts: Sequence[str]) -> ConfigError:
    """Return Hydra's error as one line, without its advice to add a key with a plus sign."""
    if found := re.match(r"Could not override '(\w+)@([\w.]+)'", reason):
        wrapping = [option for option in catalog.options(found[1]) if catalog.nested_keys(found[1], option)]
        hint = " or ".join(f"{found[1]}={option}" for option in wrapping)
        return ConfigError(f"{found[2]}: the chosen {found[1]} wraps no other; try {hint}")
    if found := re.match(r"Could not override '(hydra\.launcher\.[\w.]+)'", reason):
        bare = composed([text for text in texts if not text.startswith("hydra.launcher.")])
        known = [f"hydra.launcher.{key}" for key in bare.hydra.launcher if not key.startswith("_")]
        return ConfigError(f"{found[1]}: no such key; {did_you_mean(found[1], known)}")
    if found := re.search(r"Could not append to config\. An item is already at '([\w.]+)'", reason):
        typed = next((text for text in texts if text.startswith(f"+{found[1]}=")), f"+{found[1]}")
        return ConfigError(f"{typed}: is a key already; write {typed.lstrip('+')}")
    return ConfigError(" ".join(line for line in reason.splitlines() if "+" not in line and line.strip()))
