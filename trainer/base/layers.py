"""Layers as models, initialisers, regularisers and optimizers see them: weight layers, fans, norms, residual blocks."""

from collections.abc import Iterator, Mapping

from torch import Tensor, nn
from torch.nn.utils import parametrize

from trainer.base.protocols import DropsInTraining, Normalizes

# _NormBase: batch and instance norms.
NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def weight_layers(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the dense layers and convolutions with a trainable weight, in the order in which they were made."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)) and weight_of(module).requires_grad:
            yield module


def weight_of(layer: nn.Module) -> Tensor:
    """Return the parameter behind a layer's weight, also where the weight is parametrised (DropConnect)."""
    return layer.parametrizations.weight.original if parametrize.is_parametrized(layer, "weight") else layer.weight


def decay_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the trainable parameters that penalties and weight decay act on: matrices and kernels.

    Biases, scales of norms and slopes of PReLU are left out.
    """
    return [weight for weight in model.parameters() if weight.dim() > 1 and weight.requires_grad]


def parameter_groups(model: nn.Module, settings: Mapping) -> list[dict]:
    """Return the trainable parameters as groups of an optimizer: those that decay, then those that do not.

    Args:
        settings: of the optimizer; where they hold a weight_decay, it is 0 in the second group.
    """
    decay = {*decay_parameters(model)}
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [{"params": [weight for weight in trainable if (weight in decay) is wanted]} for wanted in (True, False)]
    if "weight_decay" in settings:
        groups[1]["weight_decay"] = 0.0
    return [group for group in groups if group["params"]]


def fans(layer: nn.Module) -> tuple[int, int]:
    """Return fan-in and fan-out of a weight layer; for a convolution kernel area x channels of one group."""
    weight = weight_of(layer)  # (outputs, inputs / groups, *kernel)
    area = weight[0, 0].numel()
    return weight.shape[1] * area, weight.shape[0] // getattr(layer, "groups", 1) * area


def is_norm(module: nn.Module) -> bool:
    """Return whether a module normalises its input: a norm of torch.nn, or one with `normalizes`."""
    return isinstance(module, NORMS) or (isinstance(module, Normalizes) and module.normalizes)


def drops_in_training(module: nn.Module) -> bool:
    """Return whether a module leaves something out in training: dropout, or one with `drops_in_training`."""
    own = isinstance(module, DropsInTraining) and module.drops_in_training
    return own or isinstance(module, nn.modules.dropout._DropoutNd)


class Residual(nn.Module):
    """Residual block, after(branch(x) + shortcut(x)) (He et al., 2016, arXiv:1512.03385, eq. 1 and 2).

    Args:
        branch: layers that learn the residual, in order.
        shortcut: identity, or a module that brings x to the branch's shape.
        after: activation behind the sum, or the identity in networks with pre-activation.
    """

    def __init__(self, branch: nn.Sequential, shortcut: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.branch(x) + self.shortcut(x))
