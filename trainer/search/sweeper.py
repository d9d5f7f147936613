"""hydra/sweeper=optuna: a search instead of a grid. Optuna is imported only where one is asked for; no torch here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

from trainer.base.errors import ConfigError, exit_on_user_error
from trainer.compare.table import short
from trainer.config import catalog, hydra_context
from trainer.rundir import directory as rundir
from trainer.rundir.console import Console
from trainer.search import study as studies
from trainer.search.space import advice, propose, spaces
from trainer.sweep import devices, jobs
from trainer.sweep.display import View
from trainer.sweep.jobs import Job

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


@dataclass(kw_only=True)
class OptunaSweeper(Sweeper):
    """Run `n_trials` settings from the spaces that words give, each proposed by what the ones before came to.

    The study in the database is the only state: the same command with the same hydra.sweep.dir goes on with it, and a run that was
    cut off is resumed. Proposals come from (seed, number of the trial), so that going on changes none.

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
        devices.share(config.hydra.launcher)
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        with exit_on_user_error():
            if not jobs.trains(self.config):
                raise ConfigError(
                    "hydra/sweeper=optuna: searches for settings of a run; task=train is the only task with a score"
                )
            if self.config.sweep.dry_run:
                raise ConfigError(
                    "sweep.dry_run=true: a search does not know its jobs before it runs; leave hydra/sweeper=optuna out to try a grid"
                )
            overrides = OverridesParser.create(self.loader).parse_overrides(arguments)
            known = spaces(overrides)
            with rundir.lock(jobs.made(self.folder)):
                self._search(overrides, known)

    def _search(self, overrides: Sequence[Override], known: Mapping[str, "BaseDistribution"]) -> None:
        study = studies.opened(
            self.storage, self.folder, self.study_name, "minimize" if self.monitor == "loss" else "maximize"
        )
        studies.require_same(study, [override.input_line for override in overrides])
        for line in advice(known):
            Console().print(line)

        def words(trial: "Trial | FrozenTrial") -> list[str]:
            keys = [(override.get_key_element(), override.input_line) for override in overrides]
            return [f"{key}={catalog.as_typed(trial.params[key])}" if key in known else line for key, line in keys]

        jobs.begin(self.folder)
        try:
            ended = [job for words, path in jobs.known(self.folder).items() if (job := Job(words, path)).ended]
            with View(self.folder, max(self.n_trials, len(ended)), ended) as view:
                while batch := self._next(study, known):
                    prepared = [self._prepared(words(trial), known) for trial in batch]
                    first = {}  # of trials with the same settings
                    for job, trial in zip(prepared, batch):
                        first.setdefault(job.directory, (job, trial))
                        if job.ended:
                            view.again(job)
                        elif job.directory not in {other.directory for other in view.jobs}:
                            view.jobs.append(job)
                    launched = [
                        [*job.launched, f"hydra.sweeper.trial={trial._trial_id}"] for job, trial in first.values()
                    ]
                    returns = dict(zip(first, jobs.launched(self.launcher, self.config, launched, batch[0].number)))
                    for job, trial in zip(prepared, batch):
                        studies.tell(study, trial.number, returns[job.directory])
        except BaseException:
            Console().print(
                f"the search has not ended; to go on with it: the same words with hydra.sweep.dir={short(self.folder)}"
            )
            raise
        finally:
            devices.give_back()
            jobs.conclude(self.folder)
        studies.answer(study, self.folder, words, self.monitor)

    def _prepared(self, words: Sequence[str], known: Mapping[str, "BaseDistribution"]) -> Job:
        varying = [word for word in words if word.partition("=")[0] in known]
        return jobs.prepare(
            self.folder,
            words,
            varying,
            lambda name: hydra_context.without_hydra_node(self.loader.load_sweep_config(self.config, list(words))),
        )

    def _next(self, study: "Study", known: Mapping[str, "BaseDistribution"]) -> "list[Trial | FrozenTrial]":
        """Trials of this sweep that a process which died has left, with their settings, then new ones; none when `n_trials` have ended."""
        trials = study.get_trials(deepcopy=False)
        missing = min(self.n_jobs, self.n_trials - sum(trial.state.is_finished() for trial in trials))
        here = [
            trial
            for trial in trials
            if not trial.state.is_finished() and trial.user_attrs.get("sweep") == str(self.folder)
        ]
        batch = [trial for trial in here if {*trial.params} == {*known}][: max(0, missing)]
        while len(batch) < missing:
            trial = study.ask()
            study.sampler = studies.proposing(self.sampler, self.seed, trial.number)  # two machines never have the same
            propose(trial, known)
            trial.set_user_attr("sweep", str(self.folder))
            batch.append(trial)
        return batch
