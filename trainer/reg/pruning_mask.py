"""Pruned weights: those that stay zero while the others train."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainer.base.clock import Clock
from trainer.base.errors import DataError
from trainer.base.layers import decay_parameters
from trainer.base.paths import expanded
from trainer.base.plain_files import read_plain
from trainer.base.text import printable


@dataclass(kw_only=True)
class PruningMask:
    """Weights of a mask stay exactly 0: w <- w m after each step, and their gradients are 0 (Frankle & Carbin, 2019).

    The gradient is masked where it arises, so that momentum, moments and norms of the gradient know nothing of a pruned
    weight. The mask after the step holds for optimizers that mix the entries of a matrix (muon, kfac, ranger), too.
    torch.nn.utils.prune keeps a mask within the module instead, under other names of the weights, which the files of a
    run would have to know.

    Args:
        file: safetensors file of masks by the name of the weight, 0 where it is pruned and 1 where it trains; others
            train whole. null for the matrices and kernels that are 0 in places when the run begins, or resumes.
    Errors: DataError where a mask is not for the model. Source: arXiv:1803.03635, section 1. Differs from the paper:
    no.
    """

    file: str | None = None
    _model: nn.Module | None = field(default=None, init=False, repr=False, compare=False)
    _pruned: Sequence[tuple[Tensor, Tensor]] = field(default=(), init=False, repr=False, compare=False)

    def before(self, model: nn.Module, optimizer: Optimizer, now: Clock) -> None:
        """Mask weights and gradients from the first step on. Errors: DataError."""
        if self._model is not model:
            found = self._masks_of(model)
            self._model, self._pruned = model, [(weight, mask == 0) for weight, mask in found.items()]
            for weight, mask in found.items():
                weight.register_hook(mask.mul)
            for base in bases_of(optimizer):  # before a wrapper averages what the step has moved (lookahead)
                base.register_step_post_hook(lambda *arguments: self._mask())
            self._mask()

    def __call__(self, model: nn.Module, optimizer: Optimizer, now: Clock) -> None:
        self._mask()

    @torch.no_grad()
    def _mask(self) -> None:
        for weight, places in self._pruned:
            weight.masked_fill_(places, 0.0)  # a product would keep NaN, and make -0

    def _masks_of(self, model: nn.Module) -> dict[nn.Parameter, Tensor]:
        """Return the masks by weight, of those that lack anything."""
        if self.file is None:
            found = {weight: (weight.detach() != 0).to(weight.dtype) for weight in decay_parameters(model)}
        else:
            known = dict(model.named_parameters())
            saved = read_masks(self.file)
            for name, mask in saved.items():
                if name not in known or known[name].shape != mask.shape:
                    what = "is not for a weight of this model"
                    raise DataError(f"file={printable(self.file)}: its {printable(name)} {what}")
            found = {known[name]: mask.to(known[name]) for name, mask in saved.items()}
        return {weight: mask for weight, mask in found.items() if weight.requires_grad and not mask.all()}


def bases_of(optimizer: Optimizer) -> Iterator[Optimizer]:
    """Yield the optimizers within an optimizer that wraps another one."""
    while isinstance(optimizer := getattr(optimizer, "base", None), Optimizer):
        yield optimizer


def read_masks(path: str) -> Mapping[str, Tensor]:
    """Return the masks of a file by name. Errors: DataError."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(read_plain(expanded(path)))
    except OSError as error:
        raise DataError(f"file={printable(path)}: cannot be read ({error.strerror})") from None
    except (SafetensorError, ValueError) as error:
        raise DataError(f"file={printable(path)}: not a file of masks in the format safetensors ({error})") from None
