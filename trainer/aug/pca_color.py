"""PCA colour augmentation: a shift of each image's colours along the principal components of all pixels."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from trainer.base.checks import require, require_images


@dataclass(kw_only=True)
class PcaColor:
    """Shift the colours of each image along the principal components of the training set's (Krizhevsky et al., 2012).

    x <- x + sum_i a_i l_i p_i, a_i ~ N(0, std^2), with eigenvalues l_i and eigenvectors p_i of the channels' covariance
    S over the pixels of training images. As the a_i have no preferred direction that is x + S a, without
    eigenvectors. The covariance is that of the images given to `calibrate`, else that of the batch.

    Args:
        std: deviation of the a_i, >= 0. Paper: 0.1.
    Shapes: images (B, C, H, W) in [0, 1]. Errors: ValueError. Source: NeurIPS 2012, "ImageNet Classification with Deep
    Convolutional Neural Networks", section 4.1. Differs from the paper: no; it leaves open the unit of the pixels, on
    which the strength depends: from 0 to 1, as in later programs (fb.resnet.torch).
    """

    on_pixels: ClassVar = True
    std: float = 0.1
    covariance: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        require(">= 0", std=self.std)

    def calibrate(self, images: Tensor) -> None:
        """Take the covariance from training images (B, C, H, W) in [0, 1]."""
        require_images(images)
        self.covariance = channel_covariance(images)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        count, channels = images.shape[:2]
        covariance = channel_covariance(images) if self.covariance is None else self.covariance
        draws = torch.randn(count, channels, generator=rng, device=images.device, dtype=images.dtype) * self.std
        return images + (draws @ covariance).view(count, channels, 1, 1), targets


def channel_covariance(images: Tensor) -> Tensor:
    """Return the biased covariance of the channels over all pixels, (C, C)."""
    pixels = images.transpose(0, 1).flatten(1)
    pixels = pixels - pixels.mean(1, keepdim=True)
    return pixels @ pixels.T / pixels.shape[1]
