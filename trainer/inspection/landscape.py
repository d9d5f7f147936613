"""Loss landscape: the training loss on a plane through the space of the weights (Li et al., 2018, arXiv:1712.09913)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.base.rng import derive
from trainer.inspection.objective import Objective, flat, like, restored

MARGIN = 0.25  # of the paths' extent, around them
FLAT = 1e-6  # of the first component: a second one below it is rounding


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A plane through the space of the weights: origin + a x + b y.

    Args:
        origin, x, y: (P,); x and y are at right angles and of length 1, but in a plane of random directions.
        labels: of the two axes.
        unit: whether they are of length 1 and at right angles, so that paths can be projected.
    """

    origin: Tensor
    x: Tensor
    y: Tensor
    labels: tuple[str, str]
    unit: bool = True

    def project(self, weights: Tensor) -> Tensor:
        """Return the coordinates (n, 2) of weights (n, P)."""
        return (weights - self.origin) @ torch.stack([self.x, self.y], 1)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The loss on a grid.

    Args:
        a, b: coordinates of the columns and of the rows.
        loss: (rows, columns); not finite where it overflows.
    """

    a: Tensor
    b: Tensor
    loss: Tensor


def weight_plane(names: Sequence[str]) -> Plane:
    """Return the plane of a model with two weights, whose axes are the weights themselves."""
    one, other = torch.eye(2)
    return Plane(origin=torch.zeros(2), x=one, y=other, labels=(names[0], names[1]))


def path_plane(paths: Sequence[Tensor], seed: int) -> Plane:
    """Return the plane of the first two principal components of all weights on the paths, (n, P) each.

    Source: Li et al., section 7.2. Differs from the paper: the origin is the mean of the weights, and not the end.

    Args:
        seed: of a random second direction, where the paths are on a line.
    """
    points = torch.cat([*paths])
    origin = points.mean(0)
    away = points - origin
    squares, mixes = torch.linalg.eigh((away @ away.T).double())  # (n, n): far smaller than (P, P)
    squares, total = squares.clamp_min(0), squares.clamp_min(0).sum()
    axes: list[Tensor] = []
    labels = []
    for place, which in ((-1, "first"), (-2, "second")):
        known = len(squares) >= -place and squares[place] > FLAT**2 * total
        drawn = mixes[:, place].float() @ away if known else random_direction(len(origin), derive(seed, which))
        for axis in axes:
            drawn = drawn - (drawn @ axis) * axis
        axes.append(drawn / drawn.norm())
        share = f"{float(squares[place] / total):.0%} of the variance of the paths" if known else "random direction"
        labels.append(f"{which} principal component ({share})" if known else share)
    return Plane(origin=origin, x=axes[0], y=axes[1], labels=(labels[0], labels[1]))


def random_plane(objective: Objective, seed: int) -> Plane:
    """Return a plane of two random directions around the weights, filter-normalised (Li et al., section 4).

    Every filter, the weights that enter one unit, has the length of the model's own; biases and norms do not change.
    """
    weights = [weight.detach() for weight in objective.weights]
    drawn = []
    for which in ("x", "y"):
        values = like(random_direction(sum(map(torch.numel, weights)), derive(seed, which)), weights)
        drawn.append(flat([filter_normalized(part.to(weight), weight) for part, weight in zip(values, weights)]).cpu())
    labels = ("first random direction, filter-normalised", "second random direction, filter-normalised")
    return Plane(origin=flat(weights).cpu(), x=drawn[0], y=drawn[1], labels=labels, unit=False)


def filter_normalized(direction: Tensor, weight: Tensor) -> Tensor:
    """Return a direction whose filters have the lengths of the weight's; zeros for biases and norms."""
    if weight.dim() < 2:
        return torch.zeros_like(weight)
    filters, drawn = weight.flatten(1), direction.flatten(1)
    lengths = filters.norm(dim=1, keepdim=True) / drawn.norm(dim=1, keepdim=True).clamp_min(1e-10)
    return (drawn * lengths).view_as(weight)


def random_direction(size: int, seed: int) -> Tensor:
    """Return a standard normal draw (P,)."""
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def window(coordinates: Tensor) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the ranges of the two axes that show all coordinates (n, 2) with a margin."""
    low, high = coordinates.min(0).values, coordinates.max(0).values
    wide = (high - low).max().clamp_min(1e-3)
    margin = MARGIN * torch.maximum(high - low, wide / 5)  # a straight path is drawn in a surface, too
    low, high = (low - margin).tolist(), (high + margin).tolist()
    return (low[0], high[0]), (low[1], high[1])


def surface(objective: Objective, plane: Plane, x: tuple[float, float], y: tuple[float, float], points: int) -> Surface:
    """Return the loss on a grid of points x points. The weights are left as they were.

    Args:
        x, y: ranges of the coordinates.
    """
    a, b = torch.linspace(*x, points), torch.linspace(*y, points)
    with restored(objective.weights):
        rows = [[loss_at(objective, plane.origin + one * plane.x + other * plane.y) for one in a] for other in b]
    return Surface(a=a, b=b, loss=torch.tensor(rows))


def loss_at(objective: Objective, weights: Tensor) -> float:
    """Put weights (P,) into the model, and return the loss."""
    with torch.no_grad():
        for weight, part in zip(objective.weights, like(weights, objective.weights)):
            weight.copy_(part)
    return objective.loss()
