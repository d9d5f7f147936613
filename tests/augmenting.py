"""Random streams, numbered images and statistics that the tests of augmentations share."""

import numpy as np
import torch
from scipy import stats

from trainer.base.warp import apply_warps, translation

# Statistical tests have a fixed seed and fail by chance for one seed in 10,000.
UNLIKELY = 1e-4


def rng(seed=0):
    """Return a random stream of its own."""
    return torch.Generator().manual_seed(seed)


def numbered(count, channels=2, height=5, width=7):
    """Return images whose pixels are all different, and one-hot targets that name them."""
    pixels = torch.arange(1.0, count * channels * height * width + 1)
    return pixels.view(count, channels, height, width), torch.eye(count)


# Positions in float32 are good to some 1e-6 of the side; images differ by up to 3 from one pixel to the next.
ROUNDING = {"rtol": 0, "atol": 1e-4}
PICTURE = torch.arange(1.0, 26).view(1, 1, 5, 5)


def positions(height, width):
    """Return centred x and y of the pixels, (H, W) each."""
    y, x = np.mgrid[:height, :width]
    return x - (width - 1) / 2, y - (height - 1) / 2


def assert_uniform(values, low, high):
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > UNLIKELY


def assert_unrelated(first, second):
    assert abs(stats.spearmanr(first, second).statistic) < 5 / len(first) ** 0.5


def drawn(warp, count=4000, height=20, width=30):
    """Return the matrices that a warp draws, in float64."""
    return warp.matrices(torch.zeros(count, 1, height, width), rng()).double().numpy()


def bounds(inside):
    """Return top, bottom, left and right of each image's box (N, H, W), whose pixels must fill it."""
    found = []
    for image in inside:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        found.append((rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) if len(rows) else (0, 0, 0, 0))
        top, bottom, left, right = found[-1]
        assert image.sum() == (bottom - top) * (right - left)
    return np.array(found)


class Drift:
    """Warp that moves images to the right by a pixel an epoch, and keeps the steps at which it got the time."""

    mode = "constant"

    def __init__(self):
        self.steps = []

    def begin(self, now):
        self.steps.append(now.step)
        self.pixels = float(now.step // now.steps_per_epoch)

    def matrices(self, images, rng):
        return translation(torch.full((len(images),), self.pixels), torch.zeros(len(images)))

    def __call__(self, images, targets, rng):
        return apply_warps([self], images, rng), targets
