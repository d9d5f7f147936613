"""Pretrainings of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from trainer.base.depth import depths_of, names_at
from trainer.pretrain.stage import Stage


@dataclass(frozen=True, kw_only=True)
class HeadFirst:
    """Train the last layer alone at first, so that it does not disturb the layers below while it knows nothing."""

    length: str = "2ep"

    def stages(self, network: nn.Module, images: Tensor, targets: Tensor) -> Sequence[Stage]:
        depths = depths_of(network, images)
        below = names_at(network, depths, lambda depth: depth < max(depths.values()))
        return [Stage(name="head", length=self.length, frozen=below)]
