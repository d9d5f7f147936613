"""filters.png: the kernels of the first convolution of a network, as small images."""

import torch
from torch import Tensor, nn

from trainer.base.layers import weight_of
from trainer.engine.image_grid import full_range
from trainer.report.image_sheet import draw as draw_sheet

MOST = 48  # filters that are drawn
SMALLEST = 3  # pixels of a kernel of which anything can be seen


def first_filters(model: nn.Module) -> Tensor | None:
    """Return the kernels (N, C, H, W) of the first convolution of images of 1 or 3 channels; None without one."""
    layers = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    first = next(layers, None)
    if first is None or first.in_channels not in (1, 3) or min(first.kernel_size) < SMALLEST or first.groups > 1:
        return None
    kernels = weight_of(first).detach().float().cpu()
    return kernels if torch.isfinite(kernels).all() else None


def draw_filters(kernels: Tensor, title: str, caption: str) -> bytes:
    """Return the kernels as PNG: each stretched to the full range, in colours where the images have them."""
    shown = full_range(kernels[:MOST])
    images = (255 * shown.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)).round().byte().numpy()
    norms = kernels[:MOST].flatten(1).norm(dim=1).tolist()
    captions = [[(f"norm {norm:.2g}", "", "plain")] for norm in norms]
    some = f"the first {MOST} of {len(kernels)} filters" if len(kernels) > MOST else f"{len(kernels)} filters"
    height, width = kernels.shape[2:]
    what = f"{some} of the first convolution, {height}x{width}, each stretched to the full range; {caption}"
    return draw_sheet(images, captions, title, what)
