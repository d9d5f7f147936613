"""Colours: the factors are drawn again from the same stream, and the formulas are worked out in NumPy or by torchvision and PIL."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage, stats
from scipy.spatial.transform import Rotation
from test_aug import UNLIKELY, rng
from torch.testing import assert_close
from torchvision.transforms import functional as vision

from trainer.aug.color import ColorJitter, Noise, PcaColor, turn
from trainer.aug.policy import OPERATIONS, RandAugment, TrivialAugment

SHIFT, SCALE = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.25, 0.2, 0.3]).view(3, 1, 1)


def standardised(values):
    return (values - SHIFT) / SCALE


def knowing(transform, channels=3):
    """A technique that has seen black and white, as the preprocessing of `standardised` leaves them."""
    extremes = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, channels, 1, 1)
    transform.look_at(standardised(extremes) if channels == 3 else extremes)
    return transform


def uniform_again(low, high, count, stream):
    return torch.rand(count, generator=stream).numpy().astype(float) * (high - low) + low


def test_color_jitter_is_the_four_steps_in_turn():
    values = torch.rand(30, 3, 6, 5, generator=rng(9))
    out, _ = knowing(ColorJitter(brightness=0.8, contrast=0.7, saturation=0.6, hue=0.2))(standardised(values), None, rng(4))
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
        assert_close(ours.double(), standardised(torch.from_numpy(pixels.clip(0, 1))), rtol=0, atol=2e-5)  # float32, a few products of up to 5
    assert seen > 20  # both cuts have been met


def test_color_jitter_without_hue_is_torchvisions_where_nothing_is_cut():
    values = 0.4 + 0.2 * torch.rand(10, 3, 6, 5, generator=rng(9))
    out, _ = knowing(ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.0))(standardised(values), None, rng(4))
    stream = rng(4)
    factors = [uniform_again(0.7, 1.3, 10, stream) for _ in range(3)]
    for value, ours, brightness, contrast, saturation in zip(values, out, *factors):
        theirs = vision.adjust_brightness(vision.adjust_saturation(vision.adjust_contrast(value, contrast), saturation), brightness)  # another order
        assert_close(ours, standardised(theirs), rtol=0, atol=2e-3)  # torchvision's grey weights have four digits and sum to 0.9999


def test_a_third_of_a_turn_is_torchvisions_hue_of_a_third():
    values = torch.rand(1, 3, 4, 4, generator=rng())
    ours = torch.einsum("bdc,bchw->bdhw", turn(torch.tensor([2 * np.pi / 3])), values)
    assert_close(ours, vision.adjust_hue(values, 1 / 3), rtol=0, atol=1e-5)  # float32 through hue, saturation, value and back
    assert_close(turn(torch.zeros(1))[0], torch.eye(3))


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
    assert_close(ColorJitter()(standardised(values), None, rng())[0], knowing(ColorJitter())(standardised(values), None, rng())[0])


def colorful(count):
    """Images whose channels go together, none of them about 0."""
    return torch.randn(count, 3, 6, 6, generator=rng(2)).mul_(0.5).transpose(1, 3) @ torch.tensor([[1.0, 0.8, 0.5], [0, 0.6, 0.2], [0, 0, 0.3]]) + 1


def test_pca_color_shifts_along_eigenvectors_by_eigenvalues():
    train = colorful(200).transpose(1, 3)
    transform = PcaColor(std=0.5)
    transform.look_at(train)
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
    seen.look_at(images)
    out = seen(images, None, rng())[0]
    assert_close(out, images + (out - images)[:, :, :1, :1], rtol=0, atol=1e-6)  # float32 of numbers up to 3
    assert torch.equal(PcaColor()(images, None, rng())[0], out)


def test_noise_is_normal_and_differs_from_pixel_to_pixel():
    images = torch.randn(40, 2, 5, 5, generator=rng(7))
    added = (Noise(std=0.3)(images, None, rng())[0] - images).double().flatten().numpy()
    assert stats.kstest(added, stats.norm(0, 0.3).cdf).pvalue > UNLIKELY
    assert len(np.unique(added)) > 1900


def photographs(count=6):
    """Smooth coloured pictures in whole 255ths, of little contrast and none alike, (N, 3, 40, 40) uint8."""
    noise = np.random.default_rng(0).random((count, 3, 40, 40))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 3, 3), mode="wrap")
    return torch.from_numpy((20 + 2000 * (smooth - smooth.min()) * np.array([1, 0.8, 0.6]).reshape(3, 1, 1)).clip(0, 255).astype(np.uint8))


def pils(operation):
    """The operation on a picture (3, H, W) by PIL."""
    return lambda picture: torch.from_numpy(np.asarray(operation(Image.fromarray(picture.permute(1, 2, 0).numpy())))).permute(2, 0, 1)


def enhanced(kind, amount):
    return [pils(lambda image, factor=factor: kind(image).enhance(factor)) for factor in (1 + amount, 1 - amount)]


def moved(amount, matrix):
    """Both signs of an affine map by SciPy: matrix(amount) takes centred x and y of the output to those of the input."""

    def one(sign):
        def apply(picture):
            y, x = np.mgrid[:40, :40] - 19.5
            to_x, to_y = np.einsum("ij,jhw->ihw", matrix(sign * amount), [x, y, np.ones_like(x)])[:2]
            values = standardised(picture / 255).double().numpy()  # the fill is 0 here, not black
            back = torch.from_numpy(np.stack([ndimage.map_coordinates(plane, [to_y + 19.5, to_x + 19.5], order=1, mode="grid-constant") for plane in values]))
            return (back * SCALE + SHIFT) * 255

        return apply

    return [one(1), one(-1)]


def turned(angle):
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]])


AT_12 = [  # of 30: 0.4 of the reach
    ("identity", [lambda picture: picture], 0),
    ("auto_contrast", [pils(ImageOps.autocontrast)], 1),
    ("equalize", [pils(ImageOps.equalize)], 0),
    ("solarize", [pils(lambda image: ImageOps.solarize(image, 153))], 0),  # 255 * 0.6
    ("posterize", [pils(lambda image: ImageOps.posterize(image, 6))], 0),  # 8 - 1.6 bits
    ("color", enhanced(ImageEnhance.Color, 0.36), 1.5),
    ("contrast", enhanced(ImageEnhance.Contrast, 0.36), 1.5),
    ("brightness", enhanced(ImageEnhance.Brightness, 0.36), 1),
    ("sharpness", enhanced(ImageEnhance.Sharpness, 0.36), 1.5),
    ("rotate", moved(np.radians(12), turned), 0.01),
    ("shear_x", moved(0.12, lambda amount: np.array([[1, amount, 0], [0, 1, 0]])), 0.01),
    ("shear_y", moved(0.12, lambda amount: np.array([[1, 0, 0], [amount, 1, 0]])), 0.01),
    ("translate_x", moved(0.18 * 40, lambda amount: np.array([[1, 0, amount], [0, 1, 0]])), 0.01),
    ("translate_y", moved(0.18 * 40, lambda amount: np.array([[1, 0, 0], [0, 1, amount]])), 0.01),
]


def test_every_operation_has_a_reference():
    assert tuple(sorted(word for word, _, _ in AT_12)) == tuple(sorted(OPERATIONS))


@pytest.mark.parametrize(("word", "references", "atol"), AT_12, ids=[word for word, _, _ in AT_12])
def test_an_operation_is_pils_or_scipys_of_either_sign(word, references, atol):
    """PIL rounds down to whole 255ths, Contrast and Color also on the way; colours that are not moved go through float32 and back."""
    pictures = photographs()
    transform = knowing(RandAugment(operations=[word], count=1, magnitude=12.0))
    out = transform(standardised(pictures / 255), None, rng(3))[0]
    values, used = (out * SCALE + SHIFT) * 255, set()
    for picture, ours in zip(pictures, values):
        distances = [(reference(picture).double().clamp(0, 255) - ours.double()).abs().max().item() for reference in references]
        assert min(distances) <= atol + 1e-3
        used.add(int(np.argmin(distances)))
    assert used == set(range(len(references)))


def test_equalize_leaves_what_has_one_level_and_auto_contrast_too():
    images = torch.full((2, 3, 8, 8), 0.3)
    images[1, 1] = 0.7
    for word in ("equalize", "auto_contrast"):
        transform = knowing(RandAugment(operations=[word], count=1))
        assert_close(transform(standardised(images), None, rng())[0], standardised(images), rtol=0, atol=1e-6)


def test_each_operation_is_drawn_as_often():
    images = torch.full((6000, 3, 4, 4), 0.8)
    transform = knowing(RandAugment(operations=["identity", "solarize", "posterize", "brightness"], count=1, magnitude=15.0))
    values = (transform(standardised(images), None, rng())[0] * SCALE + SHIFT)[:, 0, 0, 0]
    # 0.8 is 204 of 255: inverted it is 51; without its two lowest bits 204 again, so posterize looks like identity.
    inverted, bright, dark = (int((values - value).abs().lt(1e-4).sum()) for value in (0.2, 1.0, 0.8 * 0.55))
    assert stats.chisquare([inverted, bright, dark, 6000 - inverted - bright - dark], [1500, 750, 750, 3000]).pvalue > UNLIKELY


def test_randaugment_draws_anew_for_each_of_its_operations():
    images = torch.full((4000, 3, 4, 4), 0.25)
    transform = knowing(RandAugment(operations=["brightness"], count=3, magnitude=15.0))
    values = (transform(standardised(images), None, rng())[0] * SCALE + SHIFT)[:, 0, 0, 0] / 0.25
    counts = [int((values - 1.45**ups * 0.55 ** (3 - ups)).abs().lt(1e-3).sum()) for ups in range(4)]
    assert sum(counts) == 4000 and stats.chisquare(counts, [500, 1500, 1500, 500]).pvalue > UNLIKELY


def test_trivial_augment_draws_levels_from_0_to_30_and_signs():
    images = torch.full((6000, 3, 2, 2), 0.4)
    out = knowing(TrivialAugment(operations=["brightness"]))(standardised(images), None, rng())[0]
    levels = ((out * SCALE + SHIFT)[:, 0, 0, 0].double().numpy() / 0.4 - 1) / 0.99 * 30
    assert np.abs(levels - levels.round()).max() < 1e-3
    counts = np.bincount(levels.round().astype(int) + 30, minlength=61)
    assert stats.chisquare(counts, [6000 / 62 * (2 if level == 30 else 1) for level in range(61)]).pvalue > UNLIKELY


@pytest.mark.parametrize(("word", "largest"), [("translate_x", 40.0), ("shear_x", 0.99 * 19.5)])
def test_trivial_augment_moves_as_far_as_its_wide_ranges(word, largest):
    """A white picture on a black ground fades where nothing came in: how far it went is the share that is empty."""
    images = torch.ones(3000, 1, 40, 40)
    transform = TrivialAugment(operations=[word])
    transform.look_at(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1))
    empty = 40 - transform(images, None, rng())[0][:, 0, 0].sum(1).double().numpy()  # in the first row, 19.5 above the middle
    assert empty.max() == pytest.approx(largest, abs=0.51)  # half a pixel fades at the edge
    assert stats.kstest(empty / largest, stats.uniform(-0.02, 1.04).cdf).statistic < 0.05  # 31 even steps


def test_trivial_augment_turns_up_to_135_degrees():
    x = torch.arange(40.0).sub(19.5).expand(40, 40)
    images = torch.stack([x, x.T]).expand(3000, 2, 40, 40)
    transform = TrivialAugment(operations=["rotate"])
    transform.look_at(torch.tensor([-20.0, 20.0]).view(2, 1, 1, 1).expand(2, 2, 1, 1))
    out = transform(images, None, rng())[0].double().numpy()
    x, y = (out[:, channel, 19, 20:24].mean(1) - out[:, channel, 19, 16:20].mean(1) for channel in (0, 1))
    steps = np.degrees(np.arctan2(y, x)) / 4.5  # 135 / 30
    assert np.abs(steps - steps.round()).max() < 1e-3 and abs(steps).max().round() == 30
