"""Check of the keys of overrides against the chosen options. No torch here."""

from hydra.core.override_parser.types import Override

from trainer.base.errors import ConfigError
from trainer.cli import vocabulary
from trainer.cli.chosen import Chosen
from trainer.cli.hints import for_key


def require_current_name(override: Override) -> None:
    """Refuse a key of an older version. Errors: ConfigError, with the new name."""
    line = override.input_line
    if new := vocabulary.renamed(override.key_or_group, line.partition("=")[2]):
        raise ConfigError(f"{line}: renamed; write {new}")


def has_known_start(override: Override) -> bool:
    """Return whether the first part of a key is a group, a key of config.yaml, or Hydra's own."""
    return first_part(override.key_or_group) in (*vocabulary.first_parts(), "hydra")


def require_key(line: str, chosen: Chosen) -> None:
    """Check that the chosen options have the key of an override. Errors: ConfigError."""
    typed = line.partition("=")[0].removesuffix("._target_")  # config/targets.py decides what it may name
    if not any(f"{path}.".startswith(f"{typed}.") for path in (*chosen.keys, *chosen.options)):
        raise unknown_key(line, chosen)


def unknown_key(line: str, chosen: Chosen) -> ConfigError:
    """Return the error for an override with a key that the chosen options do not have."""
    key, _, value = line.partition("=")
    return ConfigError(f"{line}: no such key; {for_key(key.lstrip('+~'), value, chosen)}")


def first_part(key: str) -> str:
    """Return `optimizer` of `optimizer.lr`."""
    return key.replace("/", ".").partition(".")[0]
