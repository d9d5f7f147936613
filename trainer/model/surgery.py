"""Module surgery: replace the activations, norms and dropouts of a finished network by the kit's, in place."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from trainer.base.compiler import import_torchvision
from trainer.base.hooks import pieces_of
from trainer.base.layer_factory import LayerFactory
from trainer.base.layers import weight_layers

# Sigmoid, Hardsigmoid and Softmax are left out: these networks use them as gates (squeeze-and-excitation, attention).
ACTIVATIONS = (
    nn.ReLU, nn.Hardtanh, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Hardswish, nn.Tanh, nn.Softplus, nn.Softsign,
)  # fmt: skip
ACTIVATION_NAMES = "relu relu6 hardtanh leaky_relu prelu elu selu celu gelu silu mish hardswish tanh softplus".split()
ACTIVATION_FUNCTIONS = {
    getattr(home, f"{name}{ending}")
    for home in (F, torch, Tensor)
    for name in ACTIVATION_NAMES
    for ending in ("", "_")
    if hasattr(home, f"{name}{ending}")
}
LayerNorm2d = import_torchvision().models.convnext.LayerNorm2d
CHANNELS_FIRST_NORMS = (nn.BatchNorm2d, LayerNorm2d)


def replace_act(
    model: nn.Module, kit: LayerFactory, input_shape: tuple[int, ...], others: tuple[type, ...] = ()
) -> int:
    """Replace the hidden activations by the kit's and return how many modules that were.

    A module used in several places (ResNet's relu) becomes one that is used in the same places. Gates stay, and so does
    an activation behind the last layer with weights (SqueezeNet's), which is not hidden.

    Args:
        others: classes of activations, beside those of torch.
    Errors: ValueError on one that needs a wider layer (maxout), and where forward calls a function instead of a module.
    """
    pieces = pieces_of(kit.act())
    if pieces != 1:
        needs = f"needs layers {pieces} times as wide, which a finished network does not have"
        raise ValueError(f"act with pieces={pieces}: {needs}; try act=relu, act=gelu")
    calls = functional_activations(model, input_shape, (*ACTIVATIONS, *others))
    if calls:
        names = ", ".join(sorted(set(calls)))
        why = f"calls {names} inside forward ({len(calls)} times), where no module can be replaced"
        raise ValueError(f"{why}; try model.act=original")
    hidden = hidden_activations(model, (*ACTIVATIONS, *others))
    return replace_modules(model, lambda module: kit.act() if module in hidden else None)


def replace_norm(model: nn.Module, kit: LayerFactory) -> int:
    """Replace the norms of (B, C, H, W) by the kit's, in the same places, and return how many.

    Where the kit's norm is none, the convolutions made without a bias get one, of zeros: the norm added the shift.
    Errors: ValueError on networks that normalise values with the channels last (transformers, ConvNeXt), and on
    norm.place=after_act.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    channels_last = [module for module in norms if not isinstance(module, LayerNorm2d)]
    if channels_last:
        why = f"has {len(channels_last)} norms where the channels come last, and norm= is for (B, C, H, W)"
        raise ValueError(f"{why}; try model.norm=original")
    if kit.norm_follows_act:
        raise ValueError("norm.place=after_act: a finished network has its norms in place; try norm.place=before_act")

    def replacement(module: nn.Module) -> nn.Module | None:
        if not isinstance(module, CHANNELS_FIRST_NORMS):
            return None
        return kit.norm(module.num_features if isinstance(module, nn.BatchNorm2d) else module.normalized_shape[0])

    count = replace_modules(model, replacement)
    if count and isinstance(kit.norm(2), nn.Identity):
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and module.bias is None:
                module.bias = nn.Parameter(module.weight.new_zeros(module.out_channels))
    return count


def replace_drop(model: nn.Module, kit: LayerFactory) -> int:
    """Replace every nn.Dropout by the kit's dropping layers, or by the identity without any, and return how many.

    Layers that need an activation's own outputs come only where the dropout directly followed one.
    Errors: ValueError where the network has dropouts, but none in a place for the kit's.
    """
    behind_acts = dropouts_behind_activations(model, (*ACTIVATIONS, type(kit.act())))
    placed = []

    def replacement(module: nn.Module) -> nn.Module | None:
        if not isinstance(module, nn.Dropout):
            return None
        layers = [*(kit.drop_activations() if module in behind_acts else ()), *kit.drop()]
        placed.extend(layers)
        return nn.Sequential(*layers) if layers else nn.Identity()

    count = replace_modules(model, replacement)
    missing = {type(drop()) for drop in kit.drops} - {type(layer) for layer in placed}
    if count and missing:
        names = ", ".join(sorted(layer.__name__ for layer in missing))
        raise ValueError(f"has no dropout in a place for {names}; try reg=dropout")
    return count


def dropouts_behind_activations(model: nn.Module, activations: tuple[type, ...]) -> set[nn.Module]:
    """Return the dropouts that directly follow an activation in a sequence of layers."""
    sequences = [list(module) for module in model.modules() if isinstance(module, nn.Sequential)]
    pairs = [pair for layers in sequences for pair in zip(layers, layers[1:])]
    return {after for before, after in pairs if isinstance(before, activations) and isinstance(after, nn.Dropout)}


def replace_modules(model: nn.Module, replacement: Callable[[nn.Module], nn.Module | None]) -> int:
    """Put `replacement(module)` in the place of a module, everywhere it is used, and return the number of modules.

    A module whose replacement is None stays.
    """
    fresh: dict[nn.Module, nn.Module] = {}
    for parent in list(model.modules()):
        # named_children would leave out the second place of a shared module.
        for name, child in parent._modules.items():
            if child is None:
                continue
            if child not in fresh and (new := replacement(child)) is not None:
                fresh[child] = new.train(child.training)
            if child in fresh:
                parent._modules[name] = fresh[child]
    for module in model.modules():
        if fresh and getattr(module, "inplace", False):
            module.inplace = False  # it may now overwrite what a new neighbour (tanh, elu) keeps for its derivative
    return len(fresh)


def hidden_activations(model: nn.Module, kinds: tuple[type, ...] = ACTIVATIONS) -> set[nn.Module]:
    """Return the activation modules that were made before the last layer with weights."""
    found: set[nn.Module] = set()
    hidden: set[nn.Module] = set()
    weighted = set(weight_layers(model))
    for module in model.modules():
        if isinstance(module, kinds):
            found.add(module)
        elif module in weighted:
            hidden = set(found)
    return hidden


def forward_on_meta(model: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    """Return the outputs (2, ...) for two samples on the device meta: shapes only, no computation.

    The model's state does not change.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.forward = lambda images: images  # on meta torch takes one apart, for 17 ms; its outputs have this shape
    try:
        with torch.no_grad():
            return functional_call(model, shapes, (torch.empty(2, *input_shape, device="meta"),))
    finally:
        for norm in norms:
            del norm.forward


def functional_activations(
    model: nn.Module, input_shape: tuple[int, ...], kinds: tuple[type, ...] = ACTIVATIONS
) -> list[str]:
    """Return the name of every activation that a forward pass calls as a function instead of a module."""
    recorder = FunctionalCalls()
    handles = []
    for module in model.modules():
        if isinstance(module, kinds):
            handles += [module.register_forward_pre_hook(recorder.enter), module.register_forward_hook(recorder.leave)]
    try:
        with recorder:
            forward_on_meta(model, input_shape)
    finally:
        for handle in handles:
            handle.remove()
    return recorder.calls


class FunctionalCalls(TorchFunctionMode):
    """Recorder of activation functions called outside activation modules."""

    def __init__(self) -> None:
        super().__init__()
        self.modules_entered = 0
        self.calls: list[str] = []

    def enter(self, module: nn.Module, inputs: tuple) -> None:
        self.modules_entered += 1

    def leave(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        self.modules_entered -= 1

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if not self.modules_entered and function in ACTIVATION_FUNCTIONS:
            self.calls.append(function.__name__)
        return function(*args, **(kwargs or {}))
