"""Augmentations that put something else in an image, against the papers' algorithms written as loops in NumPy."""

import numpy as np
import pytest
import torch
from scipy import stats
from test_aug import UNLIKELY, numbered, rng
from torch.testing import assert_close

from trainer.aug.cutout import Cutout
from trainer.aug.mixing import CutMix, Mixup, beta
from trainer.aug.random_erasing import RandomErasing

CPU = torch.device("cpu")


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
        assert_close(
            out[i].double().numpy(), expected, rtol=1e-5, atol=1e-2
        )  # l in float32 is known to 1e-7, pixels reach 4480
    assert (
        len(set(partners)) == len(partners) > 32
    )  # a permutation; few samples meet themselves or a share of exactly 1


def test_mixup_takes_tables():
    table = torch.tensor([[0.0, 10.0], [1.0, 20.0], [2.0, 30.0]])
    out, targets = Mixup(alpha=1.0)(table, torch.eye(3), rng())
    assert_close(out, targets @ table)


@pytest.mark.parametrize("transform", [Mixup(), CutMix()])
def test_a_single_sample_has_no_partner_and_stays(transform):
    images, targets = numbered(1, 1)
    out, same = transform(images, targets, rng())
    assert torch.equal(out, images) and torch.equal(same, targets)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 4.0])
def test_mixups_share_is_beta_distributed(alpha):
    shares = beta(alpha, 20_000, CPU, rng())
    # Ten bins of 5% and one of the upper half, where float32 runs out of digits: one draw of 20 at alpha = 0.1 is 1 - 1e-8 or nearer.
    counts = np.histogram(stats.beta(alpha, alpha).cdf(shares.double().numpy()), bins=[*np.linspace(0, 0.5, 11), 1])[0]
    assert stats.chisquare(counts, [1000] * 10 + [10_000]).pvalue > UNLIKELY
    # The mean is 1/2 and the variance 1 / (4 (2 alpha + 1)); five deviations of each.
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(shares.double().mean() - 0.5) < 5 * (variance / 20_000) ** 0.5
    assert abs(shares.double().var() / variance - 1) < 5 * ((stats.beta(alpha, alpha).stats("k") + 2) / 20_000) ** 0.5


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 1e4])
def test_extreme_alphas_give_shares_between_0_and_1(alpha):
    shares = beta(alpha, 10_000, CPU, rng())
    assert ((0 <= shares) & (shares <= 1)).all()
    assert (
        abs(shares.double().mean() - 0.5) < 5 * (0.25 / 10_000) ** 0.5
    )  # no Beta(alpha, alpha) spreads wider than a coin


def test_mixup_draws_a_share_for_each_sample():
    _, targets = Mixup(alpha=1.0)(*numbered(200, 1, 1, 1), rng())
    assert len(targets.diagonal().unique()) > 190  # ties: only samples that meet themselves


def bounds(inside):
    """Top, bottom, left and right of each image's box (N, H, W); every pixel between them must be in it."""
    found = []
    for image in inside:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        found.append((rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) if len(rows) else (0, 0, 0, 0))
        top, bottom, left, right = found[-1]
        assert image.sum() == (bottom - top) * (right - left)
    return np.array(found)


def pixel_owners(out, images):
    """Whose pixel stands where, (N, H, W), from images that are constant and numbered from 0."""
    assert (out == out[:, :1]).all()
    return out[:, 0].long().numpy()


def test_cutmix_puts_one_box_of_a_partner_and_the_real_share_of_its_target():
    count, height, width = 300, 9, 12
    images = torch.arange(count).view(-1, 1, 1, 1).expand(count, 2, height, width).float()
    out, mixed = CutMix()(images, torch.eye(count), rng())
    owners, partners = pixel_owners(out, images), []
    for i in range(count):
        others = set(owners[i].ravel()) - {i}
        assert len(others) <= 1
        partners += others
        for j in {i, *others}:
            assert mixed[i, j] == pytest.approx((owners[i] == j).mean(), abs=1e-6)  # 1 - a in float32
    bounds(owners != np.arange(count).reshape(-1, 1, 1))
    assert len(set(partners)) == len(partners) > 200


def test_cutmix_keeps_pixels_where_they_are():
    images, targets = numbered(40)
    out = CutMix()(images, targets, rng())[0].view(40, -1)
    places = torch.arange(70) + 1
    assert ((out - places) % 70 == 0).all()  # each pixel's number says where it stood, 70 to an image


