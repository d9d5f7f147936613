"""Gains against scipy's integrals and closed forms."""

import math

import pytest
import yaml
from nets import ACTS, ROOT2, mean_square
from scipy import integrate, stats
from torch import nn

from trainer.act import Exponential, Maxout, ReluSquared, Swiglu
from trainer.config import catalog
from trainer.init.gain import gain


def test_every_activation_is_in_the_table():
    assert {*ACTS, "maxout", "swiglu"} == set(catalog.options("act"))
    for name, (module, _) in ACTS.items():
        assert yaml.safe_load(catalog.file("act", name).read_text())["_target_"].endswith(f".{module.__name__}")


@pytest.mark.parametrize("name", ACTS)
def test_the_gain_is_one_over_the_root_of_the_mean_square(name):
    act, f = ACTS[name]
    # Both rules err by less than 1e-8; softplus takes z itself above 20.
    assert gain(act) == pytest.approx(mean_square(f) ** -0.5, rel=1e-7)


@pytest.mark.parametrize(
    ("act", "known"),
    [
        (nn.ReLU, ROOT2),
        (nn.Identity, 1),
        (nn.SELU, 1),
        (lambda: nn.LeakyReLU(0.3), math.sqrt(2 / 1.09)),
        (Exponential, math.exp(-1)),
        (ReluSquared, math.sqrt(2 / 3)),  # half of E[z^4] = 3
    ],
)
def test_gains_in_closed_form(act, known):
    assert gain(act) == pytest.approx(known, rel=1e-8)


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_the_gain_of_maxout_is_that_of_the_largest_of_several_normals(pieces):
    # Max of k: E[max^2] = integral of z^2 d(Phi^k), by parts over both tails: the integral of 2 z P(max > z) - 2 z
    # P(max < -z).
    tails = integrate.quad(lambda z: 2 * z * (1 - stats.norm.cdf(z) ** pieces + stats.norm.cdf(-z) ** pieces), 0, 12)[0]
    assert gain(lambda: Maxout(pieces=pieces)) == pytest.approx(tails**-0.5, rel=1e-7)


def test_the_gain_of_a_gate_is_that_of_two_independent_normals():
    assert gain(Swiglu) == pytest.approx(mean_square(lambda z: z / (1 + math.exp(-z))) ** -0.5, rel=1e-7)


class Bilinear(nn.Module):
    """A gate without a curve, as a user might write it: it does not know its mean square, (E[a^2])^k = 1."""

    def __init__(self, pieces):
        super().__init__()
        self.pieces = pieces

    def forward(self, x):
        return x.unflatten(1, (-1, self.pieces)).prod(2)


@pytest.mark.parametrize("pieces", [2, 3])
def test_the_gain_of_pieces_that_do_not_know_it_is_drawn(pieces):
    # 65,536 points of Sobol; independent draws would err by 0.5 (27 - 1)^(1/2) / 256 = 1e-2 with three pieces.
    assert gain(lambda: Bilinear(pieces)) == pytest.approx(1, rel=5e-3)
    assert gain(lambda: Bilinear(pieces)) == gain(lambda: Bilinear(pieces))
