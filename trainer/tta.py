"""Test-time views: `(model, images) -> outputs (V, B, K)`, the model's outputs on V views of images as the preprocessing leaves them.

The model is in evaluation mode and stays there, batch norms use their running statistics; the caller turns gradients off.
`average` makes one prediction of the views.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.base.checks import require, require_images, require_one_of

SMALL = 64  # pixels: the longer side up to which method=auto is pad
DROPPING = (
    "Drop",
    "StochasticDepth",
    "SurvivingResidual",
)  # in the names of classes that leave something out in training


def average(outputs: Tensor, task: str) -> Tensor:
    """The prediction that the views (V, B, K) make together, as outputs (B, K) of one model; a single view's are left as they are.

    classification: log of the mean of softmax(o), so that its softmax is the mean probability.
    binary: the logit of the mean of sigmoid(o). regression: the mean of o.
    """
    views = len(outputs)
    if views == 1:
        return outputs[0]
    if task == "classification":
        return outputs.log_softmax(2).logsumexp(0) - math.log(views)
    if task == "binary":
        return F.logsigmoid(outputs).logsumexp(0) - F.logsigmoid(-outputs).logsumexp(0)
    return outputs.mean(0)


def look(model: nn.Module, views: Sequence[Tensor]) -> Tensor:
    """The outputs (V, B, K) on each of the views."""
    return torch.stack([model(view) for view in views])


def mirrored(views: Sequence[Tensor]) -> list[Tensor]:
    """The views, then the same from right to left."""
    return [*views, *(view.flip(3) for view in views)]


def windows(images: Tensor, height: int, width: int) -> list[Tensor]:
    """Top left, top right, bottom left, bottom right and centre of the images, each (B, C, height, width); zeros where an image ends."""
    down, across = (
        images.shape[2] - height,
        images.shape[3] - width,
    )  # how far a window can move; below zero an image moves in it
    places = [(0, 0), (0, across), (down, 0), (down, across), (down // 2, across // 2)]
    return [F.pad(images, (-left, left - across, -top, top - down)) for top, left in places]


def scaled(images: Tensor, height: int, width: int) -> Tensor:
    """The images at another size, at least 1 x 1, without aliasing where it is smaller."""
    size = (max(1, height), max(1, width))
    return (
        images
        if size == images.shape[2:]
        else F.interpolate(images, size, mode="bilinear", antialias=height < images.shape[2])
    )


@contextmanager
def switched_on(modules: Sequence[nn.Module], attribute: str) -> Iterator[None]:
    """Modules with an attribute at True, which is put back: only theirs, not that of modules within."""
    before = [getattr(module, attribute) for module in modules]
    try:
        for module in modules:
            setattr(module, attribute, True)
        yield
    finally:
        for module, value in zip(modules, before):
            setattr(module, attribute, value)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The images as they are: one view."""

    def __call__(self, model: nn.Module, images: Tensor) -> Tensor:
        return model(images).unsqueeze(0)


@dataclass(frozen=True, kw_only=True)
class Flip:
    """The images and their mirror images: two views. Errors: ValueError on tables."""

    def __call__(self, model: nn.Module, images: Tensor) -> Tensor:
        require_images(images)
        return look(model, mirrored([images]))


@dataclass(frozen=True, kw_only=True)
class TenCrop:
    """Windows at the four corners and the centre, and their mirror images: ten views (Krizhevsky et al., 2012).

    The windows have the size of the images, which every model takes; the images are made larger for it, by a border of zeros (pad: the
    mean colour of standardised images; the windows are the images shifted, as training's crop shifts them) or by interpolation (resize).

    Args:
        ratio: side of a window over that of the enlarged image, in [0.5, 1). Paper: 224/256 = 0.875. A border is 1 pixel at least.
        method: pad, resize, or auto: pad up to 64 pixels, resize beyond.
    Errors: ValueError, also on tables. Source: "ImageNet classification with deep convolutional neural networks", 2012, section 4.1.
    Differs from the paper: where images come at the size of the windows, they are enlarged; there they came larger.
    """

    ratio: float = 0.875
    method: str = "auto"

    def __post_init__(self) -> None:
        require("in [0.5, 1)", ratio=self.ratio)
        require_one_of("auto", "pad", "resize", method=self.method)

    def __call__(self, model: nn.Module, images: Tensor) -> Tensor:
        require_images(images)
        height, width = images.shape[2:]
        borders = [max(1, round((side / self.ratio - side) / 2)) for side in (height, width)]
        if self.method == "pad" or (self.method == "auto" and max(height, width) <= SMALL):
            larger = F.pad(images, (borders[1], borders[1], borders[0], borders[0]))
        else:
            larger = scaled(images, height + 2 * borders[0], width + 2 * borders[1])
        return look(model, mirrored(windows(larger, height, width)))


