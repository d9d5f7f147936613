"""Stacked, hydra/launcher=stacked: jobs whose networks have equal shapes train at once. No torch here before a job."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from trainer.base.checks import require
from trainer.base.errors import UserError
from trainer.config import hydra_context, private_api
from trainer.config.hydra_context import Invocation
from trainer.sweep.jobs import trains


@dataclass(kw_only=True)
class StackedLauncher(Launcher):
    """Launch jobs that train at once where their settings allow it, and the others in turn.

    Args:
        jobs: that train at once at most, >= 1.
    Errors: ValueError.
    """

    jobs: int = 32

    def __post_init__(self) -> None:
        require(">= 1", jobs=self.jobs)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.in_turn = private_api.basic_launcher()
        self.in_turn.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Return what the jobs return, in their order."""
        self.in_turn.hydra_context = self.hydra_context  # which the grid replaces by one that composes faster
        returned: dict[int, JobReturn] = {}
        for places in self._groups(job_overrides) if trains(self.config) else ():
            returned |= self._train([(place, job_overrides[place]) for place in places])
        for place, overrides in enumerate(job_overrides):
            if place not in returned:
                (returned[place],) = self.in_turn.launch([overrides], initial_job_idx=initial_job_idx + place)
        return [returned[place] for place in range(len(job_overrides))]

    def _groups(self, job_overrides: Sequence[Sequence[str]]) -> Iterator[list[int]]:
        """Yield places of jobs that may train at once, at least two and at most `jobs`; print why others may not."""
        from trainer.stacked import groups

        alike: dict[str, list[int]] = {}
        refused: dict[str, int] = {}
        for place, overrides in enumerate(job_overrides):
            try:
                cfg = groups.settings_of_job(*self._compose(overrides))
            except UserError:
                continue  # the job alone fails with it, as in turn
            if reasons := [*groups.refusals_of_settings(cfg)]:
                groups.count(refused, ["; ".join(reasons)], 1)
            else:
                alike.setdefault(groups.key_of(cfg), []).append(place)
        groups.count(refused, [groups.ALONE], sum(len(places) == 1 for places in alike.values()))
        groups.print_refusals(refused)
        for places in alike.values():
            parts = -(-len(places) // self.jobs)
            for part in range(parts):
                if len(own := places[part::parts]) > 1:
                    yield own

    def _train(self, jobs: Sequence[tuple[int, Sequence[str]]]) -> dict[int, JobReturn]:
        from trainer.stacked.jobs import run_jobs

        scores = run_jobs([self._compose(overrides) for _, overrides in jobs])
        return {
            place: JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=score)
            for (place, overrides), score in zip(jobs, scores)
        }

    def _compose(self, overrides: Sequence[str]) -> tuple[DictConfig, Invocation]:
        composed = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        return hydra_context.without_hydra_node(composed), hydra_context.invocation_of(composed.hydra)
