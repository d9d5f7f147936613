"""What was typed, held against the words of conf/ before anything heavy is imported: no torch here, no folder made."""

import re
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainer.base.errors import ConfigError
from trainer.base.text import did_you_mean, nearest, printable
from trainer.cli.sweep_overrides import FOR_SWEEPS, check_sweep, combinations, sweep_folder, values
from trainer.config import catalog, hydra_context, untrusted
from trainer.config.untrusted import quote
from trainer.rundir import resume
from trainer.search import overrides as search

SWEEPERS_KEYS = ("hydra.sweep.dir", "hydra.launcher.n_jobs")
NOTHING = ("none", "constant", "default")  # options that stand for doing nothing


def check(arguments: list[str]) -> list[str]:
    """Return the arguments for Hydra, or explain what is wrong with them. Errors: ConfigError."""
    flags, unknown = get_args_parser().parse_known_intermixed_args(arguments)
    catalog.extra_folders[:] = [Path(flags.config_dir).absolute()] if flags.config_dir else []
    if catalog.extra_folders and not catalog.extra_folders[0].is_dir():
        raise ConfigError(
            f"--config-dir {printable(flags.config_dir)}: no such folder; it holds options of your own, laid out like conf/"
        )
    if unknown:
        raise ConfigError(printable(unknown_flag(unknown[0], arguments)))
    untrusted.require_known_flags(flags)
    if (
        len(
            asked := [
                f"--{name}" for name in ("run", "multirun", "cfg", "info", "shell_completion") if getattr(flags, name)
            ]
        )
        > 1
    ):
        raise ConfigError(
            f"{' and '.join(asked)}: one thing at a time; --cfg job shows the configuration of one run, without -m"
        )
    if flags.shell_completion or flags.hydra_help:
        return arguments
    for text in flags.overrides:
        untrusted.require_one_line(text)
    typed = set(flags.overrides)
    for text in flags.overrides:
        if flags.multirun and text.startswith(("resume=", "resume.run=")):
            raise ConfigError(
                f"{text}: resumes one run, without -m; a sweep goes on with its own words and hydra.sweep.dir=DIR"
            )
        if not flags.multirun and text.startswith(FOR_SWEEPS):
            raise ConfigError(f"{text}: is for sweeps; write train -m {text} ...")
    flags.overrides[:] = resume.expand(flags.overrides)
    overrides = [parse(text, flags.overrides[place + 1 :]) for place, text in enumerate(flags.overrides)]
    for override in overrides:
        if override.is_sweep_override() and not flags.multirun:
            both = (
                f"for all of them in one run write {override.key_or_group}=[{override.input_line.partition('=')[2]}]; "
                if override.key_or_group in catalog.MULTI_SELECT
                else ""
            )
            raise ConfigError(
                f"{override.input_line}: several values make a sweep; {both}for a run of each write train -m {override.input_line}"
            )
        untrusted.require_known_hydra_word(override.key_or_group, override.input_line)
        hydra_context.require_installed(override.key_or_group, override.input_line)
        untrusted.require_no_functions(override.input_line, override.key_or_group)
        check_key(override)
        check_options(override)
        if override.key_or_group == "runs":
            resume.check_runs(
                values(override),
                next((word.partition("=")[2] for word in flags.overrides if word.startswith("task=")), None),
            )
    overrides = [OverridesParser.create().parse_override(in_hydras_words(override)) for override in overrides]
    flags.overrides[:] = [override.input_line for override in overrides]
    if flags.multirun:
        from trainer.sweep import plugins

        check_sweep(overrides)
        plugins.register()
    first, *others = combinations(overrides)
    rules = check_values(first)
    for combination in others:
        (changed,) = (text for text, before in zip(combination, first) if text != before)
        override = OverridesParser.create().parse_override(changed)
        if override.key_or_group in rules and "${" not in changed:  # another number makes no other configuration
            require_rule(rules[override.key_or_group], override.value())
        else:
            check_values(combination)
    if flags.multirun and not flags.cfg and "hydra.sweep.dir" not in {override.key_or_group for override in overrides}:
        flags.overrides.append(f"hydra.sweep.dir={quote(sweep_folder(overrides))}")
    # Hydra's own parser wants the flags on one side of the decisions.
    return [*(text for text in arguments if text not in typed), *flags.overrides]


def words() -> list[str]:
    """Everything that may stand first in a key."""
    keys = catalog.keys(catalog.folder() / "config.yaml")
    return sorted({*catalog.groups(), *keys, *(key.partition(".")[0] for key in keys), *catalog.MULTI_SELECT})


def unknown_flag(flag: str, arguments: Sequence[str]) -> str:
    name, _, value = flag.lstrip("-").replace("-", "_").partition("=")
    meant = name if name in words() else next(iter(nearest(name, words(), 1)), None)
    if meant is None or len(name) == 1:
        return f"{flag}: no such flag; decisions are written KEY=VALUE, and train --help lists them"
    value = value or next(iter(arguments[arguments.index(flag) + 1 :]), "VALUE")
    return f"{flag}: decisions are written without dashes; write {meant}={value}"


