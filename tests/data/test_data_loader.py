"""Loaders: the same values preprocessed once or batch by batch."""

import numpy as np
import pytest
import torch

from trainer.data.loader import Loader
from trainer.data.splits import Split
from trainer.preprocess import Center, ChannelStandardize, Identity, Standardize

CPU = torch.device("cpu")


@pytest.fixture
def uint8_split():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (25, 2, 3, 3), dtype=np.uint8))
    return Split(images, torch.arange(25.0).view(25, 1))


@pytest.mark.parametrize("preprocess", [Identity(), Center(), Standardize(), ChannelStandardize()])
def test_a_loader_gives_the_same_numbers_converted_once_or_batch_by_batch(preprocess, uint8_split, monkeypatch):
    apply = preprocess.fit(uint8_split.images)
    once = Loader(uint8_split, apply, CPU)
    monkeypatch.setattr("trainer.data.loader.CONVERTED_LIMIT", 0)
    each = Loader(uint8_split, apply, CPU)
    assert (once.images.dtype, each.images.dtype) == (torch.float32, torch.uint8)
    indices = torch.tensor([3, 24, 3, 0])
    for left, right in [
        (once.batch(indices), each.batch(indices)),
        *zip(once.in_order(10), each.in_order(10), strict=True),
    ]:
        assert torch.equal(left[0], right[0]) and torch.equal(left[1], right[1])
    assert torch.equal(once.batch(indices)[0], apply(uint8_split.images[indices]))
    assert once.batch(indices)[1].flatten().tolist() == [3, 24, 3, 0]


def test_in_order_gives_every_sample_once_in_the_order_of_the_set(uint8_split):
    loader = Loader(uint8_split, Identity().fit(uint8_split.images), CPU)
    parts = [targets.flatten().tolist() for _, targets in loader.in_order(10)]
    assert len(loader) == 25 and [len(part) for part in parts] == [10, 10, 5] and sum(parts, []) == list(range(25))
