"""Frozen layers: parameters that do not train, and batch norms whose statistics stay as they are."""

from collections.abc import Callable, Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


def freeze(model: nn.Module, covers: Callable[[str], bool]) -> Iterator[str]:
    """Freeze the parameters and batch norms that are covered, and yield the names of all modules and parameters there.

    Args:
        covers: whether the name of a module or parameter is to be frozen.
    """
    for name, weight in model.named_parameters():
        if covers(name):
            weight.requires_grad_(False)
            yield name
    for name, module in model.named_modules():
        if covers(name):
            if isinstance(module, _NormBase) and module.track_running_stats:
                module.register_forward_pre_hook(evaluate_only)
            yield name


def evaluate_only(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Put a norm into evaluation mode before each forward pass, whatever mode the model was put into."""
    if module.training:
        module.eval()


def keeps_statistics(module: nn.Module) -> bool:
    """Return whether a norm is frozen, so that its statistics are never computed anew."""
    return evaluate_only in module._forward_pre_hooks.values()
