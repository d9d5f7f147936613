"""Jobs of a sweep: each is a directory in the sweep's folder, made before the first one starts. No torch here."""

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from trainer.base.errors import ConfigError, DataError
from trainer.base.plain_files import require_plain
from trainer.base.text import printable
from trainer.config.keys import Role, key_of, makes_another_job, role_of
from trainer.config.model_first import settled
from trainer.rundir import directory as rundir
from trainer.rundir import integrity, reader
from trainer.rundir.reader import SWEEP_OVERRIDES

TRAIN = "trainer.task.train.Train"
JOB_NAME = "hydra.job.name"  # holds the name of a job's directory


@dataclass(frozen=True)
class Job:
    """The overrides of a job, and its directory."""

    overrides: tuple[str, ...]
    directory: Path

    @property
    def launched(self) -> list[str]:
        """The overrides that a launcher gets: the job's own, and the name of its directory."""
        return [*self.overrides, f"{JOB_NAME}={self.directory.name}"]

    @property
    def ended(self) -> bool:
        """True if the run finished or stopped early."""
        return reader.completed_summary(self.directory) is not None


def trains(cfg: DictConfig) -> bool:
    """Return whether a configuration trains a model; other tasks leave nothing that a sweep could resume."""
    return cfg.task.get("_target_") == TRAIN


def make_folder(folder: Path) -> Path:
    """Return the sweep's folder, made where it is new.

    Errors: MachineError where it cannot be made, ConfigError where it is the directory of a run, DataError where it is
    or holds a link.
    """
    if any(os.path.exists(folder / name) for name in ("overrides.txt", "checkpoints")):  # Path.exists may raise
        raise ConfigError(
            f"hydra.sweep.dir={printable(folder)}: is the directory of a run; choose another folder for the sweep"
        )
    if os.path.exists(folder) and not folder.is_dir():
        raise ConfigError(f"hydra.sweep.dir={printable(folder)}: is a file, not a folder")
    if not os.path.exists(folder):
        return rundir.make_unique(folder.parent, folder.name, ("hydra.sweep.dir", folder))
    require_plain(folder, f"hydra.sweep.dir={printable(folder)}")
    return folder


def distinguishes(key: str) -> bool:
    """Return whether two values of a key make two jobs. Two tasks are two jobs, though none shapes a run."""
    return makes_another_job(key) or role_of(key) is Role.TASK


def identity(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides that distinguish a job from others, sorted."""
    return tuple(sorted(text for text in overrides if distinguishes(key_of(text))))


def require_different(jobs: Sequence[Sequence[str]]) -> None:
    """Refuse a grid that holds a job twice. Errors: ConfigError."""
    for one, other in itertools.pairwise(sorted(map(identity, jobs))):
        if one == other:
            raise ConfigError(
                f"-m: two jobs of the grid are the same: {printable(' '.join(one))}; list each value once"
            )


def find_jobs(folder: Path) -> dict[tuple[str, ...], Path]:
    """Return the directories of a sweep's jobs, by the identity of each."""
    found = {}
    for file in sorted(folder.glob("*/overrides.txt")):
        name = SWEEP_OVERRIDES if (file.parent / SWEEP_OVERRIDES).is_file() else file.name
        try:
            found[identity(reader.read_overrides(file.parent, name))] = file.parent
        except DataError:
            continue  # not one that a sweep wrote
    return found


def find_jobs_among(folder: Path, jobs: Sequence[Sequence[str]]) -> dict[tuple[str, ...], Path]:
    """Return the directories of those jobs that a folder holds. Errors: ConfigError where it holds another job."""
    wanted, found = {identity(overrides) for overrides in jobs}, find_jobs(folder)
    for job in found:
        if job not in wanted:
            raise ConfigError(
                f"hydra.sweep.dir={printable(folder)}: holds another sweep, with a job that is not in this one: "
                f"{printable(' '.join(job))[:200]}\n"
                "to resume that sweep, repeat its own overrides; for a new folder, leave hydra.sweep.dir out"
            )
    return found


def prepare(
    folder: Path,
    overrides: Sequence[str],
    naming: Sequence[str],
    compose: Callable[[str], DictConfig | dict],
    known: dict[tuple[str, ...], Path] | None = None,
    write: Callable[..., object] = rundir.write_job,
) -> Job:
    """Return a job with its directory, which is made and given its configuration for good where it is new.

    Args:
        naming: the overrides that name the directory: those that vary.
        compose: returns the configuration, from the name of the directory.
        known: directories of the sweep's jobs, where the caller knows them; this one is added.
        write: does, or begins, what `write_job` does.
    Errors: MachineError where the directory cannot be made.
    """
    known = find_jobs(folder) if known is None else known
    own = identity(overrides)
    directory = known.get(own)
    if directory is None:
        directory = folder / rundir.slug(naming)
        # A directory without overrides was made by a process that died at once, or is still being written.
        if not directory.is_dir() or (directory / "overrides.txt").exists() or directory in known.values():
            directory = rundir.make_unique(folder, directory.name, ("hydra.sweep.dir", folder))
        known[own] = directory
        write(directory, settled(compose(directory.name), overrides), overrides, [key_of(text) for text in naming])
    job = Job(tuple(overrides), directory)
    if not job.ended:
        discard_summary(directory)
    return job


def reopen_damaged(directories: Iterable[Path]) -> None:
    """Let those jobs that have ended, and whose files are no longer as they left them, do their end again."""
    for directory in directories:
        if (summary := reader.completed_summary(directory)) and integrity.to_make_again(directory, summary):
            discard_summary(directory)


def discard_summary(directory: Path) -> None:
    """Remove the summary of an attempt that failed, before the next one."""
    (directory / "summary.json").unlink(missing_ok=True)
