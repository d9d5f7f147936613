"""Colour jitter: factors drawn again from the same stream, and formulas worked out in NumPy or by torchvision."""

import numpy as np
import pytest
import torch
from augmenting import UNLIKELY, rng
from scipy import stats
from scipy.spatial.transform import Rotation
from torch.testing import assert_close
from torchvision.transforms import functional as vision

from trainer.aug.color_jitter import ColorJitter, hue_rotation


def uniform_again(low, high, count, stream):
    """Draw U(low, high) as the technique does, in NumPy's float64."""
    return torch.rand(count, generator=stream).numpy().astype(float) * (high - low) + low


def test_color_jitter_is_the_four_steps_in_turn():
    values = torch.rand(30, 3, 6, 5, generator=rng(9))
    out, _ = ColorJitter(brightness=0.8, contrast=0.7, saturation=0.6, hue=0.2)(values, None, rng(4))
    stream = rng(4)
    factors = [uniform_again(1 - reach, 1 + reach, 30, stream) for reach in (0.8, 0.7, 0.6)]
    angles = uniform_again(-0.2, 0.2, 30, stream) * 2 * np.pi
    grey, clipped = np.array([0.299, 0.587, 0.114]), 0
    for value, ours, brightness, contrast, saturation, angle in zip(values.double().numpy(), out, *factors, angles):
        pixels = brightness * value
        pixels = contrast * pixels + (1 - contrast) * np.einsum("c,chw->hw", grey, pixels).mean()
        pixels = saturation * pixels + (1 - saturation) * np.einsum("c,chw->hw", grey, pixels)
        pixels = np.einsum("dc,chw->dhw", Rotation.from_rotvec(angle * np.ones(3) / 3**0.5).as_matrix(), pixels)
        clipped += (pixels > 1).any() + (pixels < 0).any()
        # float32, a few products of up to 5
        assert_close(ours.double(), torch.from_numpy(pixels.clip(0, 1)), rtol=0, atol=1e-5)
    assert clipped > 20  # at both ends


def test_color_jitter_without_hue_is_torchvisions_where_nothing_is_clipped():
    values = 0.4 + 0.2 * torch.rand(10, 3, 6, 5, generator=rng(9))
    out, _ = ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.0)(values, None, rng(4))
    stream = rng(4)
    factors = [uniform_again(0.7, 1.3, 10, stream) for _ in range(3)]
    for value, ours, brightness, contrast, saturation in zip(values, out, *factors):
        theirs = vision.adjust_saturation(vision.adjust_contrast(value, contrast), saturation)  # another order
        theirs = vision.adjust_brightness(theirs, brightness)
        # torchvision's grey weights have four digits and sum to 0.9999.
        assert_close(ours, theirs, rtol=0, atol=5e-4)


def test_a_third_of_a_turn_is_torchvisions_hue_of_a_third():
    values = torch.rand(1, 3, 4, 4, generator=rng())
    ours = torch.einsum("bdc,bchw->bdhw", hue_rotation(torch.tensor([2 * np.pi / 3])), values)
    # float32 through hue, saturation, value and back.
    assert_close(ours, vision.adjust_hue(values, 1 / 3), rtol=0, atol=1e-5)
    assert_close(hue_rotation(torch.zeros(1))[0], torch.eye(3))


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_factors_are_uniform_and_not_below_0(channels):
    for reach, low in ((0.4, 0.6), (1.5, 0.0)):
        jitter = ColorJitter(brightness=reach, contrast=0.0, saturation=0.0, hue=0.0)
        out = jitter(torch.full((4000, channels, 2, 2), 0.2), None, rng())[0]
        factors = out[:, 0, 0, 0].double().numpy() / 0.2
        assert stats.kstest(factors, stats.uniform(low, 1 + reach - low).cdf).pvalue > UNLIKELY


def test_a_single_channel_has_neither_saturation_nor_hue():
    images = torch.rand(8, 1, 4, 4, generator=rng())
    out, _ = ColorJitter(brightness=0.0, contrast=0.0, saturation=0.9, hue=0.5)(images, None, rng())
    assert_close(out, images, rtol=0, atol=1e-6)  # a few float32 operations on numbers up to 1