@dataclass(frozen=True, kw_only=True)
class MultiScale:
    """The images at several scales, cut back to the size that the model takes, with their mirror images: len(scales) x places x 2 views.

    A smaller image stands in a border of zeros. The 50 views of ten windows of 224 pixels from each of the sizes 224, 256, 384, 480 and
    640 (cs231n on He et al., 2015) are tta.scales=[1.0,1.143,1.714,2.143,2.857] tta.places=five, for images much larger than their objects.

    Args:
        scales: sides over those of the images, each > 0. Simonyan & Zisserman (2014): 224, 256 and 288 over 256.
        places: where an image is cut: center, or five for the corners as well.
        mirror: whether mirror images are among the views.
    Errors: ValueError, also on tables. Source: arXiv:1409.1556, section 4.2; arXiv:1512.03385, section 3.4.
    Differs from the papers: models are not applied to larger images as a whole.
    """

    scales: Sequence[float] = (0.875, 1.0, 1.125)
    places: str = "center"
    mirror: bool = True

    def __post_init__(self) -> None:
        if not self.scales:
            raise ValueError("scales must name one scale or more, got []")
        for scale in self.scales:
            require("> 0", scales=scale)
        require_one_of("center", "five", places=self.places)

    def __call__(self, model: nn.Module, images: Tensor) -> Tensor:
        require_images(images)
        height, width = images.shape[2:]
        views = []
        for scale in self.scales:
            cut = windows(scaled(images, round(scale * height), round(scale * width)), height, width)
            views += cut if self.places == "five" else cut[-1:]
        return look(model, mirrored(views) if self.mirror else views)


@dataclass(frozen=True, kw_only=True)
class McDropout:
    """Several passes with all that drops at work as in training (Gal & Ghahramani, 2016): y = E_z f(x, z), the mean over draws of z.

    Whatever the model drops: units, channels, weights (DropConnect), residual branches. All else stays in evaluation, batch norms too.
    Draws come from torch's default generator.

    Args:
        passes: draws, a whole number >= 1.
    Errors: ValueError where the model drops nothing. Source: arXiv:1506.02142, section 4. Differs from the paper: no.
    """

    passes: int = 20

    def __post_init__(self) -> None:
        require(">= 1", passes=self.passes)

    def __call__(self, model: nn.Module, images: Tensor) -> Tensor:
        dropping = [module for module in model.modules() if any(word in type(module).__name__ for word in DROPPING)]
        if not dropping:
            raise ValueError(
                "the model drops nothing; try reg=dropout, reg=dropconnect, reg=stochastic_depth, tta=flip"
            )
        with switched_on(dropping, "training"):
            return look(model, [images] * self.passes)


@dataclass(frozen=True, kw_only=True)
class Fractional:
    """Several passes with the regions of fractional max pooling drawn anew (Graham, 2014): y = E_z f(x, z) over the borders z.

    Draws come from torch's default generator.

    Args:
        passes: draws, a whole number >= 1.
    Errors: ValueError where the model has no such pooling. Source: arXiv:1412.6071. Differs from the paper: no.
    """

    passes: int = 12

    def __post_init__(self) -> None:
        require(">= 1", passes=self.passes)

    def __call__(self, model: nn.Module, images: Tensor) -> Tensor:
        pools = [module for module in model.modules() if isinstance(getattr(module, "random", None), bool)]
        if not pools:
            raise ValueError("the model has no fractional max pooling; try pool=fractional, tta=flip")
        with switched_on(pools, "random"):
            return look(model, [images] * self.passes)
