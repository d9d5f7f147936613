"""Reduction of the learning rate on a plateau: the only schedule with memory."""

import math
from dataclasses import dataclass

from trainer.base.checks import require
from trainer.base.clock import Clock


@dataclass(kw_only=True)
class Plateau:
    """Drop of the rate when the validation loss has stopped falling, by the rule of torch's ReduceLROnPlateau.

    A loss counts as better when it is below best (1 - threshold). After more than `patience` evaluations without a
    better one: multiplier = max(floor, multiplier * factor), and the next `cooldown` evaluations do not count.

    Args:
        factor: of each drop, in (0, 1). torch: 0.1.
        patience: evaluations without improvement before a drop, >= 0. torch: 10.
        threshold: relative improvement that counts, in [0, 1). torch: 1e-4.
        cooldown: evaluations after a drop that do not count, >= 0. torch: 0.
        floor: smallest multiplier, in [0, 1). torch: 0.
    Errors: ValueError.
    """

    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    floor: float = 0.0

    def __post_init__(self) -> None:
        require("in (0, 1)", factor=self.factor)
        require("in [0, 1)", threshold=self.threshold, floor=self.floor)
        require(">= 0", patience=self.patience, cooldown=self.cooldown)
        self._multiplier, self._best, self._bad, self._resting = 1.0, math.inf, 0, 0

    def __call__(self, now: Clock) -> float:
        return self._multiplier

    def observe(self, loss: float) -> None:
        """Take the validation loss of one evaluation."""
        if loss < self._best * (1 - self.threshold):
            self._best, self._bad = loss, 0
        else:
            self._bad += 1
        if self._resting > 0:
            self._resting, self._bad = self._resting - 1, 0
        if self._bad > self.patience:
            self._multiplier = max(self.floor, self._multiplier * self.factor)
            self._resting, self._bad = self.cooldown, 0

    def state_dict(self) -> dict[str, float]:
        return {"multiplier": self._multiplier, "best": self._best, "bad": self._bad, "resting": self._resting}

    def load_state_dict(self, state: dict[str, float]) -> None:
        keys = ("multiplier", "best", "bad", "resting")
        self._multiplier, self._best, self._bad, self._resting = (state[key] for key in keys)
