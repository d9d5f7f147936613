"""Check of the keys of overrides against the chosen options, with hints for unknown ones. No torch here."""

from collections.abc import Sequence

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from trainer.base.errors import ConfigError
from trainer.base.text import nearest
from trainer.cli import vocabulary
from trainer.config import catalog
from trainer.rundir import resume
from trainer.search import overrides as search

LISTED = 3  # options that are named in a hint
SWEEP_KEYS = {"hydra.sweep.dir": "-m", "hydra.launcher.n_jobs": "-m hydra/launcher=joblib"}  # and what each needs


def require_current_name(override: Override) -> None:
    """Refuse a key of an older version. Errors: ConfigError, with the new name."""
    line = override.input_line
    if new := vocabulary.renamed(override.key_or_group, line.partition("=")[2]):
        raise ConfigError(f"{line}: renamed; write {new}")


def has_known_start(override: Override) -> bool:
    """Return whether the first part of a key is a group, a key of config.yaml, or Hydra's own."""
    return first_part(override.key_or_group) in (*vocabulary.first_parts(), "hydra")


def require_key(override: Override, cfg: DictConfig) -> None:
    """Check that a composed configuration has the key of a value. Errors: ConfigError."""
    typed = override.key_or_group
    if any(path == typed or path.startswith(f"{typed}.") for path in paths(cfg)):
        return
    if typed.endswith("._target_") and OmegaConf.select(cfg, typed) is not None:
        return  # config/targets.py decides what it may name
    raise unknown_key(override, cfg)


def unknown_key(override: Override, cfg: DictConfig) -> ConfigError:
    """Return the error for a key that the configuration of the chosen options does not have."""
    value = override.input_line.partition("=")[2]
    return ConfigError(f"{override.input_line}: no such key; {key_hint(override.key_or_group, value, cfg)}")


def key_hint(typed: str, value: str, cfg: DictConfig) -> str:
    """Return what was perhaps meant, and how to type it; never a key that the chosen options do not have."""
    here, owners, meant = paths(cfg), vocabulary.option_keys(), vocabulary.meant_key(typed)
    full = [path for path in sorted({*here, *owners}) if path == meant or f".{path}".endswith(f".{meant or typed}")]
    if present := [path for path in full if path in here]:
        return question(present, value)
    if full:
        options = [f"{group}={typed}" for group in vocabulary.groups_with(typed)]
        return "; or write ".join([belongs(full[0], owners[full[0]], value, cfg), *options])
    if sweeps := for_sweeps(typed):
        return f"did you mean train {sweeps}={value or 'VALUE'} ...?"
    first, _, rest = typed.partition(".")
    if first not in vocabulary.first_parts():
        return start_hint(first, rest, value, here)
    near = nearest(typed, [path for path in sorted({*here, *owners}) if path.startswith(f"{first}.")])
    if near and near[0] in here:
        return question([path for path in near if path in here], value)
    if near:
        return belongs(near[0], owners[near[0]], value, cfg)
    chosen = cfg.hydra.runtime.choices.get(first)
    return f"{f'{first}={chosen}' if chosen else first} has no keys"


def start_hint(first: str, rest: str, value: str, here: Sequence[str]) -> str:
    """Return the key that was perhaps meant by one whose first part does not exist."""
    if options := [f"{group}={first}" for group in vocabulary.groups_with(first)]:
        return f"did you mean {' or '.join(options)}? train --help {options[0]} lists its keys"
    near = nearest(first, vocabulary.first_parts(with_value=not rest)) if len(first) > 1 else []
    if not near:
        options = [] if rest else [f"{group}={value}" for group in vocabulary.groups_with(value)]
        return question(options, "") if options else "train --help lists the keys"
    if whole := [path for name in near if rest and (path := f"{name}.{rest}") in here]:
        return question(whole, value)
    group = near[0]
    takes_value = not rest and (group not in catalog.groups() or value in catalog.options(group))
    return question(near[:1] if takes_value else near, value if takes_value else "")


def question(keys: Sequence[str], value: str) -> str:
    """Return `did you mean optimizer.lr=0.1?`; of several keys the names alone."""
    if len(keys) == 1 and value:
        return f"did you mean {keys[0]}={value}?"
    return f"did you mean {' or '.join(keys[:LISTED])}?"


def belongs(key: str, owners: Sequence[str], value: str, cfg: DictConfig) -> str:
    """Return which options have a key that the chosen ones lack; and how to add one, in a group that takes several."""
    more = f" and {len(owners) - LISTED} more" if len(owners) > LISTED else ""
    where = f"{key} is a key of {', '.join(owners[:LISTED])}{more}"
    group, _, option = owners[0].partition("=")
    if group not in catalog.MULTI_SELECT:
        return where
    return f"{where}; write {group}=[{','.join([*catalog.selected(cfg)[group], option])}] {key}={value or 'VALUE'}"


def for_sweeps(typed: str) -> str | None:
    """Return a key of Hydra's with this ending, behind the arguments that it needs; None where there is none."""
    known = {**SWEEP_KEYS, **dict.fromkeys(search.keys(), "-m hydra/sweeper=optuna")}
    return next((f"{needs} {path}" for path, needs in known.items() if path.endswith(f".{typed}")), None)


def paths(cfg: DictConfig) -> list[str]:
    """Return every key of a composed configuration, but for Hydra's own and the names of classes."""
    found = (path for path, _ in resume.flat(OmegaConf.to_container(cfg)))
    return sorted(path for path in found if not path.startswith("hydra.") and not path.endswith("_target_"))


def first_part(key: str) -> str:
    """Return `optimizer` of `optimizer.lr`."""
    return key.replace("/", ".").partition(".")[0]
