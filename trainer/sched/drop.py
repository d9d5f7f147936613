"""Learning-rate schedules that hold a rate and then drop it: at set times, or when the validation loss says so."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.base.checks import require
from trainer.base.clock import Clock, parse_length


@dataclass(frozen=True, kw_only=True)
class Step:
    """Drop the rate at regular times (He et al., 2015): multiplier = gamma^floor(t / length).

    Args:
        length: between two drops, a length. ResNet: 30ep of about 100.
        gamma: factor of each drop, in (0, 1]. ResNet: 0.1.
    Errors: ValueError.
    """

    length: str = "30%"
    gamma: float = 0.1

    def __post_init__(self) -> None:
        parse_length(self.length)
        require("in (0, 1]", gamma=self.gamma)

    def __call__(self, now: Clock) -> float:
        return self.gamma ** (now.step // now.steps(self.length))


@dataclass(frozen=True, kw_only=True)
class MultiStep:
    """Drop the rate at given times (He et al., 2015): multiplier = gamma^(number of milestones reached).

    Args:
        milestones: times of the drops, each a length from the start; in any order. ResNet on CIFAR-10: 32,000 and 48,000 of 64,000 updates.
        gamma: factor of each drop, in (0, 1]. ResNet: 0.1.
    Errors: ValueError. Source: arXiv:1512.03385, section 4.2. Differs from the paper: no.
    """

    milestones: Sequence[str] = ("50%", "75%")
    gamma: float = 0.1

    def __post_init__(self) -> None:
        for milestone in self.milestones:
            parse_length(milestone)
        require("in (0, 1]", gamma=self.gamma)

    def __call__(self, now: Clock) -> float:
        return self.gamma ** sum([now.step >= now.steps(milestone) for milestone in self.milestones])


@dataclass(kw_only=True)
class Plateau:
    """Drop the rate when the validation loss has stopped falling; the same rule as torch's ReduceLROnPlateau.

    A loss counts as better when it is below best (1 - threshold). After more than `patience` scorings without a better
    one: multiplier = max(floor, multiplier * factor), and the next `cooldown` scorings do not count.

    Args:
        factor: of each drop, in (0, 1). torch: 0.1.
        patience: scorings without improvement before a drop, >= 0. torch: 10.
        threshold: relative improvement that counts, in [0, 1). torch: 1e-4.
        cooldown: scorings after a drop that do not count, >= 0. torch: 0.
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
        """Take the validation loss of one scoring."""
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
        self._multiplier, self._best, self._bad, self._resting = (
            state[key] for key in ("multiplier", "best", "bad", "resting")
        )
