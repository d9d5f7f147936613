"""Overrides of a sweep, checked before anything is composed. No torch here, and no folder made but the sweep's own."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep

from trainer.base.errors import ConfigError
from trainer.base.text import did_you_mean
from trainer.cli import vocabulary
from trainer.config import private_api
from trainer.config.keys import key_of
from trainer.config.quoting import as_argument
from trainer.config.rule import is_number
from trainer.rundir import directory as rundir
from trainer.search import overrides as search
from trainer.sweep import jobs, launchers

MOST_JOBS = 100_000  # of a sweep, whose jobs are listed and get their folders before the first one starts
MOST_WORKERS = 256  # processes of a launcher; more on a machine with more cores
SWEEPERS = ("grid", "optuna")
HYDRA_GROUPS = ("hydra/sweeper", "hydra/launcher")
HYDRA_TREES = ("hydra.sweep.", "hydra.sweeper.", "hydra.launcher.")


def is_for_sweeps(key: str) -> bool:
    """Return whether a key counts only in a sweep."""
    return key.partition(".")[0] == "sweep" or key in HYDRA_GROUPS or key.startswith(HYDRA_TREES)


def check_sweep(overrides: Sequence[Override]) -> None:
    """Check what a sweep is to do: its sweeper, launcher, folder and jobs. Errors: ConfigError."""
    by_key = {override.key_or_group: override for override in overrides}
    sweeper = by_key["hydra/sweeper"].value() if "hydra/sweeper" in by_key else "grid"
    if sweeper not in SWEEPERS:
        hint = did_you_mean(str(sweeper), SWEEPERS, "hydra/sweeper=")
        raise ConfigError(f"hydra/sweeper={sweeper}: no such sweeper; {hint}")
    if sweeper == "grid" and (line := first_below("hydra.sweeper.", by_key)):
        raise ConfigError(f"{line}: the grid has no keys; write hydra/sweeper=optuna for a search")
    check_launcher(by_key)
    if "hydra.sweep.dir" in by_key and not by_key["hydra.sweep.dir"].value():
        raise ConfigError("hydra.sweep.dir=: needs the name of a folder")
    search.check_spaces(overrides)
    require_countable(overrides)
    for override in overrides:
        if override.is_sweep_override():
            require_other_jobs(override)
    if sweeper == "grid":
        jobs.require_different(private_api.grid(overrides))


def check_launcher(by_key: Mapping[str, Override]) -> None:
    """Check the settings of a launcher. Errors: ConfigError."""
    if "hydra/launcher" not in by_key and (line := first_below("hydra.launcher.", by_key)):
        name = launchers.launcher_with(key_of(line))
        raise ConfigError(f"{line}: needs a launcher; write hydra/launcher={name}, or another one that has this key")
    workers = by_key["hydra.launcher.n_jobs"].value() if "hydra.launcher.n_jobs" in by_key else 0
    if is_number(workers) and workers > (most := max(MOST_WORKERS, os.cpu_count() or 1)):
        raise ConfigError(f"hydra.launcher.n_jobs={workers}: too many processes for this machine; at most {most}")


def require_countable(overrides: Sequence[Override]) -> None:
    """Refuse more jobs than a sweep can have, before they are listed. Errors: ConfigError."""
    total = 1
    for override in overrides:
        total *= count_of(override)
        if total > MOST_JOBS:
            raise ConfigError(
                f"{override.input_line}: makes {total:,} jobs; a sweep has at most {MOST_JOBS:,}; choose fewer values"
            )


def count_of(override: Override) -> int:
    """Return the number of values of an override. Errors: ConfigError for a pattern and an empty range."""
    sweep = override.value() if override.is_sweep_override() else None
    if isinstance(sweep, Glob):
        raise ConfigError(f"{override.input_line}: patterns are not read; list the values, {override.key_or_group}=A,B")
    if isinstance(sweep, ChoiceSweep):
        return len(sweep.list)
    if not isinstance(sweep, RangeSweep):
        return 1
    start, stop, step = map(float, (sweep.start, sweep.stop, sweep.step))
    count = math.ceil((stop - start) / step) if step and math.isfinite((stop - start) / step) else 0
    if count < 1:
        raise ConfigError(f"{override.input_line}: the range holds no value, or has no end")
    return count


def first_below(prefix: str, by_key: dict[str, Override]) -> str | None:
    """Return the first override of a key that begins so; None where there is none."""
    return next((override.input_line for key, override in by_key.items() if key.startswith(prefix)), None)


def require_other_jobs(override: Override) -> None:
    """Refuse several values of a key that makes no other run. Errors: ConfigError."""
    key, line = override.key_or_group, override.input_line
    if jobs.distinguishes(key):
        return
    if isinstance(getattr(vocabulary.run_keys().get(key), "default", None), list) and override.is_discrete_sweep():
        listed = ",".join(text.strip("[]") for text in override.sweep_string_iterator())
        raise ConfigError(f"{line}: {key} makes no other run; to take several, write {key}=[{listed}]")
    value = line.partition("=")[2]
    one = "choose one value"
    if isinstance(next(values(override), None), str):  # the name of a file may have commas
        one = f"{one}, or write {as_argument(key, value)}"
    raise ConfigError(f"{line}: {key} makes no other run, so that two jobs would be the same; {one}")


def values(override: Override) -> Iterator[object]:
    """Yield the value of an override, or each that it sweeps over, as plain Python."""
    if not override.is_sweep_override():
        yield override.value()
    for text in swept(override):
        yield OverridesParser.create().parse_override(f"{override.key_or_group}={text}").value()


def swept(override: Override) -> list[str]:
    """Return the values of a sweep as they are typed: of an interval its ends, of a glob none."""
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        return [str(sweep.start), str(sweep.end)]
    if isinstance(sweep, Glob) or not override.is_discrete_sweep():
        return []
    return list(override.sweep_string_iterator())


def combinations(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """Yield command lines that together hold every value of a sweep: the first of each, then each other one in turn."""
    choices = []
    for override in overrides:
        if not override.is_sweep_override():
            choices.append([override.input_line])
        elif texts := swept(override):
            choices.append([f"{override.get_key_element()}={text}" for text in texts])
    first = [texts[0] for texts in choices]
    yield first
    for place, texts in enumerate(choices):
        for text in texts[1:]:
            yield [*first[:place], text, *first[place + 1 :]]


def make_sweep_folder(overrides: Sequence[Override]) -> Path:
    """Make a new folder for a sweep: OUTPUT/sweeps/DATE/TIME. Errors: MachineError, DataError."""
    typed = {override.key_or_group: override.value() for override in overrides}
    output = Path(str(typed.get("output", vocabulary.run_keys()["output"].default)))
    folder, now = rundir.folder_of_today(output, "sweeps")
    return rundir.make_unique(folder, f"{now:%H-%M-%S}").absolute()
