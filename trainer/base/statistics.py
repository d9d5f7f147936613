"""Statistics of samples in float64, a part of them at a time, and the norm over several tensors."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

CHUNK = 2**18  # values converted to float64 at once: as many as a cache holds, 3 times faster
NO_DEVIATION = 1e-7  # of a size beside it: the square root of float64's rounding, below which a deviation is none


def exact_type(device: torch.device) -> torch.dtype:
    """Return float64, and float32 for a device that has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def in_chunks(images: Tensor, size: int | None = None) -> Iterator[Tensor]:
    """Yield the samples in float64, about `size` values (CHUNK) at a time; uint8 in 255ths."""
    for part in images.split(max(1, (size or CHUNK) // images[0].numel())):
        yield part.double().div_(255) if part.dtype == torch.uint8 else part.double()


def mean_of(images: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Return the float64 mean over `dims` (the samples' among them), which stay with size 1."""
    total = sum(part.sum(dims, keepdim=True) for part in in_chunks(images))
    return total * (total.numel() / images.numel())


def without_constants(deviation: Tensor, mean: Tensor) -> Tensor:
    """Return deviations with 1 for that of a constant, which is not quite 0 after rounding."""
    return torch.where(deviation <= NO_DEVIATION * mean.abs().clamp(min=1e-30), 1.0, deviation)


def norm(tensors: Iterable[Tensor]) -> Tensor:
    """Return the L2 norm over all tensors, a scalar."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm([*tensors])))
