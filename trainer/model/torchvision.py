"""Classifiers of torchvision.models, adapted to the data and the kit."""

import inspect
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from trainer.base.checks import require_one_of
from trainer.base.compiler import import_torchvision
from trainer.base.errors import DataError
from trainer.base.layer_factory import LayerFactory
from trainer.base.layers import weight_layers
from trainer.config import classifiers
from trainer.model.blocks import Shape, require_image_shape
from trainer.model.finished import next_side, replace_parts, require_effect, require_large_enough
from trainer.model.surgery import ACTIVATIONS, replace_modules

models = import_torchvision().models
HALVES = (0.5, 0.5, 0.5)  # [0, 1] to [-1, 1]
SMALL = 64  # pixels: the longer side up to which stem=auto is stem=small
BUILDERS = {name: models.get_model_builder(name) for name in models.list_models(module=models)}


class Torchvision(nn.Sequential):
    """Classifier of torchvision.models, with its own activations, norms and dropouts or the kit's.

    The options act=, norm= and reg= (its layer slot) reach a network that has parts of its own only with model.act,
    model.norm and model.drop at `kit`; an option that would have no effect is an error. The kit's pooling is not used.

    Args:
        name: name in torchvision.models.list_models.
        pretrained: start from torchvision's newest weights for ImageNet, all but those of the last layer, and of the
            first where its shape is another. Replaced parts lose their weights.
        stem: original, or small: a first convolution that strides becomes 3x3 with stride 1, and a max pooling directly
            behind it is removed (He et al., 2016, section 4.2, have such a stem for 32x32). Networks built for one size
            of image keep theirs. auto is small for images of up to 64 pixels.
        act: the network's original activations, or the kit's.
        norm: the network's original normalisations, or the kit's.
        drop: the network's original dropouts, or the kit's.
    Shapes: (B, C, H, W) -> (B, K). Errors: ValueError; DataError where the weights are not available.
    Source: torchvision.models. Differs from it: the first layer takes C channels, the last gives K outputs, no
    auxiliary heads, and no change of the input's scale (transform_input).
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        kit: LayerFactory,
        *,
        name: str = "mobilenet_v3_small",
        pretrained: bool = False,
        stem: str = "auto",
        act: str = "original",
        norm: str = "original",
        drop: str = "original",
    ) -> None:
        require_one_of("auto", "small", "original", stem=stem)
        require_one_of("original", "kit", act=act, norm=norm, drop=drop)
        require_image_shape(input_shape)
        classifiers.require_known("torchvision", name)
        require_effect(kit, act, norm, drop)
        network, has_fixed_size = build_network(name, input_shape, outputs)
        small = not has_fixed_size and (stem == "small" or (stem == "auto" and max(input_shape[1:]) <= SMALL))
        adapt_stem(network, input_shape[0], small)
        require_large_enough(network, name, input_shape)
        if pretrained:
            load_pretrained(network, name)
        replace_parts(network, name, kit, input_shape, act, norm, drop)
        super().__init__(network)
        self.pretrained = pretrained

    @staticmethod
    def normalization(*, name: str, **others: object) -> tuple[Sequence[float], Sequence[float]]:
        """Return mean and deviation of each channel, as the weights were trained with. Errors: as of the class."""
        classifiers.require_known("torchvision", name)
        if "transform_input" in parameters_of_class(name):  # GoogLeNet and Inception undo torchvision's own, which
            return HALVES, HALVES  # this one does not, to that of their authors
        preset = models.get_model_weights(name).DEFAULT.transforms()
        return preset.mean, preset.std


def parameters_of_class(name: str) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a network's class."""
    return inspect.signature(inspect.signature(BUILDERS[name]).return_annotation).parameters


def build_network(name: str, input_shape: Shape, outputs: int) -> tuple[nn.Module, bool]:
    """Return the network as torchvision makes it, and whether it is built for one size of image. Errors: ValueError."""
    builder = BUILDERS[name]
    fields = parameters_of_class(name)
    settings = {"aux_logits": False, "init_weights": True}
    settings = {field: value for field, value in settings.items() if field in fields}
    height, width = input_shape[1:]
    has_fixed_size = "image_size" in fields or "input_size" in fields
    if not has_fixed_size:
        return builder(weights=None, num_classes=outputs, **settings), False
    if height != width:
        needs = f"needs square images, the data has {height}x{width}"
        raise ValueError(f"model.name={name}: {needs}; try model.name=resnet18")

    def make(side: int) -> nn.Module:
        size = {"image_size": side} if "image_size" in fields else {"input_size": (side, side)}
        return builder(weights=None, num_classes=outputs, **settings, **size)

    try:
        return make(height), True
    except (AssertionError, ValueError):
        raise next_side(make, name, height, width) from None


def adapt_stem(network: nn.Module, channels: int, small: bool) -> None:
    """Give the network a first convolution for so many channels and, where `small`, for images of few pixels."""
    leaves = [module for module in network.modules() if not list(module.children())]
    first = next(module for module in leaves if isinstance(module, nn.Conv2d))
    shrink = small and max(first.stride) > 1
    if not shrink and first.in_channels == channels:
        return
    shape = (3, 1, 1) if shrink else (first.kernel_size, first.stride, first.padding)
    replacements = {first: nn.Conv2d(channels, first.out_channels, *shape, bias=first.bias is not None)}
    behind = leaves[leaves.index(first) + 1 :]
    pool = next((module for module in behind if not isinstance(module, (nn.BatchNorm2d, *ACTIVATIONS))), None)
    if shrink and isinstance(pool, nn.MaxPool2d):
        replacements[pool] = nn.Identity()
    replace_modules(network, replacements.get)


def load_pretrained(network: nn.Module, name: str) -> None:
    """Load torchvision's newest weights, without the last layer, and without the first where it has another shape.

    Errors: DataError, ValueError.
    """
    newest = models.get_model_weights(name).DEFAULT
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        weights = BUILDERS[name](weights=newest, progress=False).state_dict()
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        put = f"put {Path(newest.url).name} into {folder}, from {newest.url}"
        raise DataError(f"model.pretrained=true: no weights for {name} ({reason}); {put}") from error
    layers = list(weight_layers(network))
    names = {module: prefix for prefix, module in network.named_modules()}
    head, stem = (f"{names[layer]}." for layer in (layers[-1], layers[0]))
    loaded = {}
    for key, own in network.state_dict().items():
        if key.startswith(head):
            continue
        if key in weights and weights[key].shape == own.shape:
            loaded[key] = weights[key]
        elif not key.startswith(stem):
            shape = tuple(weights[key].shape) if key in weights else "nothing"
            why = f"the weights have {shape} for {key}, the network for this data {tuple(own.shape)}"
            raise ValueError(f"model.pretrained=true: {why}; try model.pretrained=false")
    network.load_state_dict(loaded, strict=False)
