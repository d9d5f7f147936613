"""Affine warps: the distributions of the drawn matrices, and neighbours fused into one warp."""

import numpy as np
import pytest
import torch
from augmenting import assert_uniform, assert_unrelated, drawn, rng
from torch.testing import assert_close

from trainer.aug.affine import Affine, Rotate, ScaleXY, Shear, Translate
from trainer.aug.crop import Crop, ResizedCrop
from trainer.aug.distortion import RadialDistortion
from trainer.aug.flip import Flip
from trainer.base.warp import FusedWarps, fuse_warps, warp

WARPS = [
    Rotate(degrees=40.0),
    ScaleXY(ratio=1.5),
    Shear(degrees=20.0),
    Translate(fraction=0.2),
    Affine(),
    ResizedCrop(mode="constant"),
]


def test_fused_draws_what_each_draws_alone():
    images, stream, expected = torch.randn(20, 3, 8, 6, generator=rng()), rng(5), torch.eye(3).expand(20, 3, 3)
    for alone in WARPS:
        expected = expected @ alone.matrices(images, stream)
    (together,) = fuse_warps(WARPS)
    targets = torch.eye(20)
    out, same = together(images, targets, rng(5))
    # The products are grouped alike but summed in another order: 1e-6 of positions up to some 100 pixels outside.
    assert same is targets and (out - warp(images, expected)).abs().max() < 1e-3


@pytest.mark.parametrize("alone", WARPS, ids=repr)
def test_a_alonealone_moves_by_its_matrices(alone):
    images = torch.randn(20, 3, 8, 6, generator=rng())
    assert_close(alone(images, None, rng(5))[0], warp(images, alone.matrices(images, rng(5)), alone.mode))


def test_only_neighbours_of_one_mode_are_fused():
    flip, rotate, shear, crop, last = Flip(), Rotate(), Shear(), Crop(), Translate(mode="reflect")
    fused = FusedWarps(warps=[rotate, shear])
    assert fuse_warps([flip, rotate, shear, crop, rotate, last]) == [flip, fused, crop, rotate, last]
    bent = RadialDistortion()  # has a mode but no matrices
    assert fuse_warps([last, last, flip, bent, bent]) == [FusedWarps(warps=[last, last]), flip, bent, bent]
    assert fuse_warps([]) == []


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


def test_affine_shears_and_scales_then_turns_then_shifts():
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
    sheared = drawn(Affine(degrees=0.0, fraction=0.0, ratio=1.0, shear=30.0))
    assert_uniform(np.degrees(np.arctan(sheared[:, 0, 1])), -30, 30)
    both = drawn(Affine(fraction=0.0, ratio=1.0, shear=30.0))[:, :2, :2]
    shears = drawn(Affine(degrees=0.0, fraction=0.0, ratio=1.0, shear=30.0))[:, :2, :2]
    turned = np.linalg.inv(shears) @ both  # the draws are the same; what is left is a pure turn on the output's side
    assert np.allclose(turned @ turned.transpose(0, 2, 1), np.eye(2), atol=1e-5)
