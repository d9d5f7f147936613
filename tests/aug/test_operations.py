"""Operations drawn from a list, against PIL's and SciPy's, and how often each is drawn."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage, stats
from test_aug import UNLIKELY, rng
from test_color_jitter import SCALE, SHIFT, knowing, standardised
from torch.testing import assert_close

from trainer.aug.operations import OPERATIONS
from trainer.aug.randaugment import RandAugment
from trainer.aug.trivial_augment import TrivialAugment


def photographs(count=6):
    """Smooth coloured pictures in whole 255ths, of little contrast and none alike, (N, 3, 40, 32) uint8."""
    noise = np.random.default_rng(0).random((count, 3, 40, 32))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 3, 3), mode="wrap")
    return torch.from_numpy(
        (20 + 2000 * (smooth - smooth.min()) * np.array([1, 0.8, 0.6]).reshape(3, 1, 1)).clip(0, 255).astype(np.uint8)
    )


def pils(operation):
    """The operation on a picture (3, H, W) by PIL."""
    return lambda picture: torch.from_numpy(
        np.array(operation(Image.fromarray(picture.permute(1, 2, 0).numpy())))
    ).permute(2, 0, 1)


def enhanced(kind, amount):
    return [pils(lambda image, factor=factor: kind(image).enhance(factor)) for factor in (1 + amount, 1 - amount)]


def moved(amount, matrix):
    """Both signs of an affine map by SciPy: matrix(amount) takes centred x and y of the output to those of the input."""

    def one(sign):
        def apply(picture):
            y, x = np.mgrid[:40, :32] - np.array([19.5, 15.5]).reshape(2, 1, 1)
            to_x, to_y = np.einsum("ij,jhw->ihw", matrix(sign * amount), [x, y, np.ones_like(x)])[:2]
            values = standardised(picture / 255).double().numpy()  # the fill is 0 here, not black
            at = [to_y + 19.5, to_x + 15.5]
            back = torch.from_numpy(
                np.stack([ndimage.map_coordinates(plane, at, order=1, mode="grid-constant") for plane in values])
            )
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
    ("translate_x", moved(0.18 * 32, lambda amount: np.array([[1, 0, amount], [0, 1, 0]])), 0.01),
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
        distances = [
            (reference(picture).double().clamp(0, 255) - ours.double()).abs().max().item() for reference in references
        ]
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
    transform = knowing(
        RandAugment(operations=["identity", "solarize", "posterize", "brightness"], count=1, magnitude=15.0)
    )
    values = (transform(standardised(images), None, rng())[0] * SCALE + SHIFT)[:, 0, 0, 0]
    # 0.8 is 204 of 255: inverted it is 51; without its two lowest bits 204 again, so posterize looks like identity.
    inverted, bright, dark = (int((values - value).abs().lt(1e-4).sum()) for value in (0.2, 1.0, 0.8 * 0.55))
    assert (
        stats.chisquare([inverted, bright, dark, 6000 - inverted - bright - dark], [1500, 750, 750, 3000]).pvalue
        > UNLIKELY
    )


def test_randaugment_draws_anew_for_each_of_its_operations():
    images = torch.full((4000, 3, 4, 4), 0.25)
    transform = knowing(RandAugment(operations=["brightness"], count=3, magnitude=15.0))
    values = (transform(standardised(images), None, rng())[0] * SCALE + SHIFT)[:, 0, 0, 0] / 0.25
    counts = [int((values - 1.45**ups * 0.55 ** (3 - ups)).abs().lt(1e-3).sum()) for ups in range(4)]
    assert sum(counts) == 4000 and stats.chisquare(counts, [500, 1500, 1500, 500]).pvalue > UNLIKELY


REFERENCES = {  # of a factor: what the pixels (3, 3, 3) become at 0; of the red one in the middle
    "brightness": lambda pixels: 0,
    "color": lambda pixels: pixels[:, 1, 1] @ [0.299, 0.587, 0.114],
    "contrast": lambda pixels: pixels.mean((1, 2)) @ [0.299, 0.587, 0.114],
    "sharpness": lambda pixels: (pixels[0].sum() + 4 * pixels[0, 1, 1]) / 13,
}


@pytest.mark.parametrize("word", REFERENCES)
def test_trivial_augment_draws_levels_from_0_to_30_and_signs(word):
    pixels = 0.35 + 0.1 * np.random.default_rng(1).random((3, 3, 3))
    pixels[0, 1, 1] = 0.48
    images = torch.from_numpy(pixels).float().expand(6000, 3, 3, 3)
    out = knowing(TrivialAugment(operations=[word]))(standardised(images), None, rng())[0]
    zero = REFERENCES[word](pixels)
    levels = (((out * SCALE + SHIFT)[:, 0, 1, 1].double().numpy() - zero) / (0.48 - zero) - 1) / 0.99 * 30
    assert np.abs(levels - levels.round()).max() < 1e-3
    counts = np.bincount(levels.round().astype(int) + 30, minlength=61)
    assert stats.chisquare(counts, [6000 / 62 * (2 if level == 30 else 1) for level in range(61)]).pvalue > UNLIKELY


def test_posterize_leaves_four_bits_or_in_the_wide_range_two():
    images = standardised((torch.arange(256.0) / 255).view(1, 1, 16, 16).expand(400, 3, 16, 16))
    kept = [[len(image.unique()) for image in knowing(transform)(images, None, rng())[0][:, 0]] for transform in (
        RandAugment(operations=["posterize"], count=1, magnitude=30.0), TrivialAugment(operations=["posterize"])
    )]  # fmt: skip
    assert set(kept[0]) == {16} and set(kept[1]) == {4, 8, 16, 32, 64, 128, 256}


@pytest.mark.parametrize(("word", "largest"), [("translate_x", 40.0), ("shear_x", 0.99 * 19.5)])
def test_trivial_augment_moves_as_far_as_its_wide_ranges(word, largest):
    """A white picture on a black ground fades where nothing came in: how far it went is the share that is empty."""
    images = torch.ones(3000, 1, 40, 40)
    transform = TrivialAugment(operations=[word])
    transform.calibrate(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1))
    empty = (
        40 - transform(images, None, rng())[0][:, 0, 0].sum(1).double().numpy()
    )  # in the first row, 19.5 above the middle
    assert empty.max() == pytest.approx(largest, abs=0.51)  # half a pixel fades at the edge
    assert stats.kstest(empty / largest, stats.uniform(-0.02, 1.04).cdf).statistic < 0.05  # 31 even steps


def test_trivial_augment_turns_up_to_135_degrees():
    x = torch.arange(40.0).sub(19.5).expand(40, 40)
    images = torch.stack([x, x.T]).expand(3000, 2, 40, 40)
    transform = TrivialAugment(operations=["rotate"])
    transform.calibrate(torch.tensor([-20.0, 20.0]).view(2, 1, 1, 1).expand(2, 2, 1, 1))
    out = transform(images, None, rng())[0].double().numpy()
    x, y = (out[:, channel, 19, 20:24].mean(1) - out[:, channel, 19, 16:20].mean(1) for channel in (0, 1))
    steps = np.degrees(np.arctan2(y, x)) / 4.5  # 135 / 30
    assert np.abs(steps - steps.round()).max() < 1e-3 and abs(steps).max().round() == 30
