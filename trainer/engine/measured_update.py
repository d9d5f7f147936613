"""Time of compiled steps: that of compiling, and of a step with and without, from which the run says when it pays."""

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainer.base.layers import common_rate
from trainer.base.rng import preserved_generators
from trainer.engine.graphs import full_batch
from trainer.engine.run import Run
from trainer.engine.threads import is_large
from trainer.rundir.console import Console
from trainer.rundir.recorder import Recorder

STEPS = 20  # that are measured, of the usual ones at most for so many SECONDS
SECONDS = 1.0
LEAST = 3  # steps of a measurement

Step = Callable[..., tuple]


class MeasuredUpdate:
    """The steps of a run, of which the first ones are timed: usual ones on copies, then the run's own.

    Args:
        make: makes the steps of a run: `Update` of engine/loop.py.
        step: of this run.
        console: gets the line on what compiling costs and saves.
    """

    def __init__(self, make: Callable[[Run, None], Step], step: Step, run: Run, console: Console) -> None:
        self.step, self.run, self.console, self.weights = step, run, console, step.weights
        self._seconds: list[float] = []
        self._told = False
        run.compiling.eager_step = seconds_without(make, run)

    def __call__(self, now, indices: Sequence[Tensor], batch: list, log: bool) -> tuple:
        """Make a step; see `Update`."""
        if self._told:
            return self.step(now, indices, batch, log)
        full = sum(len(targets) for _, targets in batch) == full_batch(self.run) * self.run.accumulate
        wait_for(self.run.device)  # host sync, in the first steps alone
        start = time.perf_counter()
        made = self.step(now, indices, batch, log)
        wait_for(self.run.device)  # host sync
        if full:
            self._note(time.perf_counter() - start)
        if len(self._seconds) > STEPS or now.step + 1 == self.run.clock.total_steps:
            self._tell()
        return made

    def _note(self, seconds: float) -> None:
        compiling, self._seconds = self.run.compiling, [*self._seconds, seconds]
        first, *others = self._seconds
        compiling.seconds = first
        if len(others) >= LEAST:
            compiling.compiled_step = statistics.median(others)

    def _tell(self) -> None:
        compiling, self._told = self.run.compiling, True
        self.console.print(compiling.describe(self.run.clock.total_steps))
        for why in compiling.left_out:
            self.console.print(f"note: compile={compiling.part} leaves out {why}")


def timed(make: Callable[[Run, Recorder | None], Step], run: Run, recorder: Recorder, console: Console) -> Step:
    """Return the steps of a run, as `make` makes them; timed where they are compiled."""
    step = make(run, recorder)
    return step if run.compiling is None else MeasuredUpdate(make, step, run, console)


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_without(make: Callable[[Run, None], Step], run: Run) -> float | None:
    """Return the median seconds of a step that is not compiled, on copies; None where they cannot be made."""
    if is_large(run):
        return None
    copies: dict[int, object] = {}
    try:
        optimizer = copy_of_optimizer(run.optimizer, copies)
        others = (run.model, run.slots, run.aug, run.averaging, run.criterion)
        model, slots, aug, averaging, criterion = copy.deepcopy(others, copies)
    except (RuntimeError, TypeError, ValueError):  # a class that cannot be copied
        return None
    copied = replace(run, model=model, forward=model, optimizer=optimizer, slots=slots, aug=aug)
    copied = replace(copied, averaging=averaging, criterion=criterion, compiling=None)
    size = full_batch(run)
    indices = [torch.arange(size, device=run.device)] * run.accumulate
    batch = [run.train.batch(some) for some in indices]
    now, samples = run.clock.at(0, common_rate(optimizer)), []
    with preserved_generators(run.device):
        step = make(copied, None)
        model.train()
        while len(samples) <= LEAST or (len(samples) <= STEPS and sum(samples) < SECONDS):
            wait_for(run.device)
            start = time.perf_counter()
            step(now, indices, batch, log=False)
            wait_for(run.device)
            samples.append(time.perf_counter() - start)
    return statistics.median(samples[1:])


def copy_of_optimizer(optimizer: Optimizer, copies: dict[int, object]) -> Optimizer:
    """Return a copy with all attributes, of which torch's own way to copy leaves those of subclasses out.

    Args:
        copies: copies made so far by the `id` of what they are of, for `copy.deepcopy`.
    """
    if id(optimizer) not in copies:
        made = copies[id(optimizer)] = object.__new__(type(optimizer))
        for inner in vars(optimizer).values():
            if isinstance(inner, Optimizer):
                copy_of_optimizer(inner, copies)
        vars(made).update(copy.deepcopy(vars(optimizer), copies))
    return copies[id(optimizer)]
