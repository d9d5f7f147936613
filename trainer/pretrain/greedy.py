"""Greedy layer-wise pretraining."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from trainer.base.depth import depths_of, layers_in_order, names_at
from trainer.pretrain.stage import Stage
from trainer.pretrain.truncated import Truncated, fresh_head, shape_before


@dataclass(frozen=True, kw_only=True)
class Greedy:
    """Greedy supervised pretraining (Bengio et al., 2007): one hidden layer after the other, then all jointly.

    Stage k trains layer k under a fresh linear head, on top of the frozen layers 1 to k - 1; the head is then thrown
    away. The last hidden layer trains under the network's own head. The main training tunes all layers jointly. A
    layer is a dense one or a convolution with its norm and activation, or a block of them that comes again and again.

    Args:
        length: of each stage, a length.
    Errors: ValueError for a network without hidden layers.
    Source: Greedy Layer-Wise Training of Deep Networks, NIPS 2006, section 5.2 (supervised greedy training).
    Differs from the paper: maps of convolutions, which it does not have, come to the head as averages.
    """

    length: str = "5ep"

    def stages(self, network: nn.Module, images: Tensor, targets: Tensor) -> Sequence[Stage]:
        """Return a stage for each hidden layer.

        Args:
            images, targets: some of the training split, for their shapes.
        """
        layers = layers_in_order(network, images)
        hidden = len(layers) - 1
        if not hidden:
            raise ValueError("the network has no hidden layers to train one by one")
        depths, stages = depths_of(network, images), []
        for number in range(1, hidden):
            frozen = names_at(network, depths, lambda depth, own=number - 1: depth != own)
            head = FreshHead(before=layers[number], images=images, outputs=targets.shape[1])
            stages.append(Stage(name=f"layer {number}", length=self.length, frozen=frozen, wrap=head))
        frozen = names_at(network, depths, lambda depth: depth < hidden - 1)
        return [*stages, Stage(name=f"layer {hidden} and the head", length=self.length, frozen=frozen)]


@dataclass(frozen=True, kw_only=True)
class FreshHead:
    """Put the layers before one of them under a fresh head.

    Args:
        before: name of the layer.
        images: some of the training split, for their shape.
        outputs: K.
    """

    before: str
    images: Tensor
    outputs: int

    def __call__(self, network: nn.Module) -> nn.Module:
        head = fresh_head(shape_before(network, self.before, self.images), self.outputs)
        return Truncated(network, self.before, head)
