"""Operations of the augmentation policies against PIL's and SciPy's, and the frequency of each."""

import numpy as np
import pytest
import torch
from augmenting import SCALE, SHIFT, UNLIKELY, calibrated, rng, standardised
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage, stats
from torch.testing import assert_close

from trainer.aug.operations import OPERATIONS
from trainer.aug.randaugment import RandAugment
from trainer.aug.trivial_augment import TrivialAugment


def photographs(count=6):
    """Return smooth coloured pictures of little contrast, none alike, (N, 3, 40, 32) uint8."""
    noise = np.random.default_rng(0).random((count, 3, 40, 32))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 3, 3), mode="wrap")
    colored = 20 + 2000 * (smooth - smooth.min()) * np.array([1, 0.8, 0.6]).reshape(3, 1, 1)
    return torch.from_numpy(colored.clip(0, 255).astype(np.uint8))


def pils(operation):
    """Return PIL's operation as a function of a picture (3, H, W)."""

    def apply(picture):
        image = Image.fromarray(picture.permute(1, 2, 0).numpy())
        return torch.from_numpy(np.array(operation(image))).permute(2, 0, 1)

    return apply


def enhanced(kind, amount):
    return [pils(lambda image, factor=factor: kind(image).enhance(factor)) for factor in (1 + amount, 1 - amount)]


def moved(amount, matrix):
    """Return SciPy's affine map of both signs; matrix(amount) maps centred x and y of the output to the input."""

    def one(sign):
        def apply(picture):
            y, x = np.mgrid[:40, :32] - np.array([19.5, 15.5]).reshape(2, 1, 1)
            to_x, to_y = np.einsum("ij,jhw->ihw", matrix(sign * amount), [x, y, np.ones_like(x)])[:2]
            values = standardised(picture / 255).double().numpy()  # the fill is 0 here, not black
            at = [to_y + 19.5, to_x + 15.5]
            planes = [ndimage.map_coordinates(plane, at, order=1, mode="grid-constant") for plane in values]
            return (torch.from_numpy(np.stack(planes)) * SCALE + SHIFT) * 255

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
    assert tuple(sorted(name for name, _, _ in AT_12)) == tuple(sorted(OPERATIONS))


@pytest.mark.parametrize(("name", "references", "atol"), AT_12, ids=[name for name, _, _ in AT_12])
def test_an_operation_is_pils_or_scipys_of_either_sign(name, references, atol):
    """PIL rounds down to whole 255ths, Contrast and Color also on the way; ours go through float32 and back."""
    pictures = photographs()
    transform = calibrated(RandAugment(operations=[name], count=1, magnitude=12.0))
    out = transform(standardised(pictures / 255), None, rng(3))[0]
    values, used = (out * SCALE + SHIFT) * 255, set()
    for picture, ours in zip(pictures, values):
        distances = [
            (reference(picture).double().clamp(0, 255) - ours.double()).abs().max().item() for reference in references
        ]
        assert min(distances) <= atol + 1e-3
        used.add(int(np.argmin(distances)))
    assert used == set(range(len(references)))


def test_equalize_and_auto_contrast_leave_a_channel_of_one_level():
    images = torch.full((2, 3, 8, 8), 0.3)
    images[1, 1] = 0.7
    for name in ("equalize", "auto_contrast"):
        transform = calibrated(RandAugment(operations=[name], count=1))
        assert_close(transform(standardised(images), None, rng())[0], standardised(images), rtol=0, atol=1e-6)


def test_each_operation_is_drawn_as_often():
    images = torch.full((6000, 3, 4, 4), 0.8)
    operations = ["identity", "solarize", "posterize", "brightness"]
    transform = calibrated(RandAugment(operations=operations, count=1, magnitude=15.0))
    values = (transform(standardised(images), None, rng())[0] * SCALE + SHIFT)[:, 0, 0, 0]
    # 0.8 is 204 of 255: inverted it is 51; without its two lowest bits 204 again, so posterize looks like identity.
    inverted, bright, dark = (int((values - value).abs().lt(1e-4).sum()) for value in (0.2, 1.0, 0.8 * 0.55))
    counts = [inverted, bright, dark, 6000 - inverted - bright - dark]
    assert stats.chisquare(counts, [1500, 750, 750, 3000]).pvalue > UNLIKELY


def test_randaugment_draws_anew_for_each_of_its_operations():
    images = torch.full((4000, 3, 4, 4), 0.25)
    transform = calibrated(RandAugment(operations=["brightness"], count=3, magnitude=15.0))
    values = (transform(standardised(images), None, rng())[0] * SCALE + SHIFT)[:, 0, 0, 0] / 0.25
    counts = [int((values - 1.45**ups * 0.55 ** (3 - ups)).abs().lt(1e-3).sum()) for ups in range(4)]
    assert sum(counts) == 4000 and stats.chisquare(counts, [500, 1500, 1500, 500]).pvalue > UNLIKELY


def test_posterize_leaves_four_bits_or_in_the_wide_range_two():
    images = standardised((torch.arange(256.0) / 255).view(1, 1, 16, 16).expand(400, 3, 16, 16))

    def levels(transform):
        return {len(image.unique()) for image in calibrated(transform)(images, None, rng())[0][:, 0]}

    assert levels(RandAugment(operations=["posterize"], count=1, magnitude=30.0)) == {16}
    assert levels(TrivialAugment(operations=["posterize"])) == {4, 8, 16, 32, 64, 128, 256}
