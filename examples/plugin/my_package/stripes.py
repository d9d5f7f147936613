"""Data sets of one's own, as a Dataset of torch."""

import torch
from torch import Tensor
from torch.utils.data import Dataset


class Stripes(Dataset):
    """Grey pictures of stripes, upright or lying.

    It is made twice, with train=True and train=False; validation samples are held out from the first. For files, add an
    argument `root`, here and in the YAML. __getitem__ may return a picture of Pillow, an array or a tensor, with the
    number or the name of a class, a float or several.
    """

    classes = ("upright", "lying")

    def __init__(self, train: bool = True, samples: int = 300, noise: float = 0.3) -> None:
        rng = torch.Generator().manual_seed(0 if train else 1)
        self.labels = torch.randint(2, (samples,), generator=rng)
        waves = (torch.arange(16) // 2 % 2).float().expand(16, 16)
        images = torch.stack([waves.T if label else waves for label in self.labels])
        self.images = (images + noise * torch.randn(images.shape, generator=rng)).clamp(0, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index].unsqueeze(0), int(self.labels[index])  # an image is (C, H, W)
