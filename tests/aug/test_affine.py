"""Moving the picture: the warp against SciPy's, matrices against small pictures whose motion is known, and the distributions of
what is drawn."""

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from test_aug import UNLIKELY, rng
from torch.testing import assert_close

from trainer.aug.affine import Affine, Rotate, ScaleXY, Shear, Translate
from trainer.aug.crop import Crop, ResizedCrop
from trainer.aug.distortion import RadialDistortion
from trainer.aug.flip import Flip
from trainer.base.warp import FusedWarps, compose, fuse_warps, rotation, scaling, shearing, translation, uniform, warp

MODES = [("constant", "grid-constant"), ("reflect", "reflect"), ("replicate", "nearest")]  # SciPy's words for the same
# Positions in float32 are good to some 1e-6 of the side; images differ by up to 3 from one pixel to the next.
ROUNDING = {"rtol": 0, "atol": 1e-4}


def positions(height, width):
    """Centred x and y of the pixels, (H, W) each."""
    y, x = np.mgrid[:height, :width]
    return x - (width - 1) / 2, y - (height - 1) / 2


def scipys(image, x, y, mode):
    """An image (H, W) looked up at centred positions."""
    height, width = image.shape
    return ndimage.map_coordinates(image, [y + (height - 1) / 2, x + (width - 1) / 2], order=1, mode=mode)


@pytest.mark.parametrize(("mode", "theirs"), MODES)
@pytest.mark.parametrize("projective", [False, True])
def test_warp_looks_where_the_matrix_says(mode, theirs, projective):
    images = torch.randn(5, 2, 7, 10, generator=rng())
    matrices = torch.eye(3) + torch.randn(5, 3, 3, generator=rng(1)) * torch.tensor(
        [[0.3, 0.3, 2], [0.3, 0.3, 2], [0.02, 0.02, 0.1]]
    )
    out = warp(images, matrices, mode, projective)
    x, y = positions(7, 10)
    for image, matrix, ours in zip(images.numpy(), matrices.double().numpy(), out):
        to = np.einsum("ij,jhw->ihw", matrix, [x, y, np.ones_like(x)])
        at = to[:2] / to[2] if projective else to[:2]
        for channel in (0, 1):
            assert_close(
                ours[channel].double(), torch.from_numpy(scipys(image[channel].astype(float), *at, theirs)), **ROUNDING
            )


def one(*numbers):
    return [torch.tensor([float(number)]) for number in numbers]


PICTURE = torch.arange(1.0, 26).view(1, 1, 5, 5)


def test_a_positive_turn_is_counter_clockwise():
    assert_close(
        warp(PICTURE, rotation(*one(np.pi / 2)))[0, 0],
        torch.from_numpy(np.rot90(PICTURE[0, 0].numpy()).copy()),
        **ROUNDING,
    )


def test_a_shift_goes_right_and_down():
    expected = torch.zeros(5, 5)
    expected[2:, 1:] = PICTURE[0, 0, :3, :4]
    assert_close(warp(PICTURE, translation(*one(1, 2)))[0, 0], expected, **ROUNDING)


def test_scaling_makes_the_picture_wider_and_higher():
    small = torch.zeros(1, 1, 9, 9)
    small[0, 0, 3:6, 3:6] = 1  # a square of side 3
    rows, columns = (warp(small, scaling(*one(3, 5 / 3)), "replicate")[0, 0] > 0.5).nonzero().T
    assert (columns.max() - columns.min() + 1, rows.max() - rows.min() + 1) == (9, 5)


def test_shearing_pushes_rows_and_then_columns_and_keeps_areas():
    shear = shearing(*one(1, 0))
    out = warp(PICTURE, shear)[0, 0]
    assert_close(out[2], PICTURE[0, 0, 2], **ROUNDING)
    assert_close(out[3, :4], PICTURE[0, 0, 3, 1:], **ROUNDING)  # one below the middle: one to the left
    assert_close(shearing(*one(0.3, -0.8)), compose(shearing(*one(0.3, 0)), shearing(*one(0, -0.8))))
    assert torch.linalg.det(shearing(*one(0.3, -0.8))).item() == pytest.approx(1, abs=1e-6)


class Given:
    """A technique with one matrix for all."""

    def __init__(self, matrix, mode="constant"):
        self.given, self.mode = matrix, mode

    def matrices(self, images, rng):
        return self.given.expand(len(images), 3, 3)


def test_fused_acts_in_the_order_of_the_list():
    turn, shift = Given(rotation(*one(np.pi / 2))), Given(translation(*one(1, 2)))
    one_by_one = warp(warp(PICTURE, turn.given), shift.given)  # exact: right angles and whole pixels
    (together,) = fuse_warps([turn, shift])
    assert_close(together(PICTURE, None, rng())[0], one_by_one, **ROUNDING)
    (other,) = fuse_warps([shift, turn])
    assert not torch.allclose(other(PICTURE, None, rng())[0], one_by_one, **ROUNDING)


MOVES = [
    Rotate(degrees=40.0),
    ScaleXY(ratio=1.5),
    Shear(degrees=20.0),
    Translate(fraction=0.2),
    Affine(),
    ResizedCrop(mode="constant"),
]


def test_fused_draws_what_each_draws_alone():
    images, stream, expected = torch.randn(20, 3, 8, 6, generator=rng()), rng(5), torch.eye(3).expand(20, 3, 3)
    for move in MOVES:
        expected = expected @ move.matrices(images, stream)
    (together,) = fuse_warps(MOVES)
    targets = torch.eye(20)
    out, same = together(images, targets, rng(5))
    # The products are grouped alike but summed in another order: 1e-6 of positions up to some 100 pixels outside.
    assert same is targets and (out - warp(images, expected)).abs().max() < 1e-3


