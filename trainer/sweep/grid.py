"""Grid, hydra/sweeper=grid, the sweeper of a plain `train -m`: every combination of the values is a job."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from trainer.base.errors import UserError, exit_on_user_error
from trainer.base.text import counted, from_here
from trainer.config import hydra_context, private_api
from trainer.config.hydra_context import Invocation
from trainer.config.keys import key_of
from trainer.config.quoting import as_argument, quote
from trainer.config.untrusted import STACKED
from trainer.rundir import directory as rundir
from trainer.rundir import reader
from trainer.rundir.console import Console
from trainer.rundir.status import Status
from trainer.sweep import jobs, launch
from trainer.sweep.composer import Composer
from trainer.sweep.display import SweepDisplay
from trainer.sweep.jobs import JOB_NAME, Job
from trainer.sweep.plot_worker import PlotWorker

WRITERS = 8  # threads that write the directories of jobs


@dataclass(kw_only=True)
class GridSweeper(Sweeper):
    """Launch the jobs of a grid that have not finished, with any launcher, and rank them.

    All jobs are composed and written before the first one starts, so that editing a YAML meanwhile changes none. The
    same command with the same hydra.sweep.dir resumes the sweep: finished jobs stay, others are resumed or begun.

    Errors: UserError.
    """

    def setup(self, *, hydra_context, task_function, config: DictConfig) -> None:
        self.config = config
        self.loader = hydra_context.config_loader
        self.folder = Path(config.hydra.sweep.dir)
        self.launcher = launch.make_launcher(hydra_context, task_function, config)
        self.composer: Composer | None = None
        if config.hydra.launcher._target_ in (private_api.BASIC_LAUNCHER, STACKED):  # they compose jobs here
            self.launcher.hydra_context = HydraContext(config_loader=self, callbacks=hydra_context.callbacks)

    def sweep(self, arguments: list[str]) -> None:
        with exit_on_user_error():
            self._sweep(arguments)

    def _sweep(self, arguments: list[str]) -> None:
        overrides = OverridesParser.create(self.loader).parse_overrides(arguments)
        grid = private_api.grid(overrides)
        if not jobs.trains(self.config):
            for returned in self.launcher.launch(grid, initial_job_idx=0):
                _ = returned.return_value  # raises what the job raised
            return
        if self.config.sweep.dry_run:
            from trainer.sweep import dry_run

            with suppress(OSError):
                self.folder.rmdir()  # made for nothing
            dry_run.show(Composer(self.loader, self.config, grid), grid, swept_keys(overrides))
            return
        prepared = self.run(grid, swept_keys(overrides))
        require_ended(prepared)

    def run(self, grid: Sequence[Sequence[str]], keys: set[str], part: bool = False) -> list[Job]:
        """Run the jobs that have not ended, and return all of them, some of which may have failed.

        Args:
            grid: the overrides of every job; those of one place have one key.
            keys: of the settings that vary, which name the jobs.
            part: of a procedure that shows its results and ends the workers itself; others may have jobs in the folder.
        Errors: UserError.
        """
        with rundir.lock(jobs.make_folder(self.folder)):
            return self._launch(grid, keys, part)

    def _launch(self, grid: Sequence[Sequence[str]], keys: set[str], part: bool) -> list[Job]:
        known = jobs.find_jobs(self.folder) if part else jobs.find_jobs_among(self.folder, grid)
        jobs.reopen_damaged(known.values())
        wanted = {*map(jobs.identity, grid)}
        ended = [job for own, place in known.items() if own in wanted and (job := Job(own, place)).ended]
        with PlotWorker() as plots:  # which may draw the last jobs while all are ranked
            display = SweepDisplay(self.folder, len(grid), plots, ended)
            prepared = display.jobs = []
            try:
                with display:
                    self.composer = Composer(self.loader, self.config, grid)
                    prepared.extend(self._prepare(grid, keys, known))
                    self._run(prepared)
            finally:
                if len(prepared) == len(grid):
                    self._end(prepared, part)
        return prepared

    def _run(self, prepared: Sequence[Job]) -> None:
        launch.begin_sweep(self.folder)
        for _ in range(1 + retries(self.config.sweep.on_error)):
            if left := [job for job in prepared if not job.ended]:
                for returned in launch.launch_jobs(self.launcher, self.config, [job.launched for job in left]):
                    _ = returned.return_value

    def _prepare(self, grid: Sequence[Sequence[str]], keys: set[str], known: dict[tuple[str, ...], Path]) -> list[Job]:
        """Return all jobs, each with its directory written: by threads, most of which wait for the disk."""
        writing: list[Future] = []
        with ThreadPoolExecutor(WRITERS) as threads:

            def prepare(overrides: Sequence[str]) -> Job:
                return jobs.prepare(
                    self.folder,
                    overrides,
                    [text for text in overrides if key_of(text) in keys] or overrides,
                    lambda name: self.composer.values(overrides),
                    known,
                    lambda *job: writing.append(threads.submit(rundir.write_job, *job)),
                )

            prepared = [prepare(overrides) for overrides in grid]
        for written in writing:
            written.result()  # raises what writing raised
        return prepared

    def _end(self, prepared: Sequence[Job], part: bool) -> None:
        launch.end_sweep(self.folder, part)
        if part:
            return
        left, console = [job for job in prepared if not job.ended], Console()
        of_all = f"of {counted('job', len(prepared))}"
        diverged = sum(reader.read_summary(job.directory).get("status") == Status.DIVERGED for job in left)
        if diverged:
            what = "would diverge again if the command was repeated"
            console.print(f"{diverged} {of_all} diverged, and {what}")
        if len(left) > diverged:
            override = " sweep.on_error=continue" if self.config.sweep.on_error == "stop" else ""
            console.print(
                f"{len(left) - diverged} {of_all} did not finish; to resume the sweep, "
                f"repeat the command with {as_argument('hydra.sweep.dir', from_here(self.folder))}{override}"
            )

    def load_sweep_config(self, config: DictConfig, overrides: list[str]) -> DictConfig:
        """Return a job's configuration to Hydra's launcher of this process, which gives `Job.launched`."""
        *own, name = overrides
        if self.composer is None or key_of(name) != JOB_NAME:
            return self.loader.load_sweep_config(config, overrides)
        return self.composer.compose(own, name.partition("=")[2])


def run_sweep(
    folder: Path, grid: Sequence[Sequence[str]], keys: set[str], invocation: Invocation, job: TaskFunction
) -> list[Job]:
    """Run a list of jobs in a folder with a command's launcher, and return them; some may have failed.

    It is a part of a procedure, which has to call `devices.shut_down_workers` in the end.

    Args:
        grid: the overrides of every job; those of one place have one key.
        keys: of the settings that vary, which name the jobs.
        job: executes one, in whatever process.
    Errors: UserError.
    """
    with hydra_context.initialized():
        words = [*hydra_context.search_path(), *invocation.launcher_words, f"hydra.sweep.dir={quote(folder)}"]
        config, context = private_api.compose_sweep(words)
        sweeper = GridSweeper()
        sweeper.setup(hydra_context=context, task_function=job, config=config)
        return sweeper.run(grid, keys, part=True)


def swept_keys(overrides: Sequence[Override]) -> set[str]:
    """Return the keys of which a sweep takes several values."""
    return {override.get_key_element() for override in overrides if override.is_sweep_override()}


def retries(on_error: str) -> int:
    """Return N of `retry:N`, and 0 for continue and stop."""
    return int(on_error.removeprefix("retry:")) if on_error.startswith("retry:") else 0


def require_ended(prepared: Sequence[Job]) -> None:
    """Refuse failed jobs. Errors: UserError with the exit code of the first one."""
    unfinished = [reader.read_summary(job.directory) for job in prepared if not job.ended]
    failed = [summary for summary in unfinished if summary]
    if failed:
        others = len(unfinished) - len(failed)
        more = f"; {counted('job', others)} did not begin" if others else ""
        first = failed[0].get("error")
        error = UserError(f"{len(failed)} of {counted('job', len(prepared))} failed, the first with: {first}{more}")
        error.code = code if isinstance(code := failed[0].get("code"), int) else 1
        raise error
