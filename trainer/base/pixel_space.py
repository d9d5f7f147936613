"""Augmentations of colours, run on pixels in [0, 1]: their strength does not depend on the preprocessing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from torch import Tensor

from trainer.base.checks import require_images
from trainer.base.clock import Clock
from trainer.base.protocols import ChangesPixels, Invertible, UsesClock


@dataclass(frozen=True, kw_only=True)
class PixelSpace:
    """Augmentations in a row between the inverse of the preprocessing and the preprocessing.

    Args:
        transforms: each (images, targets, rng) -> (images, targets), of images in [0, 1].
        apply: the fitted preprocessing, which can be undone.
    Shapes: images (B, C, H, W). Errors: ValueError on other shapes.
    """

    transforms: Sequence[Callable]
    apply: Invertible

    def begin(self, now: Clock) -> None:
        """Pass the time on, before each step."""
        for transform in self.transforms:
            if isinstance(transform, UsesClock):
                transform.begin(now)

    def __call__(self, images: Tensor, targets: Tensor, rng) -> tuple[Tensor, Tensor]:
        require_images(images)
        pixels = self.apply.invert(images)
        for transform in self.transforms:
            pixels, targets = transform(pixels, targets, rng)
        return self.apply(pixels), targets


def changes_pixels(transform: object) -> bool:
    """Return whether an augmentation asks for images in [0, 1]."""
    return isinstance(transform, ChangesPixels) and transform.on_pixels


def fuse_pixel_spaces(transforms: Sequence[Callable]) -> list[Callable]:
    """Let two or more augmentations of pixels in a row share one inverse of the preprocessing."""
    fused = []
    for in_pixels, neighbours in groupby(transforms, lambda one: isinstance(one, PixelSpace)):
        row = list(neighbours)
        if in_pixels and len(row) > 1:
            row = [PixelSpace(transforms=[part for one in row for part in one.transforms], apply=row[0].apply)]
        fused += row
    return fused
