"""Mirroring."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.errors import require, require_images


@dataclass(frozen=True, kw_only=True)
class Flip:
    """Mirror each image left to right with probability p.

    Args:
        p: probability of mirroring an image, in [0, 1]. Usual: 0.5.
    Shapes: images (B, C, H, W). Errors: ValueError.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        require("in [0, 1]", p=self.p)

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        mirrored = torch.rand(len(images), 1, 1, 1, generator=rng, device=images.device) < self.p
        return torch.where(mirrored, images.flip(3), images), targets
