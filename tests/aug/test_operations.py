"""Operations of the augmentation policies against PIL's and SciPy's, and the frequency of each."""

import numpy as np
import pytest
import torch
from augmenting import UNLIKELY, numbered, rng
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage, stats
from torch.testing import assert_close
from torchvision.transforms import InterpolationMode, autoaugment

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
            values, at = picture.double().numpy(), [to_y + 19.5, to_x + 15.5]
            planes = [
                ndimage.map_coordinates(plane, at, order=1, mode="grid-constant", cval=255 * color)
                for plane, color in zip(values, MEAN)
            ]
            return torch.from_numpy(np.stack(planes))

        return apply

    return [one(1), one(-1)]


def turned(angle):
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]])


MEAN = (0.5, 0.4, 0.3)  # of the training images, seen beyond the edges
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
    ("translate_x", moved(0.4 * 150 / 331 * 32, lambda amount: np.array([[1, 0, amount], [0, 1, 0]])), 0.01),
    ("translate_y", moved(0.4 * 150 / 331 * 40, lambda amount: np.array([[1, 0, 0], [0, 1, amount]])), 0.01),
]


def one_operation(name, magnitude, max_magnitude=30.0):
    """Return a policy of one operation, calibrated on images of the colour MEAN."""
    transform = RandAugment(operations=[name], count=1, magnitude=magnitude, max_magnitude=max_magnitude)
    transform.calibrate(torch.tensor(MEAN).view(1, 3, 1, 1))
    return transform


def test_every_operation_has_a_reference():
    assert tuple(sorted(name for name, _, _ in AT_12)) == tuple(sorted(OPERATIONS))


@pytest.mark.parametrize(("magnitude", "top"), [(12.0, 30.0), (4.0, 10.0)])
@pytest.mark.parametrize(("name", "references", "atol"), AT_12, ids=[name for name, _, _ in AT_12])
def test_an_operation_is_pils_or_scipys_of_either_sign(name, references, atol, magnitude, top):
    """PIL rounds down to whole 255ths, Contrast and Color also on the way; 12 of torchvision's 30 are 4 of 10."""
    pictures = photographs()
    out = one_operation(name, magnitude, top)(pictures / 255, None, rng(3))[0]
    values, used = out * 255, set()
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
        assert_close(one_operation(name, 9.0)(images, None, rng())[0], images, rtol=0, atol=1e-6)


def test_each_operation_is_drawn_as_often():
    images = torch.full((6000, 3, 4, 4), 0.8)
    operations = ["identity", "solarize", "posterize", "brightness"]
    transform = RandAugment(operations=operations, count=1, magnitude=15.0, max_magnitude=30.0)
    values = transform(images, None, rng())[0][:, 0, 0, 0]
    # 0.8 is 204 of 255: inverted it is 51; without its two lowest bits 204 again, so posterize looks like identity.
    inverted, bright, dark = (int((values - value).abs().lt(1e-4).sum()) for value in (0.2, 1.0, 0.8 * 0.55))
    counts = [inverted, bright, dark, 6000 - inverted - bright - dark]
    assert stats.chisquare(counts, [1500, 750, 750, 3000]).pvalue > UNLIKELY


def test_randaugment_draws_anew_for_each_of_its_operations():
    images = torch.full((4000, 3, 4, 4), 0.25)
    transform = RandAugment(operations=["brightness"], count=3, magnitude=5.0)
    values = transform(images, None, rng())[0][:, 0, 0, 0] / 0.25
    counts = [int((values - 1.45**ups * 0.55 ** (3 - ups)).abs().lt(1e-3).sum()) for ups in range(4)]
    assert sum(counts) == 4000 and stats.chisquare(counts, [500, 1500, 1500, 500]).pvalue > UNLIKELY


def test_posterize_leaves_four_bits_or_in_the_wide_range_two():
    images = (torch.arange(256.0) / 255).view(1, 1, 16, 16).expand(400, 3, 16, 16)

    def levels(transform):
        return {len(image.unique()) for image in transform(images, None, rng())[0][:, 0]}

    assert levels(RandAugment(operations=["posterize"], count=1, magnitude=10.0)) == {16}
    assert levels(TrivialAugment(operations=["posterize"])) == {4, 8, 16, 32, 64, 128, 256}


