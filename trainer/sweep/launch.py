"""Launch of a sweep's jobs, and the run of each in whatever process a launcher gives it. No torch here."""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from trainer.base import ranks
from trainer.base.atomic import atomic_write
from trainer.base.errors import Interrupted, MachineError, SignalReceived, UserError, print_error
from trainer.base.text import from_here, printable
from trainer.config.hydra_context import Invocation
from trainer.config.private_api import BASIC_LAUNCHER
from trainer.config.quoting import as_argument
from trainer.rundir import directory as rundir
from trainer.rundir import reader
from trainer.rundir.append_only import append
from trainer.rundir.console import Console
from trainer.rundir.status import Status
from trainer.sweep import devices
from trainer.sweep.jobs import Job, discard_summary, distinguishes, prepare

STOP = ".stop"  # made by a job that a signal has ended, and by the first that fails under sweep.on_error=stop

sweep_process: list[int] = []  # the process of the sweep, which a signal to a job in it ends as well
watched_parent: list[int] = []  # the process that joblib began this one for


def make_launcher(hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> Launcher:
    """Return the launcher that a sweep's configuration names."""
    devices.limit_to_gpus(config.hydra.launcher)
    return Plugins.instance().instantiate_launcher(
        hydra_context=hydra_context, task_function=task_function, config=config
    )


def begin_sweep(folder: Path) -> None:
    """Prepare a folder and this process for the jobs of a sweep."""
    sweep_process[:] = [os.getpid()]
    (folder / STOP).unlink(missing_ok=True)


def launch_jobs(
    launcher: Launcher, cfg: DictConfig, jobs: Sequence[Sequence[str]], first: int = 0
) -> Iterator[JobReturn]:
    """Yield what the jobs return, by whatever launcher.

    Args:
        first: number of the first job in the sweep.
    Errors: MachineError where the launcher cannot run them.
    """
    if cfg.hydra.launcher._target_ == BASIC_LAUNCHER:  # of many jobs it would keep the configurations to the end
        for place, job in enumerate(jobs):
            yield from launcher.launch([job], initial_job_idx=first + place)
        return
    try:
        returned = launcher.launch(jobs, initial_job_idx=first)
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "")
        name = cfg.hydra.runtime.choices["hydra/launcher"]
        raise MachineError(f"hydra/launcher={name}: {printable(f'{type(error).__name__}: {reason}')}") from error
    yield from returned


def end_sweep(folder: Path, part: bool = False) -> None:
    """End the worker processes, and rank the jobs, however the sweep ended.

    Args:
        part: of a procedure, which needs the workers again, and prints no ranking.
    """
    from trainer.comparison import table

    if not part:
        devices.shut_down_workers()
    try:
        table.rank_sweep(folder, shows=not part)
    except SignalReceived:
        if not part:
            again = as_argument("hydra.sweep.dir", from_here(folder))
            Console().print(f"the ranking is not complete; to rank the jobs, repeat the command with {again}")
        raise


def run_job(
    cfg: DictConfig, invocation: Invocation, execute: Callable[[DictConfig, Invocation], float | None]
) -> float | None:
    """Run or resume one sweep job; return its score at once if it has finished.

    An error is noted in the job's directory and ends no other job. A signal ends the sweep.
    Errors: SystemExit after a signal, in the process of the sweep.
    """
    job = find_or_prepare(cfg, invocation)
    if summary := reader.completed_summary(job.directory):
        return reader.best_score(summary, cfg.monitor)
    if (invocation.sweep / STOP).exists():
        return None
    score = None
    with noting_failure(cfg, invocation, job.directory):
        own = saved_config(cfg, job.directory)
        with devices.reserve(invocation.sweep, own.device, 1 if ranks.count() > 1 else None) as device:
            own.device = device
            score = execute(own, invocation)
    return score


@contextmanager
def noting_failure(cfg: DictConfig, invocation: Invocation, directory: Path) -> Iterator[None]:
    """Note an error that ends the block in the job's directory, in place of that of an earlier attempt.

    Errors: SystemExit after a signal, in the process of the sweep.
    """
    discard_summary(directory)
    if invocation.launcher == "joblib":
        end_with_parent()
    try:
        yield
        return
    except (Exception, KeyboardInterrupt) as error:
        code, interrupted = note_failure(directory, error)
    if interrupted and watched_parent and os.getppid() not in watched_parent:
        os._exit(code)  # the sweep was killed; another may have begun in its folder
    if interrupted or cfg.sweep.on_error == "stop":
        atomic_write(invocation.sweep / STOP, b"")
    if interrupted and os.getpid() in sweep_process:
        raise SystemExit(code)


def find_or_prepare(cfg: DictConfig, invocation: Invocation) -> Job:
    """Return the job that the sweep has prepared; one that is prepared now where a launcher sees another disk."""
    folder, overrides = invocation.sweep, invocation.overrides
    folder.mkdir(parents=True, exist_ok=True)
    directory = folder / invocation.job
    if (directory / "overrides.txt").is_file():
        return Job(overrides, directory)
    return prepare(folder, overrides, overrides, lambda name: cfg)


def saved_config(cfg: DictConfig, directory: Path) -> DictConfig:
    """Return the configuration that the job was given when the sweep began, but for the settings of this command.

    Errors: DataError.
    """
    own = {key: value for key, value in OmegaConf.to_container(cfg).items() if not distinguishes(key)}
    return OmegaConf.create({**reader.read_config(directory), **own, "resume": {"run": str(directory), "allow": []}})


def note_failure(directory: Path, error: BaseException) -> tuple[int, bool]:
    """Note in summary.json and run.log why a job ended; return its exit code, and whether a signal ended it."""
    if isinstance(error, KeyboardInterrupt):
        error = Interrupted("interrupted", getattr(error, "number", signal.SIGINT))
    interrupted = isinstance(error, Interrupted)
    code = error.code if isinstance(error, UserError) else 1
    text = (str(error) if isinstance(error, UserError) else "".join(traceback.format_exception(error))).strip()
    status = Status.INTERRUPTED if interrupted else Status.FAILED
    line = text.splitlines()[0 if isinstance(error, UserError) else -1]  # a traceback ends with its reason
    if not (interrupted and reader.completed_summary(directory)):  # else the signal came when all was done
        summary = {"status": status, **reader.read_summary(directory), "error": line, "code": code}
        rundir.write_summary(directory, summary)
        log = directory / "run.log"
        if text not in reader.read_text(log):
            append(log, text)
    if interrupted:
        print_error(error)
    return code, interrupted


def end_with_parent() -> None:
    """Interrupt this process, as SIGTERM does, when the one that began it has died."""

    def watch(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    if not watched_parent:
        watched_parent.append(os.getppid())
        threading.Thread(target=watch, args=watched_parent, daemon=True).start()
