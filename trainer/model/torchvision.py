"""Any classifier of torchvision.models, made to fit the data and the kit."""

import inspect
import pickle
from pathlib import Path

import torch
from torch import nn
from torchvision import models

from trainer.base.checks import require_one_of
from trainer.base.errors import DataError
from trainer.base.layer_factory import LayerFactory
from trainer.base.layers import weight_layers
from trainer.base.text import did_you_mean
from trainer.model.blocks import require_image_shape
from trainer.model.surgery import HIDDEN, replace_act, replace_drop, replace_norm, swap, trial

SMALL = 64  # pixels: the longer side up to which stem=auto is stem=small
LARGEST = 512  # pixels: where the search for a side that fits ends
BUILDERS = {name: models.get_model_builder(name) for name in models.list_models(module=models)}


class Torchvision(nn.Sequential):
    """A classifier of torchvision.models, with its own parts or the kit's.

    The words act=, norm= and reg= (its layer slot) reach a network that has parts of its own only where model.act, model.norm
    and model.drop say `kit`; a word that would have no effect is refused. The kit's pool is not used.

    Args:
        name: what torchvision.models.list_models calls it.
        pretrained: start from torchvision's newest weights for ImageNet, all but those of the last layer, and of the first
            where its shape is another. Weights of exchanged parts go with them.
        stem: original, or small: a first convolution that strides becomes 3x3 with stride 1, and a max pooling directly behind
            it goes (He et al., 2016, section 4.2, have such a stem for 32x32). Networks built for one size of image keep theirs.
            auto is small for images of up to 64 pixels.
        act: the network's original activations, or the kit's.
        norm: the network's original normalisations, or the kit's.
        drop: the network's original dropouts, or the kit's.
    Shapes: (B, C, H, W) -> (B, K). Errors: ValueError; DataError where the weights cannot be had.
    Source: torchvision.models. Differs from it: the first layer takes C channels, the last gives K outputs, no auxiliary heads,
    and no change of the input's scale (transform_input).
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
        if name not in BUILDERS:
            raise ValueError(
                f"model.name={name}: torchvision has no such classifier; {did_you_mean(name, list(BUILDERS))}"
            )
        refuse_silence(kit, act, norm, drop)
        network, sized = built(name, input_shape, outputs)
        small = not sized and (stem == "small" or (stem == "auto" and max(input_shape[1:]) <= SMALL))
        enter(network, input_shape[0], small)
        refuse_small(network, name, input_shape)
        if pretrained:
            load(network, name)
        for part, chosen, change in (
            ("act", act, lambda: replace_act(network, kit, input_shape)),
            ("norm", norm, lambda: replace_norm(network, kit)),
            ("drop", drop, lambda: replace_drop(network, kit)),
        ):
            if chosen == "kit":
                exchange(name, part, change)
        super().__init__(network)
        self.pretrained = pretrained


def refuse_silence(kit: LayerFactory, act: str, norm: str, drop: str) -> None:
    """What the kit makes must reach the network or be what the kit makes when nothing is said. Errors: ValueError."""
    own_act, own_norm = kit.act(), kit.norm(2)
    silent = {
        "act": act == "original" and type(own_act) is not nn.ReLU and f"act= makes {type(own_act).__name__}",
        "norm": norm == "original"
        and not isinstance(own_norm, nn.Identity)
        and f"norm= makes {type(own_norm).__name__}",
        "drop": drop == "original"
        and bool(kit.drops)
        and f"reg= makes {', '.join(type(layer).__name__ for layer in kit.drop())}",
    }
    for part, made in silent.items():
        if made:
            raise ValueError(
                f"{made}, which has no effect while model.{part}=original keeps the network's own; try model.{part}=kit"
            )


def built(name: str, input_shape: tuple[int, ...], outputs: int) -> tuple[nn.Module, bool]:
    """The network as torchvision makes it, and whether it was made for one size of image. Errors: ValueError."""
    builder = BUILDERS[name]
    fields = inspect.signature(inspect.signature(builder).return_annotation).parameters
    fixed = {"aux_logits": False, "init_weights": True}
    fixed = {field: value for field, value in fixed.items() if field in fields}
    height, width = input_shape[1:]
    sized = "image_size" in fields or "input_size" in fields
    if not sized:
        return builder(weights=None, num_classes=outputs, **fixed), False
    if height != width:
        raise ValueError(
            f"model.name={name}: needs square images, the data has {height}x{width}; try model.name=resnet18"
        )

    def make(side: int) -> nn.Module:
        size = {"image_size": side} if "image_size" in fields else {"input_size": (side, side)}
        return builder(weights=None, num_classes=outputs, **fixed, **size)

    try:
        return make(height), True
    except (AssertionError, ValueError):
        side = next((side for side in range(height + 1, LARGEST + 1) if possible(make, side)), LARGEST)
        raise ValueError(
            f"model.name={name}: cannot take images of {height}x{width}; the next side it can take: {side}"
        ) from None


def possible(make, side: int) -> bool:
    try:
        with torch.device("meta"):
            make(side)
    except (AssertionError, ValueError):
        return False
    return True


def enter(network: nn.Module, channels: int, small: bool) -> None:
    """Give the network a first convolution for so many channels and, where small, for images of few pixels."""
    leaves = [module for module in network.modules() if not list(module.children())]
    first = next(module for module in leaves if isinstance(module, nn.Conv2d))
    shrink = small and max(first.stride) > 1
    if not shrink and first.in_channels == channels:
        return
    shape = (3, 1, 1) if shrink else (first.kernel_size, first.stride, first.padding)
    fresh = nn.Conv2d(channels, first.out_channels, *shape, bias=first.bias is not None)
    changed = {first: fresh}
    behind = leaves[leaves.index(first) + 1 :]
    pool = next((module for module in behind if not isinstance(module, (nn.BatchNorm2d, *HIDDEN))), None)
    if shrink and isinstance(pool, nn.MaxPool2d):
        changed[pool] = nn.Identity()
    swap(network, changed.get)


def refuse_small(network: nn.Module, name: str, input_shape: tuple[int, ...]) -> None:
    """Errors: ValueError where the image shrinks to nothing on its way, with the smallest side that does not."""
    channels, height, width = input_shape
    if fits(network, input_shape):
        return
    low, high = min(height, width), LARGEST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(network, (channels, middle, middle)) else (middle, high)
    raise ValueError(
        f"model.name={name}: images of {height}x{width} shrink to nothing on their way; the smallest side it can take: {high}"
    )


def fits(network: nn.Module, input_shape: tuple[int, ...]) -> bool:
    try:
        trial(network, input_shape)
    except RuntimeError:
        return False
    return True


def load(network: nn.Module, name: str) -> None:
    """torchvision's newest weights, for all but the last layer, and the first where it has another shape. Errors: DataError, ValueError."""
    newest = models.get_model_weights(name).DEFAULT
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        given = BUILDERS[name](weights=newest, progress=False).state_dict()
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        why = str(error).partition("\n")[0]
        raise DataError(
            f"model.pretrained=true: no weights for {name} ({why}); put {Path(newest.url).name} into {folder}, from {newest.url}"
        ) from error
    layers = list(weight_layers(network))
    names = {module: prefix for prefix, module in network.named_modules()}
    head, stem = (f"{names[layer]}." for layer in (layers[-1], layers[0]))
    taken = {}
    for key, own in network.state_dict().items():
        if key.startswith(head):
            continue
        if key in given and given[key].shape == own.shape:
            taken[key] = given[key]
        elif not key.startswith(stem):
            shape = tuple(given[key].shape) if key in given else "nothing"
            raise ValueError(
                f"model.pretrained=true: the weights have {shape} for {key}, the network for this data {tuple(own.shape)}; try model.pretrained=false"
            )
    network.load_state_dict(taken, strict=False)


def exchange(name: str, part: str, change) -> None:
    """Do a replacement. Errors: ValueError with the network's name, also where there was nothing to replace."""
    try:
        count = change()
    except ValueError as error:
        raise ValueError(f"model.name={name}: {error}") from error
    if not count:
        what = {"act": "activations", "norm": "normalisations", "drop": "dropouts"}[part]
        raise ValueError(f"model.name={name}: has no {what} of its own to exchange; try model.{part}=original")