GRADED = [name for name in OPERATIONS if name not in ("auto_contrast", "equalize")]


@pytest.mark.parametrize("top", [10.0, 30.0])
@pytest.mark.parametrize("name", GRADED)
def test_magnitude_0_changes_nothing_not_even_white_black_or_what_is_beyond_them(name, top):
    images = torch.rand(40, 3, 6, 5, generator=rng(1)) * 1.4 - 0.2
    images[:, :, 0, 0], images[:, :, 0, 1] = 1.0, 0.0
    assert torch.equal(one_operation(name, 0.0, top)(images, None, rng())[0], images)


def torchvisions(name, magnitude):
    """Return torchvision's operation of one sign as a function of a picture, with its own table of magnitudes."""
    space = autoaugment.RandAugment()._augmentation_space(31, (40, 32))
    theirs = {"auto_contrast": "AutoContrast"}.get(name, "".join(part.capitalize() for part in name.split("_")))
    table, signed = space[theirs]
    amount = float(table[magnitude]) if table.ndim else 0.0
    bilinear, fill = InterpolationMode.BILINEAR, [255 * part for part in MEAN]

    def apply(sign):
        if name == "posterize":
            amount_now = int(amount)
        else:
            amount_now = sign * amount if signed else amount
        return lambda picture: autoaugment._apply_op(picture, theirs, amount_now, bilinear, fill)

    return [apply(1), apply(-1)] if signed else [apply(1)]


@pytest.mark.parametrize("magnitude", [1, 9, 20, 30])
@pytest.mark.parametrize("name", ["solarize", "posterize", "color", "contrast", "brightness", "sharpness"])
def test_magnitudes_of_30_are_torchvisions_bins_at_both_ends_as_well(name, magnitude):
    pictures = photographs()
    pictures[:, :, 0, :4] = torch.tensor([0, 255, 254, 1], dtype=torch.uint8)
    out = one_operation(name, float(magnitude))(pictures / 255, None, rng(3))[0] * 255
    for picture, ours in zip(pictures, out):
        theirs = [operation(picture).float() for operation in torchvisions(name, magnitude)]
        # torchvision rounds down to whole 255ths, and the grey value too, of which the factor takes up to 0.9.
        assert min((ours - other).abs().max().item() for other in theirs) <= 1.9


@pytest.mark.parametrize(("magnitude", "top", "degrees"), [(9.0, 10.0, 27), (9.0, 30.0, 9), (5.0, 10.0, 15)])
def test_9_of_the_papers_10_turns_by_27_degrees_and_9_of_torchvisions_30_by_9(magnitude, top, degrees):
    x = torch.arange(41.0).div(41).expand(41, 41)
    images = torch.stack([x, x.T]).expand(20, 2, 41, 41)
    turn = RandAugment(operations=["rotate"], count=1, magnitude=magnitude, max_magnitude=top)
    across, down = (turn(images, None, rng())[0][:, channel, 20] for channel in (0, 1))
    angles = torch.atan2(down[:, 24] - down[:, 16], across[:, 24] - across[:, 16]).rad2deg()
    assert_close(angles.abs(), torch.full((20,), float(degrees)), rtol=0, atol=1e-2)
    assert angles.sign().unique().tolist() == [-1, 1]


def test_the_default_is_the_papers_scale_and_a_magnitude_beyond_the_scale_names_torchvisions():
    assert (RandAugment().magnitude, RandAugment().max_magnitude) == (9.0, 10.0)
    with pytest.raises(
        ValueError, match=r"in \[0, 10\].*got 15.0; try aug.randaugment.max_magnitude=30, torchvision's"
    ):
        RandAugment(magnitude=15.0)
    with pytest.raises(ValueError, match=r"in \[0, 30\].*got 31.0; try aug.randaugment.magnitude=30"):
        RandAugment(magnitude=31.0, max_magnitude=30.0)


def test_no_operations_change_nothing():
    images, targets = numbered(4, 3)
    out, same = RandAugment(count=0)(images, targets, rng())
    assert torch.equal(out, images) and same is targets
