"""Contract of every augmentation: draws from its rng alone, shapes, targets, memory, and refusal of bad values."""

from functools import partial

import pytest
import torch
import yaml
from augmenting import numbered as numbered_to_840
from augmenting import rng

from trainer.aug.affine import Rotate
from trainer.aug.color_jitter import ColorJitter
from trainer.aug.crop import Crop, ResizedCrop
from trainer.aug.cutout import Cutout
from trainer.aug.distortion import Elastic
from trainer.aug.flip import Flip
from trainer.aug.mixing import CutMix, Mixup
from trainer.aug.noise import Noise
from trainer.aug.pca_color import PcaColor
from trainer.aug.randaugment import RandAugment
from trainer.aug.random_erasing import RandomErasing
from trainer.aug.trivial_augment import TrivialAugment
from trainer.config import catalog, targets


def made(option):
    """Make an option with the values of its YAML."""
    ((_, node),) = yaml.safe_load(catalog.file("aug", option).read_text()).items()
    known = targets.locate(node.pop("_target_"), f"aug.{option}", f"aug.{option}", targets.LIBRARIES)
    return known(**node)


def numbered(count, channels=2):
    """Return images in [0, 1] whose pixels are all different, and one-hot targets."""
    images, targets = numbered_to_840(count, channels)
    return images / images.max(), targets


MODES = ("constant", "reflect", "symmetric", "replicate")
VARIANTS = [make(mode=mode) for make in (partial(Crop, padding=2), Rotate, ResizedCrop, Elastic) for mode in MODES]
ALL = [made(option) for option in catalog.options("aug")] + VARIANTS
TABLES_TOO = (Mixup, Noise)


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
def test_the_batch_passed_in_is_not_overwritten(transform):
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
    assert torch.allclose(across, plain, rtol=0, atol=1e-5)  # sums of pixels in another order


@pytest.mark.parametrize("transform", [one for one in ALL if not isinstance(one, TABLES_TOO)], ids=repr)
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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flip(p=1.5), r"p must be in \[0, 1\], got 1.5"),
        (lambda: Crop(padding=-1), "padding must be >= 0, got -1"),
        (lambda: Crop(mode="wrap"), "mode must be one of constant, reflect, symmetric, replicate, got wrap"),
        (lambda: Mixup(alpha=-0.1), "alpha must be >= 0, got -0.1"),
        (lambda: Rotate(degrees=181.0), r"degrees must be in \[0, 180\], got 181.0"),
        (lambda: ColorJitter(hue=0.6), r"hue must be in \[0, 0.5\], got 0.6"),
        (lambda: PcaColor(std=-0.1), "std must be >= 0, got -0.1"),
        (lambda: ResizedCrop(scale=[0.0, 1.0]), r"scale must be in \(0, 1\], got 0.0"),
        (lambda: RandomErasing(ratio=[0.0, 1.0]), "ratio must be > 0, got 0.0"),
        (
            lambda: RandomErasing(scale=[0.5, 0.4]),
            r"scale must be two numbers \[low, high\] with low <= high, got \[0.5, 0.4\]",
        ),
        (
            lambda: ResizedCrop(ratio=[1.0]),
            r"ratio must be two numbers \[low, high\] with low <= high, got \[1.0\]",
        ),
        (
            lambda: RandAugment(operations=["rotate", "twist"]),
            "operations must be one of identity, .* got twist",
        ),
        (lambda: TrivialAugment(operations=[]), "operations must name at least one, got none"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


AT_NOTHING = [
    Flip(p=0.0), Crop(padding=0), Crop(padding=0, mode="symmetric"), Cutout(side=0.0), Mixup(alpha=0.0),
    CutMix(alpha=0.0), CutMix(p=0.0), Noise(std=0.0), PcaColor(std=0.0), RandAugment(count=0), RandomErasing(p=0.0),
    Elastic(alpha=0.0), Elastic(alpha=0.0, sigma=0.0), Rotate(degrees=0.0),
    ColorJitter(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0),
]  # fmt: skip


@pytest.mark.parametrize("transform", AT_NOTHING, ids=repr)
def test_a_strength_of_0_is_taken_and_changes_nothing(transform):
    images, targets = numbered(20, 3)
    out, out_targets = transform(images, targets, rng())
    # Positions between pixels are float32, in images of 7 pixels.
    assert torch.allclose(out, images, rtol=0, atol=1e-5) and torch.equal(out_targets, targets)
