"""What models, initialisers and regularisers share: which layers hold weights, how many inputs they sum, and the residual block."""

from collections.abc import Iterator

from torch import Tensor, nn


def weight_layers(model: nn.Module) -> Iterator[nn.Module]:
    """The layers with a trainable weight matrix or kernel: dense layers and convolutions, in the order they were made."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)) and weight_of(module).requires_grad:
            yield module


def weight_of(producer: nn.Module) -> Tensor:
    """The parameter behind a layer's weight, also where a parametrisation (DropConnect) stands before it."""
    parametrized = getattr(producer, "parametrizations", None)
    return parametrized.weight.original if parametrized and "weight" in parametrized else producer.weight


def decay_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The trainable weights that penalties and decay act on: matrices and kernels. Not biases, scales of norms, slopes of PReLU."""
    return [weight for weight in model.parameters() if weight.dim() > 1 and weight.requires_grad]


def fans(producer: nn.Module) -> tuple[int, int]:
    """How many inputs a unit sums and how many units an input enters: kernel area x channels / groups for a convolution."""
    weight = weight_of(producer)  # (outputs, inputs / groups, *kernel)
    area = weight[0, 0].numel()
    return weight.shape[1] * area, weight.shape[0] // getattr(producer, "groups", 1) * area


class Residual(nn.Module):
    """after(branch(x) + shortcut(x)) (He et al., 2016, arXiv:1512.03385, eq. 1 and 2).

    Args:
        branch: the layers that learn the residual, in order.
        shortcut: identity, or what brings x to the branch's shape.
        after: what stands behind the sum: an activation, or the identity in nets with pre-activation.
    """

    def __init__(self, branch: nn.Sequential, shortcut: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.branch(x) + self.shortcut(x))
