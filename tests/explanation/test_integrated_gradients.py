"""Integrated gradients: closed forms, and complete."""

import math

import pytest
import torch
from torch import nn

pytest.importorskip("captum", reason="needs the extra: pip install -e '.[explain]'")

from trainer.explanation.attribution import integrated_gradients  # noqa: E402

SAMPLES = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]])
BASELINE = torch.tensor([[0.5, -1.0, 2.0]])


def test_of_a_linear_model_each_input_adds_its_weight_times_its_difference():
    model, answers = nn.Linear(3, 2), torch.tensor([1, 0])
    expected = model.weight[answers].detach() * (SAMPLES - BASELINE)
    found = integrated_gradients(model, SAMPLES, BASELINE, answers)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    difference = (model(SAMPLES) - model(BASELINE)).gather(1, answers[:, None])[:, 0]
    torch.testing.assert_close(found.sum(1), difference, rtol=1e-5, atol=1e-6)


def test_of_a_quadratic_model_they_are_the_integral():
    """Of x1^2 + x1 x2 on the line from b to x, d = x - b: d1 (b1 + x1) + d1 (b2 + x2) / 2, and d2 (b1 + x1) / 2."""

    def model(x):
        return (x[:, :1] ** 2 + x[:, :1] * x[:, 1:2]).expand(-1, 2)

    found = integrated_gradients(model, SAMPLES, BASELINE, torch.tensor([0, 0]))
    d, total = SAMPLES - BASELINE, SAMPLES + BASELINE
    expected = torch.stack([d[:, 0] * total[:, 0] + d[:, 0] * total[:, 1] / 2, d[:, 1] * total[:, 0] / 2, 0 * d[:, 2]])
    torch.testing.assert_close(found, expected.T, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.sum(1), (model(SAMPLES) - model(BASELINE))[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steepness", [400, 4000])
def test_a_steep_model_gets_more_points(steepness):
    """A step of the width 1 / steepness on a line of length 1: few points see little of it or too much."""

    def model(x):
        return torch.sigmoid(steepness * (x.sum(1, keepdim=True) - 0.3337))

    found = integrated_gradients(model, torch.tensor([[0.25, 0.75]]), torch.zeros(1, 2), torch.tensor([0]))
    assert found.sum().item() == pytest.approx(1.0, abs=0.02)
    assert found[0, 1] / found[0, 0] == pytest.approx(3.0, rel=1e-4)


def test_a_wide_table_is_taken_in_parts():
    sizes = []

    def model(x):
        sizes.append(len(x))
        return x.sum(1, keepdim=True)

    wide = torch.rand(3, 2**17)
    found = integrated_gradients(model, wide, torch.zeros(1, 2**17), torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(found, wide, rtol=1e-5, atol=1e-6)
    assert max(sizes) * 2**17 <= 2**20 and sum(sizes) > 3 * 50 and math.isfinite(found.sum())
