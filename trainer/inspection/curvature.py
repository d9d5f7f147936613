"""Curvature of the training loss: largest eigenvalue, largest stable learning rate, spectrum, condition number."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.base.rng import derive
from trainer.engine.run import Run
from trainer.inspection.objective import Batch, Objective, Vector, flat, in_double, like, measuring, norm, random_unit

MOST_PARAMETERS = 1000  # of a model whose whole Hessian is computed
MOST_ITERATIONS = 200
ACCURACY = 2e-3  # of the eigenvalue: size of the residual at which it is found
DEPENDENT = 1e-4  # part of a vector that must be left without the others
FLAT = {torch.float64: 1e-12, torch.float32: 1e-6}  # of the largest eigenvalue: what is below is zero by rounding
INEXACT = 1e-4  # the same, of differences of gradients


@dataclass(frozen=True, kw_only=True)
class Curvature:
    """Curvature of a loss at a point.

    Args:
        largest: the largest eigenvalue L of the Hessian; a lower bound where it has not converged.
        iterations: of the power iteration, 0 for the whole spectrum.
        converged: whether the eigenvalue has stopped changing.
        exact: whether the gradient could be differentiated; else the Hessian is one of differences of gradients.
        spectrum: all eigenvalues, ascending; None where there are too many.
        flat: those whose size is rounding, directions in which the loss is flat.
    """

    largest: float
    iterations: int = 0
    converged: bool = True
    exact: bool = True
    spectrum: Tensor | None = None
    flat: int = 0

    @property
    def stable_rate(self) -> float | None:
        """The largest learning rate 2 / L at which gradient descent does not grow along any direction of a quadratic.

        None where the loss curves upwards nowhere.
        """
        return 2 / self.largest if self.largest > 0 else None

    @property
    def curved(self) -> Tensor:
        """The eigenvalues that are not flat, ascending."""
        order = self.spectrum.abs().argsort()[self.flat :]
        return self.spectrum[order].sort().values

    @property
    def negative(self) -> int:
        """The number of directions in which the loss curves downwards."""
        return int((self.curved < 0).sum())

    @property
    def condition(self) -> float | None:
        """The ratio of the largest eigenvalue to the smallest one in size, flat directions left out."""
        sizes = self.curved.abs()
        return float(sizes.max() / sizes.min()) if len(sizes) else None


def spectrum(objective: Objective, seconds: float) -> Curvature:
    """Return the curvature from the whole Hessian, of models with few parameters. Errors: TimeoutError."""
    hessian = objective.hessian(seconds)
    values = torch.linalg.eigvalsh(hessian)
    limit = (FLAT[hessian.dtype] if objective.exact else INEXACT) * values.abs().max()
    flat_ones = int((values.abs() <= limit).sum())
    return Curvature(largest=float(values[-1]), exact=objective.exact, spectrum=values, flat=flat_ones)


def measure_curvature(run: Run, batches: Sequence[Batch], seconds: float) -> Curvature:
    """Return the curvature of a run's training loss: the whole spectrum of up to 1000 parameters, else the largest.

    The spectrum is computed in float64, where a copy of the model can be: it spans many orders of magnitude.
    """
    objective = Objective(run, batches)
    if sum(weight.numel() for weight in objective.weights) <= MOST_PARAMETERS:
        try:
            doubled, copies = in_double(run, batches)
            with measuring(doubled):
                return spectrum(Objective(doubled, copies), seconds)
        except TimeoutError:
            pass
        except RuntimeError:  # it makes tensors of its own in float32
            return spectrum(objective, seconds)
    return largest_eigenvalue(objective, first_direction(objective, run.seed), seconds)


def first_direction(objective: Objective, seed: int) -> Vector:
    """Return the direction of the gradient, which lies mostly where the loss is curved, with a tenth at random."""
    gradient, drawn = objective.gradient(), random_unit(objective.weights, derive(seed, "curvature"))
    length = norm(gradient)
    return list(torch._foreach_add(gradient, drawn, alpha=length / 10)) if 0 < length < math.inf else drawn


def largest_eigenvalue(objective: Objective, start: Vector, seconds: float) -> Curvature:
    """Return the curvature by power iteration with Hessian-vector products, accelerated as conjugate gradients are.

    v <- the vector of the largest L = v . H v in the span of v, of the residual H v - L v and of the step before. It
    ends once |H v - L v| <= 0.2 % of L: H has an eigenvalue that close to L.

    Args:
        start: first direction, of any length but 0.
        seconds: time limit.
    Source: Knyazev, 2001, SIAM J. Sci. Comput. 23(2) (LOBPCG with one vector).
    """
    end, weights = time.monotonic() + seconds, objective.weights

    def times(vector: Tensor) -> Tensor:
        return flat(objective.hessian_times(like(vector, weights)))

    vector = flat(start)
    vector = vector / vector.norm()
    basis, products = [vector], [times(vector)]
    for count in range(1, MOST_ITERATIONS + 1):
        values, mixes = torch.linalg.eigh(inner(basis, products))
        value, mix = float(values[-1]), mixes[:, -1].to(vector)  # host sync
        step = combined(basis[1:], mix[1:]), combined(products[1:], mix[1:])
        vector, product = combined(basis, mix), combined(products, mix)
        residual = product - value * vector
        close = float(residual.norm()) <= ACCURACY * abs(value)  # host sync
        if close or not math.isfinite(value) or time.monotonic() > end:
            return Curvature(largest=value, iterations=count, converged=close, exact=objective.exact)
        basis, products = orthonormal(
            [(vector, product), (residual, times(residual)), *([step] if step[0] is not None else [])]
        )
    return Curvature(largest=value, iterations=count, converged=False, exact=objective.exact)


def inner(basis: Sequence[Tensor], products: Sequence[Tensor]) -> Tensor:
    """Return the matrix of a Hessian in a basis, on the CPU in float64."""
    rows = torch.stack([torch.stack([torch.dot(one, other) for other in products]) for one in basis]).cpu().double()
    return (rows + rows.T) / 2


def combined(vectors: Sequence[Tensor], factors: Tensor) -> Tensor | None:
    """Return the sum of vectors times factors; None for no vectors."""
    return sum(vector * factor for vector, factor in zip(vectors, factors)) if vectors else None


def orthonormal(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """Return vectors of length 1 at right angles to one another, and their products, without what depends on others.

    Args:
        pairs: of a vector and its product, the first of length 1.
    """
    basis, products = [], []
    for vector, product in pairs:
        length = vector.norm()
        for _ in range(2):  # once is not enough in float32
            for one, of_one in zip(basis, products):
                overlap = torch.dot(one, vector)
                vector, product = vector - overlap * one, product - overlap * of_one
        rest = vector.norm()
        if rest > DEPENDENT * length:  # host sync
            basis.append(vector / rest)
            products.append(product / rest)
    return basis, products
