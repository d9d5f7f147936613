"""MLP-Mixer."""

from torch import nn

from trainer.base.checks import require
from trainer.base.layer_factory import LayerFactory
from trainer.base.layers import with_linear_input
from trainer.model.blocks import Along, norm_along, patchify, require_patch, with_residual


class MlpMixer(nn.Sequential):
    """MLP-Mixer (Tolstikhin et al., 2021): dense layers across the patches, then across the channels, in turn.

    A linear map of patches to `width` channels; `depth` blocks of x + mlp(norm(x)), the mlp, dense, activation, dense,
    across the patches of each channel, and x + mlp(norm(x)), across the channels of each patch; a norm, the average
    over the patches, one dense layer. Images whose sides the patch does not divide get zeros on the right and below.
    With norm=layer, 10 classes and 3x32x32 1.13 million parameters.

    Args:
        patch: side of a patch in pixels, >= 1, at most that of the images. Paper: 16 or 32 for images of 224 pixels.
        width: channels, >= 1. Paper: 512 to 1280.
        depth: blocks, >= 1. Paper: 8 to 32.
        patch_hidden: units of the mlp across the patches, >= 1. Paper: half the width.
        channel_hidden: units of the mlp across the channels, >= 1. Paper: 4 times the width.
    Shapes: (B, C, H, W) -> (B, K); the kit's pooling is not used, and its norms stand where they do here, whatever
    their `place`. Errors: ValueError, also on inputs that are not images.
    Source: arXiv:2105.01601, section 2. Differs from the paper: sizes and patches for small images; the kit's dropout
        behind the activations and before the last layer (there behind both dense layers of an mlp).
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        kit: LayerFactory,
        *,
        patch: int = 4,
        width: int = 128,
        depth: int = 8,
        patch_hidden: int = 64,
        channel_hidden: int = 512,
    ) -> None:
        require_patch(patch, input_shape)
        require(">= 1", width=width, depth=depth, patch_hidden=patch_hidden, channel_hidden=channel_hidden)
        layers, (_, rows, columns) = patchify(input_shape[0], width, patch, input_shape)
        layers.append(nn.Flatten(2))
        for _ in range(depth):
            across_patches = Along(2, *kit.feed_forward(rows * columns, patch_hidden))
            across_channels = Along(1, *kit.feed_forward(width, channel_hidden))
            layers += [with_residual(kit, width, mlp) for mlp in (across_patches, across_channels)]
        head = with_linear_input(kit.head(width, outputs))
        pooling = [nn.AdaptiveAvgPool1d(1), nn.Flatten()]
        super().__init__(*layers, *norm_along(kit, 1, width), *pooling, *kit.drop(), head)
