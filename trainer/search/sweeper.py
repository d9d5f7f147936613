"""Search, hydra/sweeper=optuna: each run's settings are proposed from the scores of those before. No torch here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

from trainer.base.errors import ConfigError, exit_on_user_error
from trainer.base.text import as_typed, from_here
from trainer.config.hydra_context import without_hydra_node
from trainer.config.private_api import trial_id
from trainer.config.quoting import as_argument
from trainer.rundir import directory as rundir
from trainer.rundir.console import Console
from trainer.search import study as studies
from trainer.search.space import advice, propose, spaces
from trainer.sweep import jobs, launch
from trainer.sweep.display import SweepDisplay
from trainer.sweep.jobs import Job
from trainer.sweep.plot_worker import PlotWorker

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


@dataclass(kw_only=True)
class OptunaSweeper(Sweeper):
    """Run `n_trials` settings from the spaces of the overrides, each proposed from the scores of those before.

    The study in the database is the only state: the same command with the same hydra.sweep.dir continues it, and
    resumes a run that was cut off. Proposals depend on (seed, number of the trial): an interruption changes none.

    Args: the keys of conf/hydra/sweeper/optuna.yaml. Errors: as one line and an exit code, before anything is written.
    """

    n_trials: int
    n_jobs: int
    sampler: str
    seed: int
    pruner: str
    min_epochs: int
    reduction_factor: int
    storage: str | None
    study_name: str
    trial: int | None

    def setup(self, *, hydra_context, task_function, config: DictConfig) -> None:
        self.config = config
        self.monitor = config.monitor
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.loader = hydra_context.config_loader
        self.launcher = launch.make_launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        with exit_on_user_error():
            if not jobs.trains(self.config):
                raise ConfigError("hydra/sweeper=optuna: searches settings of training; task=train is the only task")
            if self.config.sweep.dry_run:
                raise ConfigError(
                    "sweep.dry_run=true: is for grids; leave hydra/sweeper=optuna out to list the jobs of one"
                )
            overrides = OverridesParser.create(self.loader).parse_overrides(arguments)
            searched = spaces(overrides)
            with rundir.lock(jobs.make_folder(self.folder)):
                self._search(overrides, searched)

    def _search(self, overrides: Sequence[Override], searched: Mapping[str, "BaseDistribution"]) -> None:
        study = studies.open_study(self.storage, self.folder, self.study_name, studies.direction_of(self.monitor))
        studies.require_same_overrides(study, [override.input_line for override in overrides])
        for line in advice(searched):
            Console().print(line)

        def overrides_of(trial: "Trial | FrozenTrial") -> list[str]:
            keys = [(override.get_key_element(), override.input_line) for override in overrides]
            return [f"{key}={as_typed(trial.params[key])}" if key in searched else line for key, line in keys]

        launch.begin_sweep(self.folder)
        with PlotWorker() as plots:
            try:
                known = jobs.find_jobs(self.folder)
                jobs.reopen_damaged(known.values())
                ended = [job for texts, path in known.items() if (job := Job(texts, path)).ended]
                with SweepDisplay(self.folder, max(self.n_trials, len(ended)), plots, ended) as display:
                    while batch := self._next(study, searched):
                        prepared = [self._prepare(overrides_of(trial), searched) for trial in batch]
                        self._launch(study, batch, prepared, display)
            except BaseException:
                again = as_argument("hydra.sweep.dir", from_here(self.folder))
                Console().print(f"the search did not finish; to resume it, repeat the command with {again}")
                raise
            finally:
                launch.end_sweep(self.folder)
        studies.report_best(study, self.folder, overrides_of, self.monitor)

    def _launch(
        self, study: "Study", batch: "Sequence[Trial | FrozenTrial]", prepared: Sequence[Job], display: SweepDisplay
    ) -> None:
        """Launch a batch of jobs, those with the same settings once, and record their results."""
        first = {}
        for job, trial in zip(prepared, batch):
            first.setdefault(job.directory, (job, trial))
            if job.ended:
                display.report_repeat(job)
            elif job.directory not in {other.directory for other in display.jobs}:
                display.jobs.append(job)
        launched = [[*job.launched, f"hydra.sweeper.trial={trial_id(trial)}"] for job, trial in first.values()]
        returned = dict(zip(first, launch.launch_jobs(self.launcher, self.config, launched, batch[0].number)))
        for job, trial in zip(prepared, batch):
            studies.record_result(study, trial.number, returned[job.directory])

    def _prepare(self, overrides: Sequence[str], searched: Mapping[str, "BaseDistribution"]) -> Job:
        def compose(name: str) -> DictConfig:
            return without_hydra_node(self.loader.load_sweep_config(self.config, list(overrides)))

        return jobs.prepare(
            self.folder, overrides, [text for text in overrides if text.partition("=")[0] in searched], compose
        )

    def _next(self, study: "Study", searched: Mapping[str, "BaseDistribution"]) -> "list[Trial | FrozenTrial]":
        """Return trials that a killed process left unfinished here, then new ones; none when `n_trials` have ended."""
        trials = study.get_trials(deepcopy=False)
        missing = min(self.n_jobs, self.n_trials - sum(trial.state.is_finished() for trial in trials))
        own = [trial for trial in trials if trial.user_attrs.get("sweep") == str(self.folder)]
        unfinished = [trial for trial in own if not trial.state.is_finished() and {*trial.params} == {*searched}]
        batch = unfinished[: max(0, missing)]
        while len(batch) < missing:
            trial = study.ask()
            # The number is the study's own, so that two machines never get the same proposal.
            study.sampler = studies.make_sampler(self.sampler, self.seed, trial.number)
            propose(trial, searched)
            trial.set_user_attr("sweep", str(self.folder))
            batch.append(trial)
        return batch
