"""Mixing of samples and of their targets: mixup and CutMix."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.aug.boxes import centered_box_mask
from trainer.aug.pixels import select
from trainer.base.checks import require, require_images


@dataclass(frozen=True, kw_only=True)
class Mixup:
    """Blend each sample and its targets with another's: x <- l x_i + (1 - l) x_j and t <- l t_i + (1 - l) t_j.

    j is a random partner in the batch, l ~ Beta(alpha, alpha) for each sample (Zhang et al., 2018).

    Args:
        alpha: of the Beta distribution, >= 0; 0 blends nothing. Paper: 0.1 to 0.4 on ImageNet, 1 on CIFAR-10.
    Shapes: images (B, ...), targets (B, K). Errors: ValueError.
    Source: arXiv:1710.09412, eq. (1). Differs from the paper: one l a sample, where its code draws one a batch.
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        require(">= 0", alpha=self.alpha)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.alpha == 0:
            return images, targets
        fraction = beta(self.alpha, len(images), images.device, rng)
        partner = torch.randperm(len(images), generator=rng, device=images.device)
        of_images = fraction.view(-1, *[1] * (images.dim() - 1))
        return (
            torch.lerp(images.index_select(0, partner), images, of_images),
            torch.lerp(targets.index_select(0, partner), targets, fraction.view(-1, 1)),
        )


@dataclass(frozen=True, kw_only=True)
class CutMix:
    """Put a box of another image of the batch in each image, and as much of its target (Yun et al., 2019).

    The box is sqrt(1 - l) H x sqrt(1 - l) W, l ~ Beta(alpha, alpha), its centre anywhere in the image, cut off at the
    edges; t <- (1 - a) t_i + a t_j, where a is the fraction of the image's pixels in the box after the cut.

    Args:
        alpha: of the Beta distribution, >= 0; 0 changes nothing. Paper: 1.
        p: probability of changing an image, in [0, 1]. Paper: 1 on ImageNet, 0.5 on CIFAR.
    Shapes: images (B, C, H, W), targets (B, K). Errors: ValueError.
    Source: arXiv:1905.04899, eq. (1) and (2). Differs from the paper: one box a sample, where its code draws one a
    batch.
    """

    alpha: float = 1.0
    p: float = 1.0

    def __post_init__(self) -> None:
        require(">= 0", alpha=self.alpha)
        require("in [0, 1]", p=self.p)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        if self.alpha == 0:
            return images, targets
        count, (height, width) = len(images), images.shape[2:]
        side = (1 - beta(self.alpha, count, images.device, rng)).sqrt()
        side = side * (torch.rand(count, generator=rng, device=images.device) < self.p)
        inside = centered_box_mask((side * height).long(), (side * width).long(), images, rng)
        partner = torch.randperm(count, generator=rng, device=images.device)
        fraction = inside.flatten(1).mean(1, dtype=targets.dtype).view(-1, 1)
        mixed = select(inside, images.index_select(0, partner), images)
        return mixed, torch.lerp(targets, targets.index_select(0, partner), fraction)


def beta(alpha: float, count: int, device: torch.device, rng: torch.Generator) -> Tensor:
    """Draw from Beta(alpha, alpha), (count,): G1 / (G1 + G2) of two Gamma draws, in logarithms against 0 / 0."""
    # G(alpha) = G(alpha + 1) U^(1/alpha) keeps digits where G(alpha) itself would underflow.
    gammas = torch._standard_gamma(torch.full((2, count), alpha + 1.0, device=device), generator=rng)
    uniforms = torch.rand(2, count, generator=rng, device=device).clamp_(min=1e-38)
    logs = gammas.log() + uniforms.log() / alpha
    return torch.sigmoid(logs[0] - logs[1])