def parse(text: str, following: Sequence[str]) -> Override:
    """One override. Errors: ConfigError where it is not KEY=VALUE."""
    if text == "help":
        raise ConfigError("help: decisions are written KEY=VALUE; help is train --help, or train --help KEY")
    key, _, value = text.partition("=")
    if value.startswith("="):
        raise ConfigError(f"{text}: one = is enough; write {key}={value.lstrip('=')}")
    if owners := [] if key else [group for group in catalog.groups() if value in catalog.options(group)]:
        raise ConfigError(f"{text}: the key is missing; write {' or '.join(f'{group}={value}' for group in owners)}")
    if whole := spaced(text, following):
        raise ConfigError(f"{whole}: a decision is one word, without spaces; write {whole.replace(' ', '')}")
    if "=" not in text and not text.startswith("~"):
        owners = [group for group in catalog.groups() if text in catalog.options(group)]
        if owners and text not in words():
            raise ConfigError(
                f"{text}: decisions are written KEY=VALUE; write {' or '.join(f'{group}={text}' for group in owners)}"
            )
        key = text if text in words() else next(iter(nearest(text, words(), 1)), "KEY")
        value = following[0] if following and "=" not in following[0] else "VALUE"
        raise ConfigError(f"{text}: decisions are written KEY=VALUE; write {key}={value}")
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        if re.search(r"[^\\],(,|$)", value):
            raise ConfigError(
                f"{text}: a value is missing at a comma; values are listed without spaces, as {key}=A,B"
            ) from None
        if value.startswith("log("):
            raise ConfigError(f"{text}: powers of ten are searched as '{key}=tag(log,interval(LOW,HIGH))'") from None
        raise ConfigError(
            f"{text}: cannot be read as KEY=VALUE; a value with spaces or signs goes into quotes: KEY=\"'VALUE'\""
        ) from None


def spaced(text: str, following: Sequence[str]) -> str | None:
    """`epochs = 3` or `reg=[l2, dropout]`, put together from what the shell has taken apart; None where nothing is spaced out."""
    unquoted = re.sub(
        r"(['\"])(\\.|(?!\1).)*\1", "''", " ".join([text, *following])
    )  # what stands in quotes may have spaces
    found = re.match(r"[\w./@]+ *= *(\[[^\]]*\]|[^\s=\[]+(?=\s|$))", unquoted)
    return found[0] if found and " " in found[0] else None


def check_key(override: Override) -> None:
    """The first word of a key must be a group or a key of config.yaml; a plus sign does not make a typo right."""
    first = override.key_or_group.replace("/", ".").split(".")[0]
    if first not in (*words(), "hydra"):
        known = {
            *SWEEPERS_KEYS,
            *search.keys(),
            *(path for group, option in everything() for path in catalog.keys(catalog.file(group, option), group)),
        }
        full = {path for path in known if path.endswith(f".{override.key_or_group}")}
        hint = f"did you mean {' or '.join(sorted(full)[:3])}?" if full else did_you_mean(first, words())
        raise ConfigError(f"{override.input_line}: no such key as {first}; {hint}")


def everything() -> list[tuple[str, str]]:
    return [(group, option) for group in catalog.groups() for option in catalog.options(group)]


def check_options(override: Override) -> None:
    """A group takes the names of its files, and so does a key that holds one of them; `reg` and `aug` take several."""
    group, held = override.key_or_group, holds(override)
    if not held and group not in catalog.groups():
        return
    place, group = group, held or group
    if override.is_delete():
        raise ConfigError(
            f"{override.input_line}: a decision cannot be taken away, only changed; train --help {group} lists its options"
        )
    known = [name for name in catalog.options(group) if not held or catalog.stands_alone(catalog.file(group, name))]
    for value in values(override):
        if value is None and catalog.defaults().get(place, "") is None:
            continue
        if isinstance(value, list) and group not in catalog.MULTI_SELECT:
            raise ConfigError(f"{override.input_line}: {group} takes one option, not a list; all: {', '.join(known)}")
        for name in value if isinstance(value, list) else [value]:
            if not isinstance(name, str):
                nothing = next(
                    (f"{group}={option}" for option in NOTHING if option in known),
                    f"{group}=[]" if group in catalog.MULTI_SELECT else None,
                )
                hint = f"; to go without write {nothing}" if nothing else ""
                raise ConfigError(f"{override.input_line}: {group} must be one of {', '.join(known)}{hint}")
            if held and name not in known and name in catalog.options(group):
                raise ConfigError(
                    f"{override.input_line}: {name} decides more than the {group} and cannot stand inside another; all: {', '.join(known)}"
                )
            if name not in known:
                nothing = next((option for option in NOTHING if option in known), None) if name in NOTHING else None
                hint = f"to go without write {group}={nothing}" if nothing else did_you_mean(name, known)
                raise ConfigError(f"{override.input_line}: no such {group} as {name}; {hint}")