def clipped_shares(alpha, count, height, width, draws):
    """Shares of the box by the paper's algorithm, a loop."""
    shares = []
    for _ in range(count):
        side = np.sqrt(1 - draws.beta(alpha, alpha))
        box, spans = (int(height * side), int(width * side)), []
        for size, length in zip((height, width), box):
            start = draws.integers(size) - length // 2
            spans.append(min(start + length, size) - max(start, 0))
        shares.append(spans[0] * spans[1] / (height * width))
    return np.array(shares)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_cutmix_boxes_have_the_papers_areas(alpha):
    count = 6000
    images = torch.arange(count).view(-1, 1, 1, 1).expand(count, 1, 8, 16).float()
    ours = (CutMix(alpha=alpha)(images, torch.zeros(count, 1), rng())[0] != images).float().mean((1, 2, 3)).numpy()
    assert stats.ks_2samp(ours, clipped_shares(alpha, count, 8, 16, np.random.default_rng(0))).pvalue > UNLIKELY


def test_cutmix_changes_the_share_p_of_the_images():
    images, targets = numbered(2000, 1, 8, 8)
    changed = (
        (CutMix(p=0.3, alpha=1000.0)(images, targets, rng())[0] != images).flatten(1).any(1)
    )  # sides of about 0.7: never empty
    assert stats.binomtest(int(changed.sum()), 2000, 0.3).pvalue > UNLIKELY


def test_cutout_squares_stand_about_every_pixel_as_often_cut_by_the_border():
    images, targets = numbered(4000, 2, 4, 5)
    out, same = Cutout(side=0.5)(images, targets, rng())
    inside = (out == 0).numpy()
    assert (inside[:, 0] == inside[:, 1]).all() and same is targets
    assert torch.equal(out[out != 0], images[out != 0])
    found = [tuple(box) for box in bounds(inside[:, 0])]
    spans = {
        size: [(max(0, c - 1), min(size, c + 1)) for c in range(size)] for size in (4, 5)
    }  # 2 pixels about pixel c
    counts = [found.count((*rows, *columns)) for rows in spans[4] for columns in spans[5]]
    assert sum(counts) == 4000 and stats.chisquare(counts).pvalue > UNLIKELY


@pytest.mark.parametrize(("side", "size", "length"), [(0.5, 32, 16), (0.5, 28, 14), (0.01, 8, 1), (1.0, 6, 6)])
def test_cutout_is_as_long_as_its_share_of_the_shorter_side(side, size, length):
    boxes = bounds((Cutout(side=side)(torch.ones(400, 1, size, size + 3), torch.eye(400), rng())[0][:, 0] == 0).numpy())
    assert (boxes[:, 1] - boxes[:, 0]).max() == length == (boxes[:, 3] - boxes[:, 2]).max()


def erased(transform, count=4000, height=12, width=20, value=5.0):
    images = torch.full((count, 2, height, width), value)
    out = transform(images, torch.zeros(count, 1), rng())[0]
    return out, (out != images).any(1).numpy()


def test_random_erasing_fills_one_box_at_the_rate_p():
    _, inside = erased(RandomErasing(p=0.3))
    bounds(inside)
    assert stats.binomtest(int(inside.any((1, 2)).sum()), 4000, 0.3).pvalue > UNLIKELY


def test_random_erasing_has_the_papers_areas_and_leaves_the_box_inside():
    _, inside = erased(RandomErasing(p=1.0))
    boxes, draws, expected = bounds(inside), np.random.default_rng(0), []
    while len(expected) < 4000:
        area, ratio = draws.uniform(0.02, 0.4) * 240, np.exp(draws.uniform(np.log(0.3), -np.log(0.3)))
        height, width = np.sqrt(area * ratio), np.sqrt(area / ratio)
        if height <= 12 and width <= 20:
            top, left = (
                draws.integers(size - length + 1) for size, length in ((12, round(height)), (20, round(width)))
            )
            expected.append((top, top + round(height), left, left + round(width)))
    for index, theirs in enumerate(np.array(expected).T):
        assert stats.ks_2samp(boxes[:, index], theirs).pvalue > UNLIKELY
    sizes = [(box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2]) for box in (boxes, np.array(expected))]
    assert stats.ks_2samp(*sizes).pvalue > UNLIKELY


def test_random_erasing_fills_with_every_value_between_black_and_white():
    transform = RandomErasing(p=1.0)
    transform.calibrate(torch.tensor([[-1.0, 3.0], [0.0, 2.0]]).view(1, 2, 1, 2))
    out, inside = erased(transform, count=100)
    first, second = (out[:, channel].numpy()[inside] for channel in (0, 1))
    assert stats.kstest(first, stats.uniform(-1, 4).cdf).pvalue > UNLIKELY
    assert stats.kstest(second, stats.uniform(0, 2).cdf).pvalue > UNLIKELY
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / len(first) ** 0.5
