"""Preprocessings of one's own."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Robust:
    """y = (x - median) / (range between two quantiles), over all values of the training samples."""

    fraction: float = 0.5

    def fit(self, images: Tensor) -> "Shifted":
        values = as_floats(images).flatten()[:1_000_000]
        low, middle, high = (values.quantile(q).item() for q in (0.5 - self.fraction / 2, 0.5, 0.5 + self.fraction / 2))
        return Shifted(middle=middle, width=high - low or 1.0)


@dataclass(frozen=True, kw_only=True)
class Shifted:
    """What `fit` returns maps any batch of samples; `invert` maps it back."""

    middle: float
    width: float

    def __call__(self, images: Tensor) -> Tensor:
        return (as_floats(images) - self.middle) / self.width

    def invert(self, values: Tensor) -> Tensor:
        return values * self.width + self.middle


def as_floats(images: Tensor) -> Tensor:
    """Return bytes as floats in [0, 1], and floats as they are."""
    return images if images.is_floating_point() else images.float() / 255
