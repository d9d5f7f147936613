"""Monomials of features, standardised: fitted once and applied on any device."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainer.base.statistics import without_constants

BLOCK = 2**22  # values computed at once


def count_monomials(features: int, degree: int) -> int:
    """Return the number of monomials of degree 1 to `degree` in so many features."""
    return math.comb(features + degree, degree) - 1


def steps(features: int, degree: int) -> list[tuple[Tensor, Tensor]]:
    """Return for each degree from 2 on the monomials of the degree below, and the features they are multiplied by.

    A monomial whose last feature is x_l has the children m x_l, m x_(l+1), ..., in this order: all monomials come in
    the order of itertools.combinations_with_replacement.
    """
    found, last = [], torch.arange(features)
    for _ in range(degree - 1):
        children = features - last
        parents = torch.repeat_interleave(torch.arange(len(last)), children)
        first = children.cumsum(0) - children  # place of each parent's first child
        factors = torch.arange(len(parents)) - first[parents] + last[parents]
        found.append((parents, factors))
        last = factors
    return found


@dataclass(frozen=True)
class Monomials:
    """Products of features, standardised: y = (m(x / largest) - mean) / deviation.

    The features are divided by their largest sizes, so that no power overflows; the standardisation undoes that. All is
    computed in float64 where the device has it, as powers beside a large mean differ in late digits only.

    Args:
        constants: largest (1, D) of each feature, mean (1, F) and deviation (1, F) of the products.
        steps: of each degree from 2 on, as `steps` gives them.
        shape: of a sample.
    Shapes: (B, *shape) -> (B, F).
    """

    constants: tuple[Tensor, Tensor, Tensor]
    steps: list[tuple[Tensor, Tensor]]
    shape: tuple[int, ...]
    on_device: dict = field(default_factory=dict, repr=False, compare=False)  # constants and steps, by device

    def __call__(self, images: Tensor) -> Tensor:
        if torch.compiler.is_exporting():  # a graph has one block, whatever the number of samples
            return self.products(images.flatten(1)).float()
        return torch.cat([part.float() for part in self.in_blocks(images)])

    def invert(self, values: Tensor) -> Tensor:
        (largest, mean, deviation), _ = self._on(values.device)
        features = (values * deviation + mean)[:, : largest.shape[1]] * largest  # the first monomials
        return features.float().view(len(values), *self.shape)

    def in_blocks(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the standardised products of some samples after others, about BLOCK values at a time."""
        count = self.constants[1].shape[1]
        for part in images.flatten(1).split(max(1, BLOCK // count)):
            yield self.products(part)

    def products(self, features: Tensor) -> Tensor:
        """Return the standardised products (B, F) of flat features (B, D)."""
        (largest, mean, deviation), indices = self._on(features.device)
        unit = 255 if features.dtype == torch.uint8 else 1
        degrees = [features.to(largest.dtype) / (largest * unit)]
        for parents, factors in indices:
            degrees.append(degrees[-1][:, parents] * degrees[0][:, factors])
        return torch.cat(degrees, 1).sub_(mean).div_(deviation)

    def _on(self, device: torch.device) -> tuple[tuple[Tensor, Tensor, Tensor], list[tuple[Tensor, Tensor]]]:
        if device not in self.on_device:
            exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
            constants = tuple(constant.to(device, exact) for constant in self.constants)
            self.on_device[device] = constants, [(one.to(device), two.to(device)) for one, two in self.steps]
        return self.on_device[device]


def fit_monomials(images: Tensor, degree: int) -> Monomials:
    """Return the monomials of samples (N, ...) up to a degree, standardised by their means and biased deviations.

    The deviation of a constant counts as 1.
    """
    flat = images.flatten(1)
    extremes = torch.stack([flat.amax(0), flat.amin(0)]).cpu().double() / (255 if images.dtype == torch.uint8 else 1)
    largest = extremes.abs().amax(0, keepdim=True)
    largest = torch.where(largest > 0, largest, 1.0)
    mean, deviation = torch.zeros(1, count_monomials(flat.shape[1], degree)), torch.ones(())
    products = Monomials((largest, mean, deviation), steps(flat.shape[1], degree), tuple(images.shape[1:]))
    mean = sum(part.sum(0, keepdim=True) for part in products.in_blocks(images)) / len(images)
    square = sum((part - mean).square_().sum(0, keepdim=True) for part in products.in_blocks(images))
    deviation = (square / len(images)).sqrt_()
    return Monomials((largest, mean, without_constants(deviation, mean)), products.steps, products.shape)