@pytest.mark.parametrize("move", MOVES, ids=repr)
def test_a_technique_alone_warps_by_its_matrices(move):
    images = torch.randn(20, 3, 8, 6, generator=rng())
    assert_close(move(images, None, rng(5))[0], warp(images, move.matrices(images, rng(5)), move.mode))


def test_only_neighbours_of_one_mode_are_fused():
    flip, rotate, shear, crop, last = Flip(), Rotate(), Shear(), Crop(), Translate(mode="reflect")
    assert fuse_warps([flip, rotate, shear, crop, rotate, last]) == [
        flip,
        FusedWarps(warps=[rotate, shear]),
        crop,
        rotate,
        last,
    ]
    assert fuse_warps([last, last, flip, RadialDistortion(), RadialDistortion()]) == [
        FusedWarps(warps=[last, last]),
        flip,
        RadialDistortion(),
        RadialDistortion(),
    ]
    assert fuse_warps([]) == []


def drawn(move, count=4000, height=20, width=30):
    return move.matrices(torch.zeros(count, 1, height, width), rng()).double().numpy()


def assert_uniform(values, low, high):
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > UNLIKELY


def assert_unrelated(first, second):
    assert abs(stats.spearmanr(first, second).statistic) < 5 / len(first) ** 0.5


def test_translate_is_uniform_in_both_directions():
    matrices = drawn(Translate(fraction=0.1))
    x, y = matrices[:, 0, 2], matrices[:, 1, 2]
    assert_uniform(x, -3, 3)
    assert_uniform(y, -2, 2)
    assert_unrelated(x, y)


def test_rotate_is_uniform():
    matrices = drawn(Rotate(degrees=50.0))
    assert_uniform(np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0])), -50, 50)
    assert np.allclose(matrices @ matrices.transpose(0, 2, 1), np.eye(3), atol=1e-6)  # float32


def test_scale_xy_is_uniform_in_the_logarithm_of_each_side():
    matrices = drawn(ScaleXY(ratio=1.5))
    wide, high = np.log(matrices[:, 0, 0]), np.log(matrices[:, 1, 1])
    for side in (wide, high):
        assert_uniform(side, -np.log(1.5), np.log(1.5))
    assert_unrelated(wide, high)


def test_shear_is_uniform_in_both_angles():
    matrices = drawn(Shear(degrees=30.0))
    along, down = (np.degrees(np.arctan(matrices[:, row, column])) for row, column in ((0, 1), (1, 0)))
    for angles in (along, down):
        assert_uniform(angles, -30, 30)
    assert_unrelated(along, down)


def test_affine_has_the_scales_and_shifts_it_should_and_slants_before_it_turns():
    matrices = drawn(Affine(degrees=90.0, fraction=0.1, ratio=1.4, shear=0.0))
    linear = matrices[:, :2, :2]
    scales = np.linalg.det(linear) ** -0.5
    assert_uniform(np.log(scales), -np.log(1.4), np.log(1.4))
    turns = np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    assert_uniform(turns, -90, 90)
    # Moved last, so the shift is in pixels of the output.
    x, y = -np.linalg.solve(linear, matrices[:, :2, 2:])[:, :, 0].T
    assert_uniform(x, -3, 3)
    assert_uniform(y, -2, 2)
    for pair in ((scales, turns), (turns, x), (x, y)):
        assert_unrelated(*pair)
    slanted = drawn(Affine(degrees=0.0, fraction=0.0, ratio=1.0, shear=30.0))
    assert_uniform(np.degrees(np.arctan(slanted[:, 0, 1])), -30, 30)
    both = drawn(Affine(fraction=0.0, ratio=1.0, shear=30.0))[:, :2, :2]
    slants = drawn(Affine(degrees=0.0, fraction=0.0, ratio=1.0, shear=30.0))[:, :2, :2]
    turned = np.linalg.inv(slants) @ both  # the draws are the same; what is left is a pure turn on the output's side
    assert np.allclose(turned @ turned.transpose(0, 2, 1), np.eye(2), atol=1e-5)


def windows(transform, height, width):
    matrices = drawn(transform, 4000, height, width)
    assert np.abs(matrices[:, [0, 1], [1, 0]]).max() == 0
    return matrices[:, 1, 1] * height, matrices[:, 0, 0] * width, matrices[:, 1, 2], matrices[:, 0, 2]


@pytest.mark.parametrize(("height", "width"), [(20, 30), (30, 20)])
def test_resized_crop_cuts_windows_that_fit_with_the_papers_areas(height, width):
    heights, widths, y, x = windows(ResizedCrop(), height, width)
    draws, expected = np.random.default_rng(0), []
    while len(expected) < 4000:
        area, ratio = draws.uniform(0.08, 1) * 600, np.exp(draws.uniform(-np.log(4 / 3), np.log(4 / 3)))
        if np.sqrt(area * ratio) <= height and np.sqrt(area / ratio) <= width:
            expected.append((np.sqrt(area * ratio), np.sqrt(area / ratio)))
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


def test_resized_crop_cuts_what_never_fits_at_the_size_of_the_image():
    heights, widths, _, _ = windows(
        ResizedCrop(scale=(1.0, 1.0), ratio=(1.0, 1.0)), 4, 40
    )  # the square of this area is 12.6 high
    assert np.allclose(heights, 4) and np.allclose(widths, 160**0.5)


def test_uniform_draws_are_uniform():
    assert_uniform(uniform(-2, 5, 4000, torch.empty(0), rng()).numpy(), -2, 5)
