"""The arguments of `train`, checked and explained before anything heavy is imported: no torch here, no folder made."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from trainer.base.driver import missing_device
from trainer.base.errors import ConfigError, MachineError
from trainer.base.paths import expanded
from trainer.base.text import for_shell, printable
from trainer.cli import vocabulary
from trainer.cli.check_keys import require_current_name
from trainer.cli.check_options import check_options
from trainer.cli.check_values import check_values, require
from trainer.cli.chosen import Chosen, chosen_by
from trainer.cli.data_of_runs import with_data_of_runs
from trainer.cli.hints import for_override
from trainer.cli.paths import expand_home
from trainer.cli.sweep_overrides import (
    check_launcher,
    check_sweep,
    combinations,
    count_of,
    is_for_sweeps,
    make_sweep_folder,
    require_countable,
    values,
)
from trainer.cli.syntax import parse, parse_flags
from trainer.config import catalog, classifiers, files, hydra_context, own_options, synonyms, untrusted
from trainer.config.hydra_context import LAUNCHER
from trainer.config.keys import is_location, key_of
from trainer.config.model_first import chosen_by_model
from trainer.config.quoting import quote
from trainer.rundir import resume
from trainer.sweep import launchers
from trainer.sweep.jobs import distinguishes

MOST_HINTED = 100  # values of a sweep that are looked at for what was meant
EXCLUSIVE = ("run", "multirun", "cfg", "info", "shell_completion")  # flags, one at a time
LAUNCHING = {"task=recipe", "task=lottery"}  # single commands that launch runs


@dataclass(frozen=True)
class Command:
    """A checked command line.

    Args:
        arguments: for Hydra, with the overrides as it takes them.
        overrides: those alone.
        multirun: it is a sweep.
        cfg: the composed configuration of a run, or the first one of a sweep; None where Hydra only shows something.
    """

    arguments: list[str]
    overrides: list[str]
    multirun: bool = False
    cfg: DictConfig | None = None


def check(arguments: list[str]) -> Command:
    """Return the checked command line, or explain what is wrong with it. Errors: ConfigError, DataError."""
    flags = parse_flags(arguments)
    check_flags(flags)
    typed = set(flags.overrides)
    asked = [text for text in arguments if text not in typed]  # Hydra's own parser wants the flags behind the overrides
    flags.overrides = vocabulary.with_task(flags.overrides)
    if flags.shell_completion or flags.hydra_help:
        return Command([*(flags.overrides if flags.shell_completion else ()), *asked], flags.overrides)
    for text in flags.overrides:
        untrusted.require_one_line(text)
        require_place(text, flags.multirun, launches=not LAUNCHING.isdisjoint(flags.overrides))
        require_directory(text)
    require_once(flags.overrides)
    last = {key_of(text): text for text in flags.overrides}
    texts = with_data_of_runs(resume.expand([synonyms.canonical(expand_home(text)) for text in last.values()]))
    overrides = [*checked(texts, flags.multirun)]
    by_key = {override.key_or_group: override for override in overrides}
    if flags.multirun or launchers.GROUP in by_key:
        from trainer.cli import plugins

        plugins.register()
    if flags.multirun:
        check_sweep(overrides)
    else:
        check_launcher(by_key)
    cfg = check_combinations(overrides, flags.multirun)
    texts = [override.input_line for override in overrides]
    resumes = any(override.key_or_group == "hydra.sweep.dir" for override in overrides)  # needs no data for what ended
    if not flags.cfg and not resumes and cfg.hydra.runtime.choices["hydra/launcher"] in launchers.LOCAL:
        require_device(overrides)
        if flags.multirun:  # a single run checks its files itself
            swept = [override.key_or_group for override in overrides if override.is_sweep_override()]
            files.require_existing(cfg, hydra_context.plain_names(cfg.hydra.runtime.choices), swept)
    if flags.multirun and not flags.cfg and not resumes:
        texts.append(f"hydra.sweep.dir={quote(make_sweep_folder(overrides))}")
    if flags.cfg and not flags.multirun:  # what would run
        texts += [f"{group}={option}" for group, option in chosen_by_model(texts).items()]
    return Command([*texts, *asked], texts, flags.multirun, None if flags.cfg or flags.info else cfg)


def check_flags(flags) -> None:
    """Check Hydra's flags, and take the folder of options that --config-dir names. Errors: ConfigError, DataError."""
    own_options.use(flags.config_dir)
    untrusted.require_known_flags(flags)
    asked = [f"--{name}" for name in EXCLUSIVE if getattr(flags, name)]
    if len(asked) > 1:
        raise ConfigError(
            f"{' and '.join(asked)}: cannot be combined; --cfg job shows the configuration of one run, without -m"
        )


def require_place(text: str, multirun: bool, launches: bool = False) -> None:
    """Refuse an override of a single run in a sweep, and one of a sweep in a single run. Errors: ConfigError.

    Args:
        launches: the task launches runs, with any launcher.
    """
    key = key_of(text)
    if multirun and key in ("resume", "resume.run"):
        raise ConfigError(
            f"{text}: resumes a single run, without -m; to resume a sweep, repeat its command with hydra.sweep.dir=DIR"
        )
    if not multirun and is_for_sweeps(key) and not (launches and key.startswith(LAUNCHER)):
        raise ConfigError(f"{text}: is for sweeps; write train -m {text} ...")


def require_directory(text: str) -> None:
    """Refuse an empty `output`, and another tool's word for the newest run as the value of `resume`.

    Errors: ConfigError.
    """
    key, _, value = text.partition("=")
    if text == "output=":
        raise ConfigError("output=: needs the name of a folder; output=. is the current one")
    if key == "resume" and (meant := synonyms.meant_key(key, value)):
        raise ConfigError(f"{text}: takes the directory of a run; write {meant[0][0]} for the newest unfinished one")


