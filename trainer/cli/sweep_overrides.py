"""What the words of a sweep say, before anything is composed: no torch here, no folder made but the sweep's own."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override

from trainer.base.errors import ConfigError
from trainer.base.text import did_you_mean
from trainer.config import catalog
from trainer.rundir import directory as rundir
from trainer.search import overrides as search
from trainer.sweep import jobs

SWEEPERS = ("grid", "optuna")
FOR_SWEEPS = ("sweep.", "hydra/sweeper", "hydra/launcher", "hydra.sweep.", "hydra.sweeper.", "hydra.launcher.")


def check_sweep(overrides: Sequence[Override]) -> None:
    """What a sweep is asked for, before anything is composed. Errors: ConfigError."""
    words = {override.key_or_group: override for override in overrides}
    chosen = words["hydra/sweeper"].value() if "hydra/sweeper" in words else "grid"
    if chosen not in SWEEPERS:
        raise ConfigError(f"hydra/sweeper={chosen}: no such sweeper; {did_you_mean(str(chosen), SWEEPERS)}")
    if chosen == "grid" and (own := next((key for key in words if key.startswith("hydra.sweeper.")), None)):
        raise ConfigError(f"{words[own].input_line}: the grid has no keys; it needs hydra/sweeper=optuna")
    if "hydra/launcher" not in words and (
        own := next((key for key in words if key.startswith("hydra.launcher.")), None)
    ):
        raise ConfigError(f"{words[own].input_line}: needs a launcher, as hydra/launcher=joblib")
    if "hydra.sweep.dir" in words and not words["hydra.sweep.dir"].value():
        raise ConfigError("hydra.sweep.dir=: needs the name of a folder")
    search.look_at(overrides)
    for key, override in words.items():
        if override.is_sweep_override() and key.partition(".")[0] in jobs.FREE:
            listed = (
                ",".join(text.strip("[]") for text in override.sweep_string_iterator())
                if override.is_discrete_sweep()
                else "..."
            )
            hint = f"several go into one list: runs=[{listed}]" if key == "runs" else "its results would be the same"
            raise ConfigError(f"{override.input_line}: {key} makes no other run; {hint}")
    if chosen == "grid":
        jobs.require_different(BasicSweeper.split_arguments(overrides, None)[0])


def values(override: Override) -> Iterator[object]:
    """The values of an override: one, or each that it sweeps, as plain Python."""
    if not override.is_sweep_override():
        yield override.value()
    for text in swept(override):
        yield OverridesParser.create().parse_override(f"{override.key_or_group}={text}").value()


def swept(override: Override) -> list[str]:
    """What an override sweeps over, as it would be typed: of a search interval its ends; a glob has nothing to look at."""
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        return [str(sweep.start), str(sweep.end)]
    return (
        list(override.sweep_string_iterator()) if override.is_discrete_sweep() and not isinstance(sweep, Glob) else []
    )


def combinations(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """Command lines that together hold every value of a sweep at least once: the first of each, then each other one in its turn."""
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


def sweep_folder(overrides: Sequence[Override]) -> Path:
    """A new folder for a sweep: OUTPUT/sweeps/DATE/TIME."""
    typed = {override.key_or_group: override.value() for override in overrides}
    output = Path(str(typed.get("output", catalog.keys(catalog.folder() / "config.yaml")["output"].default)))
    now = datetime.now()
    return rundir.make_unique(output / "sweeps" / f"{now:%Y-%m-%d}", f"{now:%H-%M-%S}").absolute()
