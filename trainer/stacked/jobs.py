"""Jobs of a sweep that train at once: each begins and ends by the same functions as one that runs alone."""

from collections.abc import Sequence
from contextlib import ExitStack

from omegaconf import DictConfig

from trainer.base.device import out_of_memory
from trainer.base.errors import MachineError
from trainer.base.text import counted
from trainer.config.hydra_context import Invocation
from trainer.engine import loop
from trainer.engine.run import Outcome, Run
from trainer.engine.session import Session
from trainer.engine.training import Fit
from trainer.rundir import reader
from trainer.rundir.console import Console
from trainer.stacked.fit import Member, train_until_one_ends
from trainer.stacked.groups import ALONE, count, print_refusals, refusal_of_network, refusals, structure_of
from trainer.sweep import devices, launch
from trainer.task.execution import made_task


class StackedJob:
    """A job, with its directory locked from its beginning to its end.

    Args:
        cfg: as the launcher composes it.
    """

    def __init__(self, cfg: DictConfig, invocation: Invocation) -> None:
        self.cfg, self.invocation = cfg, invocation
        self.score: float | None = None
        self.seconds = 0.0  # that its beginning took
        self.session: Session | None = None
        self.contexts = ExitStack()

    @property
    def run(self) -> Run:
        """The run, once it is built."""
        return self.session.run

    def begin(self, device: str, like: Run | None) -> bool:
        """Build the run, or find its end; return whether it is to be trained. An error is noted in its directory.

        Args:
            like: a run with the same samples; None for the first.
        """
        directory = launch.find_or_prepare(self.cfg, self.invocation).directory
        if summary := reader.completed_summary(directory):
            self.score = reader.best_score(summary, self.cfg.monitor)
            return False
        if (self.invocation.sweep / launch.STOP).exists():
            return False
        with ExitStack() as contexts:
            contexts.enter_context(launch.noting_failure(self.cfg, self.invocation, directory))
            own = launch.saved_config(self.cfg, directory)
            own.device = device
            task, own, self.invocation = contexts.enter_context(made_task(own, self.invocation))
            begun = contexts.enter_context(task.begun(own, self.invocation, like))
            if not isinstance(begun, Session):
                self.score = begun.execute()
                return False
            begun.begin()
            self.session, self.contexts = begun, contexts.pop_all()
            self.seconds = begun.recorder.seconds
        return self.session is not None

    def finish(self, fit: Fit = loop.fit) -> None:
        """Train the run, or take the training that `fit` knows of, and evaluate. Errors: SystemExit after a signal."""
        with self.contexts:
            self.score = self.session.execute(fit)


def run_jobs(composed: Sequence[tuple[DictConfig, Invocation]]) -> list[float | None]:
    """Run jobs with one `key_of`: return their scores; print each reason for which some of them train alone.

    Errors: SystemExit after a signal.
    """
    jobs = [StackedJob(*one) for one in composed]
    cfg, invocation = composed[0]
    with devices.reserve(invocation.sweep, cfg.device) as device, ExitStack() as contexts:
        like, ready = None, []
        for job in jobs:
            if job.begin(device, like):
                contexts.push(job.contexts)
                like = like or job.run
                ready.append(job)
        refused: dict[str, int] = {}
        together, alone = partition(ready, refused)
        print_refusals(refused)
        for group in together:
            train(group)
        for job in alone:
            job.session.recorder.seconds = job.seconds  # without those that it has waited for the others
            job.finish()
    return [job.score for job in jobs]


def partition(jobs: Sequence[StackedJob], refused: dict[str, int]) -> tuple[list[list[StackedJob]], list[StackedJob]]:
    """Return the groups of jobs that train at once, and the jobs that train alone, for reasons that are counted."""
    alone, alike = [], {}
    for job in jobs:
        if reasons := [*refusals(job.run, job.invocation)]:
            alone.append(job)
            count(refused, reasons, 1)
        else:
            alike.setdefault(structure_of(job.run), []).append(job)
    together = []
    for group in alike.values():
        reason = ALONE if len(group) == 1 else None
        if reason := reason or refusal_of_network([job.run for job in group]):
            alone.extend(group)
            count(refused, [reason], len(group))
        else:
            together.append(group)
    return together, alone


def train(jobs: Sequence[StackedJob]) -> None:
    """Train jobs at once; each ends when it is done. Errors: SystemExit after a signal, when all have ended."""
    Console().print(f"{counted('job', len(jobs))} train at once")
    members = {Member(job.session.training): job for job in jobs}
    interrupted: list[SystemExit] = []
    while members:
        try:
            ended = train_until_one_ends([*members])
        except Exception as error:
            ended = [*members]
            for member in ended:
                member.error = too_many(len(members)) if out_of_memory(error) else error
        for member in ended:
            try:
                members.pop(member).finish(trained(member))
            except SystemExit as end:
                interrupted.append(end)
    if interrupted:
        raise interrupted[0]


def trained(member: Member) -> Fit:
    """Return what gives the outcome of a training that is over in place of training, or raises its error."""

    def fit(*arguments: object) -> Outcome:
        if member.error:
            raise member.error
        return member.outcome

    return fit


def too_many(jobs: int) -> MachineError:
    """Return the error of jobs that do not fit into memory at once."""
    what = f"{jobs} jobs at once do not fit into memory"
    return MachineError(f"hydra/launcher=stacked: {what}; try hydra.launcher.jobs={max(1, jobs // 2)}")
