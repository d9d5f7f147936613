"""First-order prediction: the decrease of the loss in one step of gradient descent against lr g . g, by rate."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from trainer.inspection.objective import Objective, Vector, dot, restored

LOW, HIGH = 0.5, 1.5  # ratio of actual to predicted decrease within which the prediction holds
DECADES = (-3, 1)  # of the rates, around the one at which the curvature along the gradient undoes the decrease
BISECTIONS = 12
ROUNDING = 1e-6  # of the loss: a decrease below it is lost in the rounding of float32


@dataclass(frozen=True, kw_only=True)
class RatePoint:
    """One step of gradient descent from the same point.

    Args:
        rate: learning rate.
        predicted: lr g . g.
        actual: the loss before less the loss after the step; not finite where the step overflows.
    """

    rate: float
    predicted: float
    actual: float

    @property
    def ratio(self) -> float:
        """The actual decrease over the predicted one."""
        return self.actual / self.predicted

    @property
    def holds(self) -> bool:
        """True if the actual decrease is between 0.5 and 1.5 times the predicted one."""
        return LOW <= self.ratio <= HIGH


@dataclass(frozen=True, kw_only=True)
class FirstOrder:
    """Reach of the first-order prediction of the loss along the gradient.

    Args:
        points: by rate, ascending.
        limit: the rate at which the ratio leaves [0.5, 1.5]; None where it does not in the range of the rates.
        curvature: g . H g / g . g, along the gradient; None where it cannot be computed.
    """

    points: Sequence[RatePoint]
    limit: float | None
    curvature: float | None


def measure_decrease(objective: Objective) -> FirstOrder | None:
    """Return the decrease of the loss by steps at several rates; None where the gradient is zero, or lost in rounding.

    Second order: ratio = 1 - lr q / 2 with the curvature q along the gradient, which leaves 0.5 at lr = 1 / q.
    Source: Goodfellow et al., "Deep Learning", 2016, section 4.3.1 (eq. 4.9) and 8.2.1.
    """
    gradient = objective.gradient()
    slope = float(dot(gradient, gradient))
    if slope == 0 or not math.isfinite(slope):
        return None
    curvature = along(objective, gradient, slope)
    with restored(objective.weights) as start:
        before = objective.loss()

        def point(rate: float) -> RatePoint:
            with torch.no_grad():
                torch._foreach_copy_(objective.weights, torch._foreach_add(start, gradient, alpha=-rate))
            return RatePoint(rate=rate, predicted=rate * slope, actual=before - objective.loss())

        points = [
            point(rate)
            for rate in rates(1 / abs(curvature) if curvature else 1.0)
            if rate * slope > ROUNDING * abs(before)
        ]
        return FirstOrder(points=points, limit=leaving(points, point), curvature=curvature) if points else None


def along(objective: Objective, gradient: Vector, slope: float) -> float | None:
    """Return the curvature along the gradient; None where the model's gradient cannot be differentiated."""
    try:
        return float(dot(gradient, objective.hessian_times(gradient))) / slope
    except RuntimeError:
        return None


def rates(middle: float) -> Iterator[float]:
    """Yield rates 1, 3, 10, 30 ... times a power of ten around the middle."""
    power = round(math.log10(middle))
    for exponent in range(power + DECADES[0], power + DECADES[1] + 1):
        yield from (10.0**exponent, 3 * 10.0**exponent)


def leaving(points: Sequence[RatePoint], point: Callable[[float], RatePoint]) -> float | None:
    """Return the lowest rate at which the prediction no longer holds; None where it never does, or always does.

    Args:
        points: by rate, ascending.
        point: measures another rate.
    """
    beyond = next((place for place, each in enumerate(points) if not each.holds), None)
    if not beyond:
        return None
    low, high = points[beyond - 1].rate, points[beyond].rate
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if point(middle).holds else (low, middle)
    return math.sqrt(low * high)
