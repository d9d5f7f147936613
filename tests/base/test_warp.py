"""Warps: interpolation against SciPy's, matrices against pictures of known motion, and the order of fused warps."""

import numpy as np
import pytest
import torch
from augmenting import PICTURE, ROUNDING, assert_uniform, positions, rng
from scipy import ndimage
from torch.testing import assert_close

from trainer.base.warp import compose, fuse_warps, rotation, scaling, shearing, translation, uniform, warp

# The same in SciPy, whose "reflect" is NumPy's and torch's "symmetric", and "mirror" their "reflect".
MODES = [("constant", "grid-constant"), ("reflect", "mirror"), ("symmetric", "reflect"), ("replicate", "nearest")]


def scipys(image, x, y, mode):
    """Interpolate an image (H, W) at centred positions."""
    height, width = image.shape
    return ndimage.map_coordinates(image, [y + (height - 1) / 2, x + (width - 1) / 2], order=1, mode=mode)


@pytest.mark.parametrize(("mode", "theirs"), MODES)
@pytest.mark.parametrize("projective", [False, True])
def test_a_matrix_maps_positions_in_the_output_to_the_input(mode, theirs, projective):
    images = torch.randn(5, 2, 7, 10, generator=rng())
    spread = torch.tensor([[0.3, 0.3, 2], [0.3, 0.3, 2], [0.02, 0.02, 0.1]])
    matrices = torch.eye(3) + torch.randn(5, 3, 3, generator=rng(1)) * spread
    out = warp(images, matrices, mode, projective)
    x, y = positions(7, 10)
    for image, matrix, ours in zip(images.numpy(), matrices.double().numpy(), out):
        to = np.einsum("ij,jhw->ihw", matrix, [x, y, np.ones_like(x)])
        at = to[:2] / to[2] if projective else to[:2]
        for channel in (0, 1):
            expected = scipys(image[channel].astype(float), *at, theirs)
            assert_close(ours[channel].double(), torch.from_numpy(expected), **ROUNDING)


def one(*numbers):
    """Return the numbers as batches of one."""
    return [torch.tensor([float(number)]) for number in numbers]


def test_a_positive_turn_is_counter_clockwise():
    expected = torch.from_numpy(np.rot90(PICTURE[0, 0].numpy()).copy())
    assert_close(warp(PICTURE, rotation(*one(np.pi / 2)))[0, 0], expected, **ROUNDING)


def test_a_shift_goes_right_and_down():
    expected = torch.zeros(5, 5)
    expected[2:, 1:] = PICTURE[0, 0, :3, :4]
    assert_close(warp(PICTURE, translation(*one(1, 2)))[0, 0], expected, **ROUNDING)


@pytest.mark.parametrize(
    ("mode", "numpys"),
    [("constant", "constant"), ("reflect", "reflect"), ("symmetric", "symmetric"), ("replicate", "edge")],
)
def test_a_mode_is_numpys_of_the_name_beyond_the_edges(mode, numpys):
    padded = np.pad(PICTURE[0, 0].numpy(), 3, numpys)
    for right, down in ((3, 2), (-2, 3), (-3, -3)):
        shifted = warp(PICTURE, translation(*one(right, down)), mode)[0, 0]
        assert_close(shifted, torch.from_numpy(padded[3 - down : 8 - down, 3 - right : 8 - right].copy()), **ROUNDING)


@pytest.mark.parametrize("mode", ["reflect", "symmetric", "replicate"])
def test_a_line_of_pixels_is_its_own_mirror_image(mode):
    line = torch.arange(1.0, 6).view(1, 1, 1, 5)
    assert_close(warp(line, translation(*one(0, 4)), mode), line, **ROUNDING)


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
    """A warp with one matrix for all images."""

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


def test_uniform_draws_are_uniform():
    assert_uniform(uniform(-2, 5, 4000, torch.empty(0), rng()).numpy(), -2, 5)
