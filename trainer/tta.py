"""Test-time augmentation: `(model, images) -> outputs (V, B, K)`, a model's outputs on V views of preprocessed images.

The model is in evaluation mode and stays there, batch norms use their running statistics; the caller turns gradients
off. `average` makes one prediction of the views.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.base.checks import require, require_images, require_one_of
from trainer.base.layers import drops_in_training
from trainer.base.module_protocols import DrawsInEvaluation
from trainer.base.protocols import AveragesOutputs

SMALL = 64  # pixels: the longer side up to which method=auto is pad


def average(outputs: Tensor, criterion: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Average the views (V, B, K) to outputs (B, K) as the criterion says, else by their mean; one view stays as it is.

    Where all views are alike, the loss is that of one of them.
    """
    if len(outputs) == 1:
        return outputs[0]
    return criterion.average(outputs) if isinstance(criterion, AveragesOutputs) else outputs.mean(0)


def predict_views(model: nn.Module, views: Sequence[Tensor]) -> Tensor:
    """Return the outputs (V, B, K) on each of the views."""
    return torch.stack([model(view) for view in views])


def with_mirrored(views: Sequence[Tensor]) -> list[Tensor]:
    """Return the views, then their mirror images from right to left."""
    return [*views, *(view.flip(3) for view in views)]


