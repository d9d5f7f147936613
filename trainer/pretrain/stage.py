"""Stage of a pretraining: a training of the run's network, or of a part of it, before the main one."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training of a copy of the network; the network then takes the weights of the copy.

    Args:
        name: in words, as `layer 1`.
        length: a length, as `5ep`; a percentage is one of the main training.
        frozen: names of the parameters and modules of the network that do not train; batch norms keep their statistics.
        wrap: makes the module that trains out of the copy; it may add layers of its own, which end with the stage.
        teach: gives targets (B, K) for preprocessed images (B, ...), in place of those of the data; None without.
        criterion: loss for such targets, a sample each; None for the run's own.
    """

    name: str
    length: str
    frozen: frozenset[str] = frozenset()
    wrap: Callable[[nn.Module], nn.Module] = lambda network: network
    teach: Callable[[Tensor], Tensor] | None = None
    criterion: Callable[[Tensor, Tensor], Tensor] | None = None
