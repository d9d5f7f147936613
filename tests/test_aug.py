"""Augmentations: what was drawn is read off the output, the output is derived from it in NumPy, and the draws are held against
their distribution."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from trainer.aug.crop import Crop
from trainer.aug.flip import Flip
from trainer.aug.mixup import Mixup, beta

# Statistical tests have a fixed seed and fail by chance for one seed in 10,000.
UNLIKELY = 1e-4


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(count, channels=2, height=5, width=7):
    """Images whose pixels are all different, and one-hot targets that name them."""
    return torch.arange(1.0, count * channels * height * width + 1).view(count, channels, height, width), torch.eye(count)


ALL = [Flip(), Crop(padding=2), Crop(padding=2, mode="reflect"), Crop(padding=2, mode="replicate"), Mixup()]


@pytest.mark.parametrize("transform", ALL)
def test_draws_come_from_the_rng_alone(transform):
    images, targets = numbered(40)
    first, again, other = (transform(images, targets, rng(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("transform", ALL)
def test_the_batch_that_came_in_is_not_written_over(transform):
    images, targets = numbered(6)
    transform(images, targets, rng())
    assert torch.equal(images, numbered(6)[0]) and torch.equal(targets, torch.eye(6))


@pytest.mark.parametrize("transform", ALL)
@pytest.mark.parametrize(("count", "channels"), [(1, 1), (1, 3), (4, 1)])
def test_shapes_stay_also_for_one_sample_or_one_channel(transform, count, channels):
    images, targets = numbered(count, channels)
    out, out_targets = transform(images, targets, rng())
    assert (out.shape, out_targets.shape, out.dtype) == (images.shape, targets.shape, images.dtype)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_flip_mirrors_whole_images_left_to_right_at_the_rate_p(p):
    images, targets = numbered(4000, 2, 2, 3)
    out, same = Flip(p=p)(images, targets, rng())
    before, after = images.numpy(), out.numpy()
    mirrored = (after == before[..., ::-1]).all((1, 2, 3))
    assert ((after == before).all((1, 2, 3)) ^ mirrored).all() and same is targets
    assert stats.binomtest(int(mirrored.sum()), 4000, p).pvalue > UNLIKELY


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


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_mixup_blends_images_and_targets_by_the_same_share_of_a_partner(alpha):
    images, targets = numbered(64)
    out, blended = Mixup(alpha=alpha)(images, targets, rng())
    partners, before, shares = [], images.double().numpy(), blended.double().numpy()
    for i in range(64):
        others = [j for j in range(64) if j != i and shares[i, j] > 0]
        assert len(others) <= 1 and shares[i].sum() == pytest.approx(1, abs=1e-6)  # l and 1 - l in float32
        partners += others
        expected = sum(shares[i, j] * before[j] for j in {i, *others})
        assert_close(out[i].double().numpy(), expected, rtol=1e-5, atol=1e-2)  # l in float32 is known to 1e-7, pixels reach 4480
    assert len(set(partners)) == len(partners) > 32  # a permutation; few samples meet themselves or a share of exactly 1


def test_mixup_takes_tables():
    table = torch.tensor([[0.0, 10.0], [1.0, 20.0], [2.0, 30.0]])
    out, targets = Mixup(alpha=1.0)(table, torch.eye(3), rng())
    assert_close(out, targets @ table)


def test_mixup_of_a_single_sample_changes_nothing():
    images, targets = numbered(1, 1)
    out, same = Mixup()(images, targets, rng())
    assert torch.equal(out, images) and torch.equal(same, targets)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 4.0])
def test_mixups_share_is_beta_distributed(alpha):
    shares = beta(alpha, 20_000, torch.device("cpu"), rng())
    # Ten bins of 5% and one of the upper half, where float32 runs out of digits: one draw of 20 at alpha = 0.1 is 1 - 1e-8 or nearer.
    counts = np.histogram(stats.beta(alpha, alpha).cdf(shares.double().numpy()), bins=[*np.linspace(0, 0.5, 11), 1])[0]
    assert stats.chisquare(counts, [1000] * 10 + [10_000]).pvalue > UNLIKELY
    # The mean is 1/2 and the variance 1 / (4 (2 alpha + 1)); five deviations of each.
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(shares.double().mean() - 0.5) < 5 * (variance / 20_000) ** 0.5
    assert abs(shares.double().var() / variance - 1) < 5 * ((stats.beta(alpha, alpha).stats("k") + 2) / 20_000) ** 0.5


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 1e4])
def test_extreme_alphas_give_shares_between_0_and_1(alpha):
    shares = beta(alpha, 10_000, torch.device("cpu"), rng())
    assert ((0 <= shares) & (shares <= 1)).all()
    assert abs(shares.double().mean() - 0.5) < 5 * (0.25 / 10_000) ** 0.5  # no Beta(alpha, alpha) spreads wider than a coin


def test_mixup_draws_a_share_for_each_sample():
    _, targets = Mixup(alpha=1.0)(*numbered(200, 1, 1, 1), rng())
    assert len(targets.diagonal().unique()) > 190  # ties: only samples that meet themselves


@pytest.mark.parametrize("transform", [Flip(), Crop()])
def test_image_augmentations_refuse_tables(transform):
    with pytest.raises(ValueError, match=r"needs images \(B, C, H, W\), got a batch of shape \(4, 3\)"):
        transform(torch.zeros(4, 3), torch.eye(4), rng())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flip(p=1.5), r"p must be in \[0, 1\], got 1.5"),
        (lambda: Crop(padding=0), "padding must be >= 1, got 0"),
        (lambda: Crop(mode="wrap"), "mode must be one of constant, reflect, replicate, got wrap"),
        (lambda: Mixup(alpha=0.0), "alpha must be > 0, got 0.0"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
