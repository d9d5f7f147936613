"""Augmentations of pixels: the same in [0, 1] whatever the preprocessing, and one way there and back for a row."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from augmenting import rng
from torch.testing import assert_close

from trainer.aug.color_jitter import ColorJitter
from trainer.aug.flip import Flip
from trainer.aug.pca_color import PcaColor
from trainer.aug.randaugment import RandAugment
from trainer.aug.random_erasing import RandomErasing
from trainer.base.clock import Clock
from trainer.base.errors import ConfigError
from trainer.base.pixel_space import PixelSpace, changes_pixels, fuse_pixel_spaces
from trainer.config import catalog
from trainer.engine import build
from trainer.engine.build import build_run, make_augmentations
from trainer.preprocess import ChannelStandardize

PIXELS = ("color_jitter", "pca_color", "randaugment", "random_erasing", "trivial_augment")


def test_the_augmentations_that_act_on_pixels_are_these(composed):
    run = build_run(composed("data=photos", "model=linear", f"aug=[{','.join(catalog.options('aug'))}]"))
    found = [name for name, transform in zip(catalog.options("aug"), run.aug) if isinstance(transform, PixelSpace)]
    assert tuple(found) == PIXELS and not changes_pixels(Flip())


@pytest.mark.parametrize(
    "preprocess", [name for name in catalog.options("preprocess") if name not in ("polynomial", "model")]
)
@pytest.mark.parametrize("name", PIXELS)
def test_an_augmentation_of_pixels_does_the_same_to_them_whatever_the_preprocessing(name, preprocess, composed):
    """With preprocess=none the images are the pixels themselves."""
    changed = {}
    for option in ("none", preprocess):
        run = build_run(composed("data=digits", "model=linear", f"preprocess={option}", f"aug=[{name}]"))
        images, targets = run.train.batch(torch.arange(60))
        out, _ = run.aug[0](images, targets, rng(3))
        changed[option] = run.aug[0].apply.invert(out)
    # Level 8 of the digits' 16 is 127.5 of 255: which side of a step it falls on is up to float32's rounding.
    difference = (changed[preprocess] - changed["none"]).abs()
    assert (difference > 1e-3).double().mean() < 1e-2


def test_pca_colors_shift_is_the_papers_in_pixels_from_0_to_1_behind_a_standardisation():
    """x + sum a_i l_i p_i with l and p of the pixels' covariance: along p_i the shift has the deviation 0.1 l_i."""
    mixing = torch.tensor([[0.3, 0.2, 0.1], [0, 0.15, 0.05], [0, 0, 0.1]])
    train = (torch.randn(300, 8, 8, 3, generator=rng(1)) @ mixing + 0.5).permute(0, 3, 1, 2).clamp(0, 1)
    apply, shift = ChannelStandardize().fit(train), PcaColor()
    shift.calibrate(train)
    images = apply(train[:1].expand(20_000, 3, 8, 8)[..., :1, :1])
    out, _ = PixelSpace(transforms=[shift], apply=apply)(images, torch.zeros(20_000, 1), rng())
    # In standardised units a shift of s pixels is s over the channel's deviation.
    deviation = train.double().transpose(0, 1).flatten(1).numpy().std(1)
    shifts = (out - images).flatten(1).double().numpy() * deviation
    values, vectors = np.linalg.eigh(np.cov(train.double().transpose(0, 1).flatten(1).numpy()))
    along = (shifts @ vectors).std(0)
    assert along / (0.1 * values) == pytest.approx(np.ones(3), abs=5 / 40_000**0.5)


def test_what_is_filled_in_is_between_black_and_white_in_every_preprocessing(composed):
    run = build_run(composed("data=photos", "model=linear", "aug=[random_erasing]", "preprocess=standardize"))
    images, targets = run.train.batch(torch.arange(60))
    out, _ = run.aug[0](images, targets, rng())
    filled = run.aug[0].apply.invert(out)[(out - images).abs() > 1e-4]
    assert filled.min() > -1e-4 and filled.max() < 1 + 1e-4
    assert filled.mean().item() == pytest.approx(0.5, abs=0.01) and filled.var().item() == pytest.approx(
        1 / 12, abs=0.01
    )


class Lowered:
    """A change of pixels that counts its calls and takes the time."""

    on_pixels = True
    steps = ()

    def begin(self, now):
        self.steps = (*self.steps, now.step)

    def __call__(self, images, targets, rng):
        return images - 0.25, targets


class Doubled:
    """A preprocessing that counts how often it is undone."""

    undone = 0

    def __call__(self, images):
        return images * 2

    def invert(self, values):
        self.undone += 1
        return values / 2


def test_neighbours_share_one_inverse_and_the_order_stays():
    apply, flip = Doubled(), Flip(p=0.0)
    first, second, third = (PixelSpace(transforms=[Lowered()], apply=apply) for _ in range(3))
    fused = fuse_pixel_spaces([first, second, flip, third])
    assert fused[1:] == [flip, third] and len(fused) == 3
    out, _ = fused[0](torch.ones(1, 1, 2, 2), None, rng())
    assert out.unique().tolist() == [0.0] and apply.undone == 1  # 2 (1 / 2 - 1 / 4 - 1 / 4)
    fused[0].begin(Clock(total_steps=9, steps_per_epoch=3, step=4))
    assert [one.transforms[0].steps for one in (first, second, third)] == [(4,), (4,), ()]


@pytest.mark.parametrize("transform", [ColorJitter(), RandAugment(), RandomErasing()], ids=repr)
def test_a_row_is_what_one_after_the_other_gives(transform):
    values = torch.rand(30, 3, 8, 8, generator=rng(5))
    apply = ChannelStandardize().fit(values)
    one = PixelSpace(transforms=[transform], apply=apply)
    (row,) = fuse_pixel_spaces([one, one])
    stream, images = rng(7), apply(values)
    for _ in range(2):
        images, _ = one(images, None, stream)
    difference = (row(apply(values), None, rng(7))[0] - images).abs()
    assert (difference > 1e-4).double().mean() < 1e-3  # float32 there and back; equalize and solarize have steps


def test_tables_and_a_preprocessing_without_a_way_back_are_refused(composed, monkeypatch):
    with pytest.raises(ConfigError, match="aug=color_jitter: needs images"):
        build_run(composed("data=iris", "aug=[color_jitter]"))
    cfg = composed("data=digits", "aug=[color_jitter]")
    bare = SimpleNamespace()
    with pytest.raises(ConfigError, match=r"aug=color_jitter: acts on pixels .* a method `invert\(values\)`"):
        make_augmentations(cfg, "classification", torch.zeros(2, 1, 8, 8), bare, build.Invocation())


def test_mixing_at_a_row_of_two_keeps_the_targets():
    values, targets = torch.rand(4, 3, 5, 5, generator=rng()), torch.eye(4)
    apply = ChannelStandardize().fit(values)
    _, out = PixelSpace(transforms=[ColorJitter(), RandomErasing()], apply=apply)(apply(values), targets, rng())
    assert_close(out, targets, rtol=0, atol=0)
