"""Memory format of images on a CPU: with the channels last, small convolutions take less time."""

import torch
from torch import Tensor, nn

from trainer.engine.contracts import is_own

LARGEST = 500_000  # weights of a kernel; with larger ones the format costs time (scripts/bench/memory_format.py)


def prefers_channels_last(model: nn.Module) -> bool:
    """Return whether a CPU computes a model faster with the channels last: none of its kernels is large.

    Not where a class of the user's own takes part: its `view` may want the usual format.
    """
    kernels = [module.weight.numel() for module in model.modules() if isinstance(module, nn.Conv2d)]
    return bool(kernels) and max(kernels) <= LARGEST and not any(map(is_own, model.modules()))


def channels_last(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the images (B, C, H, W) of a call in that format: a forward pre-hook."""
    images, *others = inputs
    return (images.to(memory_format=torch.channels_last) if images.dim() == 4 else images, *others)
