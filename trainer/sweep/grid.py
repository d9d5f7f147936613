"""hydra/sweeper=grid, what `train -m` does by itself: every combination of the values, as jobs whose state is their directories."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext
from omegaconf import DictConfig

from trainer.base.errors import UserError, exit_on_user_error
from trainer.compare.table import short
from trainer.config import hydra_context
from trainer.config.untrusted import IN_TURN
from trainer.rundir import directory as rundir
from trainer.rundir import resume
from trainer.rundir.console import Console
from trainer.sweep import devices, jobs
from trainer.sweep.display import View
from trainer.sweep.jobs import Job

REMEMBERED = 200  # jobs whose configuration is kept until they begin, 0.3 MB each


@dataclass(kw_only=True)
class GridSweeper(Sweeper):
    """Launch the jobs of a grid that have not ended, whatever the launcher, and say what came out.

    All jobs are composed and written down before the first one starts, so that a change of a YAML meanwhile changes none. The same
    command with the same hydra.sweep.dir goes on: jobs that ended are left as they are, others are resumed or begun.

    Errors: UserError.
    """

    def setup(self, *, hydra_context, task_function, config: DictConfig) -> None:
        self.config = config
        self.loader = hydra_context.config_loader
        self.folder = Path(config.hydra.sweep.dir)
        devices.share(config.hydra.launcher)
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.composed: dict[tuple[str, ...], DictConfig] = {}
        self.in_turn = config.hydra.launcher._target_ == IN_TURN
        if self.in_turn:
            self.launcher.hydra_context = HydraContext(config_loader=self, callbacks=hydra_context.callbacks)

    def sweep(self, arguments: list[str]) -> None:
        with exit_on_user_error():
            self._sweep(arguments)

    def _sweep(self, arguments: list[str]) -> None:
        overrides = OverridesParser.create(self.loader).parse_overrides(arguments)
        (found,) = BasicSweeper.split_arguments(overrides, None)
        if not jobs.trains(self.config):
            for returned in self.launcher.launch(found, initial_job_idx=0):
                _ = returned.return_value  # raises what the job raised
            return
        if self.config.sweep.dry_run:
            from trainer.sweep import dry_run

            with suppress(OSError):
                self.folder.rmdir()  # it is there for nothing
            dry_run.show(self.loader, self.config, found)
            return
        with rundir.lock(jobs.made(self.folder)):
            self._launch(found, [override for override in overrides if override.is_sweep_override()])

    def _launch(self, found: Sequence[Sequence[str]], swept: Sequence[Override]) -> None:
        there = jobs.of_this_sweep(self.folder, found)
        keys = {override.get_key_element() for override in swept}
        prepared = []
        for words in found:
            varying = [word for word in words if word.partition("=")[0] in keys] or words
            prepared.append(
                jobs.prepare(self.folder, words, varying, lambda name, words=words: self._composed(words, name), there)
            )
        jobs.begin(self.folder)
        try:
            with View(self.folder, len(prepared), prepared):
                for _ in range(1 + retries(self.config.sweep.on_error)):
                    if left := [job for job in prepared if not job.ended]:
                        for returned in jobs.launched(self.launcher, self.config, [job.launched for job in left]):
                            _ = returned.return_value
        finally:
            devices.give_back()
            jobs.conclude(self.folder)
            if left := sum(not job.ended for job in prepared):
                past = " sweep.on_error=continue" if self.config.sweep.on_error == "stop" else ""
                Console().say(
                    f"{left} of {len(prepared)} jobs have not ended as they should; to try them again: the same words with hydra.sweep.dir={short(self.folder)}{past}"
                )
        require_ended(prepared)

    def _composed(self, words: Sequence[str], name: str) -> DictConfig:
        launched = [*words, f"hydra.job.name={name}"]
        cfg = self.loader.load_sweep_config(self.config, launched)
        if self.in_turn and len(self.composed) < REMEMBERED:
            self.composed[tuple(launched)] = cfg
        return hydra_context.without_hydra_node(cfg)

    def load_sweep_config(self, config: DictConfig, words: list[str]) -> DictConfig:
        """What the launcher of this process asks Hydra for: a job that has just been composed is not composed again."""
        return self.composed.pop(tuple(words), None) or self.loader.load_sweep_config(config, words)


def retries(on_error: str) -> int:
    return int(on_error.removeprefix("retry:")) if on_error.startswith("retry:") else 0


def require_ended(prepared: Sequence[Job]) -> None:
    """Errors: UserError with the exit code of the first job that failed, and how many did."""
    told = [resume.summary(job.directory) for job in prepared if not job.ended]
    failed = [summary for summary in told if summary]
    if failed:
        others = f"; {len(told) - len(failed)} were not begun" if len(told) > len(failed) else ""
        error = UserError(
            f"{len(failed)} of {len(prepared)} runs failed, the first with: {failed[0].get('error')}{others}"
        )
        error.code = code if isinstance(code := failed[0].get("code"), int) else 1
        raise error
