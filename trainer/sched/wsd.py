"""Warm-up, stable phase and decay: a constant rate that falls at the end of the run."""

import math
from dataclasses import dataclass

from trainer.base.checks import require, require_one_of
from trainer.base.clock import Clock, parse_length
from trainer.sched.decay import above, half_cosine

SHAPES = {"linear": lambda x: 1 - x, "sqrt": lambda x: 1 - math.sqrt(x), "cosine": half_cosine}


@dataclass(frozen=True, kw_only=True)
class Wsd:
    """WSD, warm-up, stable, decay: the full rate, then a decay to the end of the run (Hu et al., 2024).

    multiplier = 1 before step T - L, then floor + (1 - floor) f(x) with x = (t - (T - L)) / L and
        f(x) = 1 - x (linear), 1 - sqrt(x) (sqrt), (1 + cos(pi x)) / 2 (cosine)
    The warm-up is an option of its own, warmup=linear. A decay longer than the run takes the whole run.

    Args:
        length: L, of the decay, a length. Hägele et al.: 20%; Hu et al.: 10%.
        shape: linear, sqrt or cosine. Hägele et al.: sqrt.
        floor: multiplier at t = T, a step behind the last, in [0, 1). Hägele et al.: 0.
    Errors: ValueError. Source: arXiv:2404.06395; arXiv:2405.18392 (Hägele et al., 2024), which compares the curves.
    Differs from the papers: Hu et al. decay by an exponential, which does not reach 0.
    """

    length: str = "20%"
    shape: str = "sqrt"
    floor: float = 0.0

    def __post_init__(self) -> None:
        parse_length(self.length)
        require_one_of(*SHAPES, shape=self.shape)
        require("in [0, 1)", floor=self.floor)

    def __call__(self, now: Clock) -> float:
        length = min(now.steps(self.length), now.total_steps)
        begun = now.step - (now.total_steps - length)
        return 1.0 if begun <= 0 else above(self.floor, SHAPES[self.shape](begun / length))
