"""Batch-norm statistics for weights that no step has trained: averages, and an optimizer's point of evaluation."""

from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.base.freezing import keeps_statistics
from trainer.data.loader import Loader

SMALLEST, LARGEST = 8, 256  # samples a pass


@contextmanager
def recomputed_statistics(
    model: nn.Module, train: Loader, batch_size: int, samples: int | None = None, only: Container[str] | None = None
) -> Iterator[None]:
    """Give the batch norms of a model the statistics of its weights on the training split; the old ones come back.

    Args:
        samples: as many of the split, drawn at random; None for all.
        only: names of the statistics to compute, as `layer1.bn.running_mean`; None for all.
    """
    norms = [
        module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats and not keeps_statistics(module)
        if only is None or f"{name}.running_mean" in only
    ]
    before = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    try:
        if norms:
            order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:samples]
            parts = order.to(train.targets.device).tensor_split(
                -(-len(order) // min(max(batch_size, SMALLEST), LARGEST))
            )
            recompute_statistics(model, norms, train.batches(parts))
        yield
    finally:
        for buffer, values in before:
            buffer.copy_(values)


@torch.no_grad()
def recompute_statistics(model: nn.Module, norms: list[_BatchNorm], batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Set the running statistics of batch norms to those of some batches, images with targets, not augmented.

    They are averaged over samples, with all other layers in evaluation mode: nothing is dropped. The same weights give
    the same statistics. torch.optim.swa_utils.update_bn leaves dropout on, and gives a small last batch the weight of a
    full one.
    """
    training, momenta = model.training, [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    count = 0
    for images, _ in batches:
        count += len(images)
        for norm in norms:
            norm.momentum = len(images) / count  # so that the running average is the mean over samples
        model(images)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    model.train(training)
