"""Blending samples."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.errors import require


@dataclass(frozen=True, kw_only=True)
class Mixup:
    """x <- l x_i + (1 - l) x_j and t <- l t_i + (1 - l) t_j, j a random partner in the batch, l ~ Beta(alpha, alpha) for each sample.

    Args:
        alpha: of the Beta distribution, > 0. Paper: 0.1 to 0.4 on ImageNet, 1 on CIFAR-10.
    Shapes: images (B, ...), targets (B, K). Errors: ValueError.
    Source: arXiv:1710.09412, eq. (1). Differs from the paper: one l a sample, where its code draws one a batch.
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        require("> 0", alpha=self.alpha)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        count = len(images)
        share = beta(self.alpha, count, images.device, rng)
        partner = torch.randperm(count, generator=rng, device=images.device)
        share_images = share.view(-1, *[1] * (images.dim() - 1))
        return (
            torch.lerp(images[partner], images, share_images),
            torch.lerp(targets[partner], targets, share.view(-1, 1)),
        )


def beta(alpha: float, count: int, device: torch.device, rng: torch.Generator) -> Tensor:
    """Draws of Beta(alpha, alpha), (count,): G1 / (G1 + G2) of two Gamma draws, in logarithms so that a small alpha cannot give 0 / 0."""
    # G(alpha) = G(alpha + 1) U^(1/alpha) keeps digits where G(alpha) itself would underflow.
    gammas = torch._standard_gamma(torch.full((2, count), alpha + 1.0, device=device), generator=rng)
    uniforms = torch.rand(2, count, generator=rng, device=device).clamp_(min=1e-38)
    logs = gammas.log() + uniforms.log() / alpha
    return torch.sigmoid(logs[0] - logs[1])
