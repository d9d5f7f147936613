"""Transfer of the first layers of another run's network."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from trainer.base.checks import require
from trainer.base.clock import parse_length
from trainer.base.depth import depths_of, names_at
from trainer.pretrain.stage import Stage

NONE, ALWAYS = "none", "always"


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Transfer of the first k layers (Yosinski et al., 2014): the others are drawn afresh, and all train jointly.

    Args:
        run: directory of the run whose best weights are copied, or a file of weights.
        layers: k, >= 1, counted from the input; a residual block counts as one.
        freeze: how long the copied layers stay as they are, at first: a length, for which the others train in a stage
            of their own; `always`, for the whole run; `none`. Paper: none (fine-tuned) and always (frozen).
    Errors: ValueError where no layer is left to draw afresh.
    Source: arXiv:1411.1792, section 3 (AnB+ fine-tuned, AnB frozen).
    """

    run: str
    layers: int = 1
    freeze: str = NONE

    def __post_init__(self) -> None:
        require(">= 1", layers=self.layers)
        if self.freeze not in (NONE, ALWAYS):
            parse_length(self.freeze)

    @property
    def freezes_always(self) -> bool:
        """True where the copied layers never train."""
        return self.freeze == ALWAYS

    def copied(self, network: nn.Module, images: Tensor) -> frozenset[str]:
        """Return the names of the parameters and modules in the first layers."""
        depths = depths_of(network, images)
        there = max(depths.values())
        if self.layers > there:
            what = f"the network has {there} layers before its last one" if there else "the network has one layer"
            raise ValueError(f"layers={self.layers}: {what}, which is drawn afresh")
        return names_at(network, depths, lambda depth: depth < self.layers)

    def stages(self, network: nn.Module, images: Tensor, targets: Tensor) -> Sequence[Stage]:
        """Return the training of the other layers on top of the copied ones, where these are frozen at first."""
        copied = self.copied(network, images)
        if self.freeze in (NONE, ALWAYS):
            return ()
        return [Stage(name="upper layers", length=self.freeze, frozen=copied)]
