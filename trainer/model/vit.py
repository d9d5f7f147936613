"""Vision transformer."""

import math

import torch
from torch import Tensor, nn

from trainer.base.checks import require
from trainer.base.layer_factory import LayerFactory
from trainer.base.layers import with_linear_input
from trainer.model.blocks import Along, average_head, norm_along, patchify, require_patch, with_residual


class VisionTransformer(nn.Module):
    """Vision transformer (Dosovitskiy et al., 2021) in its simple form (Beyer et al., 2022), at the size ViT-Ti.

    A linear map of patches; fixed sine-cosine positions are added; `depth` blocks of x + attention(norm(x)) and
    x + dense(act(dense(norm(x)))); a norm, the average over the patches, one dense layer. Images whose sides the patch
    does not divide get zeros on the right and below. With norm=layer, 10 classes and 3x32x32 5.35 million parameters.

    Args:
        patch: side of a patch in pixels, >= 1, at most that of the images. Paper: 16 for images of 224 pixels.
        depth: blocks, >= 1. ViT-Ti and ViT-S: 12.
        heads: attention heads, >= 1. ViT-Ti: 3, ViT-S: 6.
        head_width: channels of a head, >= 1; heads * head_width is the width of the model. ViT: 64.
        hidden: units between the two dense layers of a block, >= 1. ViT: 4 times the width.
    Shapes: (B, C, H, W) -> (B, K); the kit's pooling is not used, and its norms stand where they do here, whatever
    their `place`. Errors: ValueError, also on inputs that are not images.
    Source: arXiv:2205.01580; sizes: arXiv:2012.12877, table 1. Differs from the paper: patches of 4 pixels for small
        images; the kit's dropout behind the activations and before the last layer, where reg=dropout has it (the paper
        has none).
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        kit: LayerFactory,
        *,
        patch: int = 4,
        depth: int = 12,
        heads: int = 3,
        head_width: int = 64,
        hidden: int = 768,
    ) -> None:
        super().__init__()
        require_patch(patch, input_shape)
        require(">= 1", depth=depth, heads=heads, head_width=head_width, hidden=hidden)
        width = heads * head_width
        patches, shape = patchify(input_shape[0], width, patch, input_shape)
        self.patches = nn.Sequential(*patches)
        self.register_buffer("positions", sine_positions(*shape), persistent=False)
        blocks: list[nn.Module] = []
        for _ in range(depth):
            mlp = Along(1, *kit.feed_forward(width, hidden))
            blocks += [with_residual(kit, width, layer) for layer in (Attention(width, heads), mlp)]
        *before, head = average_head(kit, width, outputs)
        self.layers = nn.Sequential(*blocks, *norm_along(kit, 1, width), *before, with_linear_input(head))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(self.patches(images) + self.positions)


class Attention(nn.Module):
    """Self-attention with several heads, over the places of maps (Vaswani et al., 2017).

    softmax(q k^T / sqrt(d)) v in each head, q, k and v linear in the channels of a place; then a linear map of all
    heads. Written out: torch's fused kernels have no second derivative, which task=stats and optimizer=newton take.

    Args:
        width: channels, a multiple of `heads`.
        heads: >= 1.
    Shapes: (B, width, H, W) -> (B, width, H, W). Source: arXiv:1706.03762, section 3.2. Differs from the paper: no.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = with_linear_input(nn.Linear(width, 3 * width))
        self.merge = with_linear_input(nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        places = x.shape[2:]
        tokens = self.queries_keys_values(x.flatten(2).transpose(1, 2))  # (B, T, 3 width)
        queries, keys, values = tokens.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, T, d)
        weights = (queries * queries.shape[-1] ** -0.5 @ keys.mT).softmax(-1)
        merged = self.merge((weights @ values).transpose(1, 2).flatten(2))
        return merged.transpose(1, 2).unflatten(2, places)

    def extra_repr(self) -> str:
        return f"heads={self.heads}"


def sine_positions(width: int, rows: int, columns: int) -> Tensor:
    """Return fixed positions (width, rows, columns): sin and cos of the column, then of the row, a quarter each.

    The frequencies fall from 1 to 1 / 10,000. Source: arXiv:2205.01580, appendix A (posemb_sincos_2d).
    """
    count = math.ceil(width / 4)
    frequencies = 10_000.0 ** -(torch.arange(count) / max(count - 1, 1))
    by_row = (torch.arange(rows) * frequencies[:, None])[:, :, None].expand(-1, -1, columns)
    by_column = (torch.arange(columns) * frequencies[:, None])[:, None].expand(-1, rows, -1)
    return torch.cat([by_column.sin(), by_column.cos(), by_row.sin(), by_row.cos()])[:width]
