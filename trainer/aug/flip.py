"""Horizontal flip, at random or in every other epoch."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainer.aug.pixels import select
from trainer.base.checks import require, require_images
from trainer.base.clock import Clock


@dataclass(kw_only=True)
class Flip:
    """Mirror each image left to right: with probability p, or every other epoch (Jordan, 2024).

    Alternating, the mirror image of sample i is shown in the epochs e with (hash(i) + e) even: half of the samples
    begin mirrored, and no sample is shown the same way round twice in a row. The image itself is hashed, so that the
    place in the epoch does not matter; an augmentation before this one would change the hash.

    Args:
        p: probability of mirroring an image, in [0, 1]. Usual: 0.5.
        alternating: every other epoch instead of at random; p does not count then.
    Shapes: images (B, C, H, W). Errors: ValueError, also for `alternating` before the first `begin`.
    Source: arXiv:2404.00498, for `alternating`. Differs from the paper: hashes the image, not its index.
    """

    p: float = 0.5
    alternating: bool = False
    epoch: int | None = field(default=None, init=False)  # set before every step, so there is no state to save

    def __post_init__(self) -> None:
        require("in [0, 1]", p=self.p)

    def begin(self, now: Clock) -> None:
        """Take the epoch, before each step."""
        self.epoch = now.epoch

    def __call__(self, images: Tensor, targets: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        require_images(images)
        if self.alternating:
            if self.epoch is None:
                raise ValueError("alternating needs the epoch: call begin(now) before the first batch")
            mirrored = (parity(images) + self.epoch) % 2 == 0
        else:
            mirrored = torch.rand(len(images), generator=rng, device=images.device) < self.p
        return select(mirrored.view(-1, 1, 1, 1), images.flip(3), images), targets


def parity(images: Tensor) -> Tensor:
    """Hash each image to one bit, (B,), from integer sums of the pixels' bits, which no order of summation rounds."""
    bits = images.contiguous().flatten(1).view(torch.int32).long()
    mixed = (bits * torch.arange(1, 2 * bits.shape[1], 2, device=images.device)).sum(1)
    for constant in (0x9E3779B97F4A7C1, 0x3F58476D1CE4E5B9):
        mixed = (mixed ^ (mixed >> 29)) * constant
    return (mixed >> 40) & 1