def holds(override: Override) -> str | None:
    """The group whose options a key like `optimizer.base` takes; None for any other key."""
    group = override.key_or_group.partition(".")[0]
    return group if group in catalog.groups() and override.key_or_group in catalog.holders(group) else None


def in_hydras_words(override: Override) -> str:
    """`optimizer.base=adam`, where a technique holds another, is `optimizer@optimizer.base=adam` to Hydra."""
    group = holds(override)
    return f"{group}@{override.input_line}" if group else override.input_line


def check_values(texts: Sequence[str]) -> dict[str, catalog.Key]:
    """Compose the decisions, then hold each key and value against the YAML that lists it; returns the keys. Errors: ConfigError."""
    more = (
        [f"hydra.searchpath=[{','.join(quote(f'file://{place}') for place in catalog.extra_folders)}]"]
        if catalog.extra_folders
        else []
    )
    parser = OverridesParser.create()
    overrides = [parser.parse_override(text) for text in texts]
    is_value = [
        override.key_or_group not in catalog.groups()
        and not override.key_or_group.startswith("hydra/")
        and not override.is_add()
        and not override.is_force_add()
        and not override.is_delete()
        for override in overrides
    ]
    with initialize_config_dir(version_base="1.3", config_dir=str(catalog.folder())):
        try:
            cfg = composed([*more, *texts])
        except ConfigError:
            cfg = composed([*more, *(text for text, later in zip(texts, is_value) if not later)])
            for override, later in zip(overrides, is_value):
                if later and not override.key_or_group.startswith("hydra."):
                    check_path(cfg, override)
            raise
    untrusted.require_plain(OmegaConf.to_container(cfg))
    search.check(cfg.hydra.sweeper)
    rules = catalog.rules(cfg, hydra_context.plain_names(cfg.hydra.runtime.choices))
    for path, key in rules.items():
        try:
            value = OmegaConf.select(cfg, path, throw_on_missing=True)
        except OmegaConfBaseException:
            raise ConfigError(f"{path}: needs a value ({key.comment}); write {path}=VALUE") from None
        require_rule(key, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)
    return rules


def require_rule(key: catalog.Key, value: object) -> None:
    """Errors: ConfigError where a value breaks the rule of its key."""
    if why := key.complaint(value):
        raise ConfigError(f"{key.path}={catalog.as_typed(value)}: {why} ({key.path}: {key.meaning()})")


def composed(texts: Sequence[str]) -> DictConfig:
    try:
        return compose("config", list(texts), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        if unheld := re.match(r"Could not override '(\w+)@([\w.]+)'", str(error)):
            holding = [option for option in catalog.options(unheld[1]) if catalog.held(unheld[1], option)]
            raise ConfigError(
                f"{unheld[2]}: the chosen {unheld[1]} holds no other; those that do: {', '.join(holding)}"
            ) from None
        if unknown := re.match(r"Could not override '(hydra\.launcher\.[\w.]+)'", str(error)):
            bare = compose(
                "config", [text for text in texts if not text.startswith("hydra.launcher.")], return_hydra_config=True
            )
            known = [f"hydra.launcher.{key}" for key in bare.hydra.launcher if not key.startswith("_")]
            raise ConfigError(f"{unknown[1]}: no such key; {did_you_mean(unknown[1], known)}") from None
        reason = " ".join(line for line in str(error).splitlines() if "+" not in line and line.strip())
        raise ConfigError(reason) from None


def check_path(cfg: DictConfig, override: Override) -> None:
    """A value's whole key must be in the configuration already. Errors: ConfigError with the nearest full keys."""
    typed = override.key_or_group
    known = sorted(
        path
        for path, _ in resume.flat(OmegaConf.to_container(cfg))
        if not path.startswith("hydra.") and not path.endswith("_target_")
    )
    if any(name == typed or name.startswith(f"{typed}.") for name in known):
        return
    if typed.endswith("._target_") and OmegaConf.select(cfg, typed) is not None:
        return  # build.py decides what it may name
    group, _, key = typed.partition(".")
    owners = [
        option
        for option in catalog.options(group)
        if any(name.endswith(f".{key}") for name in catalog.keys(catalog.file(group, option), group))
    ]
    near = nearest(typed, [name for name in known if name.startswith(f"{group}.")])
    chosen = cfg.hydra.runtime.choices.get(group)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif chosen:
        hint = f"{group}={chosen} has no keys"
    else:
        option = (owners or catalog.options(group))[0]
        paths = [name for name in catalog.keys(catalog.file(group, option), group) if name.endswith(f".{key}")]
        value = override.input_line.partition("=")[2]
        hint = f"choose the option first, as {group}=[{option}]{''.join(f' {path}={value}' for path in paths[:1])}"
    others = f"; {key} is a key of {', '.join(f'{group}={owner}' for owner in owners)}" if owners and chosen else ""
    raise ConfigError(f"{override.input_line}: no such key; {hint}{others}")
