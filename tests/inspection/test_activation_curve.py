"""Curves of activations: values by the module, slopes by differences, and where they saturate."""

import math

import numpy as np
import pytest
import torch

from trainer.config import catalog
from trainer.config.hydra_context import Invocation
from trainer.config.instantiate import factory
from trainer.inspection import activation_curve
from trainer.inspection.activation_curve import describe, make_activation_curve

SEVERAL = ("maxout", "swiglu")


@pytest.mark.parametrize("option", catalog.options("act"))
def test_values_and_slopes_of_every_option(option, composed):
    cfg = composed(f"act={option}")
    curve = make_activation_curve(cfg, Invocation(choices={"act": option}))
    assert curve.x[10_000] == 0 and (curve.x[0], curve.x[-1]) == (-10, 10) and curve.title == f"act={option}"
    act = factory(cfg, "act", Invocation())().double().eval()
    assert set(curve.values) == ({-1.0, 0.0, 1.0} if option in SEVERAL else {None})
    for other, values in curve.values.items():
        inputs = torch.tensor(curve.x)[:, None]
        if other is not None:
            inputs = torch.cat([inputs, torch.full_like(inputs, other)], 1)
        with torch.no_grad():
            np.testing.assert_allclose(values, act(inputs)[:, 0].numpy(), atol=1e-12)
        central = (values[2:] - values[:-2]) / 0.002
        smooth = np.abs(curve.slopes[other][2:] - curve.slopes[other][:-2]) < 0.05 * (1 + np.abs(central))  # no kink
        assert smooth.mean() > 0.99
        # Where f'' jumps by 4, as softsign's at 0, a central difference over 2 h is wrong by h = 0.001.
        np.testing.assert_allclose(curve.slopes[other][1:-1][smooth], central[smooth], rtol=1e-5, atol=1.1e-3)


@pytest.mark.parametrize(
    ("option", "ends"),
    [
        ("tanh", [(-10, -math.atanh(math.sqrt(0.99))), (math.atanh(math.sqrt(0.99)), 10)]),  # 1 - tanh^2 = 0.01
        ("softsign", [(-10, -9), (9, 10)]),  # 1 / (1 + |x|)^2 = 0.01
        ("exponential", [(-10, math.log(0.01))]),
        ("relu", [(-10, 0)]),
        ("linear", []),
        ("prelu", []),
        ("maxout", []),
    ],
)
def test_the_saturated_part(option, ends, composed):
    curve = make_activation_curve(composed(f"act={option}"), Invocation(choices={"act": option}))
    assert len(curve.saturated) == len(ends)
    for found, expected in zip(curve.saturated, ends):
        assert found == pytest.approx(expected, abs=0.0011)  # a step of the grid


def test_what_is_printed_and_shaded(composed, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(activation_curve, "write_figure", lambda figure, path: figures.append(figure))
    typed = Invocation(choices={"act": "tanh"}, overrides=("act=tanh", "seed=1"))
    curve = make_activation_curve(composed("act=tanh"), typed)
    assert describe(curve) == [
        "f(-10) = -1, f' = 8.245e-09;  f(0) = 0, f' = 1;  f(10) = 1, f' = 8.245e-09",  # 4 e^-20
        "saturated, |f'| < 0.01: x < -2.994, x > 2.994",
    ]
    activation_curve.draw(curve, tmp_path / "a.png")
    for axes in figures[0].axes:
        shaded = [patch.get_xy() for patch in axes.patches]
        assert len(shaded) == 2
    assert figures[0].get_suptitle() == "act=tanh"
    assert "learnt" in describe(make_activation_curve(composed("act=prelu"), Invocation()))[-1]
    assert "depends on the others" in describe(make_activation_curve(composed("act=swiglu"), Invocation()))[-1]
