"""Colours: the factors are drawn again from the same stream, and the formulas are worked out in NumPy or by torchvision."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.transform import Rotation
from test_aug import UNLIKELY, rng
from torch.testing import assert_close
from torchvision.transforms import functional as vision

from trainer.aug.color_jitter import ColorJitter, hue_rotation
from trainer.aug.noise import Noise
from trainer.aug.pca_color import PcaColor

SHIFT, SCALE = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.25, 0.2, 0.3]).view(3, 1, 1)


def standardised(values):
    return (values - SHIFT) / SCALE


def knowing(transform, channels=3):
    """A technique that has seen black and white, as the preprocessing of `standardised` leaves them."""
    extremes = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, channels, 1, 1)
    transform.calibrate(standardised(extremes) if channels == 3 else extremes)
    return transform


def uniform_again(low, high, count, stream):
    return torch.rand(count, generator=stream).numpy().astype(float) * (high - low) + low


def test_color_jitter_is_the_four_steps_in_turn():
    values = torch.rand(30, 3, 6, 5, generator=rng(9))
    out, _ = knowing(ColorJitter(brightness=0.8, contrast=0.7, saturation=0.6, hue=0.2))(
        standardised(values), None, rng(4)
    )
    stream = rng(4)
    factors = [uniform_again(1 - reach, 1 + reach, 30, stream) for reach in (0.8, 0.7, 0.6)]
    angles = uniform_again(-0.2, 0.2, 30, stream) * 2 * np.pi
    grey, seen = np.array([0.299, 0.587, 0.114]), 0
    for value, ours, brightness, contrast, saturation, angle in zip(values.double().numpy(), out, *factors, angles):
        pixels = brightness * value
        pixels = contrast * pixels + (1 - contrast) * np.einsum("c,chw->hw", grey, pixels).mean()
        pixels = saturation * pixels + (1 - saturation) * np.einsum("c,chw->hw", grey, pixels)
        pixels = np.einsum("dc,chw->dhw", Rotation.from_rotvec(angle * np.ones(3) / 3**0.5).as_matrix(), pixels)
        seen += (pixels > 1).any() + (pixels < 0).any()
        assert_close(
            ours.double(), standardised(torch.from_numpy(pixels.clip(0, 1))), rtol=0, atol=2e-5
        )  # float32, a few products of up to 5
    assert seen > 20  # both cuts have been met


def test_color_jitter_without_hue_is_torchvisions_where_nothing_is_cut():
    values = 0.4 + 0.2 * torch.rand(10, 3, 6, 5, generator=rng(9))
    out, _ = knowing(ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.0))(
        standardised(values), None, rng(4)
    )
    stream = rng(4)
    factors = [uniform_again(0.7, 1.3, 10, stream) for _ in range(3)]
    for value, ours, brightness, contrast, saturation in zip(values, out, *factors):
        theirs = vision.adjust_brightness(
            vision.adjust_saturation(vision.adjust_contrast(value, contrast), saturation), brightness
        )  # another order
        assert_close(
            ours, standardised(theirs), rtol=0, atol=2e-3
        )  # torchvision's grey weights have four digits and sum to 0.9999


def test_a_third_of_a_turn_is_torchvisions_hue_of_a_third():
    values = torch.rand(1, 3, 4, 4, generator=rng())
    ours = torch.einsum("bdc,bchw->bdhw", hue_rotation(torch.tensor([2 * np.pi / 3])), values)
    assert_close(
        ours, vision.adjust_hue(values, 1 / 3), rtol=0, atol=1e-5
    )  # float32 through hue, saturation, value and back
    assert_close(hue_rotation(torch.zeros(1))[0], torch.eye(3))


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_factors_are_uniform_and_not_below_0(channels):
    for reach, low in ((0.4, 0.6), (1.5, 0.0)):
        jitter = knowing(ColorJitter(brightness=reach, contrast=0.0, saturation=0.0, hue=0.0), channels)
        values = torch.full((4000, channels, 2, 2), 0.2)
        out = jitter(standardised(values) if channels == 3 else values, None, rng())[0]
        factors = (out * SCALE + SHIFT if channels == 3 else out)[:, 0, 0, 0].double().numpy() / 0.2
        assert stats.kstest(factors, stats.uniform(low, 1 + reach - low).cdf).pvalue > UNLIKELY


def test_a_single_channel_has_neither_saturation_nor_hue():
    images = torch.rand(8, 1, 4, 4, generator=rng())
    out, _ = knowing(ColorJitter(brightness=0.0, contrast=0.0, saturation=0.9, hue=0.5), 1)(images, None, rng())
    assert_close(out, images, rtol=0, atol=1e-6)  # a few float32 operations on numbers up to 1


def test_color_jitter_that_has_seen_nothing_takes_the_range_of_the_batch():
    values = torch.rand(30, 3, 6, 5, generator=rng(9))
    values[0, :, 0, 0], values[0, :, 0, 1] = 0, 1
    assert_close(
        ColorJitter()(standardised(values), None, rng())[0],
        knowing(ColorJitter())(standardised(values), None, rng())[0],
    )


def colorful(count):
    """Images whose channels go together, none of them about 0."""
    return (
        torch.randn(count, 3, 6, 6, generator=rng(2)).mul_(0.5).transpose(1, 3)
        @ torch.tensor([[1.0, 0.8, 0.5], [0, 0.6, 0.2], [0, 0, 0.3]])
        + 1
    )


def test_pca_color_shifts_along_eigenvectors_by_eigenvalues():
    train = colorful(200).transpose(1, 3)
    transform = PcaColor(std=0.5)
    transform.calibrate(train)
    images = torch.zeros(20_000, 3, 1, 2)
    shifts = transform(images, None, rng())[0]
    assert torch.equal(shifts[..., 0], shifts[..., 1])
    values, vectors = np.linalg.eigh(np.cov(train.transpose(0, 1).flatten(1).double().numpy()))
    along = shifts[:, :, 0, 0].double().numpy() @ vectors / values  # the a_i
    for one in along.T:
        assert stats.kstest(one, stats.norm(0, 0.5).cdf).pvalue > UNLIKELY
    assert np.abs(np.corrcoef(along.T) - np.eye(3)).max() < 5 / 20_000**0.5


def test_pca_color_adds_to_the_image_and_asks_the_batch_where_it_has_seen_nothing():
    images = colorful(50).transpose(1, 3)
    seen = PcaColor()
    seen.calibrate(images)
    out = seen(images, None, rng())[0]
    assert_close(out, images + (out - images)[:, :, :1, :1], rtol=0, atol=1e-6)  # float32 of numbers up to 3
    assert torch.equal(PcaColor()(images, None, rng())[0], out)


def test_noise_is_normal_and_differs_from_pixel_to_pixel():
    images = torch.randn(40, 2, 5, 5, generator=rng(7))
    added = (Noise(std=0.3)(images, None, rng())[0] - images).double().flatten().numpy()
    assert stats.kstest(added, stats.norm(0, 0.3).cdf).pvalue > UNLIKELY
    assert len(np.unique(added)) > 1900
