"""Batches of a split that lives on the device."""

from collections.abc import Iterator

from torch import Tensor, device

from trainer.data.splits import Split
from trainer.preprocess import Apply

CONVERTED_LIMIT = 256 * 2**20  # bytes up to which a split is preprocessed once and kept as floats


class Loader:
    """A split on the device, preprocessed: once and for all where it is small, batch by batch where it is large and uint8.

    Either way gives the same numbers.

    Args:
        split: the samples, on any device.
        apply: what the preprocessing has fitted.
        target_device: where the batches are wanted.
    """

    def __init__(self, split: Split, apply: Apply, target_device: device) -> None:
        self.images = split.images.to(target_device)
        self.targets = split.targets.to(target_device)
        self.apply = apply
        if self.images.is_floating_point() or self.images.numel() * 4 <= CONVERTED_LIMIT:
            self.images, self.apply = apply(self.images), None

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The samples of `indices` (B,), which are on the device."""
        images = self.images.index_select(0, indices)
        return self.apply(images) if self.apply else images, self.targets.index_select(0, indices)

    def in_order(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All samples in the order of the set, `size` at a time."""
        for images, targets in zip(self.images.split(size), self.targets.split(size)):
            yield self.apply(images) if self.apply else images, targets
