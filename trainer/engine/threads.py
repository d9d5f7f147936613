"""Number of CPU threads for threads=auto: the fastest on the run's own model, on the machine as busy as it is now."""

import copy
import time
from collections.abc import Callable, Sequence

import torch

from trainer.base.device import ALL_THREADS
from trainer.engine.run import Run

WINDOW = 0.1  # seconds of steps for each number: long enough to meet other busy programs
TOLERANCE = 1.1  # a larger number of threads may take so many times as long: the choice should not depend on noise
LARGEST = 50_000_000  # parameters of a model that is copied to measure on; larger ones take all threads

_chosen: dict[tuple, int] = {}  # by model and batch: jobs of a sweep that are alike measure once


def choose_threads(run: Run) -> int:
    """Return the number of threads with the fastest forward and backward passes of a training batch."""
    if not are_measured(run):
        return ALL_THREADS
    if (key := work_of(run)) not in _chosen:
        candidates = [number for exponent in range(ALL_THREADS.bit_length()) if (number := ALL_THREADS >> exponent)]
        _chosen[key] = fastest(passes(run), candidates)
    return _chosen[key]


def are_measured(run: Run) -> bool:
    """Return whether threads are measured for a run: on a CPU, where there are several."""
    return run.device.type == "cpu" and ALL_THREADS > 1 and not is_large(run)


def is_large(run: Run) -> bool:
    """Return whether a model is too large to be copied for a measurement."""
    return sum(weight.numel() for weight in run.model.parameters()) > LARGEST


def work_of(run: Run) -> tuple:
    """Return the kind and the sizes of the work of a pass, which runs that take as long have in common."""
    shapes = tuple(weight.shape for weight in run.model.parameters())
    return type(run.model), shapes, run.batch_size, run.data.input_shape


def passes(run: Run) -> Callable[[], None]:
    """Return a function that makes one forward and backward pass, on copies of model and loss."""
    model, criterion = copy.deepcopy(run.model).eval(), copy.deepcopy(run.criterion)
    images, targets = run.train.batch(torch.arange(min(run.batch_size, len(run.train))))

    def once() -> None:
        with run.autocast():
            outputs = model(images)
        criterion(outputs.float(), targets).sum().backward()

    return once


def fastest(work: Callable[[], None], candidates: Sequence[int], clock: Callable[[], float] = time.perf_counter) -> int:
    """Return the number of threads with which `work` takes least time, of nearly equal ones the largest, and set it.

    Args:
        candidates: numbers, the largest first.
    """
    seconds = {}
    for number in candidates:
        torch.set_num_threads(number)
        work()  # starts the threads
        start, repeats = clock(), 0
        while not repeats or clock() - start < WINDOW:
            work()
            repeats += 1
        seconds[number] = (clock() - start) / repeats
    least = min(seconds.values())
    chosen = next(number for number in candidates if seconds[number] <= TOLERANCE * least)
    torch.set_num_threads(chosen)
    return chosen
