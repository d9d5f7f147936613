"""Filters of the first convolution."""

import io

import pytest
import torch
from PIL import Image
from torch import nn

from trainer.engine.filters import MOST, draw_filters, first_filters


def test_the_filters_are_those_of_the_first_convolution():
    net = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 4, 3))
    assert torch.equal(first_filters(net), net[0].weight)


@pytest.mark.parametrize("layers", [[nn.Linear(4, 2)], [nn.Conv2d(3, 8, 1)], [nn.Conv2d(2, 8, 3)], []])
def test_there_are_none_where_nothing_can_be_seen(layers):
    assert first_filters(nn.Sequential(*layers)) is None


def test_filters_that_are_not_finite_are_not_drawn():
    net = nn.Conv2d(1, 2, 3)
    nn.init.constant_(net.weight, float("nan"))
    assert first_filters(net) is None


def test_a_filter_is_drawn_from_its_smallest_weight_in_black_to_its_largest_in_white():
    kernels = torch.zeros(60, 1, 3, 3)
    kernels[:, 0, 0, 0], kernels[:, 0, 2, 2] = -2.0, 6.0  # 0 is a quarter of the way
    picture = Image.open(io.BytesIO(draw_filters(kernels, "title", "epoch 3"))).convert("L")
    counts = dict(zip(*reversed([*zip(*picture.getcolors())])))
    side = 43  # pixels of a weight: 128 / 3, up to a whole number
    assert counts[64] == pytest.approx(MOST * 7 * side**2, rel=1e-3)  # edges of letters have some of it, too
    assert counts[0] >= MOST * side**2 and counts[255] > MOST * side**2
