"""No pretraining."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from trainer.pretrain.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Begin the main training with the weights as they were initialised."""

    def stages(self, network: nn.Module, images: Tensor, targets: Tensor) -> Sequence[Stage]:
        """Return no stages."""
        return ()
