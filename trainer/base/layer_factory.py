"""Layer factory: it builds the layers of every model with any activation, norm, dropout and pooling."""

from collections.abc import Callable, Sequence

from torch import nn

from trainer.base.hooks import pieces_of
from trainer.base.layers import with_linear_input
from trainer.base.module_protocols import DropsMaps, FollowsAct
from trainer.base.protocols import NormOfInput, PlacedNorm


class LayerFactory:
    """Factories of single layers, and of the blocks made of them.

    Args:
        act: () -> activation. One with `pieces` (maxout) makes one value of so many.
        norm: (channels) -> normalisation, with the hooks `place` and `on_input` of protocols.py where it likes; one
            that makes nn.Identity means none.
        pool: () -> downsampling of (B, C, H, W) by its stride.
        drops: each () -> a layer behind the hidden dense layers and before a convolutional net's head (reg's `layer`
            slot), in order; one with `on_maps` follows the blocks of convolutions instead, one with `follows_act` the
            activations of both directly.
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
        self.norm_follows_act = isinstance(norm, PlacedNorm) and norm.place == "after_act"

    def drop(self) -> nn.Sequential:
        """Make the run's dropping layers for vectors (B, D), none or several."""
        return nn.Sequential(*(one for one in self._made_drops() if not isinstance(one, (DropsMaps, FollowsAct))))

    def drop_maps(self) -> nn.Sequential:
        """Make the run's dropping layers for images (B, C, H, W), none or several."""
        return nn.Sequential(*(one for one in self._made_drops() if isinstance(one, DropsMaps)))

    def drop_activations(self) -> nn.Sequential:
        """Make the run's dropping layers for the outputs of an activation, none or several."""
        return nn.Sequential(*(one for one in self._made_drops() if isinstance(one, FollowsAct)))

    def dense(self, inputs: int, outputs: int) -> nn.Sequential:
        """Make a dense layer, norm, activation, drop: (B, inputs) -> (B, outputs)."""

        def weight_layer(width: int, bias: bool) -> nn.Module:
            return nn.Linear(inputs, width, bias)

        return block(*self._with_norm_and_act(weight_layer, outputs, self.act()), *self.drop())

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
        """Make a convolution, norm, activation, drop of maps.

        (B, inputs, H, W) -> (B, outputs, H / stride, W / stride) with the default padding, half the kernel. With
        `act=False` the activation is left out, for a block that is added to a shortcut.
        """
        padding = kernel // 2 if padding is None else padding

        def weight_layer(width: int, bias: bool) -> nn.Module:
            return nn.Conv2d(inputs, width, kernel, stride, padding, groups=groups, bias=bias)

        layers = self._with_norm_and_act(weight_layer, outputs, self.act() if act else nn.Identity())
        return block(*layers, *(self.drop_maps() if act else ()))

    def feed_forward(self, width: int, hidden: int) -> nn.Sequential:
        """Make a dense layer of `hidden` units, activation, drop, a dense layer back: (B, width) -> (B, width).

        For residual branches: a norm stands before them, if anywhere.
        """
        act = self.act()
        inner = block(act, *(() if isinstance(act, nn.Identity) else self.drop_activations()), *self.drop())
        first, last = nn.Linear(width, hidden * pieces_of(act)), nn.Linear(hidden, width)
        return nn.Sequential(with_linear_input(first), *inner, last)

    def bare_conv(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
        """Make a convolution whose norm and activation precede the next one; it has a bias only without norms."""
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=isinstance(self.norm(outputs), nn.Identity))

    def activation(self, channels: int) -> nn.Module:
        """Make an activation without a weight layer of its own before it: (B, C, H, W) -> (B, C, H, W).

        One with pieces brings a 1x1 convolution.
        """
        act = self.act()
        pieces = pieces_of(act)
        return act if pieces == 1 else nn.Sequential(nn.Conv2d(channels, channels * pieces, 1), act)

    def preact(self, channels: int) -> nn.Sequential:
        """Make the norm and activation before a convolution: (B, C, H, W) -> (B, C, H, W)."""
        norm, act = self.norm(channels), self.activation(channels)
        return block(act, norm) if self.norm_follows_act else block(norm, act)

    def head(self, inputs: int, outputs: int) -> nn.Linear:
        """Make the last layer: (B, inputs) -> (B, outputs), no activation."""
        return nn.Linear(inputs, outputs)

    def with_input_norm(self, model: nn.Module, channels: int) -> nn.Module:
        """Return the model behind a norm of its input where the norm asks for one, else the model."""
        on_input = isinstance(self.norm, NormOfInput) and self.norm.on_input
        return nn.Sequential(self.norm(channels), model) if on_input else model

    def unlike_default(self) -> dict[str, str]:
        """Return the parts that differ from the defaults, by group: `act` as `act= makes Tanh`."""
        act, norm, found = self.act(), self.norm(2), {}
        if type(act) is not nn.ReLU:
            found["act"] = f"act= makes {type(act).__name__}"
        if not isinstance(norm, nn.Identity):
            found["norm"] = f"norm= makes {type(norm).__name__}"
        if self.drops:
            found["drop"] = f"reg= makes {', '.join(type(drop()).__name__ for drop in self.drops)}"
        return found

    def _with_norm_and_act(
        self, weight_layer: Callable[[int, bool], nn.Module], outputs: int, act: nn.Module
    ) -> list[nn.Module]:
        """Make a weight layer wide enough for its activation, with a bias unless a norm follows it."""
        width = outputs * pieces_of(act)
        acts = [act] if isinstance(act, nn.Identity) else [act, *self.drop_activations()]
        if self.norm_follows_act and not isinstance(act, nn.Identity):
            return [weight_layer(width, True), *acts, self.norm(outputs)]
        norm = self.norm(width)
        return [weight_layer(width, isinstance(norm, nn.Identity)), norm, *acts]

    def _made_drops(self) -> list[nn.Module]:
        return [drop() for drop in self.drops]


def block(*layers: nn.Module) -> nn.Sequential:
    """Return the layers in order, without identities."""
    return nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.Identity)))
