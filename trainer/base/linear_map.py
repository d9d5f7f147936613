"""Linear maps of samples, fitted once and applied on any device: the results of most preprocessings."""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Affine:
    """Affine map y = (x - center) scale, in place; uint8 has its 1 / 255 in both constants.

    As fast as x scale + shift, and without its loss of digits where a mean is large beside its deviation. Both
    constants are float64 until their use and broadcast over samples: (1, C, 1, 1), (1, C, H, W) or (1, D).
    """

    center: Tensor
    scale: Tensor = torch.ones(())
    on_device: dict = field(default_factory=dict, repr=False, compare=False)  # the constants, by device and unit

    def __call__(self, images: Tensor) -> Tensor:
        center, scale = self._constants(images.device, 255 if images.dtype == torch.uint8 else 1)
        return images.to(torch.float32, copy=True).sub_(center).mul_(scale)

    def invert(self, values: Tensor) -> Tensor:
        center, scale = self._constants(values.device, 1)
        return (values / scale).add_(center)

    def _constants(self, device: torch.device, unit: int) -> tuple[Tensor, Tensor]:
        if (device, unit) not in self.on_device:
            constants = (self.center * unit, self.scale / unit)
            self.on_device[device, unit] = tuple(constant.float().to(device) for constant in constants)
        return self.on_device[device, unit]


@dataclass(frozen=True)
class Projection:
    """Linear map y = (x - mean) matrix of the flattened features, in float32; `invert` is mean + y back.

    Shapes: mean (1, ...), matrix (D, k), back (k, D); y (B, *shape).
    """

    mean: Affine
    matrix: Tensor
    back: Tensor
    shape: tuple[int, ...]
    on_device: dict = field(default_factory=dict, repr=False, compare=False)  # both matrices, by device

    def __call__(self, images: Tensor) -> Tensor:
        return (self.mean(images).flatten(1) @ self._matrices(images.device)[0]).unflatten(1, self.shape)

    def invert(self, values: Tensor) -> Tensor:
        features = values.flatten(1) @ self._matrices(values.device)[1]
        return self.mean.invert(features.view(len(values), *self.mean.center.shape[1:]))

    def _matrices(self, device: torch.device) -> list[Tensor]:
        if device not in self.on_device:
            self.on_device[device] = [matrix.float().to(device) for matrix in (self.matrix, self.back)]
        return self.on_device[device]
