"""The jobs of a sweep: each is a directory in the sweep's folder, made before the first one starts; every process reads there what to do.

No torch here.
"""

import itertools
import os
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from trainer.base.errors import ConfigError, DataError, Interrupted, MachineError, UserError, print_error
from trainer.base.text import printable
from trainer.config.hydra_context import Invocation
from trainer.config.untrusted import IN_TURN
from trainer.rundir import directory as rundir
from trainer.rundir import resume
from trainer.sweep import devices

TRAIN = "trainer.task.train.Train"
STOP = ".stop"  # made by the first job that fails under sweep.on_error=stop, and by one that a signal has ended
WORDS = ".words"  # a job's in its sweep; those of overrides.txt are others where the job alone was resumed with more
FREE = (
    *(key for key in resume.HARMLESS if key != "epochs"),
    "resume",
    "sweep",
    "hydra",
)  # words that make no other job


@dataclass(frozen=True)
class Job:
    """The words of a job, and its directory."""

    words: tuple[str, ...]
    directory: Path

    @property
    def launched(self) -> list[str]:
        """Its words, and where it finds its directory."""
        return [*self.words, f"hydra.job.name={self.directory.name}"]

    @property
    def ended(self) -> bool:
        return resume.ended(self.directory) is not None


watched: list[int] = []  # the process that joblib began this one for
process: list[int] = []  # that of the sweep, which a signal to one of its jobs ends as well


def trains(cfg: DictConfig) -> bool:
    """Whether a configuration is that of a run; other tasks leave nothing that a sweep could go on with."""
    return cfg.task.get("_target_") == TRAIN


def made(folder: Path) -> Path:
    """Errors: MachineError where the sweep's folder cannot be made, ConfigError where it is a run's."""
    if (folder / "overrides.txt").exists() or (folder / "checkpoints").exists():
        raise ConfigError(
            f"hydra.sweep.dir={printable(folder)}: is the directory of a run; a sweep needs a folder of its own"
        )
    return folder if folder.is_dir() else rundir.make_unique(folder.parent, folder.name)


def begin(folder: Path) -> None:
    """What the process of a sweep does before its jobs are launched."""
    process[:] = [os.getpid()]
    (folder / STOP).unlink(missing_ok=True)


def launched(
    launcher: Launcher, cfg: DictConfig, words: Sequence[Sequence[str]], first: int = 0
) -> Sequence[JobReturn]:
    """What the jobs return, by whatever launcher. Errors: MachineError where it cannot run them."""
    try:
        return launcher.launch(words, initial_job_idx=first)
    except Exception as error:
        if cfg.hydra.launcher._target_ == IN_TURN:
            raise  # not a launcher's error: there is nothing to launch
        said = str(error).strip().splitlines() or [""]
        raise MachineError(
            f"hydra/launcher={cfg.hydra.runtime.choices['hydra/launcher']}: {printable(type(error).__name__)}: {printable(said[0])}"
        ) from error


def require_different(found: Sequence[Sequence[str]]) -> None:
    """Errors: ConfigError where two jobs are the same."""
    for one, other in itertools.pairwise(sorted(map(identity, found))):
        if one == other:
            raise ConfigError(
                f"-m: two jobs of the grid are the same: {printable(' '.join(one))}; name each value once"
            )


def identity(words: Sequence[str]) -> tuple[str, ...]:
    """The words that decide what a job is, in an order of their own."""
    return tuple(sorted(word for word in words if word.partition("=")[0].lstrip("+~").partition(".")[0] not in FREE))


def known(folder: Path) -> dict[tuple[str, ...], Path]:
    """The directories of a sweep's jobs, by what the jobs are."""
    found = {}
    for file in sorted(folder.glob("*/overrides.txt")):
        try:
            found[identity(resume.overrides(file.parent, WORDS if (file.parent / WORDS).is_file() else file.name))] = (
                file.parent
            )
        except DataError:
            continue  # not one that a sweep wrote
    return found


