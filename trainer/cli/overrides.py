"""The arguments of `train`, checked and explained before anything heavy is imported: no torch here, no folder made."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from trainer.base.errors import ConfigError
from trainer.base.text import printable
from trainer.cli import vocabulary
from trainer.cli.check_keys import require_current_name
from trainer.cli.check_options import check_options
from trainer.cli.check_values import check_values
from trainer.cli.sweep_overrides import check_sweep, combinations, is_for_sweeps, make_sweep_folder, values
from trainer.cli.syntax import parse, parse_flags
from trainer.config import catalog, untrusted
from trainer.config.keys import key_of
from trainer.config.untrusted import quote
from trainer.rundir import resume
from trainer.sweep import launchers

EXCLUSIVE = ("run", "multirun", "cfg", "info", "shell_completion")  # flags, one at a time


def check(arguments: list[str]) -> list[str]:
    """Return the arguments for Hydra, or explain what is wrong with them. Errors: ConfigError, DataError."""
    flags = parse_flags(arguments)
    check_flags(flags)
    if flags.shell_completion or flags.hydra_help:
        return arguments
    typed = set(flags.overrides)
    for text in flags.overrides:
        untrusted.require_one_line(text)
        require_place(text, flags.multirun)
    texts = resume.expand(flags.overrides)
    overrides = [*checked(texts, flags.multirun)]
    if flags.multirun:
        from trainer.cli import plugins

        check_sweep(overrides)
        plugins.register()
    check_combinations(overrides)
    texts = [override.input_line for override in overrides]
    if flags.multirun and not flags.cfg and "hydra.sweep.dir" not in {override.key_or_group for override in overrides}:
        texts.append(f"hydra.sweep.dir={quote(make_sweep_folder(overrides))}")
    # Hydra's own parser wants the flags on one side of the overrides.
    return [*(text for text in arguments if text not in typed), *texts]


def check_flags(flags) -> None:
    """Check Hydra's flags, and take the folder of options that --config-dir names. Errors: ConfigError."""
    catalog.extra_folders[:] = [Path(flags.config_dir).absolute()] if flags.config_dir else []
    if catalog.extra_folders and not catalog.extra_folders[0].is_dir():
        folder = printable(flags.config_dir)
        raise ConfigError(
            f"--config-dir {folder}: no such folder; it must hold options of your own, laid out like conf/"
        )
    untrusted.require_known_flags(flags)
    asked = [f"--{name}" for name in EXCLUSIVE if getattr(flags, name)]
    if len(asked) > 1:
        raise ConfigError(
            f"{' and '.join(asked)}: cannot be combined; --cfg job shows the configuration of one run, without -m"
        )


def require_place(text: str, multirun: bool) -> None:
    """Refuse an override of a single run in a sweep, and one of a sweep in a single run. Errors: ConfigError."""
    key = key_of(text)
    if multirun and key in ("resume", "resume.run"):
        raise ConfigError(
            f"{text}: resumes a single run, without -m; to resume a sweep, repeat its command with hydra.sweep.dir=DIR"
        )
    if not multirun and is_for_sweeps(key):
        raise ConfigError(f"{text}: is for sweeps; write train -m {text} ...")


def checked(texts: Sequence[str], multirun: bool) -> Iterator[Override]:
    """Yield overrides in Hydra's grammar, each checked by itself: grammar, option, and settings of Hydra.

    Errors: ConfigError, DataError.
    """
    overrides = [parse(text, texts[place + 1 :]) for place, text in enumerate(texts)]
    task = next((text.partition("=")[2] for text in texts if key_of(text) == "task"), None)
    for override in overrides:
        key, line = override.key_or_group, override.input_line
        if override.is_sweep_override() and not multirun:
            raise ConfigError(several_values(override))
        untrusted.require_known_hydra_key(key, line)
        launchers.require_installed(key, line)
        untrusted.require_no_functions(line, key)
        require_current_name(override)
        check_options(override)
        if key == "runs":
            resume.check_runs(values(override), task)
    for override in overrides:
        yield OverridesParser.create().parse_override(for_hydra(override))


def several_values(override: Override) -> str:
    """Return what to type for several values outside a sweep."""
    key, line = override.key_or_group, override.input_line
    several = f"to combine them in one run, write {key}=[{line.partition('=')[2]}]; "
    return (
        f"{line}: several values make a sweep; {several if key in catalog.MULTI_SELECT else ''}"
        f"for a run of each, write train -m {line}"
    )


def for_hydra(override: Override) -> str:
    """Return an override as Hydra takes it: `optimizer.base=adam` is `optimizer@optimizer.base=adam` to it."""
    group = vocabulary.held_group(override)
    return f"{group}@{override.input_line}" if group else override.input_line


def check_combinations(overrides: Sequence[Override]) -> None:
    """Compose and check every value of a run, or of a sweep, at least once. Errors: ConfigError."""
    first, *others = combinations(overrides)
    rules = check_values(first)
    for combination in others:
        (changed,) = (text for text, before in zip(combination, first) if text != before)
        override = OverridesParser.create().parse_override(changed)
        if override.key_or_group in rules and "${" not in changed:  # another value makes no other configuration
            rules[override.key_or_group].require(override.value())
        else:
            check_values(combination)
