"""Cutout: every place of the square is as likely, and the square is cut off at the edges."""

import pytest
import torch
from augmenting import UNLIKELY, bounds, numbered, rng
from scipy import stats

from trainer.aug.cutout import Cutout


def test_cutout_centres_are_uniform_and_squares_are_cut_off_at_the_edges():
    images, targets = numbered(4000, 2, 4, 5)
    out, same = Cutout(side=0.5)(images, targets, rng())
    inside = (out == 0).numpy()
    assert (inside[:, 0] == inside[:, 1]).all() and same is targets
    assert torch.equal(out[out != 0], images[out != 0])
    found = [tuple(box) for box in bounds(inside[:, 0])]
    # Two pixels about pixel c.
    spans = {size: [(max(0, c - 1), min(size, c + 1)) for c in range(size)] for size in (4, 5)}
    counts = [found.count((*rows, *columns)) for rows in spans[4] for columns in spans[5]]
    assert sum(counts) == 4000 and stats.chisquare(counts).pvalue > UNLIKELY


@pytest.mark.parametrize(("side", "size", "length"), [(0.5, 32, 16), (0.5, 28, 14), (0.01, 8, 1), (1.0, 6, 6)])
def test_cutouts_side_is_a_fraction_of_the_shorter_side(side, size, length):
    out = Cutout(side=side)(torch.ones(400, 1, size, size + 3), torch.eye(400), rng())[0]
    boxes = bounds((out[:, 0] == 0).numpy())
    assert (boxes[:, 1] - boxes[:, 0]).max() == length == (boxes[:, 3] - boxes[:, 2]).max()
