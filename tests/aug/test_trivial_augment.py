"""TrivialAugment: the distribution of levels and signs, and the wide ranges."""

import numpy as np
import pytest
import torch
from augmenting import UNLIKELY, rng
from scipy import stats

from trainer.aug.trivial_augment import TrivialAugment

# The value at factor 0 of the red pixel in the middle, of pixels (3, 3, 3).
REFERENCES = {
    "brightness": lambda pixels: 0,
    "color": lambda pixels: pixels[:, 1, 1] @ [0.299, 0.587, 0.114],
    "contrast": lambda pixels: pixels.mean((1, 2)) @ [0.299, 0.587, 0.114],
    "sharpness": lambda pixels: (pixels[0].sum() + 4 * pixels[0, 1, 1]) / 13,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_trivial_augment_draws_levels_from_0_to_30_and_signs(name):
    pixels = 0.35 + 0.1 * np.random.default_rng(1).random((3, 3, 3))
    pixels[0, 1, 1] = 0.48
    images = torch.from_numpy(pixels).float().expand(6000, 3, 3, 3)
    out = TrivialAugment(operations=[name])(images, None, rng())[0]
    zero = REFERENCES[name](pixels)
    levels = ((out[:, 0, 1, 1].double().numpy() - zero) / (0.48 - zero) - 1) / 0.99 * 30
    assert np.abs(levels - levels.round()).max() < 1e-3
    counts = np.bincount(levels.round().astype(int) + 30, minlength=61)
    assert stats.chisquare(counts, [6000 / 62 * (2 if level == 30 else 1) for level in range(61)]).pvalue > UNLIKELY


@pytest.mark.parametrize(("name", "largest"), [("translate_x", 40.0), ("shear_x", 0.99 * 19.5)])
def test_trivial_augment_moves_as_far_as_its_wide_ranges(name, largest):
    """The length of the move is the black part of a white picture, as beyond the edges images have the mean colour."""
    images = torch.ones(3000, 1, 40, 40)
    transform = TrivialAugment(operations=[name])
    transform.calibrate(torch.zeros(2, 1, 1, 1))
    first_row = transform(images, None, rng())[0][:, 0, 0]  # 19.5 above the middle
    empty = 40 - first_row.sum(1).double().numpy()
    assert empty.max() == pytest.approx(largest, abs=0.51)  # half a pixel fades at the edge
    assert stats.kstest(empty / largest, stats.uniform(-0.02, 1.04).cdf).statistic < 0.05  # 31 even steps


def test_trivial_augment_turns_up_to_135_degrees():
    x = torch.arange(40.0).div(40).expand(40, 40)
    images = torch.stack([x, x.T]).expand(3000, 2, 40, 40)
    out = TrivialAugment(operations=["rotate"])(images, None, rng())[0].double().numpy()
    x, y = (out[:, channel, 19, 20:24].mean(1) - out[:, channel, 19, 16:20].mean(1) for channel in (0, 1))
    steps = np.degrees(np.arctan2(y, x)) / 4.5  # 135 / 30
    assert np.abs(steps - steps.round()).max() < 1e-3 and abs(steps).max().round() == 30
