"""Random crops: a window of the padded image, or a window of random size that is resized."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.aug.boxes import box_sizes, require_range
from trainer.base.checks import require, require_images, require_one_of
from trainer.base.warp import PADDING, Warp, compose, scaling, translation, uniform


@dataclass(frozen=True, kw_only=True)
class Crop:
    """Pad each image on all sides and cut a window of the old size at a random place.

    Each of the (2 padding + 1)^2 places is as likely.

    Args:
        padding: pixels added on each side, >= 0. CIFAR-10: 4.
        mode: content of the border: constant (0, the mean of standardised images), reflect (the mirror image without
            the border's pixels), symmetric (with them), or replicate.
    Shapes: images (B, C, H, W). Errors: ValueError, also where the mirror image is too small.
    Source: He et al., arXiv:1512.03385, section 4.2.
    """

    padding: int = 4
    mode: str = "constant"

    def __post_init__(self) -> None:
        require(">= 0", padding=self.padding)
        require_one_of(*PADDING, mode=self.mode)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        count, channels, height, width = images.shape
        pixels = padded(images, self.padding, self.mode).flatten()
        line = width + 2 * self.padding
        plane = line * (height + 2 * self.padding)
        tops, lefts = torch.randint(0, 2 * self.padding + 1, (2, count, 1, 1), generator=rng, device=images.device)
        rows = torch.arange(height, device=images.device)
        planes = torch.arange(count * channels, device=images.device).view(count, channels, 1)
        starts = planes * plane + (tops + rows) * line + lefts  # (B, C, H)
        # A window's row is a run of pixels in memory: take B C H of all overlapping runs, 10 times as fast as indexing.
        runs = pixels.as_strided((len(pixels) - width + 1, width), (1, 1))
        return runs.index_select(0, starts.flatten()).view(images.shape), targets


def padded(images: Tensor, padding: int, mode: str) -> Tensor:
    """Return images with a border, (B, C, H + 2 padding, W + 2 padding). Errors: ValueError."""
    height, width = images.shape[2:]
    most = {"reflect": min(height, width) - 1, "symmetric": min(height, width)}.get(mode, padding)
    if padding > most:
        raise ValueError(f"padding must be <= {most} for mode={mode} and images of {height}x{width}, got {padding}")
    if mode != "symmetric":
        return F.pad(images, [padding] * 4, mode)
    for side in (2, 3):
        first, last = images.narrow(side, 0, padding), images.narrow(side, images.shape[side] - padding, padding)
        images = torch.cat([first.flip(side), images, last.flip(side)], side)
    return images


@dataclass(frozen=True, kw_only=True)
class ResizedCrop(Warp):
    """Cut a window of random area and proportions at a random place and resize it to the old size.

    area ~ U(scale) H W, log(height / width) ~ U(log ratio), drawn again until the window fits; every place as likely,
    also between pixels (Szegedy et al., 2015).

    Args:
        scale: smallest and largest area of the window as a fraction of the image's, in (0, 1]. Paper: 0.08 and 1.
        ratio: smallest and largest height / width, > 0. Paper: 3/4 and 4/3.
        mode: neighbour of a pixel at the image's edge in the interpolation, as in Warp.
    Shapes: images (B, C, H, W). Errors: ValueError. Source: arXiv:1409.4842, section 6.
    Differs from the paper: the logarithm of the proportions is uniform, so that wide and high are as likely.
    """

    scale: Sequence[float] = (0.08, 1.0)
    ratio: Sequence[float] = (3 / 4, 4 / 3)
    mode: str = "replicate"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("in (0, 1]", scale=self.scale)
        require_range("> 0", ratio=self.ratio)

    def matrices(self, images: Tensor, rng: torch.Generator) -> Tensor:
        height, width = images.shape[2:]
        heights, widths = box_sizes(self.scale, self.ratio, images, rng)
        x, y = (
            uniform(-0.5, 0.5, len(images), images, rng) * (side - sides)
            for side, sides in ((width, widths), (height, heights))
        )
        return compose(translation(x, y), scaling(width / widths, height / heights))
