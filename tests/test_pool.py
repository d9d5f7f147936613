"""Fractional pooling: the windows of the paper's sequences, random in training and still in evaluation."""

import itertools
import math

import pytest
import torch

from trainer.pool import Fractional


def windows(inputs, outputs, kernel, u):
    """Return the starts of the windows (Graham, 2014, section 2).

    a_i = floor(alpha (i + u)) - floor(alpha u), the last at the image's end.
    """
    alpha = (inputs - kernel) / (outputs - 1) if outputs > 1 else 0.0
    return [int((i + u) * alpha) - int(u * alpha) for i in range(outputs - 1)] + [inputs - kernel]


@pytest.mark.parametrize(
    ("side", "ratio", "out"),
    [(8, 0.7071, 5), (5, 0.7071, 3), (3, 0.7071, 2), (2, 0.7071, 1), (1, 0.7071, 1), (9, 0.5, 4), (10, 0.9, 9)],
)
def test_a_side_shrinks_by_the_ratio(side, ratio, out):
    assert Fractional(ratio=ratio)(torch.rand(2, 3, side, side)).shape == (2, 3, out, out)


@pytest.mark.parametrize(("height", "width", "out"), [(11, 8, (7, 5)), (16, 9, (11, 6))])
def test_in_evaluation_the_windows_are_those_of_one_half(height, width, out):
    x = torch.rand(2, 3, height, width)
    rows, columns = windows(height, out[0], 2, 0.5), windows(width, out[1], 2, 0.5)
    largest = [x[:, :, r : r + 2, c : c + 2].amax((2, 3)) for r, c in itertools.product(rows, columns)]
    pool = Fractional().eval()
    assert torch.equal(pool(x), torch.stack(largest, 2).view(2, 3, *out)) and torch.equal(pool(x), pool(x))


@pytest.mark.parametrize(("kernel", "ratio"), [(2, 0.7071), (3, 0.5), (5, 0.9)])
def test_in_evaluation_the_outputs_are_torchs_for_u_of_one_half(kernel, ratio):
    pool, u = Fractional(kernel_size=kernel, ratio=ratio).eval(), torch.full((2, 1, 2), 0.5)
    for side in range(kernel, 70):
        x = torch.rand(2, 1, side, side)
        out = pool(x)
        torch_says = torch.nn.functional.fractional_max_pool2d(x, kernel, out.shape[2:], _random_samples=u)
        assert torch.equal(out, torch_says), side


def test_windows_that_are_wide_for_the_ratio_leave_fewer_of_them():
    """9 in a side of 10, but only 10 - 4 + 1 = 7 places where a window of 4 can begin."""
    assert Fractional(kernel_size=4, ratio=0.9)(torch.rand(2, 3, 10, 10)).shape == (2, 3, 7, 7)


def test_in_training_the_windows_are_drawn_anew_each_by_some_u():
    torch.manual_seed(0)
    x = torch.arange(11.0).expand(200, 1, 11, 11).contiguous()  # the largest of a window is its last column
    drawn = {tuple(row.int().tolist()) for row in Fractional()(x)[:, 0, 0]}
    possible = {tuple(begin + 1 for begin in windows(11, 7, 2, u / 1000)) for u in range(1000)}
    assert len(drawn) > 1 and drawn <= possible


def test_regions_are_drawn_in_evaluation_where_asked():
    pool, x = Fractional().eval(), torch.rand(1, 1, 11, 11)
    pool.draws_in_evaluation = True
    torch.manual_seed(0)
    assert not torch.equal(pool(x), pool(x))


@pytest.mark.parametrize("field", [{"ratio": 1.0}, {"ratio": 0.4}, {"kernel_size": 1}, {"ratio": math.nan}])
def test_values_out_of_range_are_refused(field):
    with pytest.raises(ValueError, match="must be"):
        Fractional(**field)