def checked(texts: Sequence[str], multirun: bool) -> Iterator[Override]:
    """Yield overrides in Hydra's grammar, each checked by itself: grammar, option, and settings of Hydra.

    Errors: ConfigError, DataError.
    """
    chosen = chosen_by(texts, multirun)
    overrides = [parse(text, chosen) for text in texts]
    task = next((text.partition("=")[2] for text in texts if key_of(text) == "task"), None)
    for override in overrides:
        key, line = override.key_or_group, override.input_line
        if override.is_sweep_override() and not multirun:
            raise several_values(override, texts)
        untrusted.require_known_hydra_key(key, line)
        launchers.require_installed(key, line)
        untrusted.require_no_functions(line, key)
        require_current_name(override)
        check_options(override, chosen)
        if override.is_delete():
            raise ConfigError(f"{line}: a setting cannot be removed; leave it out, and it has its default")
        if key == "runs":
            resume.check_runs(values(override), task)
    for override in overrides:
        yield OverridesParser.create().parse_override(for_hydra(override, chosen))


def require_once(texts: Sequence[str]) -> None:
    """Refuse two options of a group, of which one would be lost, and say which of two values counts.

    Errors: ConfigError.
    """
    last: dict[str, str] = {}
    for text in map(synonyms.canonical, texts):
        key, _, value = text.partition("=")
        before = last.get(key, value)
        last[key] = value
        if before == value:
            continue
        if vocabulary.group_at(key) is None:
            print(f"train: note: {key}={printable(before)} is replaced by {printable(text)}", file=sys.stderr)
            continue
        both = dict.fromkeys(part for given in (before, value) for part in given.strip("[]").split(",") if part)
        if not {*both} <= {*catalog.options(vocabulary.group_at(key))}:
            continue  # the option that does not exist is answered
        together = f"; to combine them, write {key}=[{','.join(both)}]" if key in catalog.MULTI_SELECT else ""
        each = f"for a run of each, write train -m {key}={before},{value}"
        raise ConfigError(f"{key}={before} {text}: {key} is chosen twice; keep one{together}; {each}")


def several_values(override: Override, texts: Sequence[str]) -> ConfigError:
    """Return the error for several values outside a sweep: with one value that was perhaps meant, and the sweep."""
    require_countable([override])
    line, key = override.input_line, override.key_or_group
    value = line.partition("=")[2]
    if count_of(override) > MOST_HINTED:
        return ConfigError(f"{line}: several values make a sweep; write train -m {for_shell(line)} ...")
    one = for_override(key, value, chosen_by(texts)).fixes[:1]
    each = for_override(key, value, chosen_by(texts, sweep=True)).fixes[:1] if makes_jobs(override) else []
    each = [fix for fix in each if fix[-1].endswith(f"={value}")]
    if not one and not each:
        return ConfigError(f"{line}: {for_override(key, value, chosen_by(texts))}")
    combined = "to combine them in one run, write" if key in catalog.MULTI_SELECT else "for one, write"
    ways = [f"{combined} {in_shell(one[0])}"] if one else []
    rest = " ..." if len(texts) > 1 else ""
    ways += [f"for a run of each, write train -m {in_shell(each[0])}{rest}"] if each else []
    return ConfigError(f"{line}: several values make a sweep; {'; '.join(ways)}")


def makes_jobs(override: Override) -> bool:
    """Return whether several values make as many jobs of a sweep; of several folders each has to be there."""
    if is_location(override.key_or_group):
        return all(expanded(str(value)).exists() for value in values(override))
    return distinguishes(override.key_or_group)


def require_device(overrides: Sequence[Override]) -> None:
    """Check that this machine may have the device, before torch is imported. Errors: MachineError."""
    for override in overrides:
        if override.key_or_group == "device" and (missing := missing_device(str(override.value()))):
            raise MachineError(f"{override.input_line}: {missing}; try device=auto, device=cpu")


def in_shell(overrides: Sequence[str]) -> str:
    """Return overrides as they are typed in a shell."""
    return " ".join(map(for_shell, overrides))


def for_hydra(override: Override, chosen: Chosen) -> str:
    """Return an override as Hydra takes it.

    `optimizer.base=adam` is `optimizer@optimizer.base=adam` to it, and `++` is before a key that no file has: an
    argument of the class that another key names.
    """
    key, line = override.key_or_group, override.input_line
    group = vocabulary.group_at(key)
    if group and group != key:
        return f"{group}@{line}"
    return f"++{line}" if not line.startswith("+") and chosen.adds(key) else line


def check_combinations(overrides: Sequence[Override], sweep: bool) -> DictConfig:
    """Compose and check every value of a run, or of a sweep, at least once, and return the first configuration.

    Errors: ConfigError.
    """
    first, *others = combinations(overrides)
    typed = {override.key_or_group: override.input_line for override in overrides}
    cfg, rules = check_values(first, typed, sweep)
    for combination in others:
        (changed,) = (text for text, before in zip(combination, first) if text != before)
        override = OverridesParser.create().parse_override(changed)
        key = override.key_or_group
        # Another value makes no other configuration, unless it names a class, which has other keys.
        if key in rules and "${" not in changed and not rules[key].classes_of:
            require(rules[key], override.value(), typed[key].partition("=")[2])
            if key == classifiers.KEY:
                classifiers.require_known(cfg.hydra.runtime.choices["model"], override.value())
        else:
            check_values(combination, typed, sweep)
    return cfg
