"""Finished networks of a library as models: names, sizes of images, and parts of the kit's in place of their own."""

from collections.abc import Callable

import torch
from torch import nn

from trainer.base.layer_factory import LayerFactory
from trainer.model.blocks import Shape
from trainer.model.surgery import forward_on_meta, replace_act, replace_drop, replace_norm

LARGEST = 512  # pixels: the end of the search for a side that fits


def require_effect(kit: LayerFactory, act: str, norm: str, drop: str) -> None:
    """Check that every part of the kit that differs from the defaults reaches the network. Errors: ValueError."""
    chosen = {"act": act, "norm": norm, "drop": drop}
    for part, made in kit.unlike_default().items():
        if chosen[part] == "original":
            why = f"which has no effect while model.{part}=original keeps the network's own"
            raise ValueError(f"{made}, {why}; try model.{part}=kit")


def next_side(make: Callable[[int], nn.Module], name: str, height: int, width: int) -> ValueError:
    """Return the error for images that a network cannot be made for, with the next side that it can be made for."""
    side = next((side for side in range(height + 1, LARGEST + 1) if can_make(make, side)), LARGEST)
    cannot = f"cannot take images of {height}x{width}"
    return ValueError(f"model.name={name}: {cannot}; the next side it can take: {side}")


def can_make(make: Callable[[int], nn.Module], side: int) -> bool:
    """Return whether a network can be made for images of this side."""
    try:
        with torch.device("meta"):
            make(side)
    except (AssertionError, ValueError):
        return False
    return True


def require_large_enough(network: nn.Module, name: str, input_shape: Shape) -> None:
    """Check that the image does not shrink to nothing. Errors: ValueError with the smallest side that fits."""
    channels, height, width = input_shape
    if accepts(network, input_shape):
        return
    low = min(height, width)
    high = min(2 * low, LARGEST)
    while high < LARGEST and not accepts(network, (channels, high, high)):
        low, high = high, min(2 * high, LARGEST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if accepts(network, (channels, middle, middle)) else (middle, high)
    shrinks = f"images of {height}x{width} shrink to nothing inside the network"
    raise ValueError(f"model.name={name}: {shrinks}; the smallest side it can take: {high}")


def accepts(network: nn.Module, input_shape: Shape) -> bool:
    """Return whether the network can take such images."""
    try:
        forward_on_meta(network, input_shape)
    except RuntimeError:
        return False
    return True


def replace_parts(
    network: nn.Module,
    name: str,
    kit: LayerFactory,
    input_shape: Shape,
    act: str,
    norm: str,
    drop: str,
    activations: tuple[type, ...] = (),
) -> None:
    """Put the kit's activations, norms and dropouts into a network, where they are to be the kit's.

    Args:
        activations: classes of the network's library, beside those of torch.
    Errors: ValueError.
    """
    if act == "kit":
        replace_part(name, "act", lambda: replace_act(network, kit, input_shape, activations))
    if norm == "kit":
        replace_part(name, "norm", lambda: replace_norm(network, kit))
    if drop == "kit":
        replace_part(name, "drop", lambda: replace_drop(network, kit))


def replace_part(name: str, part: str, replace: Callable[[], int]) -> None:
    """Do a replacement. Errors: ValueError with the network's name, also where there was nothing to replace."""
    try:
        count = replace()
    except ValueError as error:
        raise ValueError(f"model.name={name}: {error}") from error
    if not count:
        what = {"act": "activations", "norm": "normalisations", "drop": "dropouts"}[part]
        raise ValueError(f"model.name={name}: has no {what} to replace; try model.{part}=original")
