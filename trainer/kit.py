"""What a model is built from, so that every model takes every activation, norm, dropout and pooling without knowing one."""

from collections.abc import Callable, Sequence

from torch import nn


class Kit:
    """Factories for the parts of a model, and the blocks made of them.

    Args:
        act: () -> activation.
        norm: (channels) -> normalisation; one that makes nn.Identity means none.
        pool: () -> downsampling of (B, C, H, W) by its stride.
        drops: each () -> a layer behind the hidden dense layers and before a convolutional net's head (reg's `layer` slot), in order.
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

    def drop(self) -> nn.Sequential:
        """The dropping layers of the run, none or several."""
        return nn.Sequential(*(drop() for drop in self.drops))

    def dense(self, inputs: int, outputs: int) -> nn.Sequential:
        """Dense layer, norm, activation, drop: (B, inputs) -> (B, outputs). No bias where a norm would take it away again."""
        norm = self.norm(outputs)
        producer = nn.Linear(inputs, outputs, bias=isinstance(norm, nn.Identity))
        return block(producer, norm, self.act(), *self.drop())

    def conv(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
        """Convolution that keeps H and W at stride 1, norm, activation: (B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        norm = self.norm(outputs)
        producer = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=isinstance(norm, nn.Identity))
        return block(producer, norm, self.act())

    def head(self, inputs: int, outputs: int) -> nn.Linear:
        """The last layer: (B, inputs) -> (B, outputs), no activation."""
        return nn.Linear(inputs, outputs)


def block(*parts: nn.Module) -> nn.Sequential:
    """The parts in order, without those that do nothing."""
    return nn.Sequential(*(part for part in parts if not isinstance(part, nn.Identity)))
