"""Time of a run: the step, epoch and progress that schedules and regularisers are functions of."""

import math
import re
from typing import NamedTuple

LENGTH = re.compile(r"(\d+(?:\.\d+)?)(ep|st|%)")


class Clock(NamedTuple):
    """Time of one optimizer step, in steps, epochs and as a fraction of the run.

    Args:
        total_steps: optimizer steps in the run, >= 0.
        steps_per_epoch: optimizer steps in one pass over the training split, >= 1.
        step: steps done before this one, from 0.
        lr: learning rate of the first parameter group in this step.
    """

    total_steps: int
    steps_per_epoch: int
    step: int = 0
    lr: float = 0.0

    @property
    def epoch(self) -> int:
        """Whole epochs done, from 0."""
        return self.step // self.steps_per_epoch

    @property
    def epochs(self) -> float:
        """Epochs done, with a fraction within one."""
        return self.step / self.steps_per_epoch

    @property
    def progress(self) -> float:
        """Fraction of the run done before this step, in [0, 1]."""
        return self.step / max(self.total_steps, 1)

    @property
    def total_epochs(self) -> float:
        """Epochs in the run, with a fraction where it ends within one."""
        return self.total_steps / self.steps_per_epoch

    def at(self, step: int, lr: float = 0.0) -> "Clock":
        """Return the clock of another step of the same run."""
        return Clock(self.total_steps, self.steps_per_epoch, step, lr)

    def steps(self, length: str) -> int:
        """Return a length (`30ep`, `5000st`, or `5%` of the run) in steps, rounded to the nearest and at least 1."""
        number, unit = parse_length(length)
        one = {"ep": self.steps_per_epoch, "st": 1, "%": self.total_steps / 100}[unit]
        return max(1, math.floor(number * one + 0.5))


def nearly_ends(now: Clock, since: float, length: float) -> bool:
    """Return whether a step is the last one of a cycle, which has begun `since` steps before it.

    The last step of a run ends a cycle that lacks less than a tenth: lengths in percent are rounded.
    """
    left = length - since - 1  # below 0 in the step behind which a cycle of a broken length ends
    return left <= 0 or (now.step + 1 == now.total_steps and left < length / 10)


def steps_of(epochs: int | str) -> int | None:
    """Return N of `epochs=Nst`; None where epochs are counted."""
    return int(epochs.removesuffix("st")) if isinstance(epochs, str) else None


def parse_length(length: str) -> tuple[float, str]:
    """Split a length into number and unit. Errors: ValueError on anything else."""
    match = LENGTH.fullmatch(str(length))
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"a length must be a number with a unit, such as 30ep, 5000st or 5%, got {length}")
    return float(match[1]), match[2]
