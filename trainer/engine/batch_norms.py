"""Batch-norm statistics for weights that no step has trained: averages, and an optimizer's point of evaluation."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.data.loader import Loader

SMALLEST, LARGEST = 8, 256  # samples a pass


@contextmanager
def recomputed_statistics(model: nn.Module, train: Loader, batch_size: int) -> Iterator[None]:
    """Give the batch norms of a model the statistics of its weights on the training split; the old ones come back."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    before = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    try:
        if norms:
            recompute_statistics(model, norms, train, min(max(batch_size, SMALLEST), LARGEST))
        yield
    finally:
        for buffer, values in before:
            buffer.copy_(values)


@torch.no_grad()
def recompute_statistics(model: nn.Module, norms: list[_BatchNorm], train: Loader, batch_size: int) -> None:
    """Set the running statistics of batch norms to those of the training split, without augmentation.

    They are averaged over samples, in random batches of one size, with all other layers in evaluation mode: nothing is
    dropped. The same weights give the same statistics. torch.optim.swa_utils.update_bn leaves dropout on, and gives a
    small last batch the weight of a full one.
    """
    training, momenta = model.training, [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).to(train.targets.device)
    count = 0
    for images, _ in train.batches(order.tensor_split(-(-len(order) // batch_size))):
        count += len(images)
        for norm in norms:
            norm.momentum = len(images) / count  # so that the running average is the mean over samples
        model(images)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    model.train(training)
