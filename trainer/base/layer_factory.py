"""What a model is built from, so that every model takes every activation, norm, dropout and pooling without knowing one."""

from collections.abc import Callable, Sequence

from torch import nn


class LayerFactory:
    """Factories for the parts of a model, and the blocks made of them.

    Args:
        act: () -> activation. One with `pieces` (maxout) makes one value of so many.
        norm: (channels) -> normalisation, with `place` and `on_input` where it is one; one that makes nn.Identity means none.
        pool: () -> downsampling of (B, C, H, W) by its stride.
        drops: each () -> a layer behind the hidden dense layers and before a convolutional net's head (reg's `layer` slot), in order;
            one with `on_maps` stands behind the activations of convolutions instead.
    """

    def __init__(
        self,
        act: Callable[[], nn.Module],
        norm: Callable[[int], nn.Module],
        pool: Callable[[], nn.Module],
        drops: Sequence[Callable[[], nn.Module]] = (),
    ) -> None:
        self.act = act
        self.norm = norm
        self.pool = pool
        self.drops = drops
        self.norm_follows_act = getattr(norm, "place", "before_act") == "after_act"

    def drop(self) -> nn.Sequential:
        """The run's dropping layers for vectors (B, D), none or several."""
        return nn.Sequential(*(layer for layer in (drop() for drop in self.drops) if not hasattr(layer, "on_maps")))

    def drop_maps(self) -> nn.Sequential:
        """The run's dropping layers for images (B, C, H, W), none or several."""
        return nn.Sequential(*(layer for layer in (drop() for drop in self.drops) if hasattr(layer, "on_maps")))

    def dense(self, inputs: int, outputs: int) -> nn.Sequential:
        """Dense layer, norm, activation, drop: (B, inputs) -> (B, outputs)."""
        return block(
            *self._parts(lambda width, bias: nn.Linear(inputs, width, bias), outputs, self.act()), *self.drop()
        )

    def conv(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        padding: int | None = None,
        groups: int = 1,
        act: bool = True,
    ) -> nn.Sequential:
        """Convolution, norm, activation, drop of maps: (B, inputs, H, W) -> (B, outputs, H / stride, W / stride), unless padding (half the kernel) says otherwise.

        With `act=False` the activation is left out, for what is added to a shortcut.
        """
        padding = kernel // 2 if padding is None else padding

        def producer(width: int, bias: bool) -> nn.Module:
            return nn.Conv2d(inputs, width, kernel, stride, padding, groups=groups, bias=bias)

        parts = self._parts(producer, outputs, self.act() if act else nn.Identity())
        return block(*parts, *(self.drop_maps() if act else ()))

    def bare_conv(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
        """A convolution whose norm and activation stand in front of the next one; a bias only where the run has no norm."""
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=isinstance(self.norm(outputs), nn.Identity))

    def activation(self, channels: int) -> nn.Module:
        """An activation that stands behind no layer of its own: (B, C, H, W) -> (B, C, H, W). One with pieces brings a 1x1 convolution."""
        act = self.act()
        pieces = getattr(act, "pieces", 1)
        return act if pieces == 1 else nn.Sequential(nn.Conv2d(channels, channels * pieces, 1), act)

    def preact(self, channels: int) -> nn.Sequential:
        """Norm and activation before a layer: (B, C, H, W) -> (B, C, H, W)."""
        norm, act = self.norm(channels), self.activation(channels)
        return block(act, norm) if self.norm_follows_act else block(norm, act)

    def head(self, inputs: int, outputs: int) -> nn.Linear:
        """The last layer: (B, inputs) -> (B, outputs), no activation."""
        return nn.Linear(inputs, outputs)

    def with_input_norm(self, model: nn.Module, channels: int) -> nn.Module:
        """The model, behind a norm of its own input where the norm is to stand there too."""
        return nn.Sequential(self.norm(channels), model) if getattr(self.norm, "on_input", False) else model

    def _parts(self, producer: Callable[[int, bool], nn.Module], outputs: int, act: nn.Module) -> list[nn.Module]:
        """A layer made wide enough for its activation, with a bias unless a norm behind it brings a shift of its own."""
        width = outputs * getattr(act, "pieces", 1)
        if self.norm_follows_act and not isinstance(act, nn.Identity):
            return [producer(width, True), act, self.norm(outputs)]
        norm = self.norm(width)
        return [producer(width, isinstance(norm, nn.Identity)), norm, act]


def block(*parts: nn.Module) -> nn.Sequential:
    """The parts in order, without those that do nothing."""
    return nn.Sequential(*(part for part in parts if not isinstance(part, nn.Identity)))
