"""Augmentations: what every one keeps, then those that move whole pixels: what was drawn is read off the output, the output is
derived from it in NumPy, and the draws are held against their distribution."""

import numpy as np
import pytest
import torch
import yaml
from scipy import stats

from trainer.aug.affine import Rotate
from trainer.aug.color_jitter import ColorJitter
from trainer.aug.crop import Crop
from trainer.aug.flip import Flip
from trainer.aug.mixing import Mixup
from trainer.aug.pca_color import PcaColor
from trainer.base.clock import Clock
from trainer.config import catalog, targets

# Statistical tests have a fixed seed and fail by chance for one seed in 10,000.
UNLIKELY = 1e-4
EPOCHS = Clock(total_steps=40, steps_per_epoch=10)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(count, channels=2, height=5, width=7):
    """Images whose pixels are all different, and one-hot targets that name them."""
    return torch.arange(1.0, count * channels * height * width + 1).view(count, channels, height, width), torch.eye(
        count
    )


def made(option):
    """An option with the numbers of its YAML."""
    ((_, node),) = yaml.safe_load(catalog.file("aug", option).read_text()).items()
    known = targets.locate(node.pop("_target_"), f"aug.{option}", f"aug.{option}", targets.LIBRARIES)
    return known(**node)


VARIANTS = [Crop(padding=2), Crop(padding=2, mode="reflect"), Crop(padding=2, mode="replicate")]
ALL = [made(option) for option in catalog.options("aug")] + VARIANTS
TABLES_TOO = ("Mixup", "Noise")


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_draws_come_from_the_rng_alone(transform):
    images, targets = numbered(40)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (transform(images, targets, rng(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first[0], other[0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_the_batch_that_came_in_is_not_written_over(transform):
    images, targets = numbered(6)
    transform(images, targets, rng())
    assert torch.equal(images, numbered(6)[0]) and torch.equal(targets, torch.eye(6))


@pytest.mark.parametrize("transform", ALL, ids=repr)
@pytest.mark.parametrize(("count", "channels"), [(1, 1), (1, 3), (4, 1), (3, 5)])
def test_shapes_stay_also_for_one_sample_or_one_channel(transform, count, channels):
    images, targets = numbered(count, channels)
    out, out_targets = transform(images, targets, rng())
    assert (out.shape, out_targets.shape, out.dtype) == (images.shape, targets.shape, images.dtype)
    assert out.isfinite().all()


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_smoothed_targets_stay_distributions(transform):
    images, targets = numbered(50)
    _, out = transform(images, 0.9 * targets + 0.1 / 50, rng())
    assert (out.sum(1) - 1).abs().max() < 1e-5 and out.min() >= 0  # sums of 50 float32


@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_the_layout_in_memory_does_not_matter(transform):
    images, targets = numbered(8, 3)
    plain = transform(images, targets, rng())[0]
    across = transform(images.contiguous(memory_format=torch.channels_last), targets, rng())[0]
    assert torch.allclose(across, plain, rtol=1e-4, atol=1e-3)  # sums of pixels up to 840, in another order


@pytest.mark.parametrize("transform", [one for one in ALL if type(one).__name__ not in TABLES_TOO], ids=repr)
def test_image_augmentations_refuse_tables(transform):
    with pytest.raises(ValueError, match=r"needs images \(B, C, H, W\), got a batch of shape \(4, 3\)"):
        transform(torch.zeros(4, 3), torch.eye(4), rng())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("transform", ALL, ids=repr)
def test_nothing_waits_for_the_device(transform):
    cuda = torch.device("cuda")
    images, targets = (part.to(cuda) for part in numbered(40, 3))
    stream = torch.Generator(cuda)
    transform(images, targets, stream)  # constants are copied there once
    torch.cuda.set_sync_debug_mode("error")
    try:
        out, _ = transform(images, targets, stream)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert out.device.type == "cuda"


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_flip_mirrors_whole_images_left_to_right_at_the_rate_p(p):
    images, targets = numbered(4000, 2, 2, 3)
    out, same = Flip(p=p)(images, targets, rng())
    before, after = images.numpy(), out.numpy()
    mirrored = (after == before[..., ::-1]).all((1, 2, 3))
    assert ((after == before).all((1, 2, 3)) ^ mirrored).all() and same is targets
    assert stats.binomtest(int(mirrored.sum()), 4000, p).pvalue > UNLIKELY


def mirrored_in(flip, epoch, images):
    flip.begin(EPOCHS.at(10 * epoch + 7))
    out = flip(images, torch.eye(len(images)), rng(epoch))[0]
    mirrored = (out == images.flip(3)).all((1, 2, 3))
    assert (mirrored ^ (out == images).all((1, 2, 3))).all()
    return mirrored


def test_flip_alternates_between_epochs_whatever_the_order():
    images = torch.randint(0, 256, (4000, 1, 3, 4), generator=rng()) / 255
    flip = Flip(alternating=True)
    first = mirrored_in(flip, 0, images)
    assert stats.binomtest(int(first.sum()), 4000, 0.5).pvalue > UNLIKELY
    for epoch in (1, 2, 3):
        order = torch.randperm(4000, generator=rng(epoch))
        assert torch.equal(mirrored_in(flip, epoch, images[order]), first[order] ^ (epoch % 2 == 1))


def test_flip_needs_the_epoch_to_alternate():
    with pytest.raises(ValueError, match="alternating needs the epoch: call begin"):
        Flip(alternating=True)(*numbered(2), rng())


def offsets(images, out, padding, mode):
    """Where each window was cut, by trying all places; a window must stand at exactly one."""
    height, width = images.shape[2:]
    found = []
    for image, window in zip(images.numpy(), out.numpy(), strict=True):
        padded = np.pad(image, [(0, 0), (padding, padding), (padding, padding)], mode)
        places = [
            (top, left)
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
            if np.array_equal(padded[:, top : top + height, left : left + width], window)
        ]
        assert len(places) == 1
        found += places
    return np.array(found)


@pytest.mark.parametrize(("mode", "numpys"), [("constant", "constant"), ("reflect", "reflect"), ("replicate", "edge")])
@pytest.mark.parametrize(("padding", "count", "channels"), [(1, 30, 1), (3, 30, 2), (2, 1, 1)])
def test_crop_cuts_a_window_of_the_padded_image(mode, numpys, padding, count, channels):
    images, targets = numbered(count, channels)
    out, same = Crop(padding=padding, mode=mode)(images, targets, rng())
    offsets(images, out, padding, numpys)
    assert same is targets


def test_crop_takes_every_place_as_often_and_rows_apart_from_columns():
    images, targets = numbered(2000, 1, 3, 4)
    tops, lefts = offsets(images, Crop(padding=1)(images, targets, rng())[0], 1, "constant").T
    assert stats.chisquare(np.bincount(3 * tops + lefts, minlength=9)).pvalue > UNLIKELY


def test_crop_refuses_to_reflect_more_than_the_image_has():
    images, targets = numbered(2)
    with pytest.raises(ValueError, match="padding must be < 5 to reflect images of 5x7, got 5"):
        Crop(padding=5, mode="reflect")(images, targets, rng())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flip(p=1.5), r"p must be in \[0, 1\], got 1.5"),
        (lambda: Crop(padding=0), "padding must be >= 1, got 0"),
        (lambda: Crop(mode="wrap"), "mode must be one of constant, reflect, replicate, got wrap"),
        (lambda: Mixup(alpha=0.0), "alpha must be > 0, got 0.0"),
        (lambda: Rotate(degrees=181.0), r"degrees must be in \[0, 180\], got 181.0"),
        (lambda: ColorJitter(hue=0.6), r"hue must be in \[0, 0.5\], got 0.6"),
        (lambda: PcaColor(std=0.0), "std must be > 0, got 0.0"),
        (
            lambda: made("random_erasing").__class__(scale=[0.5, 0.4]),
            r"scale must be two numbers \[low, high\] with low <= high, got \[0.5, 0.4\]",
        ),
        (
            lambda: made("resized_crop").__class__(ratio=[1.0]),
            r"ratio must be two numbers \[low, high\] with low <= high, got \[1.0\]",
        ),
        (
            lambda: made("randaugment").__class__(operations=["rotate", "twist"]),
            "operations must be one of identity, .* got twist",
        ),
        (lambda: made("trivial_augment").__class__(operations=[]), "operations must name at least one, got none"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
