"""Mixup and CutMix against the papers' algorithms, written as loops in NumPy."""

import numpy as np
import pytest
import torch
from augmenting import UNLIKELY, bounds, numbered, rng
from scipy import stats
from torch.testing import assert_close

from trainer.aug.mixing import CutMix, Mixup, beta

CPU = torch.device("cpu")


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_mixup_blends_images_and_targets_by_the_same_fraction_of_a_partner(alpha):
    images, targets = numbered(64)
    out, blended = Mixup(alpha=alpha)(images, targets, rng())
    partners, before, fractions = [], images.double().numpy(), blended.double().numpy()
    for i in range(64):
        others = [j for j in range(64) if j != i and fractions[i, j] > 0]
        assert len(others) <= 1 and fractions[i].sum() == pytest.approx(1, abs=1e-6)  # l and 1 - l in float32
        partners += others
        expected = sum(fractions[i, j] * before[j] for j in {i, *others})
        # l in float32 is known to 1e-7, pixels reach 4480.
        assert_close(out[i].double().numpy(), expected, rtol=1e-5, atol=1e-2)
    # A permutation; few samples meet themselves or a fraction of exactly 1.
    assert len(set(partners)) == len(partners) > 32


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
def test_mixups_fraction_is_beta_distributed(alpha):
    fractions = beta(alpha, 20_000, CPU, rng())
    # Ten bins of 5% and one of the upper half, where float32 runs out of digits: at alpha = 0.1 one draw of 20 is
    # 1 - 1e-8 or nearer.
    counts = np.histogram(stats.beta(alpha, alpha).cdf(fractions.double().numpy()), bins=[*np.linspace(0, 0.5, 11), 1])[
        0
    ]
    assert stats.chisquare(counts, [1000] * 10 + [10_000]).pvalue > UNLIKELY
    # The mean is 1/2 and the variance 1 / (4 (2 alpha + 1)); five deviations of each.
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(fractions.double().mean() - 0.5) < 5 * (variance / 20_000) ** 0.5
    assert (
        abs(fractions.double().var() / variance - 1) < 5 * ((stats.beta(alpha, alpha).stats("k") + 2) / 20_000) ** 0.5
    )


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 1e4])
def test_extreme_alphas_give_fractions_between_0_and_1(alpha):
    fractions = beta(alpha, 10_000, CPU, rng())
    assert ((0 <= fractions) & (fractions <= 1)).all()
    # No Beta(alpha, alpha) spreads wider than a coin.
    assert abs(fractions.double().mean() - 0.5) < 5 * (0.25 / 10_000) ** 0.5


def test_mixup_draws_a_fraction_for_each_sample():
    _, targets = Mixup(alpha=1.0)(*numbered(200, 1, 1, 1), rng())
    assert len(targets.diagonal().unique()) > 190  # ties: only samples that meet themselves


def pixel_owners(out, images):
    """Return the image that each pixel comes from, (N, H, W), of images that are constant and numbered from 0."""
    assert (out == out[:, :1]).all()
    return out[:, 0].long().numpy()


def test_cutmix_puts_one_box_of_a_partner_and_the_same_fraction_of_its_target():
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
    assert ((out - places) % 70 == 0).all()  # a pixel's number is its place, 70 to an image


def clipped_fractions(alpha, count, height, width, draws):
    """Draw the box's fraction of the image by the paper's algorithm, a loop."""
    fractions = []
    for _ in range(count):
        side = np.sqrt(1 - draws.beta(alpha, alpha))
        box, spans = (int(height * side), int(width * side)), []
        for size, length in zip((height, width), box):
            start = draws.integers(size) - length // 2
            spans.append(min(start + length, size) - max(start, 0))
        fractions.append(spans[0] * spans[1] / (height * width))
    return np.array(fractions)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_cutmix_boxes_have_the_papers_areas(alpha):
    count = 6000
    images = torch.arange(count).view(-1, 1, 1, 1).expand(count, 1, 8, 16).float()
    ours = (CutMix(alpha=alpha)(images, torch.zeros(count, 1), rng())[0] != images).float().mean((1, 2, 3)).numpy()
    assert stats.ks_2samp(ours, clipped_fractions(alpha, count, 8, 16, np.random.default_rng(0))).pvalue > UNLIKELY


def test_cutmix_changes_the_fraction_p_of_the_images():
    images, targets = numbered(2000, 1, 8, 8)
    out = CutMix(p=0.3, alpha=1000.0)(images, targets, rng())[0]  # sides of about 0.7: never empty
    changed = (out != images).flatten(1).any(1)
    assert stats.binomtest(int(changed.sum()), 2000, 0.3).pvalue > UNLIKELY
