"""Random erasing against the paper's algorithm, written as a loop in NumPy."""

import numpy as np
import torch
from augmenting import UNLIKELY, bounds, rng
from scipy import stats

from trainer.aug.random_erasing import RandomErasing


def erased(transform, count=4000, height=12, width=20, value=5.0):
    """Return the changed images and the mask of their changed pixels."""
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
            height, width = round(height), round(width)
            top, left = draws.integers(12 - height + 1), draws.integers(20 - width + 1)
            expected.append((top, top + height, left, left + width))
    for index, theirs in enumerate(np.array(expected).T):
        assert stats.ks_2samp(boxes[:, index], theirs).pvalue > UNLIKELY
    sizes = [(box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2]) for box in (boxes, np.array(expected))]
    assert stats.ks_2samp(*sizes).pvalue > UNLIKELY


def test_random_erasing_fills_with_every_value_between_black_and_white():
    out, inside = erased(RandomErasing(p=1.0), count=100)
    first, second = (out[:, channel].numpy()[inside] for channel in (0, 1))
    assert stats.kstest(first, stats.uniform(0, 1).cdf).pvalue > UNLIKELY
    assert stats.kstest(second, stats.uniform(0, 1).cdf).pvalue > UNLIKELY
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / len(first) ** 0.5