def five_crops(images: Tensor, height: int, width: int) -> list[Tensor]:
    """Cut top left, top right, bottom left, bottom right and centre, each (B, C, height, width).

    An image smaller than the crop is padded with zeros to the same effect.
    """
    down, across = images.shape[2] - height, images.shape[3] - width  # below zero the image moves inside the crop
    corners = [(0, 0), (0, across), (down, 0), (down, across), (down // 2, across // 2)]
    return [F.pad(images, (-left, left - across, -top, top - down)) for top, left in corners]


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Resize the images, to 1 x 1 at least, with antialiasing where they become smaller."""
    size = (max(1, height), max(1, width))
    if size == images.shape[2:]:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=height < images.shape[2])


@contextmanager
def enabled(modules: Sequence[nn.Module], attribute: str) -> Iterator[None]:
    """Set an attribute of the modules to True and restore it at the end; submodules keep theirs."""
    before = [getattr(module, attribute) for module in modules]
    try:
        for module in modules:
            setattr(module, attribute, True)
        yield
    finally:
        for module, value in zip(modules, before):
            setattr(module, attribute, value)


def drops(module: nn.Module) -> bool:
    """Return whether a module leaves something out in training, by its type or by `drops_in_training`."""
    if drops_in_training(module):
        return True
    if "torchvision" not in sys.modules:  # to import it takes 1 s; without it no model has its layers
        return False
    from torchvision.ops import DropBlock2d, StochasticDepth

    return isinstance(module, (StochasticDepth, DropBlock2d))


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Show the images as they are: one view."""

    def __call__(self, model: nn.Module, images: Tensor) -> Tensor:
        return model(images).unsqueeze(0)


@dataclass(frozen=True, kw_only=True)
class Selective:
    """Views of the images of whose class a model is not sure; of any other the image as it is, in place of each view.

    Args:
        below: largest probability of a class from which on the model is sure, in (0, 1]; 1 for views of all images.
    Errors: ValueError where there is no output for each class. Source: arXiv:2404.00498, section 4 (views of half).
    """

    below: float = 1.0

    def __post_init__(self) -> None:
        require("in (0, 1]", below=self.below)

    def predict(self, model: nn.Module, images: Tensor, views: Callable[[Tensor], Sequence[Tensor]]) -> Tensor:
        """Return the outputs (V, B, K) on what `views` makes of images."""
        require_images(images)
        if self.below == 1:
            return predict_views(model, views(images))
        plain = model(images)
        if plain.shape[1] == 1:
            raise ValueError(f"below={self.below:g}: needs an output for each class, and the model has one")
        unsure = plain.softmax(1).amax(1) < self.below
        if not unsure.any():
            return plain.unsqueeze(0)
        outputs = predict_views(model, views(images[unsure]))
        outputs_of_all = plain.repeat(len(outputs), 1, 1)
        outputs_of_all[:, unsure] = outputs
        return outputs_of_all


@dataclass(frozen=True, kw_only=True)
class Flip(Selective):
    """Show the images and their mirror images: two views. Errors: ValueError on tables."""

    def __call__(self, model: nn.Module, images: Tensor) -> Tensor:
        return self.predict(model, images, lambda images: with_mirrored([images]))


@dataclass(frozen=True, kw_only=True)
class TenCrop(Selective):
    """Show crops at the four corners and the centre, and their mirror images: ten views (Krizhevsky et al., 2012).

    The crops have the size of the images, which every model takes. The images are enlarged first, by a border of zeros
    (pad: the mean colour of standardised images; the crops are the images shifted, as aug=crop shifts them in training)
    or by interpolation (resize).

    Args:
        ratio: side of a crop over that of the enlarged image, in [0.5, 1). Paper: 224/256 = 0.875. A border is 1 pixel
            at least.
        method: pad, resize, or auto: pad up to 64 pixels, resize beyond.
    Errors: ValueError, also on tables. Source: "ImageNet classification with deep convolutional neural networks", 2012,
    section 4.1.
    Differs from the paper: images of the size of the crops are enlarged; there they came larger.
    """

    ratio: float = 0.875
    method: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        require("in [0.5, 1)", ratio=self.ratio)
        require_one_of("auto", "pad", "resize", method=self.method)

    def __call__(self, model: nn.Module, images: Tensor) -> Tensor:
        return self.predict(model, images, self.views)

    def views(self, images: Tensor) -> list[Tensor]:
        """Return the crops and their mirror images."""
        height, width = images.shape[2:]
        down, across = (max(1, round((side / self.ratio - side) / 2)) for side in (height, width))
        if self.method == "pad" or (self.method == "auto" and max(height, width) <= SMALL):
            larger = F.pad(images, (across, across, down, down))
        else:
            larger = resized(images, height + 2 * down, width + 2 * across)
        return with_mirrored(five_crops(larger, height, width))


@dataclass(frozen=True, kw_only=True)
class MultiScale(Selective):
    """Show the images at several scales, cut back to the size of the model's input, with their mirror images.

    len(scales) x places x 2 views. A smaller image is padded with zeros. The 50 views of ten crops of 224 pixels from
    each of the sizes 224, 256, 384, 480 and 640 (cs231n on He et al., 2015) are
    tta.scales=[1.0,1.143,1.714,2.143,2.857] tta.places=five, for images much larger than their objects.

    Args:
        scales: sides over those of the images, each > 0. Simonyan & Zisserman (2014): 224, 256 and 288 over 256.
        places: crops of an image: center, or five for the corners as well.
        mirror: take the mirror images as well.
    Errors: ValueError, also on tables. Source: arXiv:1409.1556, section 4.2; arXiv:1512.03385, section 3.4.
    Differs from the papers: models are not applied to larger images as a whole.
    """

    scales: Sequence[float] = (0.875, 1.0, 1.125)
    places: str = "center"
    mirror: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scales:
            raise ValueError("scales must name at least one scale, got []")
        require("> 0", scales=self.scales)
        require_one_of("center", "five", places=self.places)

    def __call__(self, model: nn.Module, images: Tensor) -> Tensor:
        return self.predict(model, images, self.views)

    def views(self, images: Tensor) -> list[Tensor]:
        """Return the images at each scale, and their mirror images."""
        height, width = images.shape[2:]
        views = []
        for scale in self.scales:
            crops = five_crops(resized(images, round(scale * height), round(scale * width)), height, width)
            views += crops if self.places == "five" else crops[-1:]
        return with_mirrored(views) if self.mirror else views


@dataclass(frozen=True, kw_only=True)
class McDropout:
    """Average over passes with dropout switched on (Gal & Ghahramani, 2016): y = E_z f(x, z), the mean over draws of z.

    All dropping layers draw: of units, channels, weights (DropConnect), residual branches. All others stay in
    evaluation mode, batch norms too. Draws come from torch's default generator.

    Args:
        passes: draws, a whole number >= 1.
    Errors: ValueError for a model without such layers. Source: arXiv:1506.02142, section 4. Differs from the paper: no.
    """

    passes: int = 20

    def __post_init__(self) -> None:
        require(">= 1", passes=self.passes)

    def __call__(self, model: nn.Module, images: Tensor) -> Tensor:
        dropping = [module for module in model.modules() if drops(module)]
        if not dropping:
            advice = "try reg=dropout, reg=dropconnect, reg=stochastic_depth, tta=flip"
            raise ValueError(f"the model has no layer that drops anything; {advice}")
        with enabled(dropping, "training"):
            return predict_views(model, [images] * self.passes)


@dataclass(frozen=True, kw_only=True)
class Fractional:
    """Average over passes with the regions of fractional max pooling drawn anew (Graham, 2014): y = E_z f(x, z).

    z are the borders of the regions. Draws come from torch's default generator.

    Args:
        passes: draws, a whole number >= 1.
    Errors: ValueError for a model without such pooling. Source: arXiv:1412.6071. Differs from the paper: no.
    """

    passes: int = 12

    def __post_init__(self) -> None:
        require(">= 1", passes=self.passes)

    def __call__(self, model: nn.Module, images: Tensor) -> Tensor:
        pools = [module for module in model.modules() if isinstance(module, DrawsInEvaluation)]
        if not pools:
            raise ValueError("the model has no fractional max pooling; try pool=fractional, tta=flip")
        with enabled(pools, "draws_in_evaluation"):
            return predict_views(model, [images] * self.passes)
