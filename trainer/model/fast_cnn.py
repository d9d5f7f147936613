"""Network of the CIFAR-10 speed runs."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.base.checks import require
from trainer.base.layer_factory import LayerFactory
from trainer.base.layers import weight_of
from trainer.model.blocks import output_shape, pooling, require_image_shape


class FastCnn(nn.Module):
    """Network of the CIFAR-10 speed runs (Page, 2018; Jordan, 2024): whitened patches, three convolutional blocks.

    The first layer is a 2x2 convolution without padding and with frozen weights: the eigenvectors of the covariance of
    the training images' 2x2 patches, each divided by sqrt(eigenvalue + eps), and their negatives; its bias learns, from
    0. An activation. Then each block: 3x3 convolution, pooling, norm, activation, 3x3 convolution, norm, activation;
    maps one pixel wide are not pooled. The first filters of these convolutions, one for each input, begin as Dirac
    filters. outputs = scale * head(the maximum over the image).

    Args:
        channels: of each block, each >= 1. Paper: 64, 256, 256.
        eps: added to the eigenvalues, > 0. Paper's program: 5e-4.
        scale: factor on the outputs, > 0. Paper: 1/9.
    Shapes: (B, C, H, W) -> (B, K). Errors: ValueError on inputs that are not images of 2x2 pixels or more.
    Source: arXiv:2404.00498, sections 3.1 and 3.2; myrtle.ai/learn/how-to-train-your-resnet. Differs from the paper:
        the head has a bias; the maximum is over the whole map, 3x3 of it there; biases learn at the pace of the
        weights.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        kit: LayerFactory,
        *,
        channels: Sequence[int] = (64, 256, 256),
        eps: float = 5e-4,
        scale: float = 1 / 9,
    ) -> None:
        super().__init__()
        require_image_shape(input_shape, side=2)
        require(">= 1", channels=min(channels, default=1))
        require("> 0", eps=eps, scale=scale)
        self.eps = eps
        self.scale = scale
        self.whiten = nn.Conv2d(input_shape[0], 8 * input_shape[0], 2)
        self.whiten.weight.requires_grad_(False)
        nn.init.zeros_(self.whiten.bias)
        shape = output_shape(self.whiten, tuple(input_shape))
        layers = [kit.activation(shape[0])]
        for width in channels:
            conv, *rest = kit.conv(shape[0], width)
            pool, shape = pooling(kit, (width, *shape[1:]))
            second = kit.conv(width, width)
            layers += [set_dirac(conv), *pool, *rest, *second]
            set_dirac(second[0])
        self.layers = nn.Sequential(
            *layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), *kit.drop(), kit.head(shape[0], outputs)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * self.layers(self.whiten(images))

    @torch.no_grad()
    def calibrate(self, images: Tensor) -> None:
        """Compute the first layer's weights from training images (B, C, H, W)."""
        values, vectors = torch.linalg.eigh(patch_covariance(images))
        filters = (vectors / (values.clamp(min=0) + self.eps).sqrt()).T.flip(0).view(-1, images.shape[1], 2, 2)
        weight_of(self.whiten).copy_(torch.cat([filters, -filters]))


def set_dirac(conv: nn.Conv2d) -> nn.Conv2d:
    """Make the first filters Dirac filters, one for each input channel as far as there are filters."""
    with torch.no_grad():
        nn.init.dirac_(conv.weight[: conv.in_channels])
    return conv


def patch_covariance(images: Tensor) -> Tensor:
    """Return the covariance of the 2x2 patches of images, (4C, 4C).

    In float64 on the CPU, since an MPS device has none; a few images at a time.
    """
    total, squares, count = 0, 0, 0
    for few in images.cpu().double().split(16):
        patches = F.unfold(few, 2).transpose(1, 2).flatten(0, 1)
        total, squares, count = total + patches.sum(0), squares + patches.T @ patches, count + len(patches)
    mean = total / count
    return squares / count - mean.outer(mean)
