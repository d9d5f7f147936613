"""The last convolutional feature map of a network, found by a forward pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

PLACES = 16  # of a map that shows where: one of 2 x 2 only tells the quarters of an image
CONVOLUTIONS, PRODUCTS = ("convolution", "_convolution"), ("bmm", "baddbmm")  # of torch.ops.aten
NO_CONVOLUTION = "the model has no convolution"
MIXED = "the model mixes all places behind its last convolution"


@dataclass(frozen=True, kw_only=True)
class FeatureMap:
    """Feature map of a network.

    Args:
        layer: the module whose output it is, (B, channels, height, width).
        height, width: its places.
    """

    layer: nn.Module
    height: int
    width: int


@dataclass(frozen=True)
class Event:
    """A convolution, an attention, or the end of a module's call, with the shape of the output."""

    shape: tuple[int, ...]
    module: nn.Module | None = None
    is_attention: bool = False

    @property
    def is_convolution(self) -> bool:
        return self.module is None and not self.is_attention

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a map (B, C, H, W); of other outputs (0, 0)."""
        return self.shape[2:] if len(self.shape) == 4 else (0, 0)

    @property
    def places(self) -> int:
        return self.size[0] * self.size[1]

    @property
    def is_of_tokens(self) -> bool:
        """True of a layer with weights that gives several vectors for each sample, (B, T, C) or (B, C, T)."""
        return len(self.shape) == 3 and min(self.shape[1:]) > 1 and any(True for _ in self.module.parameters())

    @property
    def is_dense_on_places(self) -> bool:
        """True of a dense layer on several vectors of each sample, (B, H, W, C) as well."""
        several = len(self.shape) > 2 and torch.Size(self.shape[1:-1]).numel() > 1
        return isinstance(self.module, nn.Linear) and several


@dataclass
class Record(TorchDispatchMode):
    """Events of a forward pass in their order: convolutions and attentions, whoever calls them, and modules' ends."""

    batch: int
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        output = operation(*args, **(kwargs or {}))
        name = operation.overloadpacket.__name__
        if name in CONVOLUTIONS:
            self.events.append(Event(tuple(output.shape)))
        elif is_attention(name, args):
            self.events.append(Event((), is_attention=True))
        return output

    def ended(self, module: nn.Module, inputs: tuple, output: object) -> None:
        """Take the end of a module's call: a forward hook."""
        first = output[0] if isinstance(output, Sequence) and output else output
        if isinstance(first, Tensor) and first.dim() and len(first) == self.batch:
            self.events.append(Event(tuple(first.shape), module))


def find_feature_map(module: nn.Module, images: Tensor) -> FeatureMap | str:
    """Return the last convolutional feature map of a network, or why there is none that shows places.

    That is the output of the last module that still has the size of the last convolution's: behind the activation and
    the sum of a residual block, before the pooling. Maps of less than 4 x 4 places are passed over where the network
    has larger ones.

    Args:
        module: in evaluation mode.
        images: (B, C, H, W), one or more as the network takes them.
    """
    events = forward_events(module, images)
    convolutions = [place for place, event in enumerate(events) if event.is_convolution]
    if not convolutions:
        return NO_CONVOLUTION
    wide = [place for place in convolutions if events[place].places > 1]
    if not wide:
        return "the feature maps of the model have one place"
    if mixes_places(events, wide[-1]):
        return MIXED
    chosen = [place for place in wide if events[place].places >= PLACES] or wide
    found = last_of_size(events, chosen[-1])
    if found == chosen[-1]:
        return "the convolutions of the model are not in modules of their own"
    height, width = events[found].size
    return FeatureMap(layer=events[found].module, height=height, width=width)


def mixes_places(events: Sequence[Event], convolution: int) -> bool:
    """Return whether a network mixes the places of its last convolution's map, other than by pooling them at the end.

    Attention does, and so do layers on tokens; dense layers on each pixel do not within the block of the convolution.
    """
    end = last_of_size(events, convolution)
    return any(
        event.is_attention
        or (event.module is not None and (event.is_of_tokens or event.is_dense_on_places and place > end))
        for place, event in enumerate(events)
        if place > convolution
    )


def is_attention(name: str, operands: Sequence) -> bool:
    """Return whether an operation is an attention, or a product of matrices that both belong to the samples."""
    if name not in PRODUCTS:
        return "attention" in name or "transformer" in name
    matrices = [operand for operand in operands if isinstance(operand, Tensor) and operand.dim() == 3]
    return all(matrix.stride(0) != 0 or len(matrix) == 1 for matrix in matrices[-2:])  # 0: a weight for all samples


def last_of_size(events: Sequence[Event], convolution: int) -> int:
    """Return the place of the last module's end that has the size of a convolution; that of the latter without such.

    Only before the next convolution of another size, and of modules that are not called again: a hook sees the last.
    """
    size = events[convolution].size
    calls = {id(event.module): place for place, event in enumerate(events)}
    found = convolution
    for place in range(convolution + 1, len(events)):
        event = events[place]
        if event.is_convolution and event.places > 1 and event.size != size:
            break
        if event.module is not None and event.size == size and calls[id(event.module)] == place:
            found = place
    return found


@torch.no_grad()
def forward_events(module: nn.Module, images: Tensor) -> list[Event]:
    """Return the events of a forward pass."""
    record = Record(len(images))
    with hooked(module, record.ended), record:
        module(images.clone())
    return record.events


@contextmanager
def hooked(module: nn.Module, hook: object) -> Iterator[None]:
    """Call a forward hook of all modules within the network."""
    hooks = [
        part.register_forward_hook(hook)
        for name, part in module.named_modules()
        if name and "parametrizations" not in name.split(".")
    ]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()
