"""Crops: windows found in NumPy's padded image, and sizes of resized windows against draws by rejection."""

import numpy as np
import pytest
import torch
from augmenting import UNLIKELY, assert_uniform, assert_unrelated, drawn, numbered, rng
from scipy import stats
from torch.testing import assert_close

from trainer.aug.crop import Crop, ResizedCrop


def offsets(images, out, padding, mode):
    """Find the place of each window by trying all; exactly one must match."""
    height, width = images.shape[2:]
    found = []
    for image, window in zip(images.numpy(), out.numpy(), strict=True):
        padded = np.pad(image, [(0, 0), (padding, padding), (padding, padding)], mode)
        places = [
            (top, left)
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
            if np.array_equal(padded[:, top : top + height, left : left + width], window)
        ]
        assert len(places) == 1
        found += places
    return np.array(found)


@pytest.mark.parametrize(
    ("mode", "numpys"),
    [("constant", "constant"), ("reflect", "reflect"), ("symmetric", "symmetric"), ("replicate", "edge")],
)
@pytest.mark.parametrize(("padding", "count", "channels"), [(1, 30, 1), (3, 30, 2), (2, 1, 1)])
def test_crop_cuts_a_window_of_the_padded_image(mode, numpys, padding, count, channels):
    images, targets = numbered(count, channels)
    out, same = Crop(padding=padding, mode=mode)(images, targets, rng())
    offsets(images, out, padding, numpys)
    assert same is targets


def test_crop_takes_every_place_as_often_and_rows_apart_from_columns():
    images, targets = numbered(2000, 1, 3, 4)
    tops, lefts = offsets(images, Crop(padding=1)(images, targets, rng())[0], 1, "constant").T
    assert stats.chisquare(np.bincount(3 * tops + lefts, minlength=9)).pvalue > UNLIKELY


def test_crop_refuses_to_reflect_more_than_the_image_has():
    images, targets = numbered(2)
    for mode, most in (("reflect", 4), ("symmetric", 5)):
        Crop(padding=most, mode=mode)(images, targets, rng())
        with pytest.raises(ValueError, match=f"padding must be <= {most} for mode={mode} .* 5x7, got {most + 1}"):
            Crop(padding=most + 1, mode=mode)(images, targets, rng())


def windows(transform, height, width):
    """Return heights, widths, and y and x of the centres of the windows."""
    matrices = drawn(transform, 4000, height, width)
    assert np.abs(matrices[:, [0, 1], [1, 0]]).max() == 0
    return matrices[:, 1, 1] * height, matrices[:, 0, 0] * width, matrices[:, 1, 2], matrices[:, 0, 2]


@pytest.mark.parametrize(("height", "width"), [(20, 30), (30, 20)])
@pytest.mark.parametrize(("scale", "ratio"), [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.1, 0.7), (0.5, 3.0))])
def test_resized_crop_draws_areas_and_proportions_until_the_window_fits(scale, ratio, height, width):
    heights, widths, y, x = windows(ResizedCrop(scale=scale, ratio=ratio), height, width)
    draws, expected = np.random.default_rng(0), []
    while len(expected) < 4000:
        area, proportion = draws.uniform(*scale) * 600, np.exp(draws.uniform(*np.log(ratio)))
        if np.sqrt(area * proportion) <= height and np.sqrt(area / proportion) <= width:
            expected.append((np.sqrt(area * proportion), np.sqrt(area / proportion)))
    for ours, theirs in zip((heights, widths, heights * widths), (*np.array(expected).T, np.prod(expected, 1))):
        assert stats.ks_2samp(ours, theirs).pvalue > UNLIKELY
    for size, sizes, offset in ((height, heights, y), (width, widths, x)):
        assert (abs(offset) + sizes / 2 <= size / 2 + 1e-4).all()  # float32 of 15 pixels
        assert_uniform(offset / (size - sizes), -0.5, 0.5)
    assert_unrelated(x, y)


def test_resized_crop_does_not_fade_at_the_edge_of_the_image():
    images = torch.ones(50, 1, 6, 6)
    assert_close(ResizedCrop()(images, None, rng())[0], images)


def test_resized_crop_of_square_windows_is_uniform_in_area():
    heights, widths, _, _ = windows(ResizedCrop(scale=(0.3, 1.0), ratio=(1.0, 1.0)), 16, 16)
    assert np.allclose(heights, widths)
    assert_uniform(heights * widths / 256, 0.3, 1)


def test_resized_crop_cuts_a_window_that_never_fits_at_the_size_of_the_image():
    # The square of the image's area is 12.6 pixels high.
    heights, widths, _, _ = windows(ResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0)), 4, 40)
    assert np.allclose(heights, 4) and np.allclose(widths, 160**0.5)