def prepare(
    folder: Path,
    words: Sequence[str],
    varying: Sequence[str],
    compose: Callable[[str], DictConfig],
    among: dict[tuple[str, ...], Path] | None = None,
) -> Job:
    """The job's directory, made and given its configuration for good where it is new; named by the words that vary.

    Args:
        compose: gives the configuration, from the name of the directory.
        among: directories that are there already, where the caller has looked.
    Errors: MachineError where it cannot be made.
    """
    directory = (known(folder) if among is None else among).get(identity(words))
    if directory is None:
        directory = folder / rundir.slug(varying)
        if (
            not directory.is_dir() or (directory / "overrides.txt").exists()
        ):  # else a process has died that had just made it
            directory = rundir.make_unique(folder, directory.name)
        rundir.write_config(directory, compose(directory.name), words)
        shutil.copyfile(directory / "overrides.txt", directory / WORDS)
    job = Job(tuple(words), directory)
    if not job.ended:
        (directory / "summary.json").unlink(missing_ok=True)  # of an attempt that failed
    return job


def of_this_sweep(folder: Path, jobs: Sequence[Sequence[str]]) -> dict[tuple[str, ...], Path]:
    """The jobs that a folder holds already. Errors: ConfigError where one is none of these."""
    wanted, there = {identity(words) for words in jobs}, known(folder)
    for found in there:
        if found not in wanted:
            raise ConfigError(
                f"hydra.sweep.dir={printable(folder)}: holds another sweep, whose jobs are none of this one's: {printable(' '.join(found))[:200]}\n"
                "repeat that sweep's own words to go on with it, or leave hydra.sweep.dir out for a new folder"
            )
    return there


def frozen(cfg: DictConfig, directory: Path) -> DictConfig:
    """The configuration that the job was given when the sweep began, but for what belongs to this command. Errors: DataError."""
    own = {key: value for key, value in OmegaConf.to_container(cfg).items() if key in FREE}
    return OmegaConf.create({**resume.saved_config(directory), **own, "resume": {"run": str(directory), "allow": []}})


def run_job(
    cfg: DictConfig, invocation: Invocation, execute: Callable[[DictConfig, Invocation], float | None]
) -> float | None:
    """Run or resume one job of a sweep, in whatever process; return its score at once if it has finished.

    Errors are noted in its directory and end no other job. A signal lets no other job begin, and ends the sweep's own process.
    Errors: SystemExit after a signal.
    """
    folder, words = invocation.sweep, invocation.overrides
    folder.mkdir(parents=True, exist_ok=True)
    prepared = folder / invocation.job
    job = (
        Job(words, prepared)
        if (prepared / "overrides.txt").is_file()
        else prepare(folder, words, words, lambda name: cfg)
    )
    told = resume.ended(job.directory)
    if told is not None:
        return resume.best_score(told, cfg.monitor)
    if (folder / STOP).exists():
        return None
    (job.directory / "summary.json").unlink(missing_ok=True)  # of an attempt in this sweep
    interrupted = False
    if invocation.launcher == "joblib" and not watched:
        watched.append(os.getppid())
        threading.Thread(target=end_with, args=watched, daemon=True).start()
    try:
        own = frozen(cfg, job.directory)
        with devices.device(folder, own.device) as device:
            own.device = device
            return execute(own, invocation)
    except (UserError, KeyboardInterrupt) as error:
        error = (
            error
            if isinstance(error, UserError)
            else Interrupted("interrupted", getattr(error, "number", signal.SIGINT))
        )
        interrupted, code = isinstance(error, Interrupted), error.code
        note(job.directory, str(error), code, "interrupted" if interrupted else "failed")
        if interrupted:
            print_error(error)
    except Exception:
        code = 1
        note(job.directory, traceback.format_exc(), code)
    if interrupted and watched and os.getppid() not in watched:
        os._exit(code)  # the sweep was killed; another may have begun in its folder
    if interrupted or cfg.sweep.on_error == "stop":
        (folder / STOP).touch()
    if interrupted and os.getpid() in process:
        raise SystemExit(code)
    return None


def end_with(parent: int) -> None:
    """Interrupt this process, as SIGTERM does, when the one that began it has died."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def note(directory: Path, error: str, code: int, status: str = "failed") -> None:
    """Leave in a job's directory why it ended: in summary.json and, where it does not stand there, in run.log."""
    rundir.write_summary(
        directory,
        {"status": status, **resume.summary(directory), "error": error.strip().splitlines()[-1], "code": code},
    )
    log = directory / "run.log"
    if error.strip() not in (log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""):
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{error.strip()}\n")


def conclude(folder: Path) -> None:
    """Rank what the jobs came to, however the sweep ended."""
    from trainer.compare import table

    table.rank(folder)
