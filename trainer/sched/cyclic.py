"""Cyclic learning rates: schedules that rise again, or rise first."""

from dataclasses import dataclass

from trainer.base.checks import require
from trainer.base.clock import Clock, nearly_ends, parse_length
from trainer.sched.decay import above, half_cosine


@dataclass(frozen=True, kw_only=True)
class CosineRestarts:
    """Cosine annealing with warm restarts, SGDR (Loshchilov & Hutter, 2017): half cosines, each from the full rate.

    multiplier = floor + (1 - floor) (1 + cos(pi T_cur / T_i)) / 2, with T_cur the steps since the last restart and
    T_i = T_0 T_mult^i. The last cycle is complete where whole cycles fill the run: with T_0 = 10ep and T_mult = 2, runs
    of 10, 30, 70 and 150 epochs.

    Args:
        length: T_0, of the first cycle, a length. Paper: 10ep (of 1, 10, 50, 100 and 200 tried).
        growth: T_mult, length of each cycle over that of the one before, >= 1. Paper: 2 (of 1 and 2 tried).
        floor: multiplier at T_cur = T_i, the step of the restart, in [0, 1): the step before is the lowest. Paper: 0.
    Errors: ValueError. Source: arXiv:1608.03983, eq. (5). Differs from the paper: no.
    """

    length: str = "10ep"
    growth: float = 2.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        parse_length(self.length)
        require(">= 1", growth=self.growth)
        require("in [0, 1)", floor=self.floor)

    def __call__(self, now: Clock) -> float:
        since_restart, cycle = self._place(now)
        return above(self.floor, half_cosine(since_restart / cycle))

    def ends_cycle(self, now: Clock) -> bool:
        """Return whether the next step is a restart, or the run ends with a whole cycle."""
        return nearly_ends(now, *self._place(now))

    def _place(self, now: Clock) -> tuple[float, float]:
        """Return T_cur and T_i, in steps."""
        since_restart, cycle = now.step, now.steps(self.length)
        if self.growth == 1:
            since_restart %= cycle
        while since_restart >= cycle:
            since_restart, cycle = since_restart - cycle, cycle * self.growth
        return since_restart, cycle


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """1cycle policy (Smith, 2018): up to the peak, down again, and far below, in three straight lines.

    The multiplier goes through (0, 1 / div), (L, 1), (2 L, 1 / div) and (T - 1, 1 / (div final_div)), its last step, as
    torch's: the optimizer's lr is the peak. It is the only schedule that starts below 1, at 1 / div, and so needs no
    warm-up. A run shorter than 2 L ends on the way down.

    Args:
        length: L, of the rise, and of the fall, a length. The cycle must be shorter than the run; 45% leaves 10%.
        div: peak over first rate, >= 1. torch: 25.
        final_div: first rate over that of the last step, >= 1; "several orders of magnitude" in the paper. torch: 1e4.
    Errors: ValueError. Source: arXiv:1803.09820, section 4.1. Differs from the paper: the momentum stays as it is.
    """

    length: str = "45%"
    div: float = 25.0
    final_div: float = 1e4

    def __post_init__(self) -> None:
        parse_length(self.length)
        require(">= 1", div=self.div, final_div=self.final_div)

    def __call__(self, now: Clock) -> float:
        rise, low, last = now.steps(self.length), 1 / self.div, now.total_steps - 1
        if 2 * rise > now.total_steps or now.step < min(2 * rise, last):
            return above(low, 1 - abs(now.step - rise) / rise)
        left = (last - now.step) / max(last - 2 * rise, 1)
        return low * above(1 / self.final_div, left)
